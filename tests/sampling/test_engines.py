"""What every sampling engine owes: the model's own distribution, ends where they belong, and the seed's last word."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from scipy import stats
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from goodhart.errors import InputError
from goodhart.models.adapters import activate, attach_adapter, merged
from goodhart.models.loading import load_policy, load_tokenizer
from goodhart.models.tokens import decode, encode_prompts
from goodhart.runtime.finite import NotFinite
from goodhart.sampling.endings import ending
from goodhart.sampling.engines import ENGINES, Rollout, engine_for, sample
from goodhart.sampling.settings import ENGINES as NAMES
from goodhart.sampling.settings import Sampling
from tiny_study import Study, first_token_p_value, sharpened

QUESTIONS = [f"Q: {terms} =\nA:\n" for terms in ("1 + 2", "4 - 1 - 7", "9", "5 - 5 + 5", "0 + 0")]
LOCAL = ("loop", "continuous")  # those that run on a CPU


@pytest.fixture
def policy(tiny: Study) -> PreTrainedModel:
    return load_policy(tiny / "policy", "float32")


@pytest.fixture(scope="module")
def tokenizer(tiny: Study) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny / "policy")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    engine: str,
    questions: list[str] = QUESTIONS * 8,
    *,
    tokens: int = 24,
    batch_size: int = 16,
    stop: tuple[str, ...] = (),
    seed: int = 0,
) -> Rollout:
    how = Sampling(tokens, batch_size, engine, stop)
    return sample(policy, tokenizer, encode_prompts(tokenizer, questions), how, seed)


def test_every_engine_has_a_name_for_the_command_line() -> None:
    assert set(NAMES) == {"auto", *ENGINES}
    assert (engine_for("auto", "cpu"), engine_for("auto", "cuda")) == ("loop", "continuous")
    assert engine_for("vllm", "cpu") == "vllm"


@pytest.mark.parametrize("engine", LOCAL)
def test_first_tokens_come_as_often_as_the_softmax_says_whatever_the_generation_config_says(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, engine: str
) -> None:
    for name, value in (("do_sample", True), ("top_k", 2), ("top_p", 0.5), ("temperature", 0.3)):
        setattr(policy.generation_config, name, value)
    rows, prompt = 8_000, QUESTIONS[0]
    found = draw(policy, tokenizer, engine, [prompt] * rows, tokens=1, batch_size=500)
    assert first_token_p_value(policy, encode_prompts(tokenizer, [prompt]), found.responses) > 1e-6


@pytest.mark.parametrize("engine", LOCAL)
def test_later_tokens_come_as_often_as_the_softmax_says(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, engine: str
) -> None:
    """Mean log-probability of whole responses against its expectation, the entropies of the prefixes sampled."""
    found = draw(policy, tokenizer, engine, [QUESTIONS[1]] * 600, batch_size=100)
    prompt = encode_prompts(tokenizer, [QUESTIONS[1]])[0]
    surprises = []
    for response in found.responses:
        with torch.no_grad():
            logits = policy(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        logprobs = torch.log_softmax(logits.double(), -1)
        taken = logprobs[range(len(response)), response]
        surprises.append((taken + (-logprobs.exp() * logprobs).sum(-1)).sum().item())
    assert stats.ttest_1samp(surprises, 0).pvalue > 1e-6
    assert len({tuple(response) for response in found.responses}) > 50


@pytest.mark.parametrize("engine", LOCAL)
def test_a_response_ends_at_its_end_token_or_at_the_limit(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, engine: str
) -> None:
    found = draw(policy, tokenizer, engine, QUESTIONS * 20, tokens=8)
    end = tokenizer.eos_token_id
    for response, finished in zip(found.responses, found.finished, strict=True):
        assert finished == (response[-1] == end)
        assert end not in response[:-1]
        assert finished or len(response) == 8
    assert 0 < sum(found.finished) < len(found.finished)


@pytest.mark.parametrize("engine", LOCAL)
def test_a_model_with_several_end_tokens_ends_at_any(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, engine: str
) -> None:
    (newline,) = tokenizer("\n")["input_ids"]
    policy.generation_config.eos_token_id = [newline, tokenizer.eos_token_id]
    assert ending(policy, tokenizer).tokens == (tokenizer.eos_token_id, newline)
    found = draw(policy, tokenizer, engine)
    assert {response[-1] for response in found.responses} == {newline, tokenizer.eos_token_id}
    assert not any({newline, tokenizer.eos_token_id} & set(response[:-1]) for response in found.responses)
    assert all(found.finished)


@pytest.mark.parametrize("engine", LOCAL)
def test_a_stop_string_ends_a_response_and_stays_out_of_its_text(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, engine: str
) -> None:
    """A string of three tokens; with the loop, the rest of the study's numbers are those drawn without it."""
    stop = ("= 0", "\n####")
    found = draw(policy, tokenizer, engine, stop=stop)
    texts, whole = decode(tokenizer, found.responses, stop), decode(tokenizer, found.responses)
    stopped = [any(string in text for string in stop) for text in whole]
    assert 0 < sum(stopped) < len(stopped)
    for response, finished, text, full, hit in zip(found.responses, found.finished, texts, whole, stopped, strict=True):
        assert not any(string in text for string in stop)
        assert full.startswith(text)
        if hit:
            assert finished
            before = decode(tokenizer, [response[:-1]])[0]
            assert not any(string in before for string in stop)  # its last token completed the string
        else:
            assert text == full
            assert finished == (response[-1] == tokenizer.eos_token_id)
    unstopped = draw(policy, tokenizer, engine)
    for response, longer in zip(found.responses, unstopped.responses, strict=True):
        assert response == longer[: len(response)]


