"""What a study found, in sentences made from its results, each number with its n and, for an estimate, how sure it is.

The verdict on a trend is that of the permutation test that uses the seeds.
"""
# ruff: noqa: RUF001 - reports speak Greek

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from goodhart.analysis.runs import FLAGS
from goodhart.report.numbers import cell, coefficient, measured, plural, probability
from goodhart.report.results import Results

SIGNIFICANCE = 0.05
FEWEST_SEEDS = 3  # Appendix F, metric 2
_UNITS = {
    "augc": "SD × updates",
    "augc_paper": "updates",
    "entropy_prompt_offline": "nats a token",
    "entropy_response_offline": "nats a token",
}


READ_IN_FULL = 0.05  # share of responses that a reward may read in part before the page says so


def decided(test: Mapping[str, Any]) -> bool:
    """Whether a test of a trend calls it one."""
    return test["p_value"] is not None and test["p_value"] < SIGNIFICANCE


def direction(trend: Mapping[str, Any]) -> str:
    """What a quantity does as beta grows, by the test that uses the seeds, as the verb of a sentence."""
    test, levels = trend["within_seeds"], trend["level_means"]["n"]
    if levels == 0:
        return "has no value in any run"
    if levels == 1:
        return "has values at one beta only"
    if test["n"] == 0:
        return "has no seed with values at two betas"
    if test["p_value"] is None:
        return "is the same at every beta, seed by seed"
    if decided(test):
        return "rises with beta" if test["statistic"] > 0 else "falls with beta"
    if test["smallest_p"] >= SIGNIFICANCE:
        limit = f"no order of the values has a p below {test['smallest_p']:.3f}"
        return f"cannot be called: in these {plural(test['n'], 'seed')} {limit}"
    return f"shows no order in beta that {plural(test['n'], 'seed')} can tell from chance"


def evidence(trend: Mapping[str, Any]) -> str:
    """The tests and the size of a trend, as a clause."""
    within, means = trend["within_seeds"], trend["level_means"]
    if within["p_value"] is None:
        return plural(within["n"], "seed")
    return (
        f"Spearman within seeds {coefficient(within['statistic'])}, {probability(within['p_value'])}, "
        f"{plural(within['n'], 'seed')}; of the {means['n']} level means {coefficient(means['statistic'])}, "
        f"{probability(means['p_value'])}; {slope_text(trend['slope'], trend['column'])}"
    )


def slope_text(slope: Mapping[str, Any] | None, column: str) -> str:
    """'change per factor e in beta ... (n = 3)', or why there is none."""
    if slope is None:
        return "no slope, as runs without a value count as later than all others"
    unit = f" {_UNITS[column]}" if column in _UNITS else ""
    size = measured(slope["mean"], slope["se"], slope["interval"])
    return f"change per factor e in beta {size}{unit} (n = {slope['n']})"


def headline(results: Results) -> Iterator[str]:
    """The answers in short."""
    for (method, arm), fit in results.fits.items():
        star = fit["beta_star"]["eq15"]
        interval = fit["beta_star_interval"]["eq15"]
        best = "the data determine no β*" if star is None else f"β* of Eq. 15 is {measured(star, None, interval)}"
        yield f"Arm {results.name(method, arm)}: AUGC {direction(results.trend(method, arm, 'augc'))}; {best}."


def cut_by_the_rewards(results: Results) -> Iterator[str]:
    """A warning where the rewards read only a part of what they judge: where pairs are shorter than answers."""
    share = results.runs["reward_truncated_end"].mean()
    if share > READ_IN_FULL:
        length = results.derived["reward"]["values"]["max_length"]["value"]
        yield (
            f"At the end of the online stage the rewards read only a part of {share:.0%} of the responses (n = "
            f"{plural(len(results.runs), 'run')}): prompt and response are longer than the {length} tokens of the "
            "pairs that they were trained on. Such a reward does not see the answer; reward.override.max_length raises "
            "it."
        )


