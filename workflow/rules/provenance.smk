"""The provenance of the whole study."""


use rule step as write_provenance with:
    """Every file of the study with its size, hash and origin; models, data, seeds, code and software."""
    input:
        ARTEFACTS,
        derived=f"{RESULTS}/derived.json",
    output:
        provenance=f"{RESULTS}/provenance.json",
    log:
        f"{LOGS}/write_provenance.log",
    benchmark:
        f"{BENCHMARKS}/write_provenance.tsv"
    localrule: True
    params:
        **flags_of("write_provenance") | {"settings": artefacts},
