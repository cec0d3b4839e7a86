"""Rewards on a shared backbone against each member loaded on its own, and the ensemble's statistics by hand."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig

from goodhart.errors import InputError
from goodhart.models.adapters import activate, attach_adapter, merged
from goodhart.models.ensemble import RewardEnsemble, load_with_policy, quality, uncertainty
from goodhart.models.loading import load_policy, load_reward_backbone, load_tokenizer, never_repack
from goodhart.models.tokens import encode_prompts, encode_responses
from goodhart.store.files import read_table
from goodhart.store.schemas.inputs import PREFERENCES
from tiny_study import Study

NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32,
    llm_int8_skip_modules=["score"],
)
LENGTH = 60  # of prompt and response; all of the tiny study's fit


@pytest.fixture(scope="module")
def members(tiny: Study) -> list[Path]:
    return [tiny / f"reward/member-{k}/adapter" for k in range(2)]


@pytest.fixture(scope="module")
def texts(tiny: Study) -> tuple[list[str], list[str]]:
    table = read_table(tiny / "data/preferences.parquet", PREFERENCES).head(13)
    return table["prompt"].tolist(), table["chosen"].tolist()


def separate(
    tiny: Study, members: list[Path], batch_size: int = 4, length: int = LENGTH, precision: str = "float32"
) -> RewardEnsemble:
    backbone = load_reward_backbone(tiny / "policy", precision)
    return RewardEnsemble(backbone, load_tokenizer(tiny / "policy"), members, batch_size, length)


@torch.no_grad()
def alone(tiny: Study, member: Path, ids: list[list[int]], precision: str = "float32") -> list[float]:
    """Rewards as a user of PEFT would compute them: one adapter, one row a pass, no padding."""
    quantised = {} if precision == "float32" else {"quantization_config": NF4, "dtype": torch.float32}
    model = AutoPeftModelForSequenceClassification.from_pretrained(member, num_labels=1, **quantised).eval()
    model.config.pad_token_id = 0
    never_repack(model)
    return [model(input_ids=torch.tensor([row])).logits.item() for row in ids]


def encoded(tiny: Study, prompts: list[str], responses: list[str]) -> list[list[int]]:
    tokenizer = load_tokenizer(tiny / "policy")
    return [
        p + r for p, r in zip(encode_prompts(tokenizer, prompts), encode_responses(tokenizer, responses), strict=True)
    ]


@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_a_member_scores_as_it_does_alone_whatever_the_batch(tiny: Study, members: list[Path], precision: str) -> None:
    """64 texts of many lengths, as one of K adapters on the shared backbone and loaded by itself."""
    table = read_table(tiny / "data/preferences.parquet", PREFERENCES).head(32)
    prompts = [*table["prompt"], *table["prompt"]]
    responses = [*table["chosen"], *table["rejected"]]
    ids = encoded(tiny, prompts, responses)
    assert len({len(row) for row in ids}) > 8
    expected = [alone(tiny, member, ids, precision) for member in members]
    for batch_size in (1, 7, 64):
        rewards = separate(tiny, members, batch_size, precision=precision).score(prompts, responses).rewards
        assert rewards.shape == (64, 2)
        for k in range(2):
            assert rewards[:, k].tolist() == pytest.approx(expected[k], abs=1e-5)


def test_every_member_has_a_head_of_its_own(tiny: Study, members: list[Path]) -> None:
    heads = separate(tiny, members).heads
    for head, member in zip(heads, members, strict=True):
        state = load_file(member / "adapter_model.safetensors")
        (saved,) = (tensor for name, tensor in state.items() if "score" in name)
        assert torch.equal(head, saved[0])
    assert not torch.allclose(heads[0], heads[1])


def test_rewards_beside_the_policy_are_those_on_a_backbone_of_their_own(
    tiny: Study, members: list[Path], texts: tuple[list[str], list[str]]
) -> None:
    """On one base with two policy adapters, whichever is active, trainable or was merged in between."""
    expected, embeddings, _ = separate(tiny, members).score(*texts)
    folder = tiny / "policy"
    policy = load_policy(folder, "float32")
    for name, level in (("policy", "p20"), ("reference", "p80")):
        policy = attach_adapter(policy, tiny / f"offline/dpo/{level}/adapter", name, trainable=name == "policy")
    shared = load_with_policy(
        policy, folder, folder, "float32", members, {"inference_batch_size": 4, "max_length": LENGTH}
    )
    assert shared.model is policy

    def check() -> None:
        rewards, found, _ = shared.score(*texts)
        assert torch.allclose(rewards, expected, atol=1e-5)
        assert torch.allclose(found, embeddings, atol=1e-5)

    for active in ("policy", "reference", None):
        activate(policy, active)
        check()
    activate(policy, "policy", trainable=True)
    check()
    activate(policy, "policy")
    with merged(policy):
        pass
    check()


def test_a_backbone_of_its_own_shares_nothing_with_the_policy(
    tiny: Study, tmp_path: Path, members: list[Path], texts: tuple[list[str], list[str]]
) -> None:
    shutil.copytree(tiny / "policy", tmp_path / "backbone")
    policy = attach_adapter(load_policy(tiny / "policy", "float32"), tiny / "offline/dpo/p20/adapter", "policy")
    apart = load_with_policy(
        policy,
        tiny / "policy",
        tmp_path / "backbone",
        "float32",
        members,
        {"inference_batch_size": 4, "max_length": LENGTH},
    )
    assert apart.model is not policy
    assert list(policy.peft_config) == ["policy"]
    assert torch.allclose(apart.score(*texts).rewards, separate(tiny, members).score(*texts).rewards, atol=1e-5)


def test_a_response_that_was_cut_is_scored_without_an_end_token(
    tiny: Study, members: list[Path], texts: tuple[list[str], list[str]]
) -> None:
    finished = [row % 2 == 0 for row in range(13)]
    ids = [row if f else row[:-1] for row, f in zip(encoded(tiny, *texts), finished, strict=True)]
    rewards = separate(tiny, members).score(*texts, finished).rewards
    assert rewards[:, 0].tolist() == pytest.approx(alone(tiny, members[0], ids), abs=1e-5)


def test_a_long_pair_is_scored_as_it_would_have_been_trained(tiny: Study, members: list[Path]) -> None:
    """Cut at the end of the response."""
    prompt, response = "Q: 1 + 2 + 3 =\nA:\n", "1 + 2 = 3\n3 + 3 = 6\n#### 6"
    (ids,) = encoded(tiny, [prompt], [response])
    rewards = separate(tiny, members, length=18).score([prompt], [response]).rewards
    assert len(ids) > 18
    assert rewards[0, 0].item() == pytest.approx(alone(tiny, members[0], [ids[:18]])[0], abs=1e-5)


def test_a_pair_that_the_rewards_read_only_a_part_of_is_marked(
    tiny: Study, members: list[Path], texts: tuple[list[str], list[str]]
) -> None:
    """A response that was cut is a token shorter, the end token that it lacks."""
    lengths = [len(ids) for ids in encoded(tiny, *texts)]
    different = sorted(set(lengths))
    middle = different[len(different) // 2]
    ensemble = separate(tiny, members, length=middle)
    assert ensemble.score(*texts).truncated.tolist() == [length > middle for length in lengths]
    assert ensemble.score(*texts, [False] * 13).truncated.tolist() == [length > middle + 1 for length in lengths]
    assert len(different) > 2


def test_an_embedding_is_the_mean_over_response_tokens_of_the_last_but_one_states(
    tiny: Study, members: list[Path], texts: tuple[list[str], list[str]]
) -> None:
    embeddings = separate(tiny, members).score(*texts).embeddings
    tokenizer = load_tokenizer(tiny / "policy")
    model = AutoPeftModelForSequenceClassification.from_pretrained(members[0], num_labels=1).eval()
    for row, (prompt, ids) in enumerate(zip(texts[0], encoded(tiny, *texts), strict=True)):
        length = len(encode_prompts(tokenizer, [prompt])[0])
        with torch.no_grad():
            states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-2][0]
        assert torch.allclose(embeddings[row], states[length:].mean(0), atol=1e-5)


def without_head(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if "score" not in name}


def one_layer_less(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if ".layers.1." not in name}


def one_layer_more(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return state | {name.replace(".1.", ".2."): t.clone() for name, t in state.items() if ".layers.1." in name}


def half_as_wide(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    inputs = ("lora_A.weight", "score.weight")
    return {name: t[:, :32].contiguous() if name.endswith(inputs) else t for name, t in state.items()}


@pytest.mark.parametrize("change", [without_head, one_layer_less, one_layer_more, half_as_wide])
def test_a_member_without_a_head_or_of_another_backbone_is_refused(
    tiny: Study,
    tmp_path: Path,
    members: list[Path],
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
) -> None:
    shutil.copytree(members[0], tmp_path / "member")
    weights = tmp_path / "member/adapter_model.safetensors"
    save_file(change(load_file(weights)), weights)
    with pytest.raises(InputError, match="member"):
        separate(tiny, [tmp_path / "member"])


def test_an_offline_policy_is_no_reward_member(tiny: Study) -> None:
    with pytest.raises(InputError, match="no score head"):
        separate(tiny, [tiny / "offline/dpo/p20/adapter"])


def test_uncertainty_by_hand() -> None:
    found = uncertainty(torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]]))
    assert found.tolist() == pytest.approx([math.sqrt((4 + 1 + 9) / 2), 0])


def test_one_member_is_never_in_doubt() -> None:
    assert uncertainty(torch.tensor([[3.0], [4.0]])).tolist() == [0, 0]


def test_quality_by_hand() -> None:
    """Three pairs, two members; margins (2, 0), (-1, 3) and (-1, -1), so means 1, 1 and -1."""
    chosen = torch.tensor([[2.0, 1.0], [0.0, 3.0], [0.0, 0.0]])
    rejected = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    found = quality(chosen, rejected)
    high, low = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))
    assert found["pairs"] == 3
    assert found["member_accuracy"] == pytest.approx([1 / 3, 1.5 / 3])
    assert found["ensemble_accuracy"] == pytest.approx(2 / 3)
    assert found["ensemble_log_loss"] == pytest.approx(-(2 * math.log(high) + math.log(low)) / 3)
    assert found["calibration"] == [
        {"predicted": pytest.approx(low), "observed": pytest.approx(1 / 3), "n": 3},
        {"predicted": pytest.approx(high), "observed": pytest.approx(2 / 3), "n": 3},
    ]
    means = [1.5, 1.5, 0, 0.5, 0.5, 1]
    mean = sum(means) / 6
    assert found["proxy_mean"] == pytest.approx(mean)
    assert found["proxy_scale"] == pytest.approx(math.sqrt(sum((m - mean) ** 2 for m in means) / 5))
    # |difference of the two members| / sqrt(2): 1, 3, 0 for the chosen and 1, 1, 0 for the rejected responses.
    assert found["uncertainty"] == pytest.approx(6 / 6 / math.sqrt(2))


def test_calibration_bins_hold_both_sides_of_every_pair() -> None:
    margin = torch.linspace(-4, 4, 100)[:, None]  # none at 0, which rounding may put in either bin
    bins = quality(margin, torch.zeros_like(margin))["calibration"]
    assert sum(b["n"] for b in bins) == 2 * 100
    assert [b["predicted"] for b in bins] == sorted(b["predicted"] for b in bins)
    assert len(bins) == 10
    for b, mirror in zip(bins, reversed(bins), strict=True):
        assert b["predicted"] + mirror["predicted"] == pytest.approx(1)
        assert b["observed"] + mirror["observed"] == pytest.approx(1)
