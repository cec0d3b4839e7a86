"""The paths of all results: those of a replicate, and those of the whole study."""

RESULTS = f"results/{config['study']}"
LOGS = f"logs/{config['study']}"
BENCHMARKS = f"benchmarks/{config['study']}"
CHECKPOINTS = f"{RESULTS}/checkpoints"

# Files of one replicate of the whole pipeline.
REPLICATE = f"{RESULTS}/replicate-{{replicate}}"
LOG = f"{LOGS}/replicate-{{replicate}}"
BENCHMARK = f"{BENCHMARKS}/replicate-{{replicate}}"

PROBLEMS = f"{REPLICATE}/data/problems.parquet"
CORPUS = f"{REPLICATE}/data/corpus.parquet"
PREFERENCES = f"{REPLICATE}/data/preferences.parquet"
COVERAGE = f"{REPLICATE}/data/coverage.json"
POLICY = f"{REPLICATE}/policy"
LOGPROBS = f"{REPLICATE}/reference/logprobs.parquet"
RESPONSES = f"{REPLICATE}/reference/responses.parquet"
BETA = f"{REPLICATE}/beta/{{level}}.json"
DERIVED = {
    stage: f"{REPLICATE}/derived/{stage}.json"
    for stage in ("offline", "reward", "online")
}
ALL_DERIVED = f"{REPLICATE}/derived.json"

BACKBONE = f"{REPLICATE}/reward/backbone"
MEMBER = f"{REPLICATE}/reward/member-{{member}}"
MEMBERS = expand(
    f"{MEMBER}/adapter", member=range(config["reward"]["members"]), allow_missing=True
)
HELD_OUT = expand(
    f"{REPLICATE}/reward/held-out-{{member}}/adapter",
    member=range(config["reward"]["held_out"]),
    allow_missing=True,
)
QUALITY = f"{REPLICATE}/reward/quality.json"
CENTROID = f"{REPLICATE}/reward/centroid.safetensors"
BASELINE = f"{REPLICATE}/reward/baseline.parquet"

OFFLINE_RUN = f"{REPLICATE}/offline/{{method}}/{{level}}"
OFFLINE_RUNS = expand(
    OFFLINE_RUN,
    method=config["methods"],
    level=config["levels"],
    replicate=config["replicates"],
)
ONLINE_RUN = f"{REPLICATE}/online/{{method}}/{{level}}/kl-{{kl_level}}"
ONLINE_RUNS = [ONLINE_RUN.format(**cell._asdict()) for cell in study.cells(config)]

TABLES = f"{RESULTS}/tables"
FIT = f"{RESULTS}/fit/{{method}}-{{arm}}.json"
FITS = expand(FIT, method=config["methods"], arm=study.arms(config))
FIGURES = f"{RESULTS}/figures"


wildcard_constraints:
    method="[a-z]+",
    level=r"none|[pb]\d+(\.\d+)?",
    kl_level=r"none|[pb]\d+(\.\d+)?",
    replicate=r"\d+",
    member=r"\d+",
    stage="offline|reward|online",


def drawn(stage, *paths):
    """An input function: the files of a stage from this replicate if it redraws the stage, else from replicate 0."""

    def files(wildcards):
        source = study.drawn(config, stage, int(wildcards.replicate))
        values = dict(wildcards.items()) | {"replicate": source}
        return [path.format(**values) for path in paths]

    return files


def of_each(stage, path):
    """The file of a stage for every replicate, in their order; a file that several replicates share is repeated."""
    return [
        path.format(replicate=study.drawn(config, stage, replicate))
        for replicate in config["replicates"]
    ]


THE_BACKBONE = (
    drawn("backbone", BACKBONE)
    if config["reward"]["model"]
    else drawn("policy", POLICY)
)

# Suffixes of local files; a data or model source without one of these is a name on the hub.
LOCAL = {".csv", ".gguf", ".json", ".jsonl", ".parquet"}


def local_files(source):
    """The local files of a data or model source, so that changed files trigger reruns.

    A path that does not exist is returned too, so that Snakemake reports it as missing.
    """
    path = Path(source)
    if path.is_dir():
        return sorted(str(file) for file in path.iterdir() if file.is_file())
    written_as_path = source.startswith((".", os.sep)) or source.count(os.sep) > 1
    return (
        [source]
        if written_as_path or path.suffix in LOCAL and ":" not in source
        else []
    )
