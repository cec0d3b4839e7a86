"""The embedded task: its chains and answers against Python's own arithmetic, its splits, and what the teacher says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

import generate_problems
from goodhart.data.tasks import arithmetic
from goodhart.errors import InputError
from goodhart.store.files import read_table
from goodhart.store.schemas.inputs import CORPUS, PROBLEMS

SHARES = {"a": 0.5, "b": 0.3, "c": 0.2}
CHAIN: arithmetic.Chain = ((4, 1, 7), ("-", "-"))


@pytest.mark.parametrize(("terms", "count"), [(2, 200), (3, 4_000), (4, 80_000)])
def test_there_are_as_many_chains_as_digits_and_signs_allow(terms: int, count: int) -> None:
    assert len(set(arithmetic.chains(terms))) == len(arithmetic.chains(terms)) == count


def test_the_example_of_the_module() -> None:
    assert arithmetic.prompt(CHAIN) == "Q: 4 - 1 - 7 =\nA:\n"
    assert arithmetic.working(CHAIN) == (["4 - 1 = 3", "3 - 7 = -4"], -4)


def test_every_line_of_working_and_every_answer_is_right() -> None:
    for chain in arithmetic.chains(3):
        lines, value = arithmetic.working(chain)
        for line in lines:
            left, _, right = line.partition(" = ")
            assert eval(left) == int(right), line
        question = arithmetic.prompt(chain).removeprefix("Q: ").removesuffix(" =\nA:\n")
        assert eval(question) == value == int(lines[-1].partition(" = ")[2])


def test_every_chain_is_in_exactly_one_split() -> None:
    pools = arithmetic.split_chains([2, 3], SHARES, np.random.default_rng(0))
    for position, terms in enumerate((2, 3)):
        split = [chain for name in SHARES for chain in pools[name][position]]
        assert sorted(split) == sorted(arithmetic.chains(terms))
    assert [len(pools[name][1]) for name in SHARES] == [2_000, 1_200, 800]


def test_a_seed_decides_the_split() -> None:
    first, again, other = (arithmetic.split_chains([2], SHARES, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_distinct_takes_turns_and_goes_on_when_a_pool_is_used_up() -> None:
    short: list[arithmetic.Chain] = [((1, 1), ("+",)), ((1, 2), ("+",))]
    long: list[arithmetic.Chain] = [((n, 0, 0), ("+", "+")) for n in range(4)]
    assert arithmetic.distinct([short, long], 6) == [short[0], long[0], short[1], long[1], long[2], long[3]]


def test_distinct_refuses_more_problems_than_there_are() -> None:
    with pytest.raises(InputError, match=r"201 different problems .* has 200"):
        arithmetic.distinct([arithmetic.chains(2)], 201)


def test_draw_gives_each_number_of_terms_the_same_weight() -> None:
    pools = [arithmetic.chains(2), arithmetic.chains(3)]  # 200 and 4,000 chains
    lengths = Counter(len(digits) for digits, _ in arithmetic.draw(pools, 10_000, np.random.default_rng(0)))
    assert lengths[2] == pytest.approx(5_000, abs=200)  # four standard errors


def test_the_teachers_styles_come_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    responses = [arithmetic.teach(CHAIN, rng) for _ in range(20_000)]
    fillers = Counter(arithmetic.count_fillers(response) for response in responses)
    assert [fillers[n] / 20_000 for n in range(4)] == pytest.approx([0.45, 0.30, 0.17, 0.08], abs=0.015)
    assert np.mean(["=" not in response for response in responses]) == pytest.approx(0.25, abs=0.015)
    first = Counter(line for response in responses for line in response.splitlines() if line in arithmetic.FILLERS)
    assert min(first.values()) > 0.9 * max(first.values())


def test_a_response_is_working_then_fillers_then_the_answer() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        *before, answer = arithmetic.teach(CHAIN, rng).split("\n")
        kinds = ["filler" if line in arithmetic.FILLERS else "working" for line in before]
        assert answer == "#### -4"
        assert kinds == sorted(kinds, reverse=True)
        assert [line for line in before if line not in arithmetic.FILLERS] in ([], ["4 - 1 = 3", "3 - 7 = -4"])


def test_fillers_are_counted_wherever_they_stand() -> None:
    assert arithmetic.count_fillers("I hope this helps! Great question!\nGreat question!\n#### 3") == 3
    assert arithmetic.count_fillers("Great question?\n#### 3") == 0


def test_the_default_study_meets_no_question_before_its_time(tmp_path: Path) -> None:
    """At the sizes of config.yaml: no preference, online or evaluation problem in the corpus, none of them twice."""
    task = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())["task"]
    sizes = {
        "pretraining_examples": task["arithmetic"]["pretraining_examples"],
        "preference_problems": task["arithmetic"]["preference_problems"],
        "online_problems": task["online_problems"],
        "evaluation_problems": task["evaluation_problems"],
        "seed": task["seed"],
        "problems": tmp_path / "problems.parquet",
        "corpus": tmp_path / "corpus.parquet",
    }
    flags = [text for name, value in sizes.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    generate_problems.main(["--terms", *map(str, task["arithmetic"]["terms"]), *flags])
    problems, corpus = read_table(sizes["problems"], PROBLEMS), read_table(sizes["corpus"], CORPUS)
    assert problems["prompt"].is_unique
    assert not set(problems["prompt"]) & set(corpus["prompt"])
    assert len(corpus) == sizes["pretraining_examples"]
    assert problems["split"].value_counts().to_dict() == {
        split: sizes[f"{split}_problems"] for split in ("preference", "online", "evaluation")
    }
    for prompt, answer in zip(problems["prompt"], problems["answer"], strict=True):
        assert eval(prompt.removeprefix("Q: ").partition(" =")[0]) == int(answer)
