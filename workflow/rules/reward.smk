"""The reward ensemble: K members on bootstrap resamples, and its quality on held-out pairs."""

if config["reward"]["model"]:

    rule resolve_backbone:
        """The given reward backbone, pinned to weights that cannot change."""
        input:
            local_files(config["reward"]["model"]),
        output:
            directory(BACKBONE),
        log:
            f"{LOGS}/resolve_backbone.log",
        benchmark:
            f"{BENCHMARKS}/resolve_backbone.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: 1
        params:
            code=code("resolve_model"),
            model=config["reward"]["model"],
            revision=optional("--revision", config["reward"]["revision"]),
            prompts=config["reward"]["prompts"],
        shell:
            "$PYTHON workflow/scripts/resolve_model.py --model {params.model:q} {params.revision} --class reward"
            " --prompts {params.prompts} --output {output} &> {log}"


rule train_reward:
    """One member: Bradley-Terry (Eq. 5) on its own bootstrap resample."""
    input:
        preferences=f"{RESULTS}/data/preferences.parquet",
        backbone=BACKBONE,
        derived=f"{RESULTS}/derived/reward.json",
    output:
        adapter=directory(f"{RESULTS}/reward/member-{{member}}/adapter"),
        metrics=f"{RESULTS}/reward/member-{{member}}/metrics.json",
    log:
        f"{LOGS}/train_reward/member-{{member}}.log",
    benchmark:
        f"{BENCHMARKS}/train_reward/member-{{member}}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=config["gpus"],
        mem_mb=host_memory,
        runtime=time_limit,
    params:
        code=code("train_reward"),
        threads=config["threads"],
        precision=config["precision"],
        epochs=config["reward"]["epochs"],
        seed=config["reward"]["seed"],
        checkpoints=f"{CHECKPOINTS}/reward-member-{{member}}",
    shell:
        "$LAUNCH workflow/scripts/train_reward.py --member {wildcards.member} --preferences {input.preferences}"
        " --backbone {input.backbone} --precision {params.precision} --derived {input.derived}"
        " --epochs {params.epochs} --seed {params.seed} --threads {params.threads}"
        " --checkpoints {params.checkpoints} --checkpoint-minutes $CHECKPOINT_MINUTES"
        " --output {output.adapter} --metrics {output.metrics} &> {log}"


rule evaluate_rewards:
    """Held-out accuracy, calibration and scale; the centroid of Eq. 12; the rewards of the reference policy."""
    input:
        members=MEMBERS,
        preferences=f"{RESULTS}/data/preferences.parquet",
        backbone=BACKBONE,
        derived=f"{RESULTS}/derived/reward.json",
        responses=f"{RESULTS}/reference/responses.parquet",
    output:
        quality=f"{RESULTS}/reward/quality.json",
        centroid=f"{RESULTS}/reward/centroid.safetensors",
        baseline=f"{RESULTS}/reward/baseline.parquet",
    log:
        f"{LOGS}/evaluate_rewards.log",
    benchmark:
        f"{BENCHMARKS}/evaluate_rewards.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=config["gpus"],
        mem_mb=host_memory,
        runtime=time_limit,
    params:
        code=code("evaluate_rewards"),
        threads=config["threads"],
        precision=config["precision"],
        seed=config["evaluation"]["seed"],
    shell:
        "$LAUNCH workflow/scripts/evaluate_rewards.py --members {input.members} --preferences {input.preferences}"
        " --backbone {input.backbone} --precision {params.precision} --derived {input.derived}"
        " --responses {input.responses} --seed {params.seed} --threads {params.threads}"
        " --quality {output.quality} --centroid {output.centroid} --baseline {output.baseline} &> {log}"
