"""The reward ensemble: K members on bootstrap resamples, and its quality on held-out pairs."""

if config["reward"]["model"]:

    use rule step as resolve_backbone with:
        """The named backbone of the reward models, pinned to one revision of its weights."""
        input:
            local_files(config["reward"]["model"]),
        output:
            output=directory(BACKBONE),
        log:
            f"{LOG}/resolve_backbone.log",
        benchmark:
            f"{BENCHMARK}/resolve_backbone.tsv"
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
        preferences=drawn("preferences", PREFERENCES),
        backbone=THE_BACKBONE,
        derived=drawn("preferences", DERIVED["reward"]),
    output:
        adapter=directory(f"{MEMBER}/adapter"),
        metrics=f"{MEMBER}/metrics.json",
    log:
        f"{LOG}/train_reward/member-{{member}}.log",
    benchmark:
        f"{BENCHMARK}/train_reward/member-{{member}}.tsv"
    params:
        **flags_of(
            "train_reward",
            "member",
            MODELS,
            {"split": "train"},
            study.pick(config["reward"], "epochs"),
            seeded(config["reward"]),
            autosave=True,
        ),


use rule train_reward as train_held_out with:
    """A reward model on other prompts, against which no policy is trained."""
    output:
        adapter=directory(f"{REPLICATE}/reward/held-out-{{member}}/adapter"),
        metrics=f"{REPLICATE}/reward/held-out-{{member}}/metrics.json",
    log:
        f"{LOG}/train_held_out/member-{{member}}.log",
    benchmark:
        f"{BENCHMARK}/train_held_out/member-{{member}}.tsv"
    params:
        **flags_of(
            "train_reward",
            "member",
            MODELS,
            {"split": "held_out"},
            study.pick(config["reward"], "epochs"),
            seeded(config["reward"]),
            autosave=True,
        ),


use rule model_step as evaluate_rewards with:
    """Held-out accuracy, calibration and scale; the centroid of Eq. 12; rewards of the reference policy's responses."""
    input:
        **({"held_out": drawn("rewards", *HELD_OUT)} if HELD_OUT else {}),
        members=drawn("rewards", *MEMBERS),
        preferences=drawn("preferences", PREFERENCES),
        backbone=THE_BACKBONE,
        derived=drawn("preferences", DERIVED["reward"]),
        responses=drawn("reference", RESPONSES),
    output:
        quality=QUALITY,
        centroid=CENTROID,
        baseline=BASELINE,
    log:
        f"{LOG}/evaluate_rewards.log",
    benchmark:
        f"{BENCHMARK}/evaluate_rewards.tsv"
    params:
        **flags_of(
            "evaluate_rewards",
            MODELS,
            study.judge(config),
            seeded(config["evaluation"]),
        ),
