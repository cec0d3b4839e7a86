"""Base models and the adapters on them: what is folded in comes out again bit for bit, and nothing broken is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from goodhart.errors import InputError
from goodhart.models import adapters, loading, manifest
from goodhart.models.logprobs import response_logits, sequence_logprobs
from goodhart.models.tokens import Batch, collate
from goodhart.store.files import read_json, write_json
from tiny_study import Study

BATCH = collate([[5, 9, 12], [7, 8]], [[3, 4, 1], [30, 31]], pad=0)


@pytest.fixture
def model(tiny: Study) -> PeftModel:
    """The policy with two adapters of different weights; "a" is active."""
    base = loading.load_policy(tiny / "policy", "float32")
    for name, level in (("b", "p80"), ("a", "p20")):
        base = adapters.attach_adapter(base, tiny / f"offline/dpo/{level}/adapter", name)
    return base


@torch.no_grad()
def logits(model: torch.nn.Module, batch: Batch = BATCH) -> torch.Tensor:
    return response_logits(model, batch)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_loaded_policy_is_frozen_and_evaluates(tiny: Study) -> None:
    policy = loading.load_policy(tiny / "policy", "float32")
    assert not policy.training
    assert not any(p.requires_grad for p in policy.parameters())
    assert {p.dtype for p in policy.parameters()} == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_bfloat16_is_refused_on_a_cpu(tiny: Study) -> None:
    with pytest.raises(InputError, match="bfloat16 needs a GPU"):
        loading.load_policy(tiny / "policy", "bfloat16")


@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_a_reward_backbone_has_one_label_and_a_float32_head(tiny: Study, precision: str) -> None:
    backbone = loading.load_reward_backbone(tiny / "policy", precision)
    assert backbone.score.weight.shape == (1, 64)
    assert backbone.score.weight.dtype == torch.float32
    assert backbone.config.pad_token_id == 0


def test_the_adapters_differ_and_none_is_the_bare_base(tiny: Study, model: PeftModel) -> None:
    of_a = logits(model)
    adapters.activate(model, "b")
    of_b = logits(model)
    adapters.activate(model, None)
    bare = logits(model)
    assert not torch.allclose(of_a, of_b)
    assert not torch.allclose(of_a, bare)
    assert torch.equal(bare, logits(loading.load_policy(tiny / "policy", "float32")))
    adapters.activate(model, "a")
    assert torch.equal(logits(model), of_a)


def test_only_an_adapter_activated_for_training_has_gradients(model: PeftModel) -> None:
    def trainable() -> set[str]:
        return {name.split(".")[-2] for name, p in model.named_parameters() if p.requires_grad}

    adapters.activate(model, "b")
    assert trainable() == set()
    adapters.activate(model, "a", trainable=True)
    assert trainable() == {"a"}
    adapters.activate(model, "b")
    adapters.activate(model, None)
    assert "b" not in trainable()


def test_adapters_share_one_base(tiny: Study, model: PeftModel) -> None:
    base = loading.load_policy(tiny / "policy", "float32")
    added = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)
    assert model.num_parameters() == base.num_parameters() + added
    ranks = 4 * sum(sum(shape) for shape in read_json(tiny / "policy/manifest.json")["projections"])
    assert added == 2 * ranks


def test_inside_merged_nothing_changes_but_the_speed(model: PeftModel) -> None:
    outside, before = logits(model), weights(model)
    with adapters.merged(model):
        assert torch.allclose(logits(model), outside, atol=1e-5)
        assert not same(weights(model), before)
    assert same(weights(model), before)
    assert torch.equal(logits(model), outside)


def test_after_an_error_inside_merged_the_base_is_as_before(model: PeftModel) -> None:
    before = weights(model)
    with pytest.raises(KeyError), adapters.merged(model):
        raise KeyError
    assert same(weights(model), before)


def test_merged_takes_the_active_adapter_or_none(model: PeftModel) -> None:
    for name in ("b", None):
        adapters.activate(model, name)
        outside, before = logits(model), weights(model)
        with adapters.merged(model):
            assert torch.allclose(logits(model), outside, atol=1e-5)
        assert same(weights(model), before)


def test_merged_leaves_a_model_without_adapters_alone(tiny: Study) -> None:
    policy = loading.load_policy(tiny / "policy", "float32")
    before = weights(policy)
    with adapters.merged(policy):
        assert same(weights(policy), before)


def test_a_quantised_base_is_never_merged_into(tiny: Study) -> None:
    base = loading.load_policy(tiny / "policy", "nf4")
    model = adapters.attach_adapter(base, tiny / "offline/dpo/p20/adapter", "policy")
    outside = logits(model)
    before = {name: p.data.clone() for name, p in model.named_parameters()}
    with adapters.merged(model):
        assert same({name: p.data for name, p in model.named_parameters()}, before)
        assert torch.equal(logits(model), outside)
    adapters.activate(model, None)
    assert not torch.allclose(logits(model), outside)  # the adapter works on the quantised base


@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_gradients_are_those_of_a_policy_that_was_never_sampled(tiny: Study, precision: str) -> None:
    """The online loop samples in evaluation mode and then differentiates in it; a fresh policy in training mode
    (without dropout) must give the same gradients."""
    gradients = []
    for sampled in (False, True):
        base = loading.load_policy(tiny / "policy", precision)
        model = adapters.attach_adapter(base, tiny / "offline/dpo/p20/adapter", "policy", trainable=True)
        if sampled:
            logits(model)
        else:
            model.train()
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        sequence_logprobs(model, BATCH).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert (gradients[1][name] - gradient).norm() < 0.05 * gradient.norm(), name


def test_lora_adapts_every_attention_projection(tiny: Study) -> None:
    policy = loading.load_policy(tiny / "policy", "float32")
    model = get_peft_model(policy, adapters.lora_config(4, 8, 0.1, "CAUSAL_LM"))
    adapted = {name.split(".")[-4] for name, _ in model.named_parameters() if ".lora_A." in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert model.peft_config["default"].modules_to_save is None
    projections = read_json(tiny / "policy/manifest.json")["projections"]
    assert model.get_nb_trainable_parameters()[0] == 4 * sum(map(sum, projections))


def test_a_reward_trains_its_head_too(tiny: Study) -> None:
    backbone = loading.load_reward_backbone(tiny / "policy", "float32")
    model = get_peft_model(backbone, adapters.lora_config(4, 8, 0.1, "SEQ_CLS"))
    trained = [name for name, p in model.named_parameters() if p.requires_grad and "lora" not in name]
    assert trained == ["base_model.model.score.modules_to_save.default.weight"]


def test_dropout_is_off_in_an_adapter_that_is_attached(tiny: Study) -> None:
    base = loading.load_policy(tiny / "policy", "float32")
    model = adapters.attach_adapter(base, tiny / "offline/dpo/p20/adapter", "policy", trainable=True)
    assert not any(module.training for module in model.modules())
    assert torch.equal(logits(model), logits(model))


@pytest.mark.parametrize("broken", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_broken_adapter_is_refused(tiny: Study, tmp_path: Path, broken: str) -> None:
    shutil.copytree(tiny / "offline/dpo/p20/adapter", tmp_path / "adapter")
    path = tmp_path / "adapter" / broken
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=broken):
        adapters.attach_adapter(loading.load_policy(tiny / "policy", "float32"), tmp_path / "adapter", "policy")


def test_an_adapter_of_another_base_is_refused(tiny: Study, tmp_path: Path) -> None:
    """Recorded for other weights, or with no record and of another width; one that fits needs no record."""
    policy = loading.load_policy(tiny / "policy", "float32")
    shutil.copytree(tiny / "offline/dpo/p20/adapter", tmp_path / "adapter")
    record = tmp_path / "adapter/manifest.json"
    write_json(record, {**read_json(record), "sha256": "of another"})
    with pytest.raises(InputError, match="adapter of another base"):
        adapters.attach_adapter(policy, tmp_path / "adapter", "policy")
    record.unlink()
    weights = tmp_path / "adapter/adapter_model.safetensors"
    unrecorded = logits(adapters.attach_adapter(policy, tmp_path / "adapter", "policy"))
    assert torch.equal(unrecorded, logits(adapters.attach_adapter(policy, tiny / "offline/dpo/p20/adapter", "same")))
    state = load_file(weights)
    save_file({k: v[:, :32].contiguous() if ".lora_A." in k else v for k, v in state.items()}, weights)
    with pytest.raises(InputError, match="adapter of another base"):
        adapters.attach_adapter(loading.load_policy(tiny / "policy", "float32"), tmp_path / "adapter", "policy")


def test_a_model_asked_in_two_ways_is_one_model(tiny: Study, tmp_path: Path) -> None:
    record = read_json(tiny / "policy/manifest.json")
    for prompts in ("chat", "plain"):
        (tmp_path / prompts).mkdir()
        changed = {**record, "model": str(tiny / "policy"), "prompts": prompts}
        write_json(tmp_path / prompts / "manifest.json", changed)
    assert manifest.same_weights(tmp_path / "chat", tmp_path / "plain")


def free_copy(source: Path, folder: Path) -> None:
    """A copy of a model whose manifest records no files, so that they may be changed."""
    shutil.copytree(source, folder)
    write_json(folder / "manifest.json", {**read_json(folder / "manifest.json"), "files": {}})


def test_a_tokeniser_pads_on_the_left_and_has_an_end(tiny: Study, tmp_path: Path) -> None:
    tokenizer = loading.load_tokenizer(tiny / "policy")
    assert (tokenizer.padding_side, tokenizer.eos_token_id, tokenizer.pad_token_id) == ("left", 1, 0)
    free_copy(tiny / "policy", tmp_path / "endless")
    config = json.loads((tmp_path / "endless/tokenizer_config.json").read_text())
    (tmp_path / "endless/tokenizer_config.json").write_text(json.dumps({**config, "eos_token": None}))
    with pytest.raises(InputError, match="no end-of-sequence token"):
        loading.load_tokenizer(tmp_path / "endless")


@pytest.mark.parametrize("pad", [None, "<end>"])
def test_a_tokeniser_never_pads_with_its_end(tiny: Study, tmp_path: Path, pad: str | None) -> None:
    """A reward is read off the last token that is no padding, which the end token must be able to be."""
    free_copy(tiny / "policy", tmp_path / "policy")
    path = tmp_path / "policy/tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "pad_token": pad, "bos_token": "<pad>"}))
    assert loading.load_tokenizer(tmp_path / "policy").pad_token_id == 0
    path.write_text(json.dumps({**config, "pad_token": pad}))
    with pytest.raises(InputError, match="can pad only with its end-of-sequence token"):
        loading.load_tokenizer(tmp_path / "policy")


def test_folders_of_one_model_share_it(tiny: Study, tmp_path: Path) -> None:
    """By the place of the weights: two manifests of one model, or one folder; a copy is another model."""
    record = read_json(tiny / "policy/manifest.json")
    for name, model in (("first", "some/model"), ("second", "some/model"), ("other", "other/model")):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "manifest.json", {**record, "model": model})
    shutil.copytree(tiny / "policy", tmp_path / "copy")
    assert manifest.same_weights(tmp_path / "first", tmp_path / "second")
    assert manifest.same_weights(tiny / "policy", tiny / "policy")
    assert not manifest.same_weights(tmp_path / "first", tmp_path / "other")
    assert not manifest.same_weights(tiny / "policy", tmp_path / "copy")


def test_a_model_folder_is_checked_before_it_is_loaded(tiny: Study, tmp_path: Path) -> None:
    assert manifest.check_model(tiny / "policy")["model"] == "."
    shutil.copytree(tiny / "policy", tmp_path / "policy")
    path = tmp_path / "policy/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"model\.safetensors is not a safetensors file"):
        manifest.check_model(tmp_path / "policy")
    path.unlink()
    with pytest.raises(InputError, match="contains neither"):
        manifest.check_model(tmp_path / "policy")


def test_a_manifest_may_point_to_weights_elsewhere(tiny: Study, tmp_path: Path) -> None:
    record = read_json(tiny / "policy/manifest.json")
    write_json(tmp_path / "manifest.json", {**record, "model": str(tiny / "policy")})
    manifest.check_model(tmp_path)
    assert loading.load_tokenizer(tmp_path).get_vocab() == loading.load_tokenizer(tiny / "policy").get_vocab()
    assert torch.equal(
        logits(loading.load_policy(tmp_path, "float32")), logits(loading.load_policy(tiny / "policy", "float32"))
    )
