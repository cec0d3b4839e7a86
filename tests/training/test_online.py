"""Eq. 8-10 by hand, and the online loop: what an update changes, what it never may, and what decides it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from goodhart.models.adapters import activate, attach_adapter, merged, save_adapter
from goodhart.models.decoder import Decoder
from goodhart.models.ensemble import load_with_policy
from goodhart.models.loading import load_policy, load_tokenizer
from goodhart.models.logprobs import sequence_logprobs
from goodhart.models.tokens import collate, decode
from goodhart.runtime.finite import NotFinite
from goodhart.runtime.seeds import mix
from goodhart.sampling.engines import sample
from goodhart.sampling.settings import Sampling
from goodhart.store.files import read_table
from goodhart.store.schemas.inputs import PROBLEMS
from goodhart.training.online import loop, loss
from goodhart.training.online.loop import OnlineRun, prompt_rows
from goodhart.training.online.loss import Loss, advantages, kl_coefficient, online_loss
from goodhart.training.settings import Settings
from tiny_study import Study

EPSILON = 2**-23
SETTINGS = Settings(
    steps=3,
    evaluate_every=2,
    prompts_per_step=8,
    sampling=Sampling(24, 8, "loop", ()),
    beta=0.3,
    kl_percentile=90,
    learning_rate=5e-3,
    clip_norm=1.0,
    weight_decay=0.01,
    warmup_steps=1,
    batch_size=8,
    recompute=False,
)
BATCH = collate([[5, 9, 12], [7, 8]], [[3, 4, 1], [30, 31]], pad=0)


def test_advantages_by_hand() -> None:
    """Mean 2.5, population SD sqrt(1.25)."""
    found = advantages(torch.tensor([4.0, 1.0, 3.0, 2.0]))
    assert found.tolist() == pytest.approx([1.5 / math.sqrt(1.25) * sign for sign in (1, -1, 1 / 3, -1 / 3)])


def test_epsilon_tells_only_in_small_spreads() -> None:
    spread = 4 * EPSILON * 2**3  # an SD of 16 eps, over the limit of 1e-6
    assert advantages(torch.tensor([0.0, spread])).tolist() == pytest.approx([-16 / 17, 16 / 17])


@pytest.mark.parametrize("rewards", [[5.0, 5.0, 5.0], [0.0, 1e-6, 0.0], [-2.5]])
def test_rewards_that_do_not_differ_prefer_nothing(rewards: list[float]) -> None:
    assert advantages(torch.tensor(rewards)).tolist() == [0] * len(rewards)


@pytest.mark.parametrize(("percentile", "quantile"), [(0, 0), (50, 1.5), (90, 2.7), (100, 3)])
def test_kappa_is_beta_over_an_interpolated_percentile(percentile: float, quantile: float) -> None:
    found = kl_coefficient(0.6, torch.tensor([1.0, -3.0, 0.0, -2.0]), percentile)
    assert found == pytest.approx(0.6 / (quantile + EPSILON), rel=1e-6)


def test_kappa_of_the_untouched_policy_is_beta_over_epsilon() -> None:
    assert kl_coefficient(0.5, torch.zeros(7), 90) == pytest.approx(0.5 / EPSILON)


def test_without_beta_there_is_no_penalty() -> None:
    assert kl_coefficient(0.0, torch.tensor([1.0, -3.0]), 90) == 0
    assert kl_coefficient(0.0, torch.zeros(7), 90) == 0


def test_kappa_is_a_constant_of_the_gradient() -> None:
    """With kappa held, d/dx of kappa x^2 is 2 kappa x; a kappa that moved with x would make it kappa x."""
    x = torch.tensor([3.0], requires_grad=True)
    kappa = kl_coefficient(0.6, x, 90)
    assert isinstance(kappa, float)
    online_loss(x, torch.zeros(1), torch.zeros(1), kappa).total.backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(2 * 0.6 / 3 * 3)


def test_loss_and_gradient_by_hand() -> None:
    """Two rows: -mean(A log pi) = -(-1 + 2) / 2 = -0.5; kappa mean(d^2) = 0.5 (0.25 + 0) / 2 = 0.0625."""
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss = online_loss(logprobs, torch.tensor([-1.5, -2.0]), torch.tensor([1.0, -1.0]), 0.5)
    assert [term.item() for term in loss] == [-0.4375, -0.5, 0.0625]
    loss.total.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-0.25, 0.5]  # (-A + 2 kappa d) / 2


def test_the_gradient_of_a_policy_is_that_of_the_formula() -> None:
    """A softmax policy over three answers, drawn in rows 0, 2, 2: analytic scores against autograd."""
    theta = torch.tensor([0.2, -0.4, 1.0], dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([0, 2, 2])
    reference = torch.tensor([-1.0, -0.9, -0.3], dtype=torch.float64)
    advantage, kappa = torch.tensor([1.2, -0.7, 0.1], dtype=torch.float64), 0.8
    logprobs = theta.log_softmax(0)[rows]
    online_loss(logprobs, reference, advantage, kappa).total.backward()
    scores = torch.eye(3, dtype=torch.float64)[rows] - theta.detach().softmax(0)  # d log pi(row) / d theta
    weight = -advantage + 2 * kappa * (logprobs.detach() - reference)
    assert theta.grad is not None
    assert torch.allclose(theta.grad, (weight[:, None] * scores).mean(0))


def online(tiny: Study, settings: Settings = SETTINGS, seed: int = 0) -> OnlineRun:
    """A fresh run from the p20 checkpoint, rewards on the policy's own base, on 30 prompts."""
    folder = tiny / "policy"
    model, tokenizer = load_policy(folder, "float32"), load_tokenizer(folder)
    for name in ("policy", "reference"):
        adapter = tiny / "offline/dpo/p20/adapter"
        model = attach_adapter(model, adapter, name, trainable=name == "policy")
    members = [tiny / f"reward/member-{k}/adapter" for k in range(2)]
    ensemble = load_with_policy(
        model, folder, folder, "float32", members, {"inference_batch_size": 16, "max_length": 28}
    )
    problems = read_table(tiny / "data/problems.parquet", PROBLEMS).query("split == 'online'")
    prompts = problems["prompt"].tolist()
    return OnlineRun(model, tokenizer, ensemble, settings, prompts, seed)


