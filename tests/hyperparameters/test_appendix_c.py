"""Appendix C on the two models of the paper, at its edges, and as a record with overrides."""

import json

import pytest

from goodhart.errors import InputError
from goodhart.hyperparameters import appendix_c as d

UF_TRAIN = 48_908  # preference pairs in the paper's training split


def attention(hidden: int, layers: int, heads: int, kv_heads: int, head_dim: int) -> list[tuple[int, int]]:
    """(inputs, outputs) of the q, k, v and o projections of every layer."""
    q, kv = heads * head_dim, kv_heads * head_dim
    return [(hidden, q), (hidden, kv), (hidden, kv), (q, hidden)] * layers


QWEN3_14B = attention(5120, 40, 40, 8, 128)
QWEN3_1_7B = attention(2048, 28, 16, 8, 128)


@pytest.mark.parametrize(
    ("hidden", "projections", "trainable", "rate", "norm"),
    [(5120, QWEN3_14B, 83_886_080, 6.905e-5, 1.132), (2048, QWEN3_1_7B, 25_690_112, 1.248e-4, 1.059)],
)
def test_the_papers_models(
    hidden: int, projections: list[tuple[int, int]], trainable: int, rate: float, norm: float
) -> None:
    rank = d.lora_rank(hidden)
    assert (rank, d.lora_alpha(rank)) == (64, 128)
    assert d.trainable_parameters(projections, rank) == trainable
    assert d.learning_rate(trainable) == pytest.approx(rate, abs=5e-8)
    assert d.clip_norm(trainable) == pytest.approx(norm, abs=5e-4)


@pytest.mark.parametrize("parameters", [14.8e9, 13.2e9])
def test_batch_size_of_qwen3_14b_on_80_gb(parameters: float) -> None:
    """4 and 8 follow from 10e9 < parameters <= 20e9: the published 14.8e9, or the 13.2e9 without embeddings.

    The packed count of an NF4 model, about half of that, would give 8 and 16.
    """
    assert d.batch_size(80, parameters, 1024, multiplier=1) == 4
    assert d.batch_size(80, parameters, 1024, multiplier=2) == 8
    assert d.batch_size(80, parameters / 2, 1024, multiplier=1) == 8


def test_batch_size_at_powers_of_two_and_at_the_clips() -> None:
    assert d.batch_size(80, 20e9, 1024, 1) == 4  # the ratio is exactly 4
    assert d.batch_size(80, 20_000_000_001, 1024, 1) == 2
    assert d.batch_size(80, 1.7e9, 1024, 1) == 32
    assert d.batch_size(80, 14.8e9, 512, 1) == 8
    assert d.batch_size(80, 1e5, 64, 1) == 64
    assert d.batch_size(4, 70e9, 4096, 1) == 1


def test_data_dependent_values() -> None:
    assert d.lora_dropout(UF_TRAIN) == 0.10
    assert d.lora_dropout(400_000) == pytest.approx(32 / 400_000**0.5)
    assert d.lora_dropout(10**8) == 0.01
    assert d.weight_decay(UF_TRAIN) == pytest.approx(0.004522, abs=5e-7)
    assert [d.sample_size(n) for n in (1, 4, 5, UF_TRAIN)] == [1, 2, 3, 222]
    assert [d.warmup_steps(total) for total in (0, 1, 99, 100)] == [0, 1, 9, 10]
    assert d.length_percentile([1, 2, 3, 4]) == 3.25
    assert d.length_percentile([10, 20, 30, 40, 50]) == 40


def test_rounding_is_half_up() -> None:
    assert [d.lora_rank(h) for h in (1, 64, 128, 512, 768, 2047, 2048, 10**6)] == [4, 8, 16, 32, 32, 32, 64, 64]


def test_clips_of_the_adapter_formulas() -> None:
    assert d.learning_rate(1) == d.learning_rate(10**7) == 2e-4
    assert d.learning_rate(10**13) == 5e-7
    assert (d.clip_norm(1), d.clip_norm(10**7), d.clip_norm(10**15)) == (0.5, 1.0, 2.0)


def record(**changes: object) -> dict[str, dict]:
    arguments: dict = {
        "hidden_size": 5120,
        "parameters": 14.8e9,
        "projections": QWEN3_14B,
        "n": UF_TRAIN,
        "memory_gb": 80,
        "token_counts": [1024] * 222,
    }
    return d.derive(**{**arguments, **changes})


def test_record_of_the_paper() -> None:
    made = record()
    assert json.loads(json.dumps(made)) == made
    assert list(made["values"]) == list(d.FORMULAS)
    assert made["values"]["lora_rank"] == {
        "value": 64,
        "derived": 64,
        "formula": "B.1: 2^round(log2 sqrt(h)), clipped to [4, 64]",
        "overridden": False,
    }
    assert made["values"]["batch_size"]["value"] == 4
    assert made["values"]["inference_batch_size"]["value"] == 8
    assert made["inputs"]["trainable_parameters"] == 83_886_080
    assert made["inputs"]["projections"] == [
        {"in": 5120, "out": 5120, "matrices": 80},
        {"in": 5120, "out": 1024, "matrices": 80},
    ]
    assert made["inputs"]["token_counts"] == {"size": 222, "p75": 1024.0}


def test_formulas_follow_the_used_value_of_what_they_depend_on() -> None:
    values = record(overrides={"lora_rank": 8, "max_length": 256, "weight_decay": 0})["values"]
    assert values["lora_rank"] == {**record()["values"]["lora_rank"], "value": 8, "overridden": True}
    assert values["lora_alpha"]["derived"] == 16
    assert values["learning_rate"]["value"] == d.learning_rate(d.trainable_parameters(QWEN3_14B, 8))
    assert values["batch_size"]["value"] == 16
    assert (values["weight_decay"]["value"], values["max_length"]["derived"]) == (0, 1024)


def test_warmup_follows_the_length_of_the_stage() -> None:
    """48,908 rows in batches of 4 are 12,227 updates an epoch; floor(sqrt(24,454)) = 156 (B.6)."""
    assert record(epochs=2)["values"]["warmup_steps"]["value"] == 156
    assert record(epochs=2)["inputs"]["total_steps"] == 24_454
    assert record(epochs=1, overrides={"batch_size": 64})["values"]["warmup_steps"]["value"] == 27
    assert record(steps=80)["values"]["warmup_steps"]["value"] == 8
    assert record(steps=80, overrides={"warmup_steps": 0})["values"]["warmup_steps"]["value"] == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"overrides": {"lora_rnak": 8}}, "lora_rnak"),
        ({"overrides": {"lora_rank": 8.5}}, "lora_rank must be a positive integer"),
        ({"overrides": {"batch_size": 0}}, "batch_size"),
        ({"overrides": {"learning_rate": "1e-4"}}, "learning_rate must be a positive number"),
        ({"overrides": {"learning_rate": float("nan")}}, "learning_rate"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"parameters": -1.0}, "parameters"),
        ({"memory_gb": 0}, "memory_gb"),
        ({"n": 0}, "n must"),
        ({"token_counts": []}, "token_counts"),
        ({"token_counts": [0, 0]}, "token_counts"),
        ({"projections": []}, "trainable"),
    ],
)
def test_bad_input_is_one_sentence(changes: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        record(**changes)


def test_negative_steps_are_refused() -> None:
    with pytest.raises(InputError, match="total"):
        d.warmup_steps(-1)
