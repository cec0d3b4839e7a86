r"""Collect the derived hyperparameters of every stage into one file of the study.

    python workflow/scripts/collect_derived.py --offline derived/offline.json --reward derived/reward.json \
        --online derived/online.json --derived derived.json
"""

from dataclasses import dataclass

from goodhart.cli import Output, run
from goodhart.runtime.types import Record
from goodhart.store.files import write_json
from goodhart.store.flags import StepFlags, record


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    offline: Record = record("inputs", "values")
    reward: Record = record("inputs", "values")
    online: Record = record("inputs", "values")
    derived: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    write_json(given.derived, {"offline": given.offline, "reward": given.reward, "online": given.online}, given.origin)


if __name__ == "__main__":
    run(main)
