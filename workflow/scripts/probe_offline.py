r"""Probe one offline checkpoint: entropy (Eq. 11), OOD distance (Eq. 12), diversity, preference accuracy, win rate.

Preference accuracy is the share of held-out pairs that DPO's implicit reward orders rightly; the win rate is over the
reference policy's responses, as the ensemble judges it.

    python workflow/scripts/probe_offline.py --adapter adapter --metrics metrics.json --policy policy \
        --backbone policy --precision float32 --members member-0/adapter member-1/adapter \
        --centroid centroid.safetensors --baseline baseline.parquet --preferences preferences.parquet \
        --logprobs logprobs.parquet --derived-offline offline.json --derived-reward reward.json \
        --problems problems.parquet --verifier gsm8k --max-new-tokens 48 --batch-size 192 --engine auto \
        --evaluation-seed 1 --threads 1 --output probe.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import PRECISIONS, Output, add_sampling, parser, run, use_threads
from goodhart.models.manifest import check_adapters
from goodhart.runtime.finite import dump_on_nan
from goodhart.store.files import check_safetensors, read_json, read_table, write_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import BASELINE, LOGPROBS, PREFERENCES, PROBLEMS
from goodhart.store.schemas.measurements import PROBE
from goodhart.verifiers.registry import verifier


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--adapter", type=Path, required=True)
    args.add_argument("--metrics", type=Path, required=True, help="metrics.json of the adapter: whose it is")
    args.add_argument("--policy", type=Path, required=True)
    args.add_argument("--backbone", type=Path, required=True, help="of the rewards; may be the policy itself")
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--members", type=Path, nargs="+", required=True)
    args.add_argument("--centroid", type=Path, required=True)
    args.add_argument("--baseline", type=Path, required=True)
    args.add_argument("--preferences", type=Path, required=True)
    args.add_argument("--logprobs", type=Path, required=True)
    args.add_argument("--derived-offline", type=Path, required=True)
    args.add_argument("--derived-reward", type=Path, required=True)
    args.add_argument("--problems", type=Path, required=True)
    args.add_argument("--verifier", required=True)
    add_sampling(args)
    args.add_argument("--evaluation-seed", type=int, required=True, help="the same for every policy of the study")
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--output", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    check_adapters(args.policy, [args.adapter])
    check_adapters(args.backbone, args.members)
    check_safetensors(args.centroid)
    whose = read_json(args.metrics, ["method", "level", "beta", "seed"])
    offline, reward = (read_json(path, ["values"]) for path in (args.derived_offline, args.derived_reward))
    problems = read_table(args.problems, PROBLEMS, split="evaluation")
    baseline = read_table(args.baseline, BASELINE)
    logprobs = read_table(args.logprobs, LOGPROBS, split="test")
    pairs = logprobs.merge(read_table(args.preferences, PREFERENCES).drop(columns="split"), on="pair_id")
    made = Origin.of(args, __file__)
    made.verify(args.logprobs, "score_reference", ["policy", "preferences"], ["max_length", "precision"])
    made.verify_policy(args)
    verify = verifier(args.verifier)
    use_threads(args.threads)
    import torch

    from goodhart.evaluation.probes import examine, preference_accuracy, win_rate
    from goodhart.evaluation.responses import Examination
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.adapters import activate, attach_adapter
    from goodhart.models.ensemble import load_centroid, load_with_policy
    from goodhart.models.loading import load_policy, load_tokenizer
    from goodhart.models.manifest import check_model
    from goodhart.sampling.settings import Sampling

    check_model(args.policy)
    tokenizer = load_tokenizer(args.policy)
    model = attach_adapter(load_policy(args.policy, args.precision), args.adapter, "policy")
    ensemble = load_with_policy(model, args.policy, args.backbone, args.precision, args.members, values(reward))
    used = values(offline)
    batch_size = used["inference_batch_size"]
    exam = Examination(
        problems["prompt"].tolist(),
        problems["answer"].tolist(),
        verify,
        Sampling.of(args),
        args.evaluation_seed,
    )
    centroid = load_centroid(args.centroid)
    against = problems[["problem_id"]].merge(baseline, on="problem_id", how="left", validate="one_to_one")
    with dump_on_nan(args.output.with_suffix(".stopped.json"), args.evaluation_seed):
        measures, _, rewards = examine(model, tokenizer, ensemble, centroid, exam, None, batch_size)
        activate(model, "policy")
        accuracy = preference_accuracy(model, tokenizer, pairs, used["max_length"], batch_size)
    row = {
        **{name: whose[name] for name in ("method", "level", "beta", "seed")},
        **measures,
        "preference_accuracy": accuracy,
        "win_rate": win_rate(rewards.double(), torch.tensor(against["proxy"].to_numpy())),
    }
    write_table(args.output, [row], PROBE, made)


if __name__ == "__main__":
    run(main)
