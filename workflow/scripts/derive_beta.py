"""Beta of one level: a percentile of absolute reference log-ratios over their median (Eq. 6-7), or an explicit value.

python workflow/scripts/derive_beta.py --level p20 --logprobs logprobs.parquet --beta beta/p20.json
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, run
from goodhart.runtime.types import Frame
from goodhart.store.files import write_json
from goodhart.store.flags import StepFlags, table
from goodhart.store.schemas.inputs import LOGPROBS


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    level: str = flag(help="p20: 20th percentile in Eq. 7; b0.10: beta = 0.10")
    logprobs: Frame = table(LOGPROBS, "train")
    beta: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    from goodhart.hyperparameters.betas import derive_beta

    chosen, rejected = (given.logprobs[f"{side}_logprob"].to_numpy() for side in ("chosen", "rejected"))
    derived = derive_beta(given.level, chosen, rejected)
    if derived["one_by_construction"]:
        print("beta at the 50th percentile is 1 by construction, because Eq. 7 divides by the median")
    write_json(given.beta, derived, given.origin)


if __name__ == "__main__":
    run(main)
