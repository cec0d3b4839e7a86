"""What a reader sees: every figure from the tables alone, and responses before and after online adaptation."""

FIGURES = f"{RESULTS}/figures"

# Every figure: where it stands in the report, and its name there. Its caption is report/<figure>.rst.
DRAWN = {
    "rewards_by_step": ("2 Reward hacking", "Rewards over the run"),
    "rewards_by_kl": ("2 Reward hacking", "Rewards by KL, with Gao et al.'s fit"),
    "gap_by_step": ("2 Reward hacking", "Goodhart gap (Figure 3)"),
    "augc_by_beta": ("3 Conservatism", "AUGC and beta* (Figure 5)"),
    "arms": ("3 Conservatism", "Arms side by side"),
    "beta_by_lambda": ("3 Conservatism", "beta* by lambda (Definition 6.1)"),
    "mechanism": ("4 Mechanism", "Links of the chain (Figure 6)"),
    "entropy": ("4 Mechanism", "Entropy (Figure 4)"),
    "calibration": ("5 Reward ensemble", "Calibration"),
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
        overoptimisation=f"{RESULTS}/tables/overoptimisation.parquet",
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
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("draw_figures"),
    shell:
        "$PYTHON workflow/scripts/draw_figures.py --gaps {input.gaps} --runs {input.runs} --scales {input.scales}"
        " --fits {input.fits} --overoptimisation {input.overoptimisation} --quality {input.quality} --output {output}"
        " &> {log}"


rule show_samples:
    """Example responses at the start and at the end of two runs an arm."""
    input:
        [f"{run}/samples.parquet" for run in EXAMPLES],
    output:
        report(
            f"{RESULTS}/samples.html",
            caption="../report/samples.rst",
            category="7 Examples",
            labels={"figure": "Responses before and after"},
        ),
    log:
        f"{LOGS}/show_samples.log",
    benchmark:
        f"{BENCHMARKS}/show_samples.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("show_samples"),
        examples=6,
        seed=config["evaluation"]["seed"],
    shell:
        "$PYTHON workflow/scripts/show_samples.py --samples {input} --examples {params.examples} --seed {params.seed}"
        " --output {output} &> {log}"


rule write_findings:
    """What the study found, in sentences and tables, and Appendix F as a checklist."""
    input:
        runs=f"{RESULTS}/tables/runs.parquet",
        gaps=f"{RESULTS}/tables/gaps.parquet",
        trends=f"{RESULTS}/tables/trends.json",
        fits=FITS,
        overoptimisation=f"{RESULTS}/tables/overoptimisation.parquet",
        scales=f"{RESULTS}/tables/scales.json",
        quality=f"{RESULTS}/reward/quality.json",
        grid=f"{RESULTS}/beta_grid.json",
        derived=f"{RESULTS}/derived.json",
        coverage=f"{RESULTS}/data/coverage.json",
        problems=f"{RESULTS}/data/problems.parquet",
    output:
        findings=report(
            f"{RESULTS}/findings.html",
            caption="../report/findings.rst",
            category="1 Findings",
            labels={"page": "What was found"},
        ),
        checklist=report(
            f"{RESULTS}/checklist.html",
            caption="../report/checklist.rst",
            category="8 Checklist",
            labels={"page": "Appendix F, item by item"},
        ),
        json=f"{RESULTS}/checklist.json",
    log:
        f"{LOGS}/write_findings.log",
    benchmark:
        f"{BENCHMARKS}/write_findings.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("write_findings"),
        seed=config["evaluation"]["seed"],
    shell:
        "$PYTHON workflow/scripts/write_findings.py --runs {input.runs} --gaps {input.gaps} --trends {input.trends}"
        " --fits {input.fits} --overoptimisation {input.overoptimisation} --scales {input.scales}"
        " --quality {input.quality} --beta-grid {input.grid} --derived {input.derived} --coverage {input.coverage}"
        " --problems {input.problems} --evaluation-seed {params.seed} --findings {output.findings} --checklist {output.checklist}"
        " --items {output.json} &> {log}"
