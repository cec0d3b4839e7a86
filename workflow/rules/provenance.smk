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


rule write_crate:
    """The study as an RO-Crate, for archives; on request only."""
    input:
        rules.write_provenance.output,
    output:
        f"{RESULTS}/ro-crate-metadata.json",
    log:
        f"{LOGS}/write_crate.log",
    benchmark:
        f"{BENCHMARKS}/write_crate.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    params:
        code=code("write_crate"),
        license="https://spdx.org/licenses/Apache-2.0",
    shell:
        "$PYTHON workflow/scripts/write_crate.py --provenance {input} --license {params.license}"
        " --output {output} &> {log}"