def tensors(model: PeftModel, part: str = "") -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items() if part in name}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def logprobs_of(model: PeftModel, adapter: str) -> torch.Tensor:
    activate(model, adapter)
    with torch.no_grad():
        return sequence_logprobs(model, BATCH)


def test_an_update_changes_the_policy_adapter_and_nothing_else(tiny: Study) -> None:
    """Base, reference and rewards stay as they are to the last bit."""
    run = online(tiny)
    before, reference = tensors(run.model), logprobs_of(run.model, "reference")
    assert len(run.parameters) == 2 * 2 * 4  # A and B of four projections in two layers
    for _ in range(2):
        run.step()
    moved = changed(before, tensors(run.model))
    assert moved == {name for name in before if ".policy." in name}
    assert torch.equal(logprobs_of(run.model, "reference"), reference)
    assert not torch.allclose(logprobs_of(run.model, "policy"), reference)


def test_a_response_that_was_cut_is_rewarded_as_cut(tiny: Study) -> None:
    """Of two tokens hardly any response ends; the proxy is that of texts without an end token."""
    short = replace(SETTINGS, sampling=replace(SETTINGS.sampling, max_new_tokens=2))
    step, run = online(tiny, short).step(), online(tiny, short)
    rows = prompt_rows(30, 8, 0, seed=0)
    activate(run.model, "policy")
    with merged(run.model):
        ids = [run.prompt_ids[i] for i in rows]
        rollout = sample(run.model, run.tokenizer, ids, short.sampling, mix(0, 1))
    prompts, texts = [run.prompts[i] for i in rows], decode(run.tokenizer, rollout.responses)
    assert step["truncated"] == rollout.finished.count(False) / 8 > 0.5
    rewards = run.ensemble.score(prompts, texts, rollout.finished).rewards
    assert step["proxy"] == pytest.approx(rewards.mean().item(), abs=1e-6)
    as_if_whole = run.ensemble.score(prompts, texts).rewards
    assert abs(step["proxy"] - as_if_whole.mean().item()) > 1e-5


