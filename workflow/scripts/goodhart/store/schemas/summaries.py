"""The columns of the summary tables: every evaluation with its gaps, and every run with its metrics."""

from goodhart.store.schemas.inputs import FLAG, FLOAT, INT, TEXT, table
from goodhart.store.schemas.measurements import CELL, KNOWN, MEASURES

GAPS_KNOWN = ("held_out_gap", "reward_error", "specification_error", "calibrated_gap")

# The trajectories of a study with every form of the gap. proxy_rise and true_rise: since pi0, in SD; gap: from the own
# start, in SD; gap_paper: Eq. 2 as printed; gap_reference: from pi0, in SD; debris: KL from pi0 over 1 nat per token.
# Where known, in SD: held_out_gap, reward_error, specification_error; calibrated_gap in accuracy, its standard error,
# and the share of scores beyond its range.
GAPS = table(
    "gaps",
    "method level kl_level replicate step",
    {
        **CELL,
        "step": INT,
        **MEASURES,
        **dict.fromkeys(("proxy_rise", "true_rise", "gap", "gap_paper", "gap_reference"), FLOAT),
        "debris": FLAG,
    },
    {**KNOWN, **dict.fromkeys((*GAPS_KNOWN, "calibrated_gap_se", "beyond_calibration"), FLOAT)},
)

# One row per arm and run: all metrics of Appendix F and our estimands; empty where one has no value (no onset, a
# constant series, no judge). Losses are in accuracy, offline_kl and kl_reference_end are measured from pi0, and
# augc_floor is the AUGC that evaluation noise alone would give with independent evaluations.
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
        "augc_reference": FLOAT,
        "true_reference": FLOAT,
        "offline_loss": FLOAT,
        "online_loss": FLOAT,
        "total_loss": FLOAT,
        "proxy_start": FLOAT,
        "proxy_end": FLOAT,
        "proxy_rise": FLOAT,
        "true_start": FLOAT,
        "true_end": FLOAT,
        "true_drop_se": FLOAT,
        "gap_end": FLOAT,
        "gap_reference_end": FLOAT,
        "kl_end": FLOAT,
        "kl_reference_end": FLOAT,
        "offline_kl": FLOAT,
        "debris": INT,
        "uncertainty_mean": FLOAT,
        "uncertainty_centred_mean": FLOAT,
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
        **dict.fromkeys(("augc_floor", "online_loss_share", "judge_win_rate", "held_out_win_rate"), FLOAT),
        **{f"{name}_end": FLOAT for name in GAPS_KNOWN},
    },
)

# One row per arm, method, replicate, level and kind of pressure (proxy in SD since pi0, KL from the own start, KL from
# pi0): the true reward where all levels of the primary contrast are under equal pressure; empty where a level is never
# there.
PRESSURE = table(
    "equal pressure",
    "arm method level replicate kind",
    {
        **dict.fromkeys(("arm", "method", "level", "kind"), TEXT),
        "beta": FLOAT,
        "replicate": INT,
        "target": FLOAT,
    },
    dict.fromkeys(("true", "pressure", "evaluation"), FLOAT),
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
