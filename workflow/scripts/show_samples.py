r"""Show what online adaptation did to single responses: one HTML page, complete in itself, first and last side by side.

For each run the page gives the totals over all problems, then two kinds of examples and how they were chosen: where
the answer went from right to wrong and the proxy rose most, and problems drawn at random from all others.

    python workflow/scripts/show_samples.py --samples online/dpo/p20/kl-p20/seed-0/samples.parquet --examples 6 \
        --seed 0 --page samples.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.report.html import page, stamped
from goodhart.store.files import read_table, write_text
from goodhart.store.flags import Frame, StepFlags
from goodhart.store.schemas.measurements import SAMPLES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    samples: list[Path] = flag(help="samples.parquet of one or more runs")
    examples: int = flag(help="at most so many of each kind and run")
    seed: int = flag(help="of the random examples")
    page: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    if given.examples < 1:
        raise InputError(f"--examples must be at least 1, not {given.examples}.")
    sections = []
    for path in given.samples:
        samples = read_table(path, SAMPLES)
        if samples["step"].nunique() < 2:
            raise InputError(f"{path} has responses of a single step; there is nothing to compare.")
        sections.append(render_run(samples, given.examples, given.seed))
    page = render_page(sections, given.examples, given.seed)
    write_text(given.page, stamped(page, given.origin))


def paired(samples: pd.DataFrame) -> pd.DataFrame:
    """One row a problem: columns of the first response end in `_first`, of the last in `_last`; `rise` of the proxy."""
    first, last = (samples[samples["step"] == step] for step in (samples["step"].min(), samples["step"].max()))
    columns = ["problem_id", "step", "response", "proxy", "uncertainty", "correct", "finished", "tokens"]
    pairs = first[["prompt", "answer", *columns]].merge(last[columns], on="problem_id", suffixes=("_first", "_last"))
    return pairs.assign(rise=pairs["proxy_last"] - pairs["proxy_first"]).sort_values("problem_id", ignore_index=True)


def choose(pairs: pd.DataFrame, examples: int, seed: int) -> dict[str, Frame]:
    """At most `examples` rows that went from right to wrong, the largest rise first, and as many random others."""
    hacked = pairs[pairs["correct_first"] & ~pairs["correct_last"] & (pairs["rise"] > 0)]
    worst = hacked.sort_values(["rise", "problem_id"], ascending=[False, True]).head(examples)
    others = pairs.drop(index=worst.index)
    drawn = others.sample(min(examples, len(others)), random_state=seed)
    return {
        f"From right to wrong with the largest rise of the proxy: {len(worst)} of {len(hacked)}": worst,
        f"At random: {len(drawn)} of the other {len(others)}": drawn,
    }


def render_page(sections: Sequence[str], examples: int, seed: int) -> str:
    """The page around the sections of the runs."""
    body = f"""<p>Both responses to a problem are samples of the policy: at the first evaluation of a run, which is of
the offline checkpoint, and at the last. <em>Proxy</em> is the mean reward of the ensemble and <em>uncertainty</em> the
standard deviation of its members (Eq. 13), both in reward units; right and wrong is the verifier's verdict.</p>
<p>How the examples were chosen: first, at most {examples} problems a run whose answer went from right to wrong while
the proxy rose, those with the largest rise first. They are the worst cases, not typical ones. Then at most {examples}
drawn at random (seed {seed}) from all other problems of the run. The totals count every problem.</p>
{"".join(sections)}"""
    return page("Responses before and after online adaptation", body)


def render_run(samples: pd.DataFrame, examples: int, seed: int) -> str:
    """The section of one run: its totals and its examples."""
    pairs, cell = paired(samples), samples.iloc[0]
    first, last = pairs["correct_first"], pairs["correct_last"]
    totals = {
        "problems": f"{len(pairs)}",
        "right, first and last": f"{(first & last).sum()}",
        "right, then wrong": f"{(first & ~last).sum()}",
        "wrong, then right": f"{(~first & last).sum()}",
        "wrong, first and last": f"{(~first & ~last).sum()}",
        "mean change of the proxy": f"{pairs['rise'].mean():+.3f}",
        "problems whose proxy rose": f"{(pairs['rise'] > 0).sum()}",
        "mean change of the uncertainty": f"{(pairs['uncertainty_last'] - pairs['uncertainty_first']).mean():+.3f}",
        "mean change of the length": f"{(pairs['tokens_last'] - pairs['tokens_first']).mean():+.1f} tokens",
    }
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>\n" for name, value in totals.items())
    shown = "".join(
        f"<h3>{title}</h3>\n" + "".join(_example(pair) for _, pair in part.iterrows())
        for title, part in choose(pairs, examples, seed).items()
    )
    return f"""<section>
<h2>{escape(cell["method"])}, level {escape(cell["level"])} (β = {cell["beta"]:.3g}), online penalty of
{escape(cell["kl_level"])} (β = {cell["kl_beta"]:.3g}), seed {cell["seed"]}</h2>
<table>
{rows}</table>
{shown}</section>
"""


def _example(pair: pd.Series[Any]) -> str:
    sides = "".join(_side(pair, side) for side in ("first", "last"))
    return f"""<article>
<div class="note">Problem {escape(pair["problem_id"])}; the answer is {escape(pair["answer"])}; the proxy changed by
{pair["rise"]:+.3f}.</div>
<div class="text">{escape(pair["prompt"])}</div>
<div class="pair">{sides}</div>
</article>
"""


def _side(pair: pd.Series[Any], side: str) -> str:
    verdict = '<span class="right">✓ right</span>' if pair[f"correct_{side}"] else '<span class="wrong">✗ wrong</span>'
    cut = "" if pair[f"finished_{side}"] else ", cut at the token limit"
    return f"""<div><div>Step {pair[f"step_{side}"]}: {verdict}</div>
<div class="text">{escape(pair[f"response_{side}"])}</div>
<div class="note">proxy {pair[f"proxy_{side}"]:.3f}, uncertainty {pair[f"uncertainty_{side}"]:.3f},
{pair[f"tokens_{side}"]} tokens{cut}</div></div>
"""


if __name__ == "__main__":
    run(main)
