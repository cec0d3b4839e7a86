"""Small studies made up without a model, and what their tables lead to: curves, fits and findings of known shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from goodhart.analysis import gates
from goodhart.analysis.calibration import fit_calibration
from goodhart.analysis.curves import fit_points
from goodhart.analysis.estimands import Origin
from goodhart.analysis.overoptimisation import overoptimisation_rows
from goodhart.analysis.primary import at_equal_pressure, gate_tables, primary_runs, verdict
from goodhart.analysis.reference import Reference
from goodhart.analysis.runs import RUN, add_gaps, add_onsets, run_rows, select_arms
from goodhart.hyperparameters.appendix_c import derive
from goodhart.report.results import Results

BETAS = {"p80": 2.5, "p20": 0.4, "p50": 1.0}  # not in the order of beta
BETA_FROM, BETA_TO = 0.3, 3.0  # of the primary contrast, which has all of these levels
QUALITY = {
    "pairs": 100,
    "member_accuracy": [0.7, 0.72, 0.69],
    "ensemble_accuracy": 0.75,
    "calibration": [{"predicted": p, "observed": p, "n": n} for p, n in ((0.1, 5), (0.45, 95), (0.55, 95), (0.9, 5))],
    "proxy_mean": 0.5,
}
OTHERS = {"true_flexible": 0.5, "ood_distance": 0.1, "diversity": 0.1, "response_tokens": 40.0}
OTHERS |= {"truncated": 0.0, "empty": 0.0, "reward_truncated": 0.0}
# pi0's responses: within the only style, the proxy ranks 3 of 4 pairs of a right and a wrong response as it should.
SCORED = pd.DataFrame({"proxy": [0.0, 1.0, 2.0, 3.0], "correct": [False, True, False, True], "style": None})
CALIBRATION = fit_calibration(SCORED["proxy"], SCORED["correct"])


def reference(replicate: int) -> Reference:
    """Half of pi0's 50 answers are right; SDs are 1, but 1 / 2 for correctness."""
    origins = Origin(0.5, 1.0), Origin(0.5, 0.5), Origin(0.25, 1.0), Origin(1.0, 1.0)
    return Reference(replicate, 25, 50, *origins, calibration=CALIBRATION)


def study(
    levels: list[str],
    replicates: int,
    arms: list[str],
    methods: tuple[str, ...] = ("dpo",),
    entropy: Callable[[float, int], float] = lambda beta, replicate: 0.3,
) -> Results:
    """A study whose proxy rises with beta, so that the second arm, with a weaker penalty, hacks more.

    `entropy` is that of a checkpoint's responses by beta and replicate; that of the prompts is twice as large. The
    offline KL falls with beta, all gates pass, and the primary contrast is that of the last arm.
    """
    rng = np.random.default_rng(0)
    runs, responses, probes, floors, cells = [], [], [], [], {}
    steps = np.arange(0, 40, 10)
    for method, level, replicate in ((m, lv, s) for m in methods for lv in levels for s in range(replicates)):
        beta = BETAS.get(level, 1.0)
        key = {"method": method, "level": level, "beta": beta, "replicate": replicate}
        nats, offline_kl = entropy(beta, replicate), 2 / beta**2
        entropies = {"entropy_prompt": 2 * nats, "entropy_response": nats}
        extra = {"uncertainty": 1 + beta, "preference_accuracy": 0.7, "kl": offline_kl}
        extra |= dict.fromkeys(("win_rate", "held_out_win_rate", "judge_win_rate"), 0.5 + 0.1 * beta)
        probes.append({**key, **OTHERS, **entropies, **extra, "ood_distance": 0.1 + rng.normal(0, 0.01)})
        floors += [{**key, "number": k, "proxy": 0.5 + 0.1 * k, "true": 0.5} for k in (1, 2)]
        for k, arm in enumerate(arms):
            kl_level = min(levels, key=lambda name: BETAS.get(name, 1.0)) if k else level
            cells.setdefault(arm, []).append((method, level, kl_level, replicate))
            if cells[arm][-1] in [cell for other in arms[:k] for cell in cells[other]]:
                continue
            size = beta * (1 + 0.5 * k) + rng.normal(0, 0.05)
            moving = {"proxy": 0.5 + size * steps / 40, "true": 0.5 - 0.1 * size * steps / 40}
            moving |= {"held_out": 0.25 + 0.5 * size * steps / 40, "judge": 1 + 0.25 * size * steps / 40}
            moving["kl"] = np.array([-1e-3, 1, 2, 3]) * size
            moving["kl_reference"] = offline_kl + moving["kl"]
            run = {**key, "kl_level": kl_level, "kl_beta": BETAS.get(kl_level, 1.0), "step": steps}
            run |= {"n": 50, "proxy_se": 0.05, **OTHERS, **entropies, **moving}
            runs.append(pd.DataFrame({**run, "uncertainty": 1 + beta, "uncertainty_centred": beta}))
            responses.append(_responses(runs[-1]))
    references = {replicate: reference(replicate) for replicate in range(replicates)}
    updates = pd.concat(runs)[RUN].assign(zero_variance=False)
    gaps = add_gaps(runs, responses, references)
    of = pd.DataFrame([(arm, *cell) for arm, cells_of in cells.items() for cell in cells_of], columns=["arm", *RUN])
    rows = run_rows(gaps, pd.DataFrame(probes), pd.DataFrame(floors), updates, references)
    table, thresholds = add_onsets(select_arms(rows, of), gaps)
    fits = {
        (str(method), str(arm)): fit_points(part[["level", "beta", "augc", "replicate", "win_rate"]])
        for (method, arm), part in table.groupby(["method", "arm"])
    }
    found = Results(
        runs=table,
        gaps=gaps,
        fits=fits,
        overoptimisation=overoptimisation_rows(gaps, table),
        scales={"replicates": [origin.record() for origin in references.values()], "thresholds": thresholds},
        qualities=[QUALITY] * replicates,
    )
    return replace(found, setup=setup(found.betas), **judged(table, responses))


