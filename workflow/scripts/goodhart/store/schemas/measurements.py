"""The columns of the tables with measurements of a policy: probes, trajectories, updates and responses."""

from goodhart.store.schemas.inputs import FLAG, FLOAT, IDS, INT, SHORT, SHORTS, TEXT, table

RUN = {"method": TEXT, "level": TEXT, "beta": FLOAT, "replicate": INT}
CELL = {**RUN, "kl_level": TEXT, "kl_beta": FLOAT}

# Measurements of one policy over the evaluation problems. proxy: mean ensemble reward; true: strict accuracy;
# uncertainty: Eq. 13; uncertainty_centred: Eq. 13 after subtracting each member's mean over held-out responses; kl:
# nats per sequence; kl_reference: the same relative to the reference policy pi0; entropies: nats per token; distances:
# cosine; truncated: share of responses cut by the token limit; empty: share of blank responses; reward_truncated: share
# of responses that the reward models read only in part.
MEASURES = {
    "n": INT,
    "proxy": FLOAT,
    "proxy_se": FLOAT,
    "true": FLOAT,
    "true_flexible": FLOAT,
    "uncertainty": FLOAT,
    "uncertainty_centred": FLOAT,
    "kl": FLOAT,
    "kl_reference": FLOAT,
    "entropy_prompt": FLOAT,
    "entropy_response": FLOAT,
    "ood_distance": FLOAT,
    "diversity": FLOAT,
    "response_tokens": FLOAT,
    "truncated": FLOAT,
    "empty": FLOAT,
    "reward_truncated": FLOAT,
}
# Where known: the mean reward of the held-out reward models, and the mean score of the judge that labelled the pairs.
KNOWN = {"held_out": FLOAT, "judge": FLOAT}

# One row per offline checkpoint; kl is relative to the reference policy pi0. Win rates are those over the responses of
# pi0, by the score of the ensemble, of the held-out reward models, and of the judge.
PROBE = table(
    "offline probe",
    "method level replicate",
    {**RUN, **MEASURES, "preference_accuracy": FLOAT, "win_rate": FLOAT},
    {**KNOWN, "held_out_win_rate": FLOAT, "judge_win_rate": FLOAT},
)

# One row per evaluation of an offline checkpoint with another sampling seed, numbered from 1; 0 is the probe's own.
FLOOR = table("noise floor", "method level replicate number", {**RUN, "number": INT, "proxy": FLOAT, "true": FLOAT})

# One row per evaluation, including t = 0; kl is relative to the offline checkpoint.
TRAJECTORY = table("trajectory", "method level kl_level replicate step", {**CELL, "step": INT, **MEASURES}, KNOWN)

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

# Every response of every evaluation, with the rewards of all members, and its log-ratio to the offline checkpoint and
# to the reference policy pi0, in nats per sequence. The first 64 problems also have the token ids of the response and
# the log-ratio to the offline checkpoint of each token.
RESPONSE = {
    "problem_id": TEXT,
    "response": TEXT,
    "finished": FLAG,
    "tokens": INT,
    "correct": FLAG,
    "correct_flexible": FLAG,
    "rewards": SHORTS,
    "log_ratio": SHORT,
    "log_ratio_reference": SHORT,
}
EXTRA = {"held_out": SHORT, "judge": SHORT, "token_ids": IDS, "token_log_ratios": SHORTS}
# What the analysis reads of the responses of an online run.
SCORED_RESPONSES = table(
    "online responses",
    "method level kl_level replicate step problem_id",
    {
        **{name: CELL[name] for name in ("method", "level", "kl_level", "replicate")},
        "step": INT,
        **{name: RESPONSE[name] for name in ("problem_id", "correct", "rewards", "log_ratio", "log_ratio_reference")},
    },
)
OFFLINE_RESPONSES = table("offline responses", "method level replicate problem_id", {**RUN, **RESPONSE}, EXTRA)
ONLINE_RESPONSES = table(
    "online responses",
    "method level kl_level replicate step problem_id",
    {**CELL, "step": INT, **RESPONSE},
    EXTRA,
)
