"""The tables: gaps, runs, Table 1, the power law of each arm, and reward against distance."""


rule collect_runs:
    """Both Goodhart gaps, one row a run, and the (beta, AUGC) points of each arm."""
    input:
        trajectories=[f"{run}/trajectory.parquet" for run in ONLINE_RUNS],
        steps=[f"{run}/steps.parquet" for run in ONLINE_RUNS],
        probes=PROBES,
        quality=f"{RESULTS}/reward/quality.json",
        responses=f"{RESULTS}/reference/responses.parquet",
    output:
        gaps=f"{RESULTS}/tables/gaps.parquet",
        table=f"{RESULTS}/tables/runs.parquet",
        csv=report(
            f"{RESULTS}/tables/runs.csv",
            caption="../report/runs.rst",
            category="6 Tables",
            labels={"table": "Every run (Appendix F)"},
        ),
        scales=f"{RESULTS}/tables/scales.json",
        augc=expand(
            f"{RESULTS}/tables/augc/{{method}}-{{arm}}.csv",
            method=config["methods"],
            arm=study.arms(config),
        ),
    log:
        f"{LOGS}/collect_runs.log",
    benchmark:
        f"{BENCHMARKS}/collect_runs.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("collect_runs"),
        runs=ONLINE_RUNS,
        arms=" ".join(
            f"--arm {arm} "
            + " ".join("/".join(map(str, c)) for c in study.cells(config, arm))
            for arm in study.arms(config)
        ),
    shell:
        "$PYTHON workflow/scripts/collect_runs.py --runs {params.runs} --probes {input.probes} --quality {input.quality}"
        " --responses {input.responses} {params.arms} --gaps {output.gaps} --table {output.table} --csv {output.csv}"
        " --scales {output.scales} --augc {output.augc} &> {log}"


rule tabulate_levels:
    """Table 1: mean, standard error and n by level and arm, with trends."""
    input:
        f"{RESULTS}/tables/runs.parquet",
    output:
        csv=report(
            f"{RESULTS}/tables/table1.csv",
            caption="../report/table1.rst",
            category="6 Tables",
            labels={"table": "Table 1, by level and arm"},
        ),
        markdown=f"{RESULTS}/tables/table1.md",
        latex=f"{RESULTS}/tables/table1.tex",
        trends=f"{RESULTS}/tables/trends.json",
    log:
        f"{LOGS}/tabulate_levels.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_levels.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("tabulate_levels"),
    shell:
        "$PYTHON workflow/scripts/tabulate_levels.py --runs {input} --csv {output.csv} --markdown {output.markdown}"
        " --latex {output.latex} --trends {output.trends} &> {log}"


rule fit_power_law:
    """The power law of one method and arm, its beta* and its rivals, and Definition 6.1 (Eq. 14-15, Appendix E)."""
    input:
        f"{RESULTS}/tables/augc/{{method}}-{{arm}}.csv",
    output:
        f"{RESULTS}/fit/{{method}}-{{arm}}.json",
    log:
        f"{LOGS}/fit_power_law/{{method}}-{{arm}}.log",
    benchmark:
        f"{BENCHMARKS}/fit_power_law/{{method}}-{{arm}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("fit_power_law"),
    shell:
        "$PYTHON workflow/scripts/fit_power_law.py --augc {input} --output {output} &> {log}"


rule fit_overoptimisation:
    """Proxy and true reward against the distance from the offline checkpoint (Gao et al. 2022)."""
    input:
        gaps=f"{RESULTS}/tables/gaps.parquet",
        runs=f"{RESULTS}/tables/runs.parquet",
        scales=f"{RESULTS}/tables/scales.json",
    output:
        table=f"{RESULTS}/tables/overoptimisation.parquet",
        csv=f"{RESULTS}/tables/overoptimisation.csv",
    log:
        f"{LOGS}/fit_overoptimisation.log",
    benchmark:
        f"{BENCHMARKS}/fit_overoptimisation.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("fit_overoptimisation"),
    shell:
        "$PYTHON workflow/scripts/fit_overoptimisation.py --gaps {input.gaps} --runs {input.runs}"
        " --scales {input.scales} --table {output.table} --csv {output.csv} &> {log}"
