"""The tables: gaps, runs, Table 1, the power law of each arm, and reward against distance."""


use rule step as collect_runs with:
    """Both Goodhart gaps, a table with one row per run, and the (beta, AUGC) points of each arm."""
    input:
        trajectories=[f"{run}/trajectory.parquet" for run in ONLINE_RUNS],
        responses=[f"{run}/responses.parquet" for run in ONLINE_RUNS],
        updates=[f"{run}/steps.parquet" for run in ONLINE_RUNS],
        probes=[f"{run}/probe.parquet" for run in OFFLINE_RUNS],
        floors=[f"{run}/floor.parquet" for run in OFFLINE_RUNS],
        quality=of_each("scores", QUALITY),
        baselines=of_each("scores", BASELINE),
        reference=of_each("reference", RESPONSES),
    output:
        gaps=f"{TABLES}/gaps.parquet",
        runs=f"{TABLES}/runs.parquet",
        csv=report(
            f"{TABLES}/runs.csv",
            caption="../report/runs.rst",
            category="6 Tables",
            labels={"table": "Every run (Appendix F)"},
        ),
        scales=f"{TABLES}/scales.json",
        augc=expand(
            f"{TABLES}/augc/{{method}}-{{arm}}.csv",
            method=config["methods"],
            arm=study.arms(config),
        ),
    log:
        f"{LOGS}/collect_runs.log",
    benchmark:
        f"{BENCHMARKS}/collect_runs.tsv"
    localrule: True
    params:
        **flags_of(
            "collect_runs",
            study.pick(config, "replicates"),
            cells=[
                "/".join([arm, *map(str, cell)])
                for arm in study.arms(config)
                for cell in study.cells(config, arm)
            ],
        ),


use rule step as tabulate_levels with:
    """Table 1: mean, standard error and n by level and arm, with trends."""
    input:
        runs=f"{TABLES}/runs.parquet",
    output:
        csv=report(
            f"{TABLES}/table1.csv",
            caption="../report/table1.rst",
            category="6 Tables",
            labels={"table": "Table 1, by level and arm"},
        ),
        markdown=f"{TABLES}/table1.md",
        latex=f"{TABLES}/table1.tex",
        trends=f"{TABLES}/trends.json",
    log:
        f"{LOGS}/tabulate_levels.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_levels.tsv"
    localrule: True
    params:
        **flags_of("tabulate_levels"),


use rule step as fit_power_law with:
    """The power law of one method and arm, its beta*, rival curves, and Definition 6.1 (Eq. 14-15, Appendix E)."""
    input:
        augc=f"{TABLES}/augc/{{method}}-{{arm}}.csv",
    output:
        fit=FIT,
    log:
        f"{LOGS}/fit_power_law/{{method}}-{{arm}}.log",
    benchmark:
        f"{BENCHMARKS}/fit_power_law/{{method}}-{{arm}}.tsv"
    localrule: True
    params:
        **flags_of("fit_power_law"),


use rule step as fit_overoptimisation with:
    """Proxy and true reward against the distance from the offline checkpoint (Gao et al. 2022)."""
    input:
        gaps=f"{TABLES}/gaps.parquet",
        runs=f"{TABLES}/runs.parquet",
    output:
        overoptimisation=f"{TABLES}/overoptimisation.parquet",
        csv=f"{TABLES}/overoptimisation.csv",
    log:
        f"{LOGS}/fit_overoptimisation.log",
    benchmark:
        f"{BENCHMARKS}/fit_overoptimisation.tsv"
    localrule: True
    params:
        **flags_of("fit_overoptimisation"),


use rule step as decide with:
    """The gates, the decision rule on the primary contrast, and the levels at equal pressure."""
    input:
        runs=f"{TABLES}/runs.parquet",
        scales=f"{TABLES}/scales.json",
        responses=[f"{run}/responses.parquet" for run in ONLINE_RUNS],
        baselines=of_each("scores", BASELINE),
        reference=of_each("reference", RESPONSES),
    output:
        gates=f"{TABLES}/gates.json",
        decision=f"{TABLES}/decision.json",
        pressure=f"{TABLES}/pressure.parquet",
    log:
        f"{LOGS}/decide.log",
    benchmark:
        f"{BENCHMARKS}/decide.tsv"
    localrule: True
    params:
        **flags_of("decide", study.pick(config, "replicates"), config["decision"]),
