r"""Write the provenance of a study: every file with size, hash and origin; models, data, seeds, code and software.

Each artefact is given as STEP=PATH. A file whose format cannot store an origin gets the origin of its step.

    python workflow/scripts/write_provenance.py --artefacts \
        collect_runs=results/pocket/tables/runs.parquet collect_runs=results/pocket/tables/runs.csv \
        --derived results/pocket/replicate-0/derived.json --provenance results/pocket/provenance.json
"""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.runtime.types import Record
from goodhart.store.files import write_json
from goodhart.store.flags import StepFlags, record


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    artefacts: list[str] = flag(help="STEP=PATH of every output")
    derived: Record = record("offline", "reward", "online", help="derived.json of the study")
    provenance: Output = flag(help="provenance.json in the folder of the study; paths are relative to this folder")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    folder, artefacts = given.provenance.parent, []
    for item in given.artefacts:
        step, separator, path = item.partition("=")
        if not separator or not Path(path).is_relative_to(folder):
            raise InputError(
                f"--artefacts {item} is not STEP=PATH with a path in {folder}, the folder of --provenance."
            )
        artefacts.append((step, Path(path)))
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.store.inventory import git, inventory, machine, software

    found = inventory(folder, artefacts)
    write_json(
        given.provenance,
        {
            "study": folder.resolve().name,
            "git": git(Path(__file__).resolve()),
            "software": software(),
            "machine": machine(),
            "derived": {stage: values(given.derived[stage]) for stage in ("offline", "reward", "online")},
            **found,
        },
    )
    print(f"{len(found['artefacts'])} files with {len(found['origins'])} origins")


if __name__ == "__main__":
    run(main)
