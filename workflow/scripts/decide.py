r"""Judge a study: its gates, the decision rule on the primary contrast, and the levels at equal pressure.

The primary contrast is one arm with one online beta, over the offline levels whose beta lies in a range that the
configuration names. Nothing is concluded where a gate fails.

    python workflow/scripts/decide.py --runs runs.parquet --scales scales.json --responses responses.parquet \
        --replicates 0 --reference reference/responses.parquet --baselines baseline.parquet --arm matched \
        --beta-from 0.3 --beta-to 3 --gates gates.json --decision decision.json --pressure pressure.parquet
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, run
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_json, write_table
from goodhart.store.flags import StepFlags, record, table
from goodhart.store.schemas.inputs import BASELINE, RESPONSES
from goodhart.store.schemas.measurements import SCORED_RESPONSES
from goodhart.store.schemas.summaries import PRESSURE, RUNS


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    runs: Frame = table(RUNS)
    scales: Record = record("replicates")
    responses: list[Frame] = table(SCORED_RESPONSES, help="of all runs")
    replicates: list[int]
    baselines: list[Frame] = table(BASELINE, help="of each replicate, in their order")
    reference: list[Frame] = table(RESPONSES, help="the reference policy's responses, of each replicate")
    arm: str = flag(help="of the primary contrast")
    beta_from: float = flag(help="smallest offline beta of the primary contrast")
    beta_to: float = flag(help="largest offline beta of the primary contrast")
    gates: Output
    decision: Output
    pressure: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    from goodhart.analysis import gates
    from goodhart.analysis.primary import at_equal_pressure, gate_tables, primary_runs, verdict

    primary = primary_runs(given.runs, given.arm, given.beta_from, given.beta_to)
    one_each = zip(given.replicates, given.baselines, given.reference, strict=True)
    scored = {number: reference.merge(baseline, on="problem_id") for number, baseline, reference in one_each}
    rows = gates.check(*gate_tables(given.runs, primary, scored))
    found = verdict(primary, gates.passed(rows, given.arm))
    chosen = {"arm": given.arm, "beta_from": given.beta_from, "beta_to": given.beta_to}
    write_json(given.gates, {"gates": rows}, given.origin)
    write_json(given.decision, {"primary": chosen, **found}, given.origin)
    proxy = {reference["replicate"]: reference["proxy"] for reference in given.scales["replicates"]}
    levels = list(found["levels_of"]) or given.runs["level"].unique().tolist()
    pressure = at_equal_pressure(given.runs, given.responses, levels, proxy)
    write_table(given.pressure, pressure, PRESSURE, given.origin)


if __name__ == "__main__":
    run(main)
