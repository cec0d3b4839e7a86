"""The online phase: one run a cell (offline level, level of the beta in Eq. 10, seed); an arm is a choice of cells."""


rule adapt_online:
    """One online run against the ensemble (Eq. 8-10), with its trajectory, updates, samples and adapter."""
    input:
        adapter=f"{OFFLINE_RUN}/adapter",
        metrics=f"{OFFLINE_RUN}/metrics.json",
        kl_beta=f"{RESULTS}/beta/{{kl_level}}.json",
        policy=POLICY,
        backbone=BACKBONE,
        members=MEMBERS,
        centroid=f"{RESULTS}/reward/centroid.safetensors",
        problems=f"{RESULTS}/data/problems.parquet",
        derived_online=f"{RESULTS}/derived/online.json",
        derived_reward=f"{RESULTS}/derived/reward.json",
    output:
        trajectory=f"{ONLINE_RUN}/trajectory.parquet",
        steps=f"{ONLINE_RUN}/steps.parquet",
        samples=f"{ONLINE_RUN}/samples.parquet",
        adapter=directory(f"{ONLINE_RUN}/adapter"),
    log:
        f"{LOGS}/adapt_online/{{method}}-{{level}}-kl-{{kl_level}}-seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/adapt_online/{{method}}-{{level}}-kl-{{kl_level}}-seed-{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=config["gpus"],
        mem_mb=host_memory,
        runtime=time_limit,
    params:
        code=code("adapt_online"),
        threads=config["threads"],
        precision=config["precision"],
        verifier=config["task"]["verifier"],
        steps=config["online"]["steps"],
        prompts=config["online"]["prompts_per_step"],
        percentile=config["online"]["kl_percentile"],
        every=config["online"]["evaluate_every"],
        sampling=sampling,
        evaluation_seed=config["evaluation"]["seed"],
        checkpoints=f"{CHECKPOINTS}/online-{{method}}-{{level}}-kl-{{kl_level}}-seed-{{seed}}",
    shell:
        "$LAUNCH workflow/scripts/adapt_online.py --adapter {input.adapter} --metrics {input.metrics} --kl-beta {input.kl_beta}"
        " --policy {input.policy} --backbone {input.backbone} --precision {params.precision}"
        " --members {input.members} --centroid {input.centroid} --problems {input.problems}"
        " --derived-online {input.derived_online} --derived-reward {input.derived_reward}"
        " --verifier {params.verifier} --steps {params.steps} --prompts-per-step {params.prompts}"
        " --kl-percentile {params.percentile} --evaluate-every {params.every} {params.sampling}"
        " --evaluation-seed {params.evaluation_seed}"
        " --seed {wildcards.seed} --threads {params.threads}"
        " --checkpoints {params.checkpoints} --checkpoint-minutes $CHECKPOINT_MINUTES --trajectory {output.trajectory} --updates {output.steps}"
        " --samples {output.samples} --output {output.adapter} &> {log}"
