r"""Derive the hyperparameters of one stage from architecture, hardware and data (Appendix C); record overrides.

    python workflow/scripts/derive_hyperparameters.py --model policy --preferences preferences.parquet \
        --memory-gb 80 --epochs 1 --seed 0 --override learning_rate=5e-3 --derived derived/offline.json
"""

import sys
from ast import literal_eval
from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import Output, flag, run
from goodhart.errors import InputError
from goodhart.runtime.types import Frame
from goodhart.store.files import read_json, write_json
from goodhart.store.flags import StepFlags, table
from goodhart.store.schemas.inputs import PREFERENCES


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    model: Path = flag(help="model folder of the stage: policy or reward backbone")
    preferences: Frame = table(PREFERENCES, "train")
    memory_gb: float = flag(help="V_GB of Eq. B.3")
    epochs: int = flag(default=1, help="passes over the training pairs; they determine the warm-up")
    steps: int | None = flag(default=None, help="number of updates, for a stage without epochs")
    seed: int = flag(help="seed of the sample whose token counts set max_length")
    override: tuple[str, ...] = flag(default=(), help="NAME=VALUE: replace the derived value; both are recorded")
    derived: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    manifest = read_json(given.model / "manifest.json", ["hidden_size", "parameters", "projections"])

    from goodhart.hyperparameters import appendix_c
    from goodhart.models.loading import load_tokenizer
    from goodhart.models.tokens import encode_pairs

    sample = given.preferences.sample(n=appendix_c.sample_size(len(given.preferences)), random_state=given.seed)
    counts = [
        len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))
        for pair in encode_pairs(load_tokenizer(given.model), sample, max_length=sys.maxsize)
        if pair
    ]
    derived = appendix_c.derive(
        hidden_size=manifest["hidden_size"],
        parameters=manifest["parameters"],
        projections=[(rows, columns) for rows, columns in manifest["projections"]],
        n=len(given.preferences),
        memory_gb=given.memory_gb,
        token_counts=counts,
        steps=given.steps,
        epochs=given.epochs,
        overrides=dict(_override(item) for item in given.override),
    )
    write_json(given.derived, derived, given.origin)


def _override(item: str) -> tuple[str, float]:
    name, _, value = item.partition("=")
    try:
        return name, literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise InputError(f"--override {item} is not NAME=NUMBER.") from error


if __name__ == "__main__":
    run(main)