def test_responses_without_a_word_are_counted(tiny: Study) -> None:
    """With a line break as a stop string, a response that begins with one is empty; so is one of blanks."""
    stops = [replace(SETTINGS, sampling=replace(SETTINGS.sampling, stop=stop)) for stop in (("\n",), ())]
    run = online(tiny, stops[0])
    with torch.no_grad():  # whatever comes first now is a line break
        run.model.get_base_model().lm_head.register_forward_hook(
            lambda _module, _inputs, logits: logits.index_fill(-1, torch.tensor(run.tokenizer("\n").input_ids), 1e5)
        )
    step = run.step()
    assert (step["empty"], step["truncated"]) == (1, 0)
    assert all(math.isfinite(value) for value in step.values())
    assert online(tiny, stops[1]).step()["empty"] < 1


@pytest.mark.parametrize("part", ["reward", "policy_logprob", "loss", "gradient norm"])
def test_a_number_that_is_not_finite_stops_before_the_policy_moves(
    tiny: Study, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update goes well; in the next one something breaks, and all there is of the batch comes along."""
    run = online(tiny)
    run.step()
    before = tensors(run.model)
    true_loss = loop.online_loss
    if part == "reward":
        run.ensemble.heads[1] = math.nan
    elif part == "policy_logprob":  # after sampling, in the pass that has gradients
        score = run._sequence_logprobs
        monkeypatch.setattr(run, "_sequence_logprobs", lambda pairs: score(pairs) / (not torch.is_grad_enabled()))
    elif part == "loss":
        monkeypatch.setattr(loop, "online_loss", lambda *a: Loss(*(term * 1e30 * 1e30 for term in true_loss(*a))))
    else:
        run.parameters[0].register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(NotFinite, match=f"^online update 2: {part} is ") as caught:
        run.step()
    assert changed(before, tensors(run.model)) == set()
    known = ["prompt", "response", "tokens", "reward", "advantage", "reference_logprob", "policy_logprob"]
    columns = list(caught.value.rows[0])
    assert columns == known[: len(columns)]
    assert columns[-1] == {"reward": "reward"}.get(part, "policy_logprob")
    assert len(caught.value.rows) == 8


def test_responses_that_the_rewards_read_only_a_part_of_are_counted(tiny: Study) -> None:
    shares = []
    for length in (max(len(ids) for ids in online(tiny).prompt_ids) + 1, 1000):
        run = online(tiny)
        run.ensemble.max_length = length
        shares.append(run.step()["reward_truncated"])
    assert shares[0] > 0.5 > shares[1] == 0


def test_a_seed_decides_every_bit(tiny: Study) -> None:
    first, again, other = online(tiny), online(tiny), online(tiny, seed=1)
    steps = [[run.step() for _ in range(3)] for run in (first, again, other)]
    assert steps[0] == steps[1] != steps[2]
    assert changed(tensors(first.model), tensors(again.model)) == set()
    assert changed(tensors(first.model), tensors(other.model))


@pytest.mark.parametrize("size", [1, 3, 64])
def test_micro_batches_make_the_same_update(tiny: Study, size: int) -> None:
    """Gradients, not Adam's step, which would blow up their last bits where they are all but zero."""
    whole, parts = online(tiny), online(tiny, replace(SETTINGS, batch_size=size))
    for run in (whole, parts):
        run.optimizer = torch.optim.SGD(run.parameters, lr=1.0)  # type: ignore[assignment]
    first, second = whole.step(), parts.step()
    assert second == pytest.approx(first, abs=1e-5)
    before = tensors(online(tiny).model, ".policy.")
    after = [tensors(run.model, ".policy.") for run in (whole, parts)]
    for name in before:
        assert torch.allclose(after[0][name], after[1][name], atol=1e-6)
    assert changed(before, after[0])


def test_recomputed_activations_make_the_same_update(tiny: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are computed twice, with dropout off both times."""
    runs, passes = [online(tiny), online(tiny, replace(SETTINGS, recompute=True))], []
    layer = Decoder._layer
    for run in runs:
        seen: list[bool] = []
        noted = lambda *args, seen=seen: (seen.append(torch.is_grad_enabled()), layer(*args))[1]  # noqa: E731
        monkeypatch.setattr(Decoder, "_layer", noted)
        assert run.step() is not None
        passes.append(sum(seen))
        assert not any(module.training for module in run.model.modules())
    assert passes[1] == 2 * passes[0] > 0
    assert changed(*(tensors(run.model) for run in runs)) == set()


def test_a_full_memory_halves_the_update_and_changes_nothing(
    tiny: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, halved = online(tiny), online(tiny)
    for run in (whole, halved):
        run.optimizer = torch.optim.SGD(run.parameters, lr=1.0)  # type: ignore[assignment]
    first = whole.step()
    true_loss = loop.online_loss

    def full(logprobs: torch.Tensor, *rest: Any) -> Any:
        if len(logprobs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return true_loss(logprobs, *rest)

    monkeypatch.setattr(loop, "online_loss", full)
    second = halved.step()
    assert halved.micro_batch == 2
    assert "online update: 8 rows do not fit into memory, continuing with 4" in capsys.readouterr().err
    assert second == pytest.approx(first, abs=1e-5)
    for name, tensor in tensors(whole.model, ".policy.").items():
        assert torch.allclose(tensor, tensors(halved.model, ".policy.")[name], atol=1e-6)


def test_the_gradient_is_clipped_and_its_norm_recorded_before(tiny: Study) -> None:
    loose, tight = online(tiny, replace(SETTINGS, clip_norm=1e9)), online(tiny, replace(SETTINGS, clip_norm=0.01))
    lengths = []
    for run in (loose, tight):
        before = tensors(run.model, ".policy.")
        run.optimizer = torch.optim.SGD(run.parameters, lr=1.0)  # type: ignore[assignment]
        norm = run.step()["gradient_norm"]
        after = tensors(run.model, ".policy.")
        lengths.append((norm, math.sqrt(sum((after[n] - before[n]).square().sum().item() for n in before))))
    (loose_norm, loose_length), (tight_norm, tight_length) = lengths
    assert loose_norm == tight_norm
    assert loose_length == pytest.approx(loose_norm, rel=1e-4)
    assert tight_length == pytest.approx(0.01, rel=1e-3)


def test_the_first_step_is_reinforce_alone(tiny: Study) -> None:
    """The policy is the reference, so there is nothing to penalise; what it records is of its own batch."""
    step = online(tiny).step()
    assert (step["kl"], step["abs_log_ratio"], step["kl_penalty"]) == (0, 0, 0)
    assert step["kappa"] == pytest.approx(0.3 / EPSILON)
    assert step["loss"] == step["policy_loss"] != 0
    assert step["gradient_norm"] > 0
    assert not step["zero_variance"]
    assert 1 <= step["response_tokens"] <= 24


def test_later_steps_pay_for_leaving_the_reference(tiny: Study) -> None:
    run = online(tiny)
    run.step()
    step = run.step()
    assert step["abs_log_ratio"] > 0
    assert step["kl_penalty"] > 0
    assert step["loss"] == pytest.approx(step["policy_loss"] + step["kl_penalty"], abs=1e-6)
    assert step["kappa"] < 0.3 / step["abs_log_ratio"]  # the 90th percentile lies above the mean


def test_a_run_without_penalty_is_reinforce_alone(tiny: Study) -> None:
    run = online(tiny, replace(SETTINGS, beta=0.0))
    steps = [run.step() for _ in range(2)]
    assert [(step["kappa"], step["kl_penalty"]) for step in steps] == [(0, 0)] * 2
    assert [step["loss"] for step in steps] == [step["policy_loss"] for step in steps]
    assert steps[1]["abs_log_ratio"] > 0


def test_the_penalty_alone_pulls_the_policy_back(tiny: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """After four free steps the rewards are silenced: each small step down the penalty's gradient brings the policy
    nearer to the reference on the very responses that it was taken on."""
    run = online(tiny, replace(SETTINGS, beta=1e-6, learning_rate=2e-2))
    for _ in range(4):
        run.step()
    run.ensemble.heads.zero_()
    run.settings = replace(run.settings, beta=1.0, clip_norm=0.01)
    run.optimizer = torch.optim.SGD(run.parameters, lr=1.0)  # type: ignore[assignment]
    logprobs, seen = run._logprobs, []
    monkeypatch.setattr(run, "_logprobs", lambda adapter, pairs: seen.append(pairs) or logprobs(adapter, pairs))
    for _ in range(3):
        step = run.step()
        policy, reference = (logprobs(adapter, seen[-1]) for adapter in ("policy", "reference"))
        assert step["policy_loss"] == 0
        assert (policy - reference).square().mean().item() < step["kl_penalty"] / step["kappa"]


def test_rewards_without_spread_move_nothing(tiny: Study) -> None:
    """Heads of zeros: every reward is 0, the batch counts as degenerate, and no weight decays here."""
    run = online(tiny, replace(SETTINGS, weight_decay=0.0))
    run.ensemble.heads.zero_()
    before = tensors(run.model)
    step = run.step()
    assert step["zero_variance"] is True
    assert (step["policy_loss"], step["gradient_norm"], step["proxy"], step["proxy_sd"]) == (0, 0, 0, 0)
    assert changed(before, tensors(run.model)) == set()


def test_the_proxy_rises_when_it_is_followed(tiny: Study) -> None:
    """By more than two standard errors of the mean of 4 x 32 rewards, whatever policy the rounding of a CPU trained."""
    sizes = {"prompts_per_step": 32, "sampling": Sampling(24, 32, "loop", ()), "batch_size": 32}
    run = online(tiny, replace(SETTINGS, **sizes, beta=1e-4, learning_rate=1e-2, clip_norm=1e9))
    steps = [run.step() for _ in range(96)]
    rise = sum(last["proxy"] - first["proxy"] for first, last in zip(steps[:4], steps[-4:], strict=True)) / 4
    assert rise > 2 * steps[0]["proxy_sd"] / math.sqrt(4 * 32)


def test_the_learning_rate_warms_up_in_equal_steps(tiny: Study) -> None:
    run = online(tiny, replace(SETTINGS, warmup_steps=4, learning_rate=0.01))
    assert [run.step()["learning_rate"] for _ in range(6)] == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("per_step", [1, 3, 10, 30, 70])
def test_every_prompt_is_used_once_before_any_is_used_again(per_step: int) -> None:
    """Whatever a step takes of 30 prompts, the steps in a row are passes, each in an order of its own."""
    rows = [row for step in range(210 // per_step) for row in prompt_rows(30, per_step, step, seed=4)]
    passes = [rows[start : start + 30] for start in range(0, 210, 30)]
    assert [sorted(one) for one in passes] == [list(range(30))] * 7
    assert len({tuple(one) for one in passes}) == 7


def test_the_prompts_of_a_step_follow_from_its_number_and_the_seed() -> None:
    assert prompt_rows(30, 8, 5, seed=4) == prompt_rows(30, 8, 5, seed=4)
    assert prompt_rows(30, 8, 5, seed=4) != prompt_rows(30, 8, 5, seed=5)
    assert len(prompt_rows(30, 8, 5, seed=4)) == 8


def test_a_saved_adapter_is_the_policys_alone_and_reloads(tiny: Study, tmp_path: Path) -> None:
    run = online(tiny)
    run.step()
    save_adapter(run.model, "policy", tmp_path / "adapter")
    files = {path.name for path in (tmp_path / "adapter").rglob("*") if path.is_file()}
    assert files <= {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    assert not [path for path in (tmp_path / "adapter").iterdir() if path.is_dir()]
    again = attach_adapter(load_policy(tiny / "policy", "float32"), tmp_path / "adapter", "again")
    assert torch.equal(logprobs_of(again, "again"), logprobs_of(run.model, "policy"))


def test_the_limit_of_a_degenerate_batch_is_that_of_the_design() -> None:
    assert (loss.DEGENERATE, loss.EPSILON) == (1e-6, EPSILON)
