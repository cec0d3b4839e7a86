"""What holds for every embedded task: separate splits, gold answers that its verifier accepts, a corpus of its own."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import generate_problems
from goodhart.data.tasks import pools
from goodhart.data.tasks.registry import TASKS, task_of
from goodhart.errors import InputError
from goodhart.store.files import read_table
from goodhart.store.schemas.inputs import CORPUS, PROBLEMS
from goodhart.verifiers.registry import verifier

CONFIG: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())["task"]
SHARES = {"a": 0.5, "b": 0.3, "c": 0.2}
ITEMS = [[(n,) for n in range(200)], [(n, n) for n in range(4_000)]]
everywhere = pytest.mark.parametrize("name", sorted(TASKS))


def test_every_item_is_in_exactly_one_split() -> None:
    of_split = pools.split(ITEMS, SHARES, np.random.default_rng(0))
    for kind, pool in enumerate(ITEMS):
        assert sorted(item for name in SHARES for item in of_split[name][kind]) == pool
    assert [len(of_split[name][1]) for name in SHARES] == [2_000, 1_200, 800]


def test_a_seed_decides_the_split() -> None:
    first, again, other = (pools.split(ITEMS, SHARES, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_distinct_takes_turns_and_goes_on_when_a_pool_is_used_up() -> None:
    assert pools.distinct([["a", "b"], ["A", "B", "C", "D"]], 6) == ["a", "A", "b", "B", "C", "D"]


def test_distinct_refuses_more_problems_than_there_are() -> None:
    with pytest.raises(InputError, match=r"201 different problems .* has 200"):
        pools.distinct(ITEMS[:1], 201)


def test_draw_gives_each_kind_the_same_weight() -> None:
    kinds = Counter(len(item) for item in pools.draw(ITEMS, 10_000, np.random.default_rng(0)))
    assert kinds[1] == pytest.approx(5_000, abs=200)  # four standard errors


@everywhere
def test_the_default_study_meets_no_question_before_its_time(name: str, tmp_path: Path) -> None:
    """At the sizes of config.yaml: no item of the corpus, and so none of its answers, in the other splits."""
    sizes = CONFIG[name] | {key: CONFIG[key] for key in ("online_problems", "evaluation_problems", "seed")}
    files = {"problems": tmp_path / "problems.parquet", "corpus": tmp_path / "corpus.parquet"}
    flags = [f"--task={name}"]
    for key, value in {**sizes, **files}.items():
        flags += [f"--{key.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    generate_problems.main(flags)
    problems, corpus = read_table(files["problems"], PROBLEMS), read_table(files["corpus"], CORPUS)
    assert len(corpus) == sizes["pretraining_examples"]
    assert problems["split"].value_counts().to_dict() == {
        split: sizes[f"{split}_problems"] for split in ("preference", "online", "evaluation")
    }
    # The same words in another order would be the same problem of sorting, though not the same sum.
    posed = problems["prompt"].map(lambda text: tuple(sorted(text.split()) if name == "sorting" else text.split()))
    taught = corpus["prompt"].map(lambda text: tuple(sorted(text.split()) if name == "sorting" else text.split()))
    assert posed.is_unique
    assert not set(posed) & set(taught)


@everywhere
def test_the_verifier_of_a_task_accepts_its_answers_and_no_other(name: str) -> None:
    task, rng = task_of(name, CONFIG[name]), np.random.default_rng(0)
    correct = verifier(task.verifier)
    drawn = pools.draw(task.items(), 500, rng)
    for item, other in pairwise(drawn):
        gold = task.answer(item)
        assert correct(f"I hope this helps!\n#### {gold}", gold, "strict")
        assert correct(f"#### {gold}", task.answer(other), "strict") is (gold == task.answer(other))