def _responses(run: pd.DataFrame) -> pd.DataFrame:
    """Four responses at every evaluation of a run, with its proxy and KL; one of three right ones becomes wrong."""
    each = run.loc[run.index.repeat(4)].assign(problem_id=[f"e-{i}" for i in range(4)] * len(run))
    rewards = [[proxy - 0.1, proxy, proxy + 0.1] for proxy in each["proxy"]]
    correct = (each["problem_id"] < "e-2") | ((each["problem_id"] == "e-2") & (each["step"] < 20))
    columns = [*RUN, "step", "problem_id"]
    return each[columns].assign(
        rewards=rewards, correct=correct, log_ratio=each["kl"], log_ratio_reference=each["kl_reference"]
    )


def judged(runs: pd.DataFrame, responses: Sequence[pd.DataFrame] = ()) -> dict[str, Any]:
    """What decide.py makes of the runs: the gates, the decision on the last arm, and the levels at equal pressure."""
    arm, replicates = runs["arm"].iloc[-1], runs["replicate"].unique()
    primary = primary_runs(runs, arm, BETA_FROM, BETA_TO)
    rows = gates.check(*gate_tables(runs, primary, dict.fromkeys(replicates, SCORED)))
    found = verdict(primary, gates.passed(rows, arm))
    decision = {"primary": {"arm": arm, "beta_from": BETA_FROM, "beta_to": BETA_TO}, **found}
    made = {"decision": decision, "gates": rows}
    if responses:
        origins = {replicate: {"mean": 0.5, "scale": 1.0} for replicate in replicates}
        made["pressure"] = at_equal_pressure(runs, responses, list(found["levels_of"]), origins)
    return made


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
    same = {"replicate": 0, "rule": "given", "median_delta": 2.5, "n": 90}
    grid = [{**same, "level": level, "beta": beta, "one_by_construction": beta == 1} for level, beta in betas.items()]
    stages = dict.fromkeys(("offline", "reward", "online"), derived)
    sizes = {"online_problems": 30, "shared_problems": 0, "evaluation_seed": 1}
    return {"grid": grid, "derived": stages, "coverage": coverage, "redraw": ["preferences", "rewards"], **sizes}


def changed(results: Results, **values: Any) -> Results:
    """The results with fields of theirs or of their setup or statistics replaced, other statistics as they were."""
    setup_fields = results.setup.keys() & values.keys()
    known = {name: getattr(results, name) for name in ("table1", "trends", "differences")}
    other = replace(results, setup={**results.setup, **{name: values[name] for name in setup_fields}})
    for name, value in (known | values).items():
        if name not in setup_fields:
            vars(other)[name] = value
    return other
