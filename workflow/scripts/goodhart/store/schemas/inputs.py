"""The columns of the tables that training reads: names, types, units and keys.

Each group of tables has a module of its own, so that a new column reruns only what knows of it.
"""

import pyarrow as pa

from goodhart.store.files import Table


def table(
    name: str, key: str, columns: dict[str, pa.DataType], optional: dict[str, pa.DataType] | None = None
) -> Table:
    """A contract: required columns, those that may have empty cells, and a key of space-separated columns."""
    fields = [pa.field(column, kind, nullable=False) for column, kind in columns.items()]
    fields += [pa.field(column, kind) for column, kind in (optional or {}).items()]
    return Table(name, pa.schema(fields), tuple(key.split()))


TEXT, INT, FLOAT, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

# One row a problem with a verifiable answer; split: preference, online or evaluation.
PROBLEMS = table("problems", "split problem_id", {"problem_id": TEXT, "split": TEXT, "prompt": TEXT, "answer": TEXT})

# What the embedded policy is trained on.
CORPUS = table("corpus", "row", {"row": INT, "prompt": TEXT, "response": TEXT})

# One row a pair; split (train, validation, test) goes by prompt, so that no prompt is in two.
PREFERENCES = table(
    "preferences",
    "pair_id",
    {"pair_id": INT, "split": TEXT, "prompt": TEXT, "chosen": TEXT, "rejected": TEXT},
    {"chosen_score": FLOAT, "rejected_score": FLOAT, "chosen_source": TEXT, "rejected_source": TEXT},
)

# Reference log-probs in nats, summed over the response tokens that training sees; one row a pair that fits.
LOGPROBS = table(
    "reference log-probs",
    "pair_id",
    {
        "pair_id": INT,
        "split": TEXT,
        "chosen_logprob": FLOAT,
        "rejected_logprob": FLOAT,
        "prompt_tokens": INT,
        "chosen_tokens": INT,
        "rejected_tokens": INT,
        "truncated": FLAG,
    },
)

# One response a problem, with the verdicts of both readings of its answer.
RESPONSES = table(
    "reference responses",
    "problem_id",
    {
        "problem_id": TEXT,
        "prompt": TEXT,
        "response": TEXT,
        "finished": FLAG,
        "tokens": INT,
        "correct": FLAG,
        "correct_flexible": FLAG,
    },
)

# The ensemble's judgement of the reference policy's responses.
BASELINE = table("reward baseline", "problem_id", {"problem_id": TEXT, "proxy": FLOAT, "uncertainty": FLOAT})