def conservatism(results: Results) -> Iterator[str]:
    """The question of the paper, arm by arm, in both forms of the gap."""
    fewest = int(results.table1["n"].min())
    if fewest < FEWEST_SEEDS:
        yield f"A level has only {plural(fewest, 'seed')}: nothing below is more than an illustration."
    for method, arm in results.panels:
        levels = results.levels(method, arm)
        values = "; ".join(
            f"{cell(row, 'augc')} at {row['level']} (β = {row['beta']:.3g})" for _, row in levels.iterrows()
        )
        trend = results.trend(method, arm, "augc")
        yield (
            f"Arm {results.name(method, arm)}: AUGC, in SD × updates, is {values}. It {direction(trend)} "
            f"({evidence(trend)}). The paper reports that it rises, ρ = +1.00. AUGC keeps positive gaps only, so "
            "that the noise of the evaluations makes it positive for a policy that does not move."
        )
        printed = results.trend(method, arm, "augc_paper")
        runs = results.runs[(results.runs["method"] == method) & (results.runs["arm"] == arm)]
        flagged = "; ".join(f"{title}: {int(runs[flag].sum())}" for flag, title in FLAGS.items())
        yield (
            f"From Eq. 2 as printed, AUGC {direction(printed)} ({evidence(printed)}). Eq. 2 takes rewards for ratios: "
            "it explodes where one starts at 0; where the proxy starts below 0, so does the gap, and much hacking "
            f"passes under it (of {plural(len(runs), 'run')}, {flagged})."
        )


def second_use(results: Results) -> Iterator[str]:
    """What the ordering owes to Eq. 10's second use of beta: the other arms against the first, run by run."""
    yield (
        "Eq. 10 uses beta a second time, as the weight of the online penalty, so that an arm with each level's own "
        "beta changes two things at once; in an arm with one beta for all there, only the offline stage differs."
    )
    for method, arm in results.panels:
        runs = results.runs[(results.runs["method"] == method) & (results.runs["arm"] == arm)]
        what = "one online beta" if len(runs["kl_level"].unique()) == 1 else "an online beta for each level"
        yield f"Arm {results.name(method, arm)} has {what}: AUGC {direction(results.trend(method, arm, 'augc'))}."
    for change in results.differences:
        levels = "; ".join(
            f"{measured(row['mean'], row['se'], row['interval'])} (n = {row['n']}) at {row['level']}"
            for row in change["levels"]
        )
        test = change["within_seeds"]
        yield (
            f"AUGC of arm {results.name(change['method'], change['arm'])} less that of arm {change['first']}, same "
            f"level and seed: {levels}; {slope_text(change['slope'], 'augc')}, Spearman within seeds "
            f"{coefficient(test['statistic'])}, {probability(test['p_value'])}, {plural(test['n'], 'seed')}. "
            f"{plural(change['shared'], 'run').capitalize()} of the two arms are the same runs."
        )


def entropy(results: Results) -> Iterator[str]:
    """Proposition 5.1, whose statement and proof have opposite signs, against the measured sign."""
    yield (
        "Proposition 5.1 states that the entropy of the offline policy does not rise with beta; its proof (A.4) "
        "concludes that it does not fall. Neither holds in general: a larger beta brings the policy towards its "
        "reference, and with it the entropy towards the reference's, from either side (docs/science.md, section 3). "
        "Measured here:"
    )
    names = {
        "entropy_response_offline": "over the tokens of sampled responses",
        "entropy_prompt_offline": "over the tokens of the prompts (Eq. 11 as printed)",
    }
    sides = {True: "as in the proof, against the statement", False: "as stated, against the proof"}
    for method, arm in results.first_panels:
        for column, name in names.items():
            trend = results.trend(method, arm, column)
            test = trend["within_seeds"]
            side = f", {sides[test['statistic'] > 0]}" if decided(test) else ": neither sign is shown"
            yield f"With {method}, entropy {name} {direction(trend)}{side} ({evidence(trend)})."


def warnings(results: Results) -> Iterator[str]:
    """What the fits and the comparison of curves warn of, in sentences."""
    for (method, arm), fit in results.fits.items():
        found = [*fit["warnings"], *fit["rivals"]["warnings"]]
        text = " ".join(warning["message"][0].upper() + warning["message"][1:] for warning in found)
        yield f"Arm {results.name(method, arm)}: {text or 'no warning.'}"
