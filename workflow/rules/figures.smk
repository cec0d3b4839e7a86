"""Figures from the tables alone, responses before and after online adaptation, and the pages of the report."""

# Every figure with its section and its name in the report. The caption is workflow/report/<figure>.rst.
DRAWN = {
    "rewards_by_step": ("2 Reward hacking", "Rewards over the run"),
    "rewards_by_kl": ("2 Reward hacking", "Rewards by KL, with Gao et al.'s fit"),
    "gap_by_step": ("2 Reward hacking", "Goodhart gap (Figure 3)"),
    "augc_by_beta": ("3 Conservatism", "AUGC and beta* (Figure 5)"),
    "arms": ("3 Conservatism", "Comparison of the arms"),
    "beta_by_lambda": ("3 Conservatism", "beta* by lambda (Definition 6.1)"),
    "mechanism": ("4 Mechanism", "Causal chain (Figure 6)"),
    "entropy": ("4 Mechanism", "Entropy (Figure 4)"),
    "calibration": ("5 Reward ensemble", "Calibration"),
}

# Two runs per arm: the first and the last level in the first replicate. A run shared by several arms is shown once.
EXAMPLES = [
    ONLINE_RUN.format(**cell._asdict())
    for cell in study.cells(config)
    if cell.replicate == config["replicates"][0]
    and cell.level in (config["levels"][0], config["levels"][-1])
]


use rule step as draw_figures with:
    """Every figure as PDF and SVG, from tables alone."""
    input:
        gaps=f"{TABLES}/gaps.parquet",
        runs=f"{TABLES}/runs.parquet",
        scales=f"{TABLES}/scales.json",
        fits=FITS,
        overoptimisation=f"{TABLES}/overoptimisation.parquet",
        quality=of_each("scores", QUALITY),
    output:
        figures=[
            *expand(f"{FIGURES}/{{figure}}.pdf", figure=DRAWN),
            *(
                report(
                    f"{FIGURES}/{figure}.svg",
                    caption=f"../report/{figure}.rst",
                    category=category,
                    labels={"figure": name},
                )
                for figure, (category, name) in DRAWN.items()
            ),
        ],
    log:
        f"{LOGS}/draw_figures.log",
    benchmark:
        f"{BENCHMARKS}/draw_figures.tsv"
    localrule: True
    params:
        **flags_of("draw_figures"),


use rule step as show_samples with:
    """Example responses at the start and at the end of two runs per arm."""
    input:
        responses=[f"{run}/responses.parquet" for run in EXAMPLES],
        problems=of_each("task", PROBLEMS)[0],
    output:
        page=report(
            f"{RESULTS}/samples.html",
            caption="../report/samples.rst",
            category="7 Examples",
            labels={"figure": "Responses before and after online training"},
        ),
    log:
        f"{LOGS}/show_samples.log",
    benchmark:
        f"{BENCHMARKS}/show_samples.tsv"
    localrule: True
    params:
        **flags_of("show_samples", study.pick(config["evaluation"], "seed"), examples=6),


use rule step as write_findings with:
    """The findings in sentences and tables, and Appendix F as a checklist."""
    input:
        runs=f"{TABLES}/runs.parquet",
        gaps=f"{TABLES}/gaps.parquet",
        trends=f"{TABLES}/trends.json",
        fits=FITS,
        overoptimisation=f"{TABLES}/overoptimisation.parquet",
        scales=f"{TABLES}/scales.json",
        quality=of_each("scores", QUALITY),
        gates=f"{TABLES}/gates.json",
        decision=f"{TABLES}/decision.json",
        pressure=f"{TABLES}/pressure.parquet",
        beta_grid=f"{RESULTS}/beta_grid.json",
        derived=of_each("preferences", ALL_DERIVED)[0],
        coverage=of_each("preferences", COVERAGE)[0],
        problems=of_each("task", PROBLEMS)[0],
    output:
        findings=report(
            f"{RESULTS}/findings.html",
            caption="../report/findings.rst",
            category="1 Findings",
            labels={"page": "Findings"},
        ),
        checklist=report(
            f"{RESULTS}/checklist.html",
            caption="../report/checklist.rst",
            category="8 Checklist",
            labels={"page": "Appendix F, item by item"},
        ),
        checklist_json=f"{RESULTS}/checklist.json",
    log:
        f"{LOGS}/write_findings.log",
    benchmark:
        f"{BENCHMARKS}/write_findings.tsv"
    localrule: True
    params:
        **flags_of(
            "write_findings",
            study.pick(config, "redraw"),
            evaluation_seed=config["evaluation"]["seed"],
        ),
