"""The columns of what a policy's measurements record: probes, trajectories, updates and samples."""

from goodhart.store.schemas.inputs import FLAG, FLOAT, INT, TEXT, table

RUN = {"method": TEXT, "level": TEXT, "beta": FLOAT, "seed": INT}
CELL = {**RUN, "kl_level": TEXT, "kl_beta": FLOAT}

# What is measured of one policy over the evaluation problems. proxy: mean ensemble reward; true: strict accuracy;
# uncertainty: Eq. 13; kl: nats a sequence; entropies: nats a token; distances: cosine; truncated: share of responses
# that the token limit cut; empty: share without a word; reward_truncated: share that the rewards read only a part of.
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

# One row an offline checkpoint; kl is to the reference policy pi0.
PROBE = table(
    "offline probe",
    "method level seed",
    {**RUN, **MEASURES, "preference_accuracy": FLOAT, "win_rate": FLOAT},
)

# One row an evaluation, t = 0 included; kl is to the offline checkpoint.
TRAJECTORY = table("trajectory", "method level kl_level seed step", {**CELL, "step": INT, **MEASURES})

# One row an update, measured on its own batch before the update.
STEPS = table(
    "steps",
    "method level kl_level seed step",
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

# One row a response at the first and the last evaluation of a run.
SAMPLES = table(
    "samples",
    "method level kl_level seed step problem_id",
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
