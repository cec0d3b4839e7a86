"""Problems, policy and preferences: embedded (generated, trained and sampled here) or loaded."""

if study.embedded(config):

    use rule step as generate_problems with:
        """Problems of the embedded task, in separate splits, and the teacher's corpus."""
        output:
            problems=PROBLEMS,
            corpus=CORPUS,
        log:
            f"{LOG}/generate_problems.log",
        benchmark:
            f"{BENCHMARK}/generate_problems.tsv"
        localrule: True
        params:
            **flags_of(
                "generate_problems",
                study.source(config, "task"),
                seeded(config["task"]),
                task=config["task"]["source"],
            ),

else:

    use rule step as load_problems with:
        """Problems from files or the hub."""
        input:
            local_files(config["task"]["dataset"]["online"]),
            local_files(config["task"]["dataset"]["evaluation"]),
        output:
            problems=PROBLEMS,
            record=f"{REPLICATE}/data/problems.json",
        log:
            f"{LOG}/load_problems.log",
        benchmark:
            f"{BENCHMARK}/load_problems.tsv"
        localrule: True
        params:
            **flags_of(
                "load_problems", study.source(config, "task"), seeded(config["task"])
            ),


if config["policy"]["model"] is None:

    rule pretrain_policy:
        """The embedded policy, pretrained on the teacher's corpus on a CPU."""
        input:
            corpus=drawn("task", CORPUS),
        output:
            policy=directory(POLICY),
        log:
            f"{LOG}/pretrain_policy.log",
        benchmark:
            f"{BENCHMARK}/pretrain_policy.tsv"
        conda:
            ENVIRONMENT
        threads: config["threads"]
        resources:
            mem_mb=host_memory,
            runtime=time_limit,
        params:
            **flags_of(
                "pretrain_policy",
                config["policy"]["pretraining"],
                seeded(config["policy"]["pretraining"]),
                sampling_batch_size=None,
                threads=config["threads"],
                autosave=True,
            ),
        shell:
            "exec $PYTHON workflow/scripts/{params.script}.py {params.files} {params.settings} &> {log}"

else:

    use rule step as resolve_policy with:
        """The named policy, pinned to one revision of its weights."""
        input:
            local_files(config["policy"]["model"]),
        output:
            output=directory(POLICY),
        log:
            f"{LOG}/resolve_policy.log",
        benchmark:
            f"{BENCHMARK}/resolve_policy.tsv"
        localrule: True
        params:
            **flags_of("resolve_model", config["policy"], role="policy"),


if config["preferences"]["source"] == "sampled":

    use rule model_step as sample_preferences with:
        """Two responses per problem from the embedded policy, labelled by a flawed judge."""
        input:
            problems=drawn("task", PROBLEMS),
            policy=drawn("policy", POLICY),
        output:
            preferences=PREFERENCES,
            coverage=COVERAGE,
        log:
            f"{LOG}/sample_preferences.log",
        benchmark:
            f"{BENCHMARK}/sample_preferences.tsv"
        params:
            **flags_of(
                "sample_preferences",
                SAMPLED,
                study.source(config, "preferences"),
                seeded(config["preferences"]),
            ),

else:

    use rule step as load_preferences with:
        """Preference pairs from a file or the hub."""
        input:
            local_files(config["preferences"]["dataset"]["source"]),
            policy=drawn("policy", POLICY),
        output:
            preferences=PREFERENCES,
            coverage=COVERAGE,
        log:
            f"{LOG}/load_preferences.log",
        benchmark:
            f"{BENCHMARK}/load_preferences.tsv"
        localrule: True
        params:
            **flags_of(
                "load_preferences",
                study.source(config, "preferences"),
                seeded(config["preferences"]),
                bootstrap=study.bootstrapped(config),
            ),
