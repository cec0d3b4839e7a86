"""What is measured of a policy, against definitions computed one pair, one token or one row at a time."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from goodhart.data.tasks.fillers import count_fillers
from goodhart.evaluation import probes
from goodhart.evaluation.probes import Evaluator
from goodhart.evaluation.responses import ProblemSet, respond
from goodhart.models.adapters import activate, attach_adapter
from goodhart.models.ensemble import RewardEnsemble, load_with_policy, win_rate
from goodhart.models.loading import load_policy, load_tokenizer
from goodhart.models.logprobs import sequence_logprobs
from goodhart.models.tokens import collate, encode_pairs, encode_prompts
from goodhart.sampling.settings import Sampling
from goodhart.store.files import read_table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES, PROBLEMS
from goodhart.store.schemas.measurements import RESPONSE
from goodhart.verifiers.registry import verifier
from tiny_study import Study, sharpened


@pytest.fixture(scope="module")
def tokenizer(tiny: Study) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny / "policy")


@pytest.fixture(scope="module")
def ensemble(tiny: Study) -> RewardEnsemble:
    """The members beside adapters "policy" (p20) and "reference" (p80)."""
    model = load_policy(tiny / "policy", "float32")
    for name, level in (("policy", "p20"), ("reference", "p80")):
        model = attach_adapter(model, tiny / f"offline/dpo/{level}/adapter", name)
    members = [tiny / f"reward/member-{k}/adapter" for k in range(2)]
    return load_with_policy(
        model, tiny / "policy", tiny / "policy", "float32", members, {"inference_batch_size": 8, "max_length": 60}
    )


@pytest.fixture
def model(ensemble: RewardEnsemble) -> PeftModel:
    activate(ensemble.model, "policy")
    return ensemble.model


@pytest.fixture(scope="module")
def problems(tiny: Study) -> pd.DataFrame:
    return read_table(tiny / "data/problems.parquet", PROBLEMS).query("split == 'evaluation'")


def examination(problems: pd.DataFrame, batch_size: int = 64, seed: int = 5) -> ProblemSet:
    return ProblemSet(
        problems[["problem_id", "prompt", "answer"]], verifier("gsm8k"), Sampling(24, batch_size, "loop", ()), seed
    )


@torch.no_grad()
def next_token_logprobs(model: PeftModel, ids: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4), (10**8, 10**4)])
def test_probe_size_is_the_ceiling_of_the_root(count: int, size: int) -> None:
    assert probes.sample_size(count) == size


def test_ood_distance_by_hand() -> None:
    embeddings = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]])
    found = probes.ood_distances(embeddings, torch.tensor([5.0, 0.0]))
    assert found.tolist() == pytest.approx([0, 1, 2, 1 - math.sqrt(0.5)], abs=1e-6)


def test_diversity_is_the_mean_over_all_pairs() -> None:
    rows = torch.randn(17, 6, generator=torch.Generator().manual_seed(0))
    distances = [1 - torch.cosine_similarity(a, b, dim=0).item() for a, b in combinations(rows, 2)]
    assert probes.diversity(rows) == pytest.approx(sum(distances) / len(distances), abs=1e-6)


def test_diversity_at_its_ends() -> None:
    assert probes.diversity(torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])) == pytest.approx(0, abs=1e-12)
    assert probes.diversity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(2)
    assert math.isnan(probes.diversity(torch.ones(1, 3)))
    assert probes.diversity(torch.zeros(3, 2)) == 1  # of responses without a token
    assert probes.diversity(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])) == pytest.approx(2 / 3)


def test_a_tie_is_half_a_win() -> None:
    assert win_rate(torch.tensor([1.0, 2.0, 3.0, 0.0]), torch.tensor([0.0, 2.0, 3.0, 5.0])) == 0.5
    assert win_rate(torch.ones(3), torch.zeros(3)) == 1


def test_prompt_entropy_is_over_the_prompts_own_tokens(model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Eq. 11: every token but the first, which nothing precedes; then the mean over prompts of unequal length."""
    prompts = encode_prompts(tokenizer, ["Q: 1 + 2 =\nA:\n", "Q: 4 - 1 - 7 =\nA:\n", "A:\n"])
    means = []
    for ids in prompts:
        logprobs = next_token_logprobs(model, ids)[:-1]
        means.append(-(logprobs.exp() * logprobs).sum(-1).mean().item())
    assert probes.prompt_entropy(model, tokenizer, prompts, 2) == pytest.approx(sum(means) / 3, abs=1e-5)


def test_responses_are_the_exams_own(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, problems: pd.DataFrame
) -> None:
    first, again = (respond(model, tokenizer, examination(problems)) for _ in range(2))
    other = respond(model, tokenizer, examination(problems, seed=6))
    assert first == again
    assert first.rollout != other.rollout
    verify = verifier("gsm8k")
    assert first.strict == [verify(t, a, "strict") for t, a in zip(first.texts, problems["answer"], strict=True)]
    assert first.flexible == [verify(t, a, "flexible") for t, a in zip(first.texts, problems["answer"], strict=True)]


