"""The columns of the tables with measurements of a policy: probes, trajectories, updates and samples."""

from goodhart.store.schemas.inputs import FLAG, FLOAT, INT, TEXT, table

RUN = {"method": TEXT, "level": TEXT, "beta": FLOAT, "replicate": INT}
CELL = {**RUN, "kl_level": TEXT, "kl_beta": FLOAT}

# Measurements of one policy over the evaluation problems. proxy: mean ensemble reward; true: strict accuracy;
# uncertainty: Eq. 13; kl: nats per sequence; entropies: nats per token; distances: cosine; truncated: share of
# responses cut by the token limit; empty: share of blank responses; reward_truncated: share of responses that the
# reward models read only in part.
MEASURES = {
    "n": INT,
    "proxy": FLOAT,
    "proxy_se": FLOAT,
    "true": FLOAT,
    "true_flexible": FLOAT,
    "uncertainty": FLOAT,
    "kl": FLOAT,
    "entropy_prompt": FLOAT,
    "entropy_response": FLOAT,
    "ood_distance": FLOAT,
    "diversity": FLOAT,
    "response_tokens": FLOAT,
    "truncated": FLOAT,
    "empty": FLOAT,
    "reward_truncated": FLOAT,
}

# One row per offline checkpoint; kl is relative to the reference policy pi0.
PROBE = table(
    "offline probe",
    "method level replicate",
    {**RUN, **MEASURES, "preference_accuracy": FLOAT, "win_rate": FLOAT},
)

# One row per evaluation, including t = 0; kl is relative to the offline checkpoint.
TRAJECTORY = table("trajectory", "method level kl_level replicate step", {**CELL, "step": INT, **MEASURES})

# One row per update, measured on the batch of the update, before it.
STEPS = table(
    "steps",
    "method level kl_level replicate step",
    {
        **CELL,
        "step": INT,
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
                "empty",
                "reward_truncated",
            ),
            FLOAT,
        ),
        "zero_variance": FLAG,
    },
)

# One row per response at the first and the last evaluation of a run.
SAMPLES = table(
    "samples",
    "method level kl_level replicate step problem_id",
    {
        **CELL,
        "step": INT,
        "problem_id": TEXT,
        "prompt": TEXT,
        "answer": TEXT,
        "response": TEXT,
        "proxy": FLOAT,
        "uncertainty": FLOAT,
        "correct": FLAG,
        "correct_flexible": FLAG,
        "finished": FLAG,
        "tokens": INT,
    },
)
