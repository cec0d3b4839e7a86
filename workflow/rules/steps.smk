"""What the rules inherit: `step`, or `model_step` if the script loads models. Each adds its files, log and params."""

ENVIRONMENT = "../../envs/goodhart.yaml"


rule step:
    """A step that takes seconds or needs the network; it runs where Snakemake runs, on a cluster too."""
    log:
        f"{LOGS}/step.log",
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "$PYTHON workflow/scripts/{params.script}.py {params.files} {params.settings} &> {log}"


rule model_step:
    """A step that loads models; on a cluster it is a job that requests what `cluster.smk` computes."""
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