def test_parts_make_a_whole(model: PeftModel, tokenizer: PreTrainedTokenizerBase, problems: pd.DataFrame) -> None:
    with sharpened(model):
        parts = respond(model, tokenizer, examination(problems, batch_size=5))
        whole = respond(model, tokenizer, examination(problems))
    assert parts == whole
    assert len(parts.texts) == 16


def test_a_policy_that_is_the_reference_has_no_kl(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, ensemble: RewardEnsemble, problems: pd.DataFrame
) -> None:
    evaluator = Evaluator(model, tokenizer, ensemble, torch.ones(64), examination(problems), 8)
    measures, responses = evaluator.evaluate("policy")
    assert measures["kl"] == 0 != measures["kl_reference"]
    assert set(responses["log_ratio"]) == {0}
    assert {ratio for ratios in responses["token_log_ratios"] for ratio in ratios} == {0}


def test_an_examination_measures_what_it_says(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, ensemble: RewardEnsemble, problems: pd.DataFrame
) -> None:
    """Every measure again from its definition, a row at a time."""
    exam, centroid, means = examination(problems, batch_size=7), torch.arange(64.0), torch.tensor([0.3, -0.2])
    measures, responses = Evaluator(model, tokenizer, ensemble, centroid, exam, 8, means).evaluate("reference")
    given = respond(model, tokenizer, exam)
    scores, embeddings, _ = ensemble.score(exam.rows["prompt"].tolist(), given.texts, given.rollout.finished)
    prompts = encode_prompts(tokenizer, exam.rows["prompt"].tolist())
    logprobs: dict[str | None, list[float]] = {"policy": [], "reference": [], None: []}
    tokenwise: dict[str | None, list[torch.Tensor]] = {name: [] for name in logprobs}
    entropies = []
    for name, sums in logprobs.items():
        activate(model, name)
        for prompt, response in zip(prompts, given.rollout.responses, strict=True):
            steps = next_token_logprobs(model, prompt + response)[len(prompt) - 1 : -1]
            tokenwise[name].append(steps[torch.arange(len(response)), response])
            sums.append(tokenwise[name][-1].sum().item())
            if name == "policy":
                entropies.append(-(steps.exp() * steps).sum(-1).mean().item())
    activate(model, "policy")
    proxy = scores.mean(1)
    expected = {
        "n": 16,
        "proxy": proxy.mean().item(),
        "proxy_se": proxy.std().item() / 4,
        "true": sum(given.strict) / 16,
        "true_flexible": sum(given.flexible) / 16,
        "uncertainty": ((scores[:, 0] - scores[:, 1]).abs() / math.sqrt(2)).mean().item(),
        "uncertainty_centred": ((scores[:, 0] - scores[:, 1] - 0.5).abs() / math.sqrt(2)).mean().item(),
        "kl": (sum(logprobs["policy"]) - sum(logprobs["reference"])) / 16,
        "kl_reference": (sum(logprobs["policy"]) - sum(logprobs[None])) / 16,
        "entropy_prompt": probes.prompt_entropy(model, tokenizer, prompts[:4], 8),
        "entropy_response": sum(entropies[:4]) / 4,
        "ood_distance": 1 - torch.cosine_similarity(embeddings, centroid[None]).mean().item(),
        "diversity": probes.diversity(embeddings),
        "response_tokens": sum(map(len, given.rollout.responses)) / 16,
        "truncated": given.rollout.finished.count(False) / 16,
        "empty": sum(text.strip() == "" for text in given.texts) / 16,
        "reward_truncated": 0.0,
    }
    assert measures == pytest.approx(expected, abs=1e-4)
    assert abs(measures["kl"]) > 1e-5
    assert list(responses) == [*RESPONSE, "token_ids", "token_log_ratios"]
    assert responses["problem_id"] == problems["problem_id"].tolist()
    assert responses["response"] == given.texts
    assert responses["correct"] == given.strict
    assert responses["tokens"] == [len(tokens) for tokens in given.rollout.responses]
    assert torch.allclose(torch.tensor(responses["rewards"]), scores, atol=1e-5)
    for column, other in (("log_ratio", "reference"), ("log_ratio_reference", None)):
        ratios = [p - r for p, r in zip(logprobs["policy"], logprobs[other], strict=True)]
        assert responses[column] == pytest.approx(ratios, abs=1e-4)
    assert responses["token_ids"] == given.rollout.responses
    for found, now, then in zip(
        responses["token_log_ratios"], tokenwise["policy"], tokenwise["reference"], strict=True
    ):
        assert found == pytest.approx((now - then).tolist(), abs=1e-4)


