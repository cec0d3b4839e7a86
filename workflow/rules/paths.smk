"""The paths of all results."""

RESULTS = f"results/{config['study']}"
LOGS = f"logs/{config['study']}"
BENCHMARKS = f"benchmarks/{config['study']}"
CHECKPOINTS = f"{RESULTS}/checkpoints"

PROBLEMS = f"{RESULTS}/data/problems.parquet"
PREFERENCES = f"{RESULTS}/data/preferences.parquet"
COVERAGE = f"{RESULTS}/data/coverage.json"
POLICY = f"{RESULTS}/policy"
LOGPROBS = f"{RESULTS}/reference/logprobs.parquet"
RESPONSES = f"{RESULTS}/reference/responses.parquet"
BETA = f"{RESULTS}/beta/{{level}}.json"
DERIVED = f"{RESULTS}/derived/{{stage}}.json"

REWARD = f"{RESULTS}/reward"
BACKBONE = f"{REWARD}/backbone" if config["reward"]["model"] else POLICY
MEMBER = f"{REWARD}/member-{{member}}"
MEMBERS = expand(f"{MEMBER}/adapter", member=range(config["reward"]["members"]))
QUALITY = f"{REWARD}/quality.json"
CENTROID = f"{REWARD}/centroid.safetensors"
BASELINE = f"{REWARD}/baseline.parquet"

OFFLINE_RUN = f"{RESULTS}/offline/{{method}}/{{level}}/seed-{{seed}}"
OFFLINE_RUNS = expand(
    OFFLINE_RUN,
    method=config["methods"],
    level=config["levels"],
    seed=config["seeds"],
)
ONLINE_RUN = f"{RESULTS}/online/{{method}}/{{level}}/kl-{{kl_level}}/seed-{{seed}}"
ONLINE_RUNS = [ONLINE_RUN.format(**cell._asdict()) for cell in study.cells(config)]

TABLES = f"{RESULTS}/tables"
FIT = f"{RESULTS}/fit/{{method}}-{{arm}}.json"
FITS = expand(FIT, method=config["methods"], arm=study.arms(config))
FIGURES = f"{RESULTS}/figures"


wildcard_constraints:
    method="[a-z]+",
    level=r"[pb]\d+(\.\d+)?",
    kl_level=r"[pb]\d+(\.\d+)?",
    seed=r"\d+",
    member=r"\d+",
    stage="offline|reward|online",


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
