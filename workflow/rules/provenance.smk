"""Where everything comes from: the record of the whole study."""


rule write_provenance:
    """Every file of the study with its size, hash and origin; models, data, seeds, code and software."""
    input:
        artefacts=list(ARTEFACTS),
        derived=f"{RESULTS}/derived.json",
    output:
        f"{RESULTS}/provenance.json",
    log:
        f"{LOGS}/write_provenance.log",
    benchmark:
        f"{BENCHMARKS}/write_provenance.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("write_provenance"),
        artefacts=artefacts,
    shell:
        "$PYTHON workflow/scripts/write_provenance.py --artefacts {params.artefacts} --derived {input.derived}"
        " --output {output} &> {log}"