def test_only_the_first_responses_are_kept_token_by_token(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    ensemble: RewardEnsemble,
    problems: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator = Evaluator(model, tokenizer, ensemble, torch.ones(64), examination(problems), 8)
    _, whole = evaluator.evaluate("reference")
    monkeypatch.setattr(probes, "BY_TOKEN", 5)
    _, responses = evaluator.evaluate("reference")
    assert responses["token_ids"] == whole["token_ids"][:5] + [None] * 11
    assert responses["token_log_ratios"][5:] == [None] * 11
    for found, among_all in zip(responses["token_log_ratios"][:5], whole["token_log_ratios"], strict=False):
        assert found == pytest.approx(among_all, abs=1e-4)
    assert {name: responses[name] for name in RESPONSE} == {name: whole[name] for name in RESPONSE}


def test_what_is_known_beside_the_ensemble_is_measured_too(
    tiny: Study, model: PeftModel, tokenizer: PreTrainedTokenizerBase, ensemble: RewardEnsemble, problems: pd.DataFrame
) -> None:
    """The scores of other reward models leave those of the ensemble as they are."""
    exam = examination(problems)
    alone = Evaluator(model, tokenizer, ensemble, torch.ones(64), exam, 8)
    others = ensemble.beside([tiny / "reward/held-out-0/adapter"], "held-out")
    judged = Evaluator(model, tokenizer, ensemble, torch.ones(64), exam, 8, 0.0, others, (2.0, 0.5))
    measures, responses = judged.evaluate("reference")
    assert model.active_adapter == "policy"
    before, kept = alone.evaluate("reference")
    given = respond(model, tokenizer, exam)
    rewards = others.score(exam.rows["prompt"].tolist(), given.texts, given.rollout.finished).rewards[:, 0]
    assert responses["held_out"] == pytest.approx(rewards.tolist(), abs=1e-5)
    scores = [2.0 * right + 0.5 * count_fillers(text) for right, text in zip(given.strict, given.texts, strict=True)]
    assert responses["judge"] == pytest.approx(scores)
    assert measures.pop("held_out") == pytest.approx(rewards.mean().item(), abs=1e-5)
    assert measures.pop("judge") == pytest.approx(sum(scores) / 16)
    assert measures == before
    assert {name: responses[name] for name in kept} == kept


def test_another_sampling_seed_scores_the_same_policy_again(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, ensemble: RewardEnsemble, problems: pd.DataFrame
) -> None:
    evaluator = Evaluator(model, tokenizer, ensemble, torch.ones(64), examination(problems, seed=5), 8)
    measures, _ = evaluator.evaluate("reference")
    assert evaluator.resample(5) == pytest.approx((measures["proxy"], measures["true"]), abs=1e-6)
    assert model.active_adapter == "policy"  # or what is measured next would be of a reward model
    assert evaluator.resample(6)[0] != evaluator.resample(7)[0] != measures["proxy"]


def test_responses_that_the_rewards_read_only_a_part_of_are_counted(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    ensemble: RewardEnsemble,
    problems: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exam = examination(problems)
    given, prompts = respond(model, tokenizer, exam), encode_prompts(tokenizer, exam.rows["prompt"].tolist())
    lengths = [len(p) + len(r) for p, r in zip(prompts, given.rollout.responses, strict=True)]
    monkeypatch.setattr(ensemble, "max_length", max(lengths) - 1)
    measures, *_ = Evaluator(model, tokenizer, ensemble, torch.ones(64), exam, 8).evaluate(None)
    assert measures["reward_truncated"] == lengths.count(max(lengths)) / 16


def test_preference_accuracy_compares_gains_over_the_reference(
    tiny: Study, model: PeftModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    logprobs = read_table(tiny / "reference/logprobs.parquet", LOGPROBS).head(20)
    preferences = read_table(tiny / "data/preferences.parquet", PREFERENCES).drop(columns="split")
    pairs = logprobs.merge(preferences, on="pair_id")
    margins = []
    for (_, row), pair in zip(pairs.iterrows(), encode_pairs(tokenizer, pairs, 28), strict=True):
        assert pair is not None
        gains = []
        for side in ("chosen", "rejected"):
            response = getattr(pair, side)
            steps = next_token_logprobs(model, pair.prompt + response)[len(pair.prompt) - 1 : -1]
            gains.append(steps[torch.arange(len(response)), response].sum().item() - row[f"{side}_logprob"])
        margins.append(gains[0] - gains[1])
    clear = pairs[np.abs(margins) > 1e-4]  # by more than rounding
    won = np.array(margins)[clear.index] > 0
    assert len(clear) > 10
    assert probes.preference_accuracy(model, tokenizer, clear, 28, 7) == won.mean()
    names = {"chosen": "rejected", "chosen_logprob": "rejected_logprob"}
    swapped = clear.rename(columns=names | {new: old for old, new in names.items()})
    assert probes.preference_accuracy(model, tokenizer, swapped, 28, 7) == (~won).mean()


def test_the_reference_itself_prefers_nothing(model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """With its own log-probs cached to the last bit, every pair is a tie."""
    table = pd.DataFrame({"prompt": ["Q: 1 + 2 =\nA:\n"], "chosen": ["#### 3"], "rejected": ["#### 4"]})
    (pair,) = encode_pairs(tokenizer, table, 60)
    assert pair is not None
    with torch.no_grad():
        for side in ("chosen", "rejected"):
            batch = collate([pair.prompt], [getattr(pair, side)], pad=tokenizer.pad_token_id)
            table[f"{side}_logprob"] = sequence_logprobs(model, batch).double().tolist()
    assert probes.preference_accuracy(model, tokenizer, table, 60, 8) == 0.5
