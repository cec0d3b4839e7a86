"""Pessimism's paradox, measured: DPO at several betas, online adaptation against a reward ensemble, the Goodhart gap."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


resource_scopes:
    gpu="local",


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/reference.smk"
include: "workflow/rules/reward.smk"
include: "workflow/rules/offline.smk"
include: "workflow/rules/online.smk"
include: "workflow/rules/measure.smk"


rule all:
    """Everything a study yields."""
    default_target: True
    input:
        ONLINE_TRAJECTORIES,
        f"{RESULTS}/derived.json",
        f"{RESULTS}/beta_grid.json",
        f"{RESULTS}/tables/table1.csv",
        FITS,


rule tables:
    """The tables and fits, from whatever they need."""
    input:
        f"{RESULTS}/tables/table1.csv",
        FITS,
