"""The columns of every table a step hands to the next: names, types, units and keys."""

from __future__ import annotations

import pyarrow as pa

from goodhart.artifacts import Table


def _table(
    name: str, key: str, columns: dict[str, pa.DataType], optional: dict[str, pa.DataType] | None = None
) -> Table:
    fields = [pa.field(column, kind, nullable=False) for column, kind in columns.items()]
    fields += [pa.field(column, kind) for column, kind in (optional or {}).items()]
    return Table(name, pa.schema(fields), tuple(key.split()))


_TEXT, _INT, _FLOAT, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

# One row a problem with a verifiable answer; split: preference, online or evaluation.
PROBLEMS = _table(
    "problems", "split problem_id", {"problem_id": _TEXT, "split": _TEXT, "prompt": _TEXT, "answer": _TEXT}
)

# What the embedded policy is trained on.
CORPUS = _table("corpus", "row", {"row": _INT, "prompt": _TEXT, "response": _TEXT})

# One row a pair; split (train, validation, test) goes by prompt, so that no prompt is in two.
PREFERENCES = _table(
    "preferences",
    "pair_id",
    {"pair_id": _INT, "split": _TEXT, "prompt": _TEXT, "chosen": _TEXT, "rejected": _TEXT},
    {"chosen_score": _FLOAT, "rejected_score": _FLOAT, "chosen_source": _TEXT, "rejected_source": _TEXT},
)

# Reference log-probs in nats, summed over the response tokens that training sees; one row a pair that fits.
LOGPROBS = _table(
    "reference log-probs",
    "pair_id",
    {
        "pair_id": _INT,
        "split": _TEXT,
        "chosen_logprob": _FLOAT,
        "rejected_logprob": _FLOAT,
        "prompt_tokens": _INT,
        "chosen_tokens": _INT,
        "rejected_tokens": _INT,
        "truncated": _FLAG,
    },
)

# One response a problem, with the verdicts of both readings of its answer.
RESPONSES = _table(
    "reference responses",
    "problem_id",
    {
        "problem_id": _TEXT,
        "prompt": _TEXT,
        "response": _TEXT,
        "finished": _FLAG,
        "tokens": _INT,
        "correct": _FLAG,
        "correct_flexible": _FLAG,
    },
)

# The ensemble's judgement of the reference policy's responses.
BASELINE = _table("reward baseline", "problem_id", {"problem_id": _TEXT, "proxy": _FLOAT, "uncertainty": _FLOAT})

_RUN = {"method": _TEXT, "level": _TEXT, "beta": _FLOAT, "seed": _INT}
_CELL = {**_RUN, "kl_level": _TEXT, "kl_beta": _FLOAT}

# What is measured of one policy over the evaluation problems. proxy: mean ensemble reward; true: strict accuracy;
# uncertainty: Eq. 13; kl: nats a sequence; entropies: nats a token; distances: cosine.
_MEASURES = {
    "n": _INT,
    "proxy": _FLOAT,
    "proxy_se": _FLOAT,
    "true": _FLOAT,
    "true_flexible": _FLOAT,
    "uncertainty": _FLOAT,
    "kl": _FLOAT,
    "entropy_prompt": _FLOAT,
    "entropy_response": _FLOAT,
    "ood_distance": _FLOAT,
    "diversity": _FLOAT,
    "response_tokens": _FLOAT,
    "truncated": _FLOAT,
}

# One row an offline checkpoint; kl is to the reference policy pi0.
PROBE = _table(
    "offline probe",
    "method level seed",
    {**_RUN, **_MEASURES, "preference_accuracy": _FLOAT, "win_rate": _FLOAT},
)

# One row an evaluation, t = 0 included; kl is to the offline checkpoint.
TRAJECTORY = _table("trajectory", "method level kl_level seed step", {**_CELL, "step": _INT, **_MEASURES})

# One row an update, measured on its own batch before the update.
STEPS = _table(
    "steps",
    "method level kl_level seed step",
    {
        **_CELL,
        "step": _INT,
        **dict.fromkeys(
            (
                "loss",
                "policy_loss",
                "kl_penalty",
                "kappa",
                "proxy",
                "proxy_sd",
                "uncertainty",
                "kl",
                "abs_log_ratio",
                "gradient_norm",
                "learning_rate",
                "response_tokens",
                "truncated",
            ),
            _FLOAT,
        ),
        "zero_variance": _FLAG,
    },
)

# One row a response at the first and the last evaluation of a run.
SAMPLES = _table(
    "samples",
    "method level kl_level seed step problem_id",
    {
        **_CELL,
        "step": _INT,
        "problem_id": _TEXT,
        "prompt": _TEXT,
        "answer": _TEXT,
        "response": _TEXT,
        "proxy": _FLOAT,
        "uncertainty": _FLOAT,
        "correct": _FLAG,
        "correct_flexible": _FLAG,
        "finished": _FLAG,
        "tokens": _INT,
    },
)

# The trajectories of a study with both Goodhart gaps (Eq. 2 as printed, and the scale-free form).
GAPS = _table(
    "gaps",
    "method level kl_level seed step",
    {**_CELL, "step": _INT, **_MEASURES, "gap": _FLOAT, "gap_paper": _FLOAT},
)

# One row an arm and run: every metric of Appendix F; empty where a metric has no value (no onset, a flat series).
RUNS = _table(
    "runs",
    "arm method level seed",
    {
        "arm": _TEXT,
        **_CELL,
        "steps": _INT,
        "evaluations": _INT,
        "augc": _FLOAT,
        "augc_paper": _FLOAT,
        "proxy_start": _FLOAT,
        "proxy_end": _FLOAT,
        "true_start": _FLOAT,
        "true_end": _FLOAT,
        "true_drop_se": _FLOAT,
        "gap_end": _FLOAT,
        "kl_end": _FLOAT,
        "uncertainty_mean": _FLOAT,
        "entropy_prompt_offline": _FLOAT,
        "entropy_response_offline": _FLOAT,
        "entropy_prompt_collapse": _FLOAT,
        "entropy_response_collapse": _FLOAT,
        "ood_distance_offline": _FLOAT,
        "diversity_offline": _FLOAT,
        "uncertainty_offline": _FLOAT,
        "win_rate": _FLOAT,
        "preference_accuracy": _FLOAT,
        "truncated_end": _FLOAT,
        "zero_variance_batches": _INT,
        "true_at_start_is_zero": _FLAG,
        "proxy_at_start_near_zero": _FLAG,
    },
    {"onset": _INT, "r_uq": _FLOAT, "r_uq_differences": _FLOAT},
)
