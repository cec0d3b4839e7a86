"""Small studies made up without a model, and what their tables lead to: curves, fits and findings of known shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from goodhart.analysis.curves import fit_points
from goodhart.analysis.overoptimisation import overoptimisation_rows
from goodhart.analysis.runs import RUN, add_gaps, run_rows, select_arms
from goodhart.hyperparameters.appendix_c import derive
from goodhart.report.results import Results

SCALES = {"proxy": 1.0, "true": 0.5, "successes": 25, "problems": 50}
BETAS = {"p80": 2.5, "p20": 0.4, "p50": 1.0}  # not in the order of beta
QUALITY = {
    "pairs": 100,
    "member_accuracy": [0.7, 0.72, 0.69],
    "ensemble_accuracy": 0.75,
    "calibration": [{"predicted": p, "observed": p, "n": n} for p, n in ((0.1, 5), (0.45, 95), (0.55, 95), (0.9, 5))],
    "proxy_mean": 0.5,
}
OTHERS = {"true_flexible": 0.5, "ood_distance": 0.1, "diversity": 0.1, "response_tokens": 9.0}
OTHERS |= {"truncated": 0.0, "empty": 0.0, "reward_truncated": 0.0}


def study(
    levels: list[str],
    replicates: int,
    arms: list[str],
    methods: tuple[str, ...] = ("dpo",),
    entropy: Callable[[float, int], float] = lambda beta, replicate: 0.3,
) -> Results:
    """A study whose proxy rises with beta, so that the second arm, with a weaker penalty, hacks more.

    `entropy` is that of a checkpoint's responses by beta and replicate; that of the prompts is twice as large.
    """
    rng = np.random.default_rng(0)
    runs, probes, cells = [], [], {}
    steps = np.arange(0, 40, 10)
    for method, level, replicate in ((m, lv, s) for m in methods for lv in levels for s in range(replicates)):
        beta = BETAS.get(level, 1.0)
        key = {"method": method, "level": level, "beta": beta, "replicate": replicate}
        nats = entropy(beta, replicate)
        entropies = {"entropy_prompt": 2 * nats, "entropy_response": nats}
        extra = {"uncertainty": 1 + beta, "win_rate": 0.5 + 0.1 * beta, "preference_accuracy": 0.7}
        probes.append({**key, **OTHERS, **entropies, **extra, "ood_distance": 0.1 + rng.normal(0, 0.01)})
        for k, arm in enumerate(arms):
            kl_level = min(levels, key=lambda name: BETAS.get(name, 1.0)) if k else level
            cells.setdefault(arm, []).append((method, level, kl_level, replicate))
            if cells[arm][-1] in [cell for other in arms[:k] for cell in cells[other]]:
                continue
            size = beta * (1 + 0.5 * k) + rng.normal(0, 0.05)
            moving = {"proxy": 0.5 + size * steps / 40, "true": 0.5 - 0.1 * size * steps / 40}
            moving["kl"] = np.array([-1e-3, 1, 2, 3]) * size
            run = {**key, "kl_level": kl_level, "kl_beta": BETAS.get(kl_level, 1.0), "step": steps}
            run |= {"n": 50, "proxy_se": 0.05, **OTHERS, **entropies, **moving, "uncertainty": 1 + beta}
            runs.append(pd.DataFrame(run))
    updates = pd.concat(runs)[["method", "level", "kl_level", "replicate"]].assign(zero_variance=False)
    gaps, scale = add_gaps(runs, SCALES)
    rows = [(arm, *cell) for arm, of in cells.items() for cell in of]
    table = select_arms(run_rows(gaps, pd.DataFrame(probes), updates, scale), pd.DataFrame(rows, columns=["arm", *RUN]))
    fits = {
        (str(method), str(arm)): fit(part["beta"], part["augc"], part["replicate"], part["win_rate"])
        for (method, arm), part in table.groupby(["method", "arm"])
    }
    distances = overoptimisation_rows(gaps, table, scale["proxy"], scale["true"])
    found = Results(table, gaps, fits, distances, scale, QUALITY)
    return replace(found, setup=setup(found.betas))


def fit(beta: Any, augc: Any, replicates: Any = None, win_rate: Any = None) -> dict[str, Any]:
    """What fit_power_law.py writes about these points."""
    columns = {"beta": beta, "augc": augc, "replicate": replicates, "win_rate": win_rate}
    return fit_points(pd.DataFrame({name: values for name, values in columns.items() if values is not None}))


def setup(betas: Mapping[str, float]) -> dict[str, Any]:
    """Records of a beta grid, Appendix C and the preferences, as a study with these betas might have them."""
    derived = derive(
        hidden_size=64,
        parameters=102_080,
        projections=[(64, 32), (64, 64)],
        n=90,
        memory_gb=16,
        token_counts=[30, 40],
        overrides={"lora_rank": 4},
    )
    coverage = {
        "rows_in_source": 120,
        "identical_pairs_dropped": 20,
        "pairs_with_tied_scores": 3,
        "pairs": 100,
        "prompts": 98,
        "tokens": {name: {"median": 12.0} for name in ("prompt", "chosen", "rejected")},
        "responses_by_source_model": {"policy": 200},
    }
    grid = [
        {"level": level, "beta": beta, "rule": "given", "one_by_construction": beta == 1, "median_delta": 2.5, "n": 90}
        for level, beta in betas.items()
    ]
    stages = dict.fromkeys(("offline", "reward", "online"), derived)
    sizes = {"online_problems": 30, "shared_problems": 0, "evaluation_seed": 1}
    return {"grid": grid, "derived": stages, "coverage": coverage, **sizes}


def changed(results: Results, **values: Any) -> Results:
    """The results with fields of theirs or of their setup or statistics replaced, other statistics as they were."""
    setup_fields = results.setup.keys() & values.keys()
    known = {name: getattr(results, name) for name in ("table1", "trends", "differences")}
    other = replace(results, setup={**results.setup, **{name: values[name] for name in setup_fields}})
    for name, value in (known | values).items():
        if name not in setup_fields:
            vars(other)[name] = value
    return other
