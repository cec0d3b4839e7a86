"""The columns of the summary tables: every evaluation with its gaps, and every run with its metrics."""

from goodhart.store.schemas.inputs import FLAG, FLOAT, INT, TEXT, table
from goodhart.store.schemas.measurements import CELL, MEASURES

# The trajectories of a study with both Goodhart gaps (Eq. 2 as printed, and the scale-free form).
GAPS = table(
    "gaps",
    "method level kl_level replicate step",
    {**CELL, "step": INT, **MEASURES, "gap": FLOAT, "gap_paper": FLOAT},
)

# One row per arm and run: all metrics of Appendix F; empty where a metric has no value (no onset, a constant series).
RUNS = table(
    "runs",
    "arm method level replicate",
    {
        "arm": TEXT,
        **CELL,
        "steps": INT,
        "evaluations": INT,
        "augc": FLOAT,
        "augc_paper": FLOAT,
        "proxy_start": FLOAT,
        "proxy_end": FLOAT,
        "true_start": FLOAT,
        "true_end": FLOAT,
        "true_drop_se": FLOAT,
        "gap_end": FLOAT,
        "kl_end": FLOAT,
        "uncertainty_mean": FLOAT,
        "entropy_prompt_offline": FLOAT,
        "entropy_response_offline": FLOAT,
        "entropy_prompt_collapse": FLOAT,
        "entropy_response_collapse": FLOAT,
        "ood_distance_offline": FLOAT,
        "diversity_offline": FLOAT,
        "uncertainty_offline": FLOAT,
        "win_rate": FLOAT,
        "preference_accuracy": FLOAT,
        "truncated_end": FLOAT,
        "empty_end": FLOAT,
        "reward_truncated_end": FLOAT,
        "zero_variance_batches": INT,
        "true_at_start_is_zero": FLAG,
        "proxy_at_start_near_zero": FLAG,
        "proxy_at_start_is_negative": FLAG,
    },
    {
        **dict.fromkeys(("onset", "onset_paper"), INT),
        **dict.fromkeys(("r_uq", "r_uq_differences", "r_uq_paper", "r_uq_paper_differences"), FLOAT),
    },
)

# One row per arm, method, level and reward: R(d) = d (alpha - bend log d) with d = sqrt(KL) (Gao et al. 2022).
OVEROPTIMISATION = table(
    "overoptimisation",
    "arm method level reward",
    {"arm": TEXT, "method": TEXT, "level": TEXT, "beta": FLOAT, "reward": TEXT, "n": INT, "replicates": INT},
    {
        "r_squared": FLOAT,
        **{f"{name}{end}": FLOAT for name in ("alpha", "bend", "peak_kl") for end in ("", "_low", "_high")},
    },
)
