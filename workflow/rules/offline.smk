"""The offline phase: one adapter a method, level and seed, and what it is like before it goes online."""


rule train_offline:
    """DPO (Eq. 1) at one beta and seed, on the cached reference log-probs."""
    input:
        beta=f"{RESULTS}/beta/{{level}}.json",
        preferences=f"{RESULTS}/data/preferences.parquet",
        logprobs=f"{RESULTS}/reference/logprobs.parquet",
        policy=POLICY,
        derived=f"{RESULTS}/derived/offline.json",
    output:
        adapter=directory(f"{OFFLINE_RUN}/adapter"),
        metrics=f"{OFFLINE_RUN}/metrics.json",
    log:
        f"{LOGS}/train_offline/{{method}}-{{level}}-seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/train_offline/{{method}}-{{level}}-seed-{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=config["gpus"],
        mem_mb=host_memory,
        runtime=time_limit,
    params:
        code=code("train_offline"),
        threads=config["threads"],
        precision=config["precision"],
        epochs=config["offline"]["epochs"],
        checkpoints=f"{CHECKPOINTS}/offline-{{method}}-{{level}}-seed-{{seed}}",
    shell:
        "$LAUNCH workflow/scripts/train_offline.py --method {wildcards.method} --beta {input.beta}"
        " --preferences {input.preferences} --logprobs {input.logprobs} --policy {input.policy}"
        " --precision {params.precision} --derived {input.derived} --epochs {params.epochs} --seed {wildcards.seed}"
        " --threads {params.threads} --checkpoints {params.checkpoints} --checkpoint-minutes $CHECKPOINT_MINUTES"
        " --output {output.adapter} --metrics {output.metrics} &> {log}"


rule probe_offline:
    """Entropy, OOD distance, diversity, preference accuracy and win rate of one offline checkpoint."""
    input:
        adapter=f"{OFFLINE_RUN}/adapter",
        metrics=f"{OFFLINE_RUN}/metrics.json",
        policy=POLICY,
        backbone=BACKBONE,
        members=MEMBERS,
        centroid=f"{RESULTS}/reward/centroid.safetensors",
        baseline=f"{RESULTS}/reward/baseline.parquet",
        preferences=f"{RESULTS}/data/preferences.parquet",
        logprobs=f"{RESULTS}/reference/logprobs.parquet",
        derived_offline=f"{RESULTS}/derived/offline.json",
        derived_reward=f"{RESULTS}/derived/reward.json",
        problems=f"{RESULTS}/data/problems.parquet",
    output:
        f"{OFFLINE_RUN}/probe.parquet",
    log:
        f"{LOGS}/probe_offline/{{method}}-{{level}}-seed-{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/probe_offline/{{method}}-{{level}}-seed-{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=config["gpus"],
        mem_mb=host_memory,
        runtime=time_limit,
    params:
        code=code("probe_offline"),
        threads=config["threads"],
        precision=config["precision"],
        verifier=config["task"]["verifier"],
        sampling=sampling,
        evaluation_seed=config["evaluation"]["seed"],
    shell:
        "$LAUNCH workflow/scripts/probe_offline.py --adapter {input.adapter} --metrics {input.metrics} --policy {input.policy}"
        " --backbone {input.backbone} --precision {params.precision} --members {input.members}"
        " --centroid {input.centroid} --baseline {input.baseline} --preferences {input.preferences}"
        " --logprobs {input.logprobs} --derived-offline {input.derived_offline}"
        " --derived-reward {input.derived_reward} --problems {input.problems} --verifier {params.verifier}"
        " {params.sampling}"
        " --evaluation-seed {params.evaluation_seed} --threads {params.threads} --output {output} &> {log}"
