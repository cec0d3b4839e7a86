"""Rules inherit from `step`, or from `model_step` if the script loads models, and add files, log and params."""

ENVIRONMENT = "../../envs/goodhart.yaml"


rule step:
    """A step that takes seconds or needs the network; it runs on Snakemake's own machine, even with a cluster.

    Every rule that inherits from it repeats `localrule: True`, which Snakemake does not inherit.
    """
    log:
        f"{LOGS}/step.log",
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "$PYTHON workflow/scripts/{params.script}.py {params.files} {params.settings} &> {log}"


rule model_step:
    """A step that loads models; on a cluster, it is a job with the resources that `cluster.smk` computes."""
    log:
        f"{LOGS}/step.log",
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=config["gpus"],
        mem_mb=host_memory,
        runtime=time_limit,
    shell:
        "$LAUNCH workflow/scripts/{params.script}.py {params.files} {params.settings} &> {log}"
