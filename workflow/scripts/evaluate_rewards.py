r"""Judge the reward ensemble on held-out pairs, and compute once what every probe needs of it.

Accuracy, calibration and the scale of the proxy (its SD over held-out responses); the centroid of Eq. 12; the
ensemble's rewards of the reference policy's responses, the baseline of every win rate.

    python workflow/scripts/evaluate_rewards.py --members member-0/adapter member-1/adapter --preferences \
        preferences.parquet --backbone policy --precision float32 --derived derived/reward.json --responses \
        reference/responses.parquet --seed 0 --threads 1 --quality quality.json \
        --centroid centroid.safetensors --baseline baseline.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from goodhart.cli import PRECISIONS, Output, parser, run, use_threads
from goodhart.models.manifest import check_adapters
from goodhart.runtime.finite import Watched, dump_on_nan
from goodhart.store.files import read_json, read_table, write_json, write_table, write_tensors
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import BASELINE, PREFERENCES, RESPONSES

if TYPE_CHECKING:
    import pandas as pd

    from goodhart.models.ensemble import Scores


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--members", type=Path, nargs="+", required=True)
    args.add_argument("--preferences", type=Path, required=True)
    args.add_argument("--backbone", type=Path, required=True)
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--derived", type=Path, required=True, help="derived/reward.json")
    args.add_argument("--responses", type=Path, required=True, help="the reference policy's responses")
    args.add_argument("--seed", type=int, required=True, help="draws the responses of the centroid")
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--quality", type=Output, required=True)
    args.add_argument("--centroid", type=Output, required=True)
    args.add_argument("--baseline", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    held_out, train = (read_table(args.preferences, PREFERENCES, split) for split in ("test", "train"))
    responses = read_table(args.responses, RESPONSES)
    derived = read_json(args.derived, ["values"])
    check_adapters(args.backbone, args.members)
    made = Origin.of(args, __file__)
    for member in args.members:
        made.verify(member, "train_reward", ["backbone", "preferences"])
    use_threads(args.threads)
    from goodhart.evaluation.probes import probe_size
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.ensemble import RewardEnsemble, quality, uncertainty
    from goodhart.models.loading import load_reward_backbone, load_tokenizer
    from goodhart.models.manifest import check_model

    check_model(args.backbone)
    used = values(derived)
    ensemble = RewardEnsemble(
        load_reward_backbone(args.backbone, args.precision),
        load_tokenizer(args.backbone),
        args.members,
        used["inference_batch_size"],
        used["max_length"],
    )

    def score(rows: pd.DataFrame, side: str) -> Scores:
        finished = rows["finished"].tolist() if side == "response" else None
        scores = ensemble.score(rows["prompt"].tolist(), rows[side].tolist(), finished)
        watched = Watched("ensemble scoring", prompt=rows["prompt"].tolist(), response=rows[side].tolist())
        watched.add("reward", scores.rewards)
        watched.add("embedding", scores.embeddings)
        return scores

    with dump_on_nan(args.quality.with_suffix(".stopped.json"), args.seed):
        chosen, rejected = (score(held_out, side).rewards for side in ("chosen", "rejected"))
        train = train.sample(n=probe_size(len(train)), random_state=args.seed)
        embeddings = score(train, "chosen").embeddings
        rewards = score(responses, "response").rewards
    write_json(args.quality, {**quality(chosen, rejected), "centroid_responses": len(train)}, made)
    write_tensors(args.centroid, {"centroid": embeddings.mean(dim=0)}, made)
    baseline = responses[["problem_id"]].assign(
        proxy=rewards.mean(dim=1).double().numpy(), uncertainty=uncertainty(rewards).double().numpy()
    )
    write_table(args.baseline, baseline, BASELINE, made)


if __name__ == "__main__":
    run(main)
