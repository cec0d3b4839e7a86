"""Pessimism's paradox, measured: DPO at several betas, online adaptation against a reward ensemble, the Goodhart gap."""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


resource_scopes:
    gpu="local",


include: "workflow/rules/common.smk"
include: "workflow/rules/paths.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/flags.smk"
include: "workflow/rules/steps.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/reference.smk"
include: "workflow/rules/reward.smk"
include: "workflow/rules/offline.smk"
include: "workflow/rules/online.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/artefacts.smk"
include: "workflow/rules/provenance.smk"


rule all:
    """All results of a study."""
    default_target: True
    input:
        of_each("preferences", ALL_DERIVED),
        f"{RESULTS}/beta_grid.json",
        rules.collect_runs.output,
        rules.tabulate_levels.output,
        FITS,
        rules.draw_figures.output,
        rules.show_samples.output,
        rules.decide.output,
        rules.write_findings.output,
        rules.write_provenance.output,


rule tables:
    """Table 1 and the fits, with all steps that they depend on."""
    input:
        rules.tabulate_levels.output,
        rules.fit_overoptimisation.output,
        FITS,


rule figures:
    """The figures; if the tables exist, only from the tables."""
    input:
        rules.draw_figures.output,


rule memory:
    """The planned memory of every stage, before any stage is run."""
    input:
        rules.plan_memory.output,
