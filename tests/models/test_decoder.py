"""The plain decoder against transformers and PEFT: states, log-probs, gradients, and tokens drawn."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from goodhart.models import decoder, ensemble, logprobs
from goodhart.models.adapters import activate, activation_checkpointing, merged
from goodhart.models.loading import load_policy, load_tokenizer
from goodhart.models.logprobs import sequence_logprobs
from goodhart.models.tokens import Batch, collate
from goodhart.sampling import loop
from goodhart.sampling.engines import sample
from goodhart.sampling.settings import Sampling
from tiny_study import Study

pytestmark = pytest.mark.trains

SHAPE: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(**SHAPE, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4})
    ),
    "llama3": lambda: LlamaForCausalLM(
        LlamaConfig(
            **SHAPE,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 1e4,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        )
    ),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),  # biases of q, k and v
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=32, tie_word_embeddings=True)),
}


@contextmanager
def by_transformers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without the decoder, as on a GPU."""
    with monkeypatch.context() as patch:
        for module in (logprobs, ensemble, loop):
            patch.setattr(module, "decoder_of", lambda _model: None)
        yield


def randomise(model: torch.nn.Module) -> None:
    """Norms and biases start as ones and zeros, and LoRA as zero: nothing that is forgotten would show."""
    for name, weights in model.named_parameters():
        if "norm" in name or "bias" in name or "lora_B" in name:
            torch.nn.init.normal_(weights.data, mean=float("norm" in name), std=0.2)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> PeftModel:
    """A model with two adapters, the first of them active and trained."""
    torch.manual_seed(0)
    base = MODELS[request.param]()
    base.requires_grad_(False)
    settings = LoraConfig(r=4, lora_alpha=12, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    model = get_peft_model(base, settings, adapter_name="first").eval()
    model.add_adapter("second", settings)
    randomise(model)
    activate(model, "first", trainable=True)
    return model.eval()


@pytest.fixture
def batch() -> Batch:
    """Rows of many lengths, one of which has no response, and more tokens than rotations are kept for at first."""
    return collate(*rows([7, 3, 290, 1], [5, 12, 0, 9]), pad=0)


def rows(prompts: Sequence[int], responses: Sequence[int]) -> tuple[list[list[int]], list[list[int]]]:
    draws = torch.Generator().manual_seed(1)
    return tuple(  # type: ignore[return-value]
        [torch.randint(1, 60, (n,), generator=draws).tolist() for n in lengths] for lengths in (prompts, responses)
    )


@pytest.mark.parametrize("adapter", ["first", "second", None])
def test_states_are_those_of_transformers(model: PeftModel, batch: Batch, adapter: str | None) -> None:
    activate(model, adapter)
    found = decoder.decoder_of(model)
    assert found is not None
    with torch.no_grad():
        penultimate, last = found.states(batch)
        expected = model.base_model.model.model(
            input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, output_hidden_states=True
        )
    real = batch.mask.bool()
    assert torch.allclose(penultimate[real], expected.hidden_states[-2][real], atol=2e-5)
    assert torch.allclose(last[real], expected.last_hidden_state[real], atol=2e-5)
    assert not penultimate[~real].any()
    assert not last[~real].any()


def test_gradients_are_those_of_transformers(model: PeftModel, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    assert len(trained) == 2 * 4 * 3

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(sequence_logprobs(model, batch).square().sum(), trained))

    ours = gradients()
    with activation_checkpointing(model):
        again = gradients()
    with by_transformers(monkeypatch):
        theirs = gradients()
    for mine, repeated, expected in zip(ours, again, theirs, strict=True):
        assert torch.equal(mine, repeated)
        assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-5 * expected.abs().max())


def test_recomputation_keeps_no_activations_of_a_layer(model: PeftModel, batch: Batch) -> None:
    def saved() -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            sequence_logprobs(model, batch)
        return sum(sizes)

    kept = saved()
    with activation_checkpointing(model):
        assert saved() < kept / 2


def test_a_model_is_let_go_with_its_decoder(batch: Batch) -> None:
    base = MODELS["qwen3"]().eval().requires_grad_(False)
    assert decoder.decoder_of(base) is not None
    known = weakref.ref(base)
    del base
    gc.collect()
    assert known() is None


def test_weights_are_held_once(model: PeftModel) -> None:
    found = decoder.decoder_of(model)
    assert found is decoder.decoder_of(model.get_base_model())
    assert found is not None
    attention = found.blocks[0].layer.self_attn
    for part, projection in ((attention.q_proj, 0), (attention.k_proj, attention.q_proj.base_layer.out_features)):
        weight = part.get_base_layer().weight
        assert weight.data_ptr() == found.blocks[0].inputs[projection].data_ptr()


def test_what_is_merged_is_not_added_again(model: PeftModel, batch: Batch) -> None:
    with torch.no_grad():
        outside = sequence_logprobs(model, batch)
        with merged(model):
            inside = sequence_logprobs(model, batch)
        assert torch.allclose(inside, outside, atol=1e-4)
        assert torch.equal(sequence_logprobs(model, batch), outside)


def test_an_adapter_that_comes_later_is_seen(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    base = MODELS["qwen3"]().eval().requires_grad_(False)
    with torch.no_grad():
        bare = sequence_logprobs(base, batch)
        model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])).eval()
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights, std=0.2)
        found = sequence_logprobs(model, batch)
        with by_transformers(monkeypatch):
            expected = sequence_logprobs(model, batch)
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, bare, atol=1e-2)


@pytest.mark.parametrize("stop", [(), (" 4",)])
def test_the_same_tokens_are_drawn(tiny: Study, stop: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of several lengths that end at several steps, in batches that shrink on the way."""
    policy, tokenizer = load_policy(tiny / "policy", "float32"), load_tokenizer(tiny / "policy")
    found = drawn(policy, tokenizer, stop)
    with by_transformers(monkeypatch):
        expected = drawn(policy, tokenizer, stop)
    assert found == expected
    assert len({len(row) for row in found}) > 5


def drawn(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stop: tuple[str, ...]) -> list[list[int]]:
    prompts = tokenizer([f"Q: {sum_} =\nA:\n" for sum_ in ("1 + 2", "4 - 1 - 7", "9")] * 20)["input_ids"]
    return sample(policy, tokenizer, prompts, Sampling(24, 32, "loop", stop), 0).responses


def test_there_is_none_for_what_it_would_compute_wrongly(tiny: Study) -> None:
    policy = load_policy(tiny / "policy", "float32")
    assert decoder.decoder_of(policy) is not None
    assert decoder.decoder_of(policy.train()) is None  # dropout
    assert decoder.decoder_of(load_policy(tiny / "policy", "nf4")) is None
    trained = load_policy(tiny / "policy", "float32")
    trained.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    assert decoder.decoder_of(trained) is None  # its gradients would go nowhere
    odd = {
        "hidden_act": "gelu",
        "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
        "mlp_bias": True,
    }
    for name, value in odd.items():
        assert decoder.decoder_of(frozen(LlamaForCausalLM(LlamaConfig(**SHAPE, **{name: value})))) is None, name
    sliding = Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    assert decoder.decoder_of(frozen(Qwen2ForCausalLM(sliding))) is None
    assert decoder.decoder_of(frozen(Qwen3ForCausalLM(Qwen3Config(**SHAPE)).half())) is None


def frozen(model: PreTrainedModel) -> PreTrainedModel:
    return model.eval().requires_grad_(False)
