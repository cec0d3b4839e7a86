r"""Describe a study as an RO-Crate (Process Run Crate), which archives and registries read; needs the extra `crate`.

Every file of provenance.json, and an action for each step: its script, its arguments, the files it took and made. The
metadata stand in the folder of the study, which then is the crate. They bear the day of the export.

    python workflow/scripts/write_crate.py --provenance results/pocket/provenance.json \
        --license https://spdx.org/licenses/Apache-2.0 --output results/pocket/ro-crate-metadata.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from goodhart.artifacts import read_json, write_text
from goodhart.commandline import Output, parser, run
from goodhart.errors import InputError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--provenance", type=Path, required=True, help="provenance.json of the study")
    args.add_argument("--license", required=True, help="address of the license of the results")
    args.add_argument("--output", type=Output, required=True, help="ro-crate-metadata.json beside it")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    record = read_json(args.provenance, ["study", "models", "adapters", "origins", "artefacts"])
    if find_spec("rocrate") is None:
        raise InputError("an RO-Crate needs the package rocrate; install this project's extra 'crate'.")
    from goodhart.crate import crate

    write_text(args.output, json.dumps(crate(record, args.license), indent=2) + "\n")


if __name__ == "__main__":
    run(main)
