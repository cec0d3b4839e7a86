"""The beta of one level: a percentile of the reference's absolute log-ratios over their median (Eq. 6-7), or a number.

python workflow/scripts/derive_beta.py --level p20 --logprobs logprobs.parquet --output beta/p20.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Output, parser, run
from goodhart.hyperparameters.betas import parse_level
from goodhart.store.files import read_table, write_json
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import LOGPROBS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--level", required=True, help="p20: 20th percentile; b0.10: beta = 0.10")
    args.add_argument("--logprobs", type=Path, required=True)
    args.add_argument("--output", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    kind, number = parse_level(args.level)
    logprobs = read_table(args.logprobs, LOGPROBS, split="train")
    made = Origin.of(args, __file__)
    import numpy as np

    from goodhart.hyperparameters.betas import beta_at, log_ratio_magnitudes

    deltas = log_ratio_magnitudes(logprobs["chosen_logprob"].to_numpy(), logprobs["rejected_logprob"].to_numpy())
    beta = beta_at(deltas, number) if kind == "percentile" else number
    if kind == "percentile" and number == 50:
        print("beta at the 50th percentile is 1 by construction: the median over itself (Eq. 7)")
    write_json(
        args.output,
        {
            "level": args.level,
            "beta": beta,
            "rule": f"pct_{number:g}(delta) / (median(delta) + eps), Eq. 7" if kind == "percentile" else "given",
            "one_by_construction": kind == "percentile" and number == 50,
            "median_delta": float(np.median(deltas)),
            "n": len(deltas),
        },
        made,
    )


if __name__ == "__main__":
    run(main)
