"""The reward ensemble: K members on bootstrap resamples, and its quality on held-out pairs."""

if config["reward"]["model"]:

    use rule step as resolve_backbone with:
        """The named backbone of the reward models, pinned to one revision of its weights."""
        input:
            local_files(config["reward"]["model"]),
        output:
            output=directory(BACKBONE),
        log:
            f"{LOGS}/resolve_backbone.log",
        benchmark:
            f"{BENCHMARKS}/resolve_backbone.tsv"
        localrule: True
        params:
            **flags_of(
                "resolve_model",
                study.pick(config["reward"], "model", "revision", "prompts"),
                role="reward",
            ),


use rule model_step as train_reward with:
    """One member: Bradley-Terry (Eq. 5) on its own bootstrap resample."""
    input:
        preferences=PREFERENCES,
        backbone=BACKBONE,
        derived=DERIVED.format(stage="reward"),
    output:
        adapter=directory(f"{MEMBER}/adapter"),
        metrics=f"{MEMBER}/metrics.json",
    log:
        f"{LOGS}/train_reward/member-{{member}}.log",
    benchmark:
        f"{BENCHMARKS}/train_reward/member-{{member}}.tsv"
    params:
        **flags_of(
            "train_reward",
            "member",
            MODELS,
            study.pick(config["reward"], "epochs", "seed"),
            autosave=True,
        ),


use rule model_step as evaluate_rewards with:
    """Held-out accuracy, calibration and scale; the centroid of Eq. 12; rewards of the reference policy's responses."""
    input:
        members=MEMBERS,
        preferences=PREFERENCES,
        backbone=BACKBONE,
        derived=DERIVED.format(stage="reward"),
        responses=RESPONSES,
    output:
        quality=QUALITY,
        centroid=CENTROID,
        baseline=BASELINE,
    log:
        f"{LOGS}/evaluate_rewards.log",
    benchmark:
        f"{BENCHMARKS}/evaluate_rewards.tsv"
    params:
        **flags_of("evaluate_rewards", MODELS, config["evaluation"]),
