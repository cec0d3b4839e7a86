"""The items of a task, divided among the splits; a pool is a list of items of one kind."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

import numpy as np

from goodhart.errors import InputError

Item = TypeVar("Item")
SHARES = {"pretraining": 0.5, "preference": 0.3, "online": 0.15, "evaluation": 0.05}


def split(
    items: Sequence[list[Item]], shares: Mapping[str, float], rng: np.random.Generator
) -> dict[str, list[list[Item]]]:
    """Assign every item to exactly one split, at random; `shares` are the shares of the splits and sum to 1.

    Returns the pools of each split, one for each kind.
    """
    pools: dict[str, list[list[Item]]] = {name: [] for name in shares}
    for pool in items:
        order = rng.permutation(len(pool))
        ends = np.round(np.cumsum(list(shares.values())) * len(pool)).astype(int)
        for name, indices in zip(shares, np.split(order, ends[:-1]), strict=True):
            pools[name].append([pool[i] for i in indices])
    return pools


def distinct(pools: Sequence[list[Item]], count: int) -> list[Item]:
    """`count` different items, taken from the pools in turn until they are empty."""
    turns = [item for turn in zip_longest(*pools) for item in turn if item is not None]
    if count > len(turns):
        raise InputError(f"{count} different problems requested, but this split has {len(turns)}; use a larger task.")
    return turns[:count]


def draw(pools: Sequence[list[Item]], count: int, rng: np.random.Generator) -> list[Item]:
    """Draw `count` items with replacement; all pools, and so all kinds, are equally likely."""
    picks = rng.integers(len(pools), size=count)
    return [pools[pick][rng.integers(len(pools[pick]))] for pick in picks]
