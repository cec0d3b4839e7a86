"""Problems, policy and preferences: embedded (made here) or given (loaded)."""

if config["task"]["source"] == "arithmetic":

    rule generate_problems:
        """Chains of sums, split by chain, and the teacher's corpus."""
        output:
            problems=f"{RESULTS}/data/problems.parquet",
            corpus=f"{RESULTS}/data/corpus.parquet",
        log:
            f"{LOGS}/generate_problems.log",
        benchmark:
            f"{BENCHMARKS}/generate_problems.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: 1
        params:
            code=code("generate_problems"),
            terms=config["task"]["arithmetic"]["terms"],
            corpus=config["task"]["arithmetic"]["pretraining_examples"],
            preference=config["task"]["arithmetic"]["preference_problems"],
            online=config["task"]["online_problems"],
            evaluation=config["task"]["evaluation_problems"],
            seed=config["task"]["seed"],
        shell:
            "$PYTHON workflow/scripts/generate_problems.py --terms {params.terms} --pretraining-examples {params.corpus}"
            " --preference-problems {params.preference} --online-problems {params.online}"
            " --evaluation-problems {params.evaluation} --seed {params.seed}"
            " --problems {output.problems} --corpus {output.corpus} &> {log}"

else:

    rule load_problems:
        """Problems from files or the hub."""
        input:
            online=local_files(config["task"]["dataset"]["online"]),
            evaluation=local_files(config["task"]["dataset"]["evaluation"]),
        output:
            problems=f"{RESULTS}/data/problems.parquet",
            record=f"{RESULTS}/data/problems.json",
        log:
            f"{LOGS}/load_problems.log",
        benchmark:
            f"{BENCHMARKS}/load_problems.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: 1
        params:
            code=code("load_problems"),
            online=config["task"]["dataset"]["online"],
            evaluation=config["task"]["dataset"]["evaluation"],
            name=optional("--name", config["task"]["dataset"]["name"]),
            revision=optional("--revision", config["task"]["dataset"]["revision"]),
            prompt=config["task"]["dataset"]["prompt_column"],
            answer=config["task"]["dataset"]["answer_column"],
            template=prompt_template,
            limits=optional("--online-problems", config["task"]["online_problems"])
            + optional(" --evaluation-problems", config["task"]["evaluation_problems"]),
            seed=config["task"]["seed"],
        shell:
            "$PYTHON workflow/scripts/load_problems.py --online {params.online:q} --evaluation {params.evaluation:q} {params.name}"
            " {params.revision} --prompt-column {params.prompt:q} --answer-column {params.answer:q} --template {params.template:q}"
            " {params.limits} --seed {params.seed} --output {output.problems} --record {output.record} &> {log}"


if config["policy"]["model"] is None:

    rule pretrain_policy:
        """The embedded policy, trained on the teacher's corpus."""
        input:
            rules.generate_problems.output.corpus,
        output:
            directory(POLICY),
        log:
            f"{LOGS}/pretrain_policy.log",
        benchmark:
            f"{BENCHMARKS}/pretrain_policy.tsv"
        conda:
            ENVIRONMENT
        threads: config["threads"]
        resources:
            mem_mb=host_memory,
            runtime=time_limit,
        params:
            code=code("pretrain_policy"),
            threads=config["threads"],
            hidden=config["policy"]["pretraining"]["hidden_size"],
            layers=config["policy"]["pretraining"]["layers"],
            heads=config["policy"]["pretraining"]["heads"],
            kv_heads=config["policy"]["pretraining"]["kv_heads"],
            head_dim=config["policy"]["pretraining"]["head_dim"],
            mlp=config["policy"]["pretraining"]["mlp_size"],
            steps=config["policy"]["pretraining"]["steps"],
            batch=config["policy"]["pretraining"]["batch_size"],
            rate=config["policy"]["pretraining"]["learning_rate"],
            seed=config["policy"]["pretraining"]["seed"],
            checkpoints=f"{CHECKPOINTS}/policy",
        shell:
            "exec $PYTHON workflow/scripts/pretrain_policy.py --corpus {input} --hidden-size {params.hidden} --layers {params.layers}"
            " --heads {params.heads} --kv-heads {params.kv_heads} --head-dim {params.head_dim} --mlp-size {params.mlp}"
            " --steps {params.steps} --batch-size {params.batch} --learning-rate {params.rate} --seed {params.seed}"
            " --threads {params.threads} --checkpoints {params.checkpoints} --checkpoint-minutes $CHECKPOINT_MINUTES"
            " --output {output} &> {log}"

else:

    rule resolve_policy:
        """The given policy, pinned to weights that cannot change."""
        input:
            local_files(config["policy"]["model"]),
        output:
            directory(POLICY),
        log:
            f"{LOGS}/resolve_policy.log",
        benchmark:
            f"{BENCHMARKS}/resolve_policy.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: 1
        params:
            code=code("resolve_model"),
            model=config["policy"]["model"],
            revision=optional("--revision", config["policy"]["revision"]),
            prompts=config["policy"]["prompts"],
        shell:
            "$PYTHON workflow/scripts/resolve_model.py --model {params.model:q} {params.revision} --class policy"
            " --prompts {params.prompts} --output {output} &> {log}"


if config["preferences"]["source"] == "sampled":

    rule sample_preferences:
        """Two responses a problem from the embedded policy; a flawed judge chooses."""
        input:
            problems=f"{RESULTS}/data/problems.parquet",
            policy=POLICY,
        output:
            preferences=f"{RESULTS}/data/preferences.parquet",
            coverage=f"{RESULTS}/data/coverage.json",
        log:
            f"{LOGS}/sample_preferences.log",
        benchmark:
            f"{BENCHMARKS}/sample_preferences.tsv"
        conda:
            ENVIRONMENT
        threads: config["threads"]
        resources:
            gpu=config["gpus"],
            mem_mb=host_memory,
            runtime=time_limit,
        params:
            code=code("sample_preferences"),
            threads=config["threads"],
            precision=config["precision"],
            verifier=config["task"]["verifier"],
            correct=config["preferences"]["sampled"]["correct_weight"],
            filler=config["preferences"]["sampled"]["filler_weight"],
            sampling=sampling,
            seed=config["preferences"]["seed"],
        shell:
            "$PYTHON workflow/scripts/sample_preferences.py --problems {input.problems} --policy {input.policy}"
            " --precision {params.precision} --verifier {params.verifier} --correct-weight {params.correct}"
            " --filler-weight {params.filler} {params.sampling} --seed {params.seed} --threads {params.threads}"
            " --output {output.preferences} --coverage {output.coverage} &> {log}"

else:

    rule load_preferences:
        """Preference pairs from a file or the hub."""
        input:
            source=local_files(config["preferences"]["dataset"]["source"]),
            policy=POLICY,
        output:
            preferences=f"{RESULTS}/data/preferences.parquet",
            coverage=f"{RESULTS}/data/coverage.json",
        log:
            f"{LOGS}/load_preferences.log",
        benchmark:
            f"{BENCHMARKS}/load_preferences.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: 1
        params:
            code=code("load_preferences"),
            source=config["preferences"]["dataset"]["source"],
            columns=" ".join(
                optional(f"--{name.replace('_', '-')}", value)
                for name, value in config["preferences"]["dataset"].items()
                if name != "source"
            ),
            seed=config["preferences"]["seed"],
        shell:
            "$PYTHON workflow/scripts/load_preferences.py --source {params.source:q} {params.columns} --seed {params.seed}"
            " --policy {input.policy} --output {output.preferences} --coverage {output.coverage} &> {log}"
