r"""Compute log-probs of all preference responses under the reference policy (the base model), once for all runs.

    python workflow/scripts/score_reference.py --preferences preferences.parquet --policy policy --precision float32 \
        --derived derived/offline.json --threads 1 --logprobs logprobs.parquet
"""

from dataclasses import dataclass

from goodhart.cli import Output, run
from goodhart.models.flags import PolicyFlags
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_table
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES


@dataclass(frozen=True, kw_only=True)
class Arguments(PolicyFlags):
    preferences: Frame = table(PREFERENCES)
    derived: Record = record("values", help="derived/offline.json, for max_length and batch size")
    logprobs: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    origin = given.origin
    from goodhart.data.reference import reference_logprobs
    from goodhart.hyperparameters.appendix_c import values

    used = values(given.derived)
    max_length, batch_size = used["max_length"], used["inference_batch_size"]
    with dump_on_nan(given.logprobs.with_suffix(".stopped.json")):
        logprobs = reference_logprobs(*given.load_policy(), given.preferences, max_length, batch_size)
    print(f"{len(logprobs)} of {len(given.preferences)} pairs have a prompt that fits into {max_length} tokens")
    write_table(given.logprobs, logprobs, LOGPROBS, origin)


if __name__ == "__main__":
    run(main)
