r"""How a study's time grows with its levels, its replicates and its reward members, and an update's with its length.

Small studies are run whole, each from nothing; a stage's time is the sum of its jobs' in Snakemake's benchmark files.
What levels and replicates share must not grow; no stage is redrawn here. Run it in the repository's folder; earlier
results of the study are removed.

    python bench/scaling.py --cores 2 --levels 2 4 8 --replicates 1 2 4 --members 2 4 8 --new-tokens 24 48 96 192 \
        --repeats 3 --output results/bench-comparisons/scaling.parquet
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alternating import publish, seconds
from goodhart.cli import parser, run
from goodhart.errors import InputError
from goodhart.runtime.threads import use_threads
from online_step import draw_prompts, our_run
from random_study import write_model
from whole_study import clear, job_seconds

STUDY = "bench-scaling"
# A study of half a minute; libraries are imported once, so a stage's seconds are those of its work all the same.
SMALL: dict[str, Any] = {
    "study": STUDY,
    "redraw": [],
    "arms": {"paper": "same", "matched": None},
    "decision": {"arm": "paper"},
    "task": {
        "source": "arithmetic",
        "online_problems": 300,
        "evaluation_problems": 64,
        "arithmetic": {"pretraining_examples": 4000, "preference_problems": 1200},
    },
    "policy": {"pretraining": {"steps": 600}},
    "online": {"steps": 16, "evaluate_every": 8},
}
GROWING = {  # the stages with a job a level, replicate or member
    "levels": ("train_offline", "probe_offline", "adapt_online"),
    "replicates": ("train_offline", "probe_offline", "adapt_online"),
    "members": ("train_reward",),
}
SHARED = ("pretrain_policy", "sample_preferences", "score_reference", "sample_reference", "train_reward")
SHAPE = {
    "model_type": "qwen3",
    "vocab_size": 4096,  # so many that none of the rows ends early
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "intermediate_size": 192,
    "tie_word_embeddings": True,
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--cores", type=int, required=True)
    for axis in ("levels", "replicates", "members", "new-tokens"):
        args.add_argument(
            f"--{axis}", type=int, nargs="+", required=True, help="the first is that of the other studies"
        )
    args.add_argument("--repeats", type=int, required=True, help="updates of each length; the fastest counts")
    args.add_argument("--output", type=Path, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    base = {axis: getattr(args, axis)[0] for axis in GROWING}
    known: dict[tuple[int, ...], dict[str, float]] = {}
    rows = []
    for axis, growing in GROWING.items():
        for number in getattr(args, axis):
            sizes = {**base, axis: number}
            key = tuple(sizes.values())
            if key not in known:
                known[key] = stage_seconds(args.cores, **sizes)
            shared = [stage for stage in SHARED if stage not in growing]
            for kind, stages in (("growing", growing), ("shared", shared)):
                rows.append((axis, number, kind, sum(known[key][stage] for stage in stages)))
    rows += [("new tokens", n, "growing", update_seconds(n, args.repeats)) for n in args.new_tokens]
    table = pd.DataFrame(rows, columns=["axis", "number", "kind", "seconds"])
    print(table.to_string(index=False), file=sys.stderr)
    publish(args.output, table)


def stage_seconds(cores: int, levels: int, replicates: int, members: int) -> dict[str, float]:
    """Run one study from nothing; core-seconds of each stage."""
    clear(STUDY)
    percentiles = [round(100 * (i + 1) / (levels + 1)) for i in range(levels)]
    sizes = {"levels": [f"p{p}" for p in percentiles], "replicates": list(range(replicates))}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(SMALL | sizes | {"reward": {"members": members}}, file)
        file.flush()
        line = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--quiet", "all", "--configfile", file.name]
        done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"the study of {levels} levels, {replicates} replicates and {members} members failed: {done.stderr[-500:]}"
        )
    return {stage: sum(jobs) for stage, jobs in job_seconds(STUDY).items()}


def update_seconds(new_tokens: int, repeats: int) -> float:
    """An online update of 16 rows that all have this length, on a random policy of the pocket study's shape."""
    use_threads(1)
    from goodhart.models.loading import load_tokenizer
    from resolve_model import main as resolve_model

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "shape.json").write_text(json.dumps(SHAPE))
        write_model(folder / "shape.json", folder / "weights")
        line = ["--model", str(folder / "weights"), "--role", "policy", "--prompts", "plain"]
        resolve_model([*line, "--output", str(folder / "policy")])
        args = argparse.Namespace(
            policy=folder / "policy",
            problems=None,
            prompt_tokens=12,
            rows=16,
            per_prompt=1,
            max_new_tokens=new_tokens,
            rank=8,
            precision="float32",
        )
        tokenizer = load_tokenizer(args.policy)
        ours = our_run(args, tokenizer, draw_prompts(args, tokenizer))
    ours.step()
    return min(seconds(ours.step) for _ in range(repeats))


if __name__ == "__main__":
    run(main)
