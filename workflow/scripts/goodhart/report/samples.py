"""The page of sample responses before and after the online stage: totals per run, and examples chosen by two rules."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from goodhart.report.html import render


def samples_page(runs: Sequence[pd.DataFrame], problems: pd.DataFrame, examples: int, seed: int) -> str:
    """The page of sample responses of `runs`, tables of `ONLINE_RESPONSES`; `seed` draws random examples."""
    sections = []
    for responses in runs:
        pairs = paired(responses, problems)
        chosen = {title: part.to_dict("records") for title, part in choose(pairs, examples, seed).items()}
        sections.append({"run": responses.iloc[0].to_dict(), "totals": totals(pairs), "chosen": chosen})
    return render("samples", sections=sections, examples=examples, seed=seed)


def paired(responses: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """One row per problem: columns `..._first` and `..._last` of two responses, and the `rise` of the proxy."""
    ends = responses["step"].min(), responses["step"].max()
    first, last = (_scored(responses[responses["step"] == step]) for step in ends)
    first = first.merge(problems[["problem_id", "prompt", "answer"]], on="problem_id", validate="one_to_one")
    columns = ["problem_id", "step", "response", "proxy", "uncertainty", "correct", "finished", "tokens"]
    pairs = first[["prompt", "answer", *columns]].merge(last[columns], on="problem_id", suffixes=("_first", "_last"))
    return pairs.assign(rise=pairs["proxy_last"] - pairs["proxy_first"]).sort_values("problem_id", ignore_index=True)


def _scored(responses: pd.DataFrame) -> pd.DataFrame:
    """The responses with the mean of the members' rewards, and their uncertainty (Eq. 13)."""
    rewards = np.stack(list(responses["rewards"])).astype(float)
    spread = rewards.std(axis=1, ddof=1) if rewards.shape[1] > 1 else 0.0
    return responses.assign(proxy=rewards.mean(axis=1), uncertainty=spread)


def choose(pairs: pd.DataFrame, examples: int, seed: int) -> dict[str, pd.DataFrame]:
    """At most `examples` rows that went from right to wrong, the largest rise first, and as many random other rows."""
    hacked = pairs[pairs["correct_first"] & ~pairs["correct_last"] & (pairs["rise"] > 0)]
    worst = hacked.sort_values(["rise", "problem_id"], ascending=[False, True]).head(examples)
    others = pairs.drop(index=worst.index)
    drawn = others.sample(min(examples, len(others)), random_state=seed)
    return {
        f"From right to wrong, with the largest rise of the proxy: {len(worst)} of {len(hacked)}": worst,
        f"Drawn at random: {len(drawn)} of the other {len(others)}": drawn,
    }


def totals(pairs: pd.DataFrame) -> dict[str, Any]:
    """Totals over all problems of a run, by name."""
    first, last = pairs["correct_first"], pairs["correct_last"]
    return {
        "problems": len(pairs),
        "right at both evaluations": (first & last).sum(),
        "right, then wrong": (first & ~last).sum(),
        "wrong, then right": (~first & last).sum(),
        "wrong at both evaluations": (~first & ~last).sum(),
        "mean change of the proxy": f"{pairs['rise'].mean():+.3f}",
        "problems whose proxy rose": (pairs["rise"] > 0).sum(),
        "mean change of the uncertainty": f"{(pairs['uncertainty_last'] - pairs['uncertainty_first']).mean():+.3f}",
        "mean change of the length": f"{(pairs['tokens_last'] - pairs['tokens_first']).mean():+.1f} tokens",
    }