@pytest.mark.parametrize("engine", LOCAL)
def test_the_seed_decides_every_token_and_leaves_the_global_generator_alone(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, engine: str
) -> None:
    state = torch.get_rng_state()
    first, again, other = (draw(policy, tokenizer, engine, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("engine", LOCAL)
def test_no_prompts_give_no_responses(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, engine: str) -> None:
    assert sample(policy, tokenizer, [], Sampling(24, 16, engine, ()), 0) == Rollout([], [])


def test_continuous_batching_says_of_a_sharp_policy_what_the_loop_says(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    with sharpened(policy):
        expected = draw(policy, tokenizer, "loop", QUESTIONS * 3)
        assert all(draw(policy, tokenizer, "continuous", QUESTIONS * 3, batch_size=n) == expected for n in (1, 4, 64))
    assert len({len(response) for response in expected.responses}) > 1


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_continuous_batching_puts_the_attention_back(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, attention: str
) -> None:
    policy.set_attn_implementation(attention)
    draw(policy, tokenizer, "continuous", QUESTIONS)
    assert policy.config._attn_implementation == attention


@pytest.mark.parametrize("precision", ["float32", "nf4"])
def test_continuous_batching_samples_the_active_adapter(
    tiny: Study, tokenizer: PreTrainedTokenizerBase, precision: str
) -> None:
    """As the loop does: merged into float32 weights, or beside 4-bit ones; and each adapter its own responses."""
    model = load_policy(tiny / "policy", precision)
    for name, level in (("reference", "p20"), ("policy", "p80")):
        model = attach_adapter(model, tiny / f"online/dpo/{level}/kl-p20/adapter", name)
    responses = {}
    for name in ("policy", "reference", None):
        activate(model, name)
        with sharpened(model.get_base_model()), merged(model):
            responses[name] = draw(model, tokenizer, "continuous", QUESTIONS * 3)
            assert responses[name] == draw(model, tokenizer, "loop", QUESTIONS * 3)
    assert responses["policy"] != responses[None] != responses["reference"]


@pytest.mark.parametrize("engine", LOCAL)
def test_a_policy_that_computes_no_numbers_stops_with_its_prompts(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, engine: str
) -> None:
    policy.model.norm.weight[0] = math.nan
    with pytest.raises(NotFinite, match=r"^sampling: the next-token distribution is not finite in ") as caught:
        draw(policy, tokenizer, engine, QUESTIONS)
    assert [row["prompt"] for row in caught.value.rows] == QUESTIONS


def test_what_follows_the_end_of_a_row_is_nobodys_business(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """An ended row may run on beside the others for a while; that its numbers are lost by then changes nothing.

    The first token can only be the end in the first row, and in no other one.
    """
    end, questions = tokenizer.eos_token_id, QUESTIONS * 3
    rollouts = []
    for lost in (0.0, math.nan):
        passes: list[int] = []

        def spoil(_module: Any, _inputs: Any, output: Any, passes: list[int] = passes, lost: float = lost) -> None:
            passes.append(len(output))
            if len(passes) == 1:
                output[:, end] = -1e9
                output[0, end] = 1e9
            if len(passes) == 2:
                output[0] = lost

        with policy.lm_head.register_forward_hook(spoil):
            rollouts.append(draw(policy, tokenizer, "loop", questions))
        assert passes[:2] == [15, 15]
    assert rollouts[0].responses[0] == [end]
    assert rollouts[0] == rollouts[1]


def test_a_row_that_loses_its_numbers_on_the_way_is_named(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """In the third pass the second row has NaN, none having ended before; its tokens till then stay as they were."""
    rollouts: list[Rollout] = []
    for broken in (False, True):
        passes: list[int] = []

        def spoil(_module: Any, _inputs: Any, output: Any, passes: list[int] = passes, broken: bool = broken) -> None:
            passes.append(len(output))
            if len(passes) < 3:
                output[:, tokenizer.eos_token_id] = -1e9
            if len(passes) == 3 and broken:
                output[1, 5] = math.nan

        with policy.lm_head.register_forward_hook(spoil):
            if not broken:
                rollouts.append(draw(policy, tokenizer, "loop", QUESTIONS))
                continue
            with pytest.raises(NotFinite, match="in 1 of 5 rows; ") as caught:
                draw(policy, tokenizer, "loop", QUESTIONS)
    assert caught.value.offending == [1]
    assert caught.value.rows[1]["tokens"][:2] == rollouts[0].responses[1][:2]


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_that_is_not_installed_is_one_sentence(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(InputError, match=r"vllm.*not installed; pip install '\.\[vllm\]'"):
        draw(policy, tokenizer, "vllm")
