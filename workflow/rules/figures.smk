"""What a reader sees: every figure from the tables alone, and responses before and after online adaptation."""

FIGURES = f"{RESULTS}/figures"

# Every figure: where it stands in the report, and its name there. Its caption is report/<figure>.rst.
DRAWN = {
    "rewards_by_step": ("Reward hacking", "Rewards over the run"),
    "rewards_by_kl": ("Reward hacking", "Rewards by KL"),
    "gap_by_step": ("Reward hacking", "Goodhart gap (Figure 3)"),
    "augc_by_beta": ("Conservatism", "AUGC and beta* (Figure 5)"),
    "arms": ("Conservatism", "Arms side by side"),
    "mechanism": ("Mechanism", "Links of the chain (Figure 6)"),
    "entropy": ("Mechanism", "Entropy (Figure 4)"),
    "calibration": ("Reward ensemble", "Calibration"),
}

# Two runs an arm: the first seed of the first and the last level. A run that arms share is shown once.
EXAMPLES = [
    ONLINE_RUN.format(**cell._asdict())
    for cell in study.cells(config)
    if cell.seed == config["seeds"][0]
    and cell.level in (config["levels"][0], config["levels"][-1])
]


rule draw_figures:
    """Every figure as PDF and SVG, from tables alone."""
    input:
        gaps=f"{RESULTS}/tables/gaps.parquet",
        runs=f"{RESULTS}/tables/runs.parquet",
        scales=f"{RESULTS}/tables/scales.json",
        fits=FITS,
        quality=f"{RESULTS}/reward/quality.json",
    output:
        expand(f"{FIGURES}/{{figure}}.pdf", figure=DRAWN),
        **{
            figure: report(
                f"{FIGURES}/{figure}.svg",
                caption=f"../report/{figure}.rst",
                category=category,
                labels={"figure": name},
            )
            for figure, (category, name) in DRAWN.items()
        },
    log:
        f"{LOGS}/draw_figures.log",
    benchmark:
        f"{BENCHMARKS}/draw_figures.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("draw_figures"),
    shell:
        "python workflow/scripts/draw_figures.py --gaps {input.gaps} --runs {input.runs} --scales {input.scales}"
        " --fits {input.fits} --quality {input.quality} --output {output} &> {log}"


rule show_samples:
    """Example responses at the start and at the end of two runs an arm."""
    input:
        [f"{run}/samples.parquet" for run in EXAMPLES],
    output:
        report(
            f"{RESULTS}/samples.html",
            caption="../report/samples.rst",
            category="Examples",
            labels={"figure": "Responses before and after"},
        ),
    log:
        f"{LOGS}/show_samples.log",
    benchmark:
        f"{BENCHMARKS}/show_samples.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("show_samples"),
        examples=6,
        seed=config["evaluation"]["seed"],
    shell:
        "python workflow/scripts/show_samples.py --samples {input} --examples {params.examples} --seed {params.seed}"
        " --output {output} &> {log}"
