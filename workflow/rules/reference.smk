"""What the reference policy and Appendix C decide: hyperparameters, log-probs, betas, the baseline of the true reward."""


rule derive_hyperparameters:
    """Appendix C for one stage, overrides recorded beside what they replace."""
    input:
        model=model_of,
        preferences=f"{RESULTS}/data/preferences.parquet",
    output:
        f"{RESULTS}/derived/{{stage}}.json",
    log:
        f"{LOGS}/derive_hyperparameters/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/derive_hyperparameters/{{stage}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("derive_hyperparameters"),
        memory=config["memory_gb"],
        length=training_length,
        overrides=overrides,
        seed=config["preferences"]["seed"],
    shell:
        "$PYTHON workflow/scripts/derive_hyperparameters.py --model {input.model} --preferences {input.preferences}"
        " --memory-gb {params.memory} {params.length} --seed {params.seed} {params.overrides}"
        " --output {output} &> {log}"


rule collect_derived:
    """The derived hyperparameters of all stages, for the record."""
    input:
        offline=f"{RESULTS}/derived/offline.json",
        reward=f"{RESULTS}/derived/reward.json",
        online=f"{RESULTS}/derived/online.json",
    output:
        f"{RESULTS}/derived.json",
    log:
        f"{LOGS}/collect_derived.log",
    benchmark:
        f"{BENCHMARKS}/collect_derived.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("collect_derived"),
    shell:
        "$PYTHON workflow/scripts/collect_derived.py --stages offline={input.offline} reward={input.reward}"
        " online={input.online} --output {output} &> {log}"


rule plan_memory:
    """What every stage will hold in memory at its peak, and whether it fits; on request only."""
    input:
        policy=POLICY,
        backbone=BACKBONE,
        derived=f"{RESULTS}/derived.json",
    output:
        json=f"{RESULTS}/memory.json",
        markdown=f"{RESULTS}/memory.md",
    log:
        f"{LOGS}/plan_memory.log",
    benchmark:
        f"{BENCHMARKS}/plan_memory.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("plan_memory"),
        precision=config["precision"],
        device="cuda" if config["gpus"] else "cpu",
        memory=config["memory_gb"],
        members=config["reward"]["members"],
        tokens=config["sampling"]["max_new_tokens"],
        batch=study.sampling_batch(config),
        engine=config["sampling"]["engine"],
        prompt=config["sampling"]["prompt_tokens"],
        prompts=config["online"]["prompts_per_step"],
    shell:
        "$PYTHON workflow/scripts/plan_memory.py --policy {input.policy} --backbone {input.backbone}"
        " --derived {input.derived} --precision {params.precision} --device {params.device} --memory-gb {params.memory}"
        " --members {params.members} --max-new-tokens {params.tokens} --batch-size {params.batch}"
        " --engine {params.engine} --prompt-tokens {params.prompt} --prompts-per-step {params.prompts} --json {output.json}"
        " --markdown {output.markdown} &> {log}"


rule score_reference:
    """Log-probs of all preference responses under the reference policy: one pass for every level and seed."""
    input:
        preferences=f"{RESULTS}/data/preferences.parquet",
        policy=POLICY,
        derived=f"{RESULTS}/derived/offline.json",
    output:
        f"{RESULTS}/reference/logprobs.parquet",
    log:
        f"{LOGS}/score_reference.log",
    benchmark:
        f"{BENCHMARKS}/score_reference.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=config["gpus"],
        mem_mb=host_memory,
        runtime=time_limit,
    params:
        code=code("score_reference"),
        threads=config["threads"],
        precision=config["precision"],
    shell:
        "$LAUNCH workflow/scripts/score_reference.py --preferences {input.preferences} --policy {input.policy}"
        " --precision {params.precision} --derived {input.derived} --threads {params.threads}"
        " --output {output} &> {log}"


rule sample_reference:
    """The reference policy's answers: the scale of the true reward, the baseline of win rates."""
    input:
        problems=f"{RESULTS}/data/problems.parquet",
        policy=POLICY,
    output:
        f"{RESULTS}/reference/responses.parquet",
    log:
        f"{LOGS}/sample_reference.log",
    benchmark:
        f"{BENCHMARKS}/sample_reference.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=config["gpus"],
        mem_mb=host_memory,
        runtime=time_limit,
    params:
        code=code("sample_reference"),
        threads=config["threads"],
        precision=config["precision"],
        verifier=config["task"]["verifier"],
        sampling=sampling,
        seed=config["evaluation"]["seed"],
    shell:
        "$LAUNCH workflow/scripts/sample_reference.py --problems {input.problems} --policy {input.policy}"
        " --precision {params.precision} --verifier {params.verifier} {params.sampling}"
        " --seed {params.seed} --threads {params.threads}"
        " --output {output} &> {log}"


rule derive_beta:
    """The beta of one level (Eq. 6-7)."""
    input:
        f"{RESULTS}/reference/logprobs.parquet",
    output:
        f"{RESULTS}/beta/{{level}}.json",
    log:
        f"{LOGS}/derive_beta/{{level}}.log",
    benchmark:
        f"{BENCHMARKS}/derive_beta/{{level}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("derive_beta"),
    shell:
        "$PYTHON workflow/scripts/derive_beta.py --level {wildcards.level} --logprobs {input} --output {output} &> {log}"


rule collect_beta_grid:
    """The grid of the study."""
    input:
        expand(f"{RESULTS}/beta/{{level}}.json", level=study.all_levels(config)),
    output:
        f"{RESULTS}/beta_grid.json",
    log:
        f"{LOGS}/collect_beta_grid.log",
    benchmark:
        f"{BENCHMARKS}/collect_beta_grid.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("collect_beta_grid"),
    shell:
        "$PYTHON workflow/scripts/collect_beta_grid.py --betas {input} --output {output} &> {log}"
