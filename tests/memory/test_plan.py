"""The memory plan against what is measured: real models, real stages, every allocation counted."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

from goodhart.errors import InputError
from goodhart.memory.architecture import architecture
from goodhart.memory.items import Architecture, Numbers, saved
from goodhart.memory.plan import Study, plan, record, table
from goodhart.models.adapters import lora_config
from goodhart.models.loading import load_policy
from measure_memory import BENCHES, Stages, held_bytes, planned, predicted

pytestmark = pytest.mark.trains

BENCH = Path(__file__).parents[2] / "bench"
TOLERANCE = 0.25


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Stages(tmp_path_factory.mktemp("bench"), BENCHES["quick"], "nf4")
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "count"), [("qwen3-14b.json", 14_768_307_200), ("qwen3-1.7b.json", 1_720_574_976)])
def test_a_configuration_alone_gives_the_published_number_of_parameters(name: str, count: int) -> None:
    assert architecture(BENCH / name).parameters == count


@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_the_weights_of_a_loaded_model_are_as_planned_to_a_percent(stages: Stages, precision: str) -> None:
    shape = architecture(stages.policy)
    said = sum(Numbers(precision, "cpu").weights(shape.linear, shape.other + shape.head).values())
    assert held_bytes(load_policy(stages.policy, precision)) == pytest.approx(said, rel=0.01)


@pytest.mark.parametrize(
    "stage",
    ["score_reference", "sample_reference", "train_offline", "evaluate_rewards", "probe_offline", "adapt_online"],
)
def test_the_peak_of_a_stage_is_as_planned(stages: Stages, stage: str) -> None:
    said = predicted(stages)[stage].peak
    assert getattr(stages, stage)() == pytest.approx(said, rel=TOLERANCE)


@pytest.mark.parametrize("stage", ["train_reward", "train_offline", "adapt_online"])
def test_recomputed_activations_are_as_planned(stages: Stages, stage: str) -> None:
    said = predicted(stages, recompute=True)[stage].peak
    assert getattr(stages, stage)(recompute=True) == pytest.approx(said, rel=TOLERANCE)
    assert said < predicted(stages)[stage].peak


@pytest.mark.parametrize(("autocast", "dropout"), [(False, 0.0), (True, 0.0), (True, 0.1)])
def test_what_autograd_keeps_of_a_layer_in_bfloat16_is_as_planned(autocast: bool, dropout: float) -> None:
    """The arithmetic of a GPU run, on a CPU: one layer more, and what it keeps more."""
    rank, rows, length = 16, 4, 96
    sizes = {"parameters": 0, "hidden": 256, "layers": 1, "query": 256, "key": 128, "mlp": 768, "vocabulary": 100}
    adapted = 2 * (256 + 256) + 2 * (256 + 128)
    shape = Architecture(**sizes, linear=0, head=0, largest=0, adapted=adapted)
    kept = []
    for layers in (2, 3):
        config = Qwen3Config(
            vocab_size=100,
            hidden_size=256,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            intermediate_size=768,
        )
        base = Qwen3ForCausalLM(config).bfloat16().requires_grad_(False)
        model = get_peft_model(base, lora_config(rank, 2 * rank, dropout, "CAUSAL_LM")).train()
        own = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        found: dict[int, torch.Tensor] = {}

        def pack(tensor: torch.Tensor, own: set[int] = own, found: dict = found) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        ids, mask = torch.zeros(rows, length, dtype=torch.long), torch.ones(rows, length, dtype=torch.long)
        mask[0, :3] = 0
        cast = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
        with cast, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.model.model(input_ids=ids, attention_mask=mask, use_cache=False)
        kept.append(sum(tensor.untyped_storage().nbytes() for tensor in found.values()))
    said = rows * length * saved(shape, Numbers("bfloat16", "cuda"), rank, dropout, autocast)
    said += rows * length**2 * 2 + autocast * 2 * rank * shape.adapted
    if dropout:  # a CPU keeps its mask as float32 numbers, a GPU as bytes
        said += rows * length * 3 * (3 * 256 + 256)
    assert kept[1] - kept[0] == pytest.approx(said, rel=0.02)


def test_rewards_on_the_policys_base_cost_their_adapters_alone(stages: Stages) -> None:
    study = planned(stages)
    shared = {stage.name: stage for stage in plan(study)}["adapt_online"]
    apart = {stage.name: stage for stage in plan(replace(study, shared=False))}["adapt_online"]
    assert sum(apart.held.values()) - sum(shared.held.values()) == pytest.approx(
        held_bytes(load_policy(stages.policy, "nf4")), rel=0.01
    )


def peaks(study: Study) -> dict[str, float]:
    return {stage.name: stage.peak for stage in plan(study)}


def test_passes_without_gradients_take_the_rows_derived_for_each_model(stages: Stages) -> None:
    study = planned(stages)
    rows = study.offline.inference_batch_size
    policy = peaks(replace(study, offline=replace(study.offline, inference_batch_size=2 * rows)))
    reward = peaks(replace(study, reward=replace(study.reward, inference_batch_size=2 * rows)))
    changed = {name for name, peak in peaks(study).items() if policy[name] != peak}
    assert changed == {"score_reference", "probe_offline"}
    changed = {name for name, peak in peaks(study).items() if reward[name] != peak}
    assert changed == {"evaluate_rewards", "probe_offline"}


def test_continuous_batching_holds_what_is_planned_from_the_start(stages: Stages) -> None:
    said = predicted(stages, engine="continuous")["sample_reference"].peak
    assert stages.sample_continuously() == pytest.approx(said, rel=TOLERANCE)


def test_vllm_holds_a_second_base_through_every_stage_that_samples(stages: Stages) -> None:
    study = planned(stages)
    base = held_bytes(load_policy(stages.policy, "nf4"))
    more = {stage.name: sum(stage.held.values()) for stage in plan(replace(study, engine="vllm"))}
    for stage in plan(study):
        beside = more[stage.name] - sum(stage.held.values())
        assert (beside > 0.99 * base) == (stage.name in ("sample_reference", "probe_offline", "adapt_online"))


def test_a_stage_that_does_not_fit_is_said_and_is_no_error(
    stages: Stages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    derived = stages.derived(recompute=False)
    (tmp_path / "derived.json").write_text(json.dumps(dict.fromkeys(("offline", "reward", "online"), derived)))
    flags = {"policy": stages.policy, "backbone": stages.policy, "derived": tmp_path / "derived.json"} | {
        "precision": "nf4", "device": "cpu", "memory-gb": 0.03, "members": 3, "max-new-tokens": 64, "batch-size": 8,
        "engine": "auto", "prompt-tokens": 32, "prompts-per-step": 8, "json": tmp_path / "m.json",
        "markdown": tmp_path / "m.md",
    }  # fmt: skip
    importlib.import_module("plan_memory").main([word for k, v in flags.items() for word in (f"--{k}", str(v))])
    out, err = capsys.readouterr()
    assert out.strip() == (tmp_path / "m.md").read_text().strip()
    written = json.loads((tmp_path / "m.json").read_text())["stages"]
    failing = {name for name, stage in written.items() if not stage["fits"]}
    assert 0 < len(failing) < len(written)
    assert {line.split()[1] for line in err.splitlines() if line.startswith("warning: ")} == failing
    for stage in written.values():
        most = max(sum(items.values()) for items in stage["moments"].values())
        assert stage["peak"] == pytest.approx(sum(stage["held"].values()) + most)


def test_a_configuration_without_attention_projections_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "hidden_size": 24, "n_embd": 24}')
    with pytest.raises(InputError, match="q_proj"):
        architecture(tmp_path / "config.json")


def test_the_table_names_every_stage(stages: Stages) -> None:
    said = list(predicted(stages).values())
    assert all(f"| {stage.name} |" in table(said, 1) for stage in said)
    assert list(record(said, 1)["stages"]) == [stage.name for stage in said]
