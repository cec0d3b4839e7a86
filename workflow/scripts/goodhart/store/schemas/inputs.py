"""The columns of the tables that training reads: names, types, units and keys.

Each group of tables has its own module, so that a new column reruns only the steps that use this group.
"""

import pyarrow as pa

from goodhart.store.files import Table


def table(
    name: str, key: str, columns: dict[str, pa.DataType], optional: dict[str, pa.DataType] | None = None
) -> Table:
    """A contract: required columns, `optional` columns that may have empty cells, and a space-separated key."""
    fields = [pa.field(column, kind, nullable=False) for column, kind in columns.items()]
    fields += [pa.field(column, kind) for column, kind in (optional or {}).items()]
    return Table(name, pa.schema(fields), tuple(key.split()))


TEXT, INT, FLOAT, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
SHORT = pa.float32()  # of a column with one value per response
SHORTS, IDS = (pa.list_(pa.field("element", kind)) for kind in (SHORT, pa.int32()))

# One row per problem with a verifiable answer; split: preference, online or evaluation.
PROBLEMS = table("problems", "split problem_id", {"problem_id": TEXT, "split": TEXT, "prompt": TEXT, "answer": TEXT})

# The pretraining corpus of the embedded policy.
CORPUS = table("corpus", "row", {"row": INT, "prompt": TEXT, "response": TEXT})

# One row per pair; split (train, validation, test) depends on the prompt, so that no prompt is in two splits.
PREFERENCES = table(
    "preferences",
    "pair_id",
    {"pair_id": INT, "split": TEXT, "prompt": TEXT, "chosen": TEXT, "rejected": TEXT},
    {"chosen_score": FLOAT, "rejected_score": FLOAT, "chosen_source": TEXT, "rejected_source": TEXT},
)

# Reference log-probs in nats, summed over the response tokens that training sees; one row per pair that fits.
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

# Responses of the reference policy with the verdicts of both verifier styles (strict, flexible): one to each evaluation
# problem, and one to each of as many online problems, on which the proxy is calibrated.
RESPONSES = table(
    "reference responses",
    "problem_id",
    {
        "problem_id": TEXT,
        "split": TEXT,
        "prompt": TEXT,
        "response": TEXT,
        "finished": FLAG,
        "tokens": INT,
        "correct": FLAG,
        "correct_flexible": FLAG,
    },
)

# The scores of the reference policy's responses: the ensemble's mean reward and uncertainty (Eq. 13), each member's
# reward and, if known, the mean reward of the held-out reward models, the score of the judge that labelled the pairs,
# and the style of the response.
BASELINE = table(
    "reward baseline",
    "problem_id",
    {"problem_id": TEXT, "proxy": FLOAT, "uncertainty": FLOAT, "rewards": SHORTS},
    {"held_out": FLOAT, "judge": FLOAT, "style": TEXT},
)
