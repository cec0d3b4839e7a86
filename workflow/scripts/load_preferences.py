r"""Load preference pairs from a local file or a hub dataset, split 80/10/10 by prompt (section 4.1).

The form defines the content of a row and the required columns. In `pairs`, a row has a chosen and a rejected response.
In `scored`, a row has one response and its score; the best and the worst response to each prompt become a pair.

    python workflow/scripts/load_preferences.py --source ultrafeedback/train.jsonl --form pairs --prompt-column prompt \
        --chosen-column chosen --rejected-column rejected --pairs 32 --seed 0 --policy policy \
        --preferences preferences.parquet --coverage coverage.json
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodhart.cli import Output, Source, flag, group, run
from goodhart.data.pairing import FORMS, Columns, columns_of
from goodhart.errors import InputError
from goodhart.store.files import write_json, write_table
from goodhart.store.flags import StepFlags
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import PREFERENCES

MOST_UNKNOWN = 0.05  # share of unknown and padding tokens; with more, models would be trained on gaps


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    source: Source = flag(help="file or dataset[:split]")
    name: str | None = flag(default=None, help="configuration of a hub dataset")
    revision: str | None = flag(default=None, help="branch, tag or commit of a hub dataset; default: main")
    form: str = flag(choices=sorted(FORMS))
    columns: Any = group(Columns)
    pairs: int | None = flag(default=None, help="maximum number, drawn with the seed; default: all")
    bootstrap: str | None = flag(default=None, choices=["prompts"], help="draw all prompts anew, with replacement")
    held_out_share: float = flag(default=0.0, help="share of the prompts for held-out reward models")
    seed: int
    policy: Path = flag(help="model folder whose tokeniser counts tokens")
    preferences: Output
    coverage: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    columns = columns_of(given.form, vars(given.columns))
    from goodhart.data.preferences import coverage, finish_preferences, pair_texts
    from goodhart.data.sources import pick_columns, read_source

    rows, record = read_source(given.source, given.name, given.revision)
    raw, dropped = FORMS[given.form].pair(pick_columns(rows, columns, given.source))
    bootstrap = given.bootstrap is not None
    preferences, counts = finish_preferences(
        pair_texts(raw, given.source), given.seed, given.pairs, given.held_out_share, bootstrap
    )

    from goodhart.models.loading import load_tokenizer
    from goodhart.models.manifest import check_model

    check_model(given.policy)
    origin = Origin.of(given.raw, __file__, data=record)
    covered = coverage(preferences, load_tokenizer(given.policy))
    if (unknown := covered["unknown_tokens"]) > MOST_UNKNOWN:
        raise InputError(
            f"{unknown:.0%} of the tokens of {given.source} are unknown to the policy's tokenizer, at most "
            f"{MOST_UNKNOWN:.0%} may be; use a policy whose vocabulary covers these texts."
        )
    write_table(given.preferences, preferences, PREFERENCES, origin)
    write_json(given.coverage, {"data": record, **counts, **dropped, **covered}, origin)


if __name__ == "__main__":
    run(main)
