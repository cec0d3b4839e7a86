r"""Write where a study comes from: every file with its size, hash and origin, models, data, seeds, code and software.

An artefact is named with the step that made it; a file that has no room for its origin has that of its step.

    python workflow/scripts/write_provenance.py --artefacts \
        collect_runs=results/pocket/tables/runs.parquet collect_runs=results/pocket/tables/runs.csv \
        --derived results/pocket/derived.json --output results/pocket/provenance.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Labelled, Output, parser, run
from goodhart.errors import InputError
from goodhart.store.files import read_json, write_json


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--artefacts", type=Labelled, metavar="STEP=PATH", nargs="+", required=True)
    args.add_argument("--derived", type=Path, required=True, help="derived.json of the study")
    args.add_argument("--output", type=Output, required=True, help="in the folder of the study, where all paths start")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    derived = read_json(args.derived, ["offline", "reward", "online"])
    folder, artefacts = args.output.parent, []
    for item in args.artefacts:
        step, separator, path = item.partition("=")
        if not separator:
            raise InputError(f"--artefacts {item} is not STEP=PATH.")
        if not Path(path).is_relative_to(folder):
            raise InputError(f"--artefacts {item}: {path} does not lie in {folder}, as --output does.")
        artefacts.append((step, Path(path)))
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.store.inventory import git, inventory, machine, software

    found = inventory(folder, artefacts)
    write_json(
        args.output,
        {
            "study": folder.resolve().name,
            "git": git(Path(__file__).resolve()),
            "software": software(),
            "machine": machine(),
            "derived": {stage: values(derived[stage]) for stage in ("offline", "reward", "online")},
            **found,
        },
    )
    print(f"{len(found['artefacts'])} files of {len(found['origins'])} origins")


if __name__ == "__main__":
    run(main)
