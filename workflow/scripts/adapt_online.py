r"""Adapt one offline checkpoint online against the reward ensemble (Eq. 8-10), and watch proxy and true reward part.

The policy starts from the offline adapter, its reference is the same adapter frozen, and both sit on one base, with
the rewards where these share the backbone. The true reward is measured at every evaluation and never used.

    python workflow/scripts/adapt_online.py --adapter adapter --metrics metrics.json --kl-beta beta/p20.json \
        --policy policy --backbone policy --precision float32 --members member-0/adapter member-1/adapter \
        --centroid centroid.safetensors --problems problems.parquet --derived-online derived/online.json \
        --derived-reward derived/reward.json --verifier gsm8k --steps 72 --prompts-per-step 64 --kl-percentile 90 \
        --evaluate-every 8 --max-new-tokens 48 --batch-size 192 --engine auto --evaluation-seed 1 --seed 0 \
        --threads 1 --checkpoints checkpoints --checkpoint-minutes 5 --trajectory trajectory.parquet \
        --updates steps.parquet --samples samples.parquet --output adapter
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from goodhart.cli import PRECISIONS, Output, add_checkpoints, add_sampling, parser, run, use_threads
from goodhart.models.manifest import check_adapters
from goodhart.runtime.finite import dump_on_nan, label_step
from goodhart.runtime.progress import progress
from goodhart.store.files import check_safetensors, read_json, read_table, write_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import PROBLEMS
from goodhart.store.schemas.measurements import SAMPLES, STEPS, TRAJECTORY
from goodhart.verifiers.registry import verifier


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--adapter", type=Path, required=True, help="offline adapter: start and reference")
    args.add_argument("--metrics", type=Path, required=True, help="metrics.json of the adapter: whose it is")
    args.add_argument("--kl-beta", type=Path, required=True, help="beta/<level>.json: the beta of Eq. 10")
    args.add_argument("--policy", type=Path, required=True)
    args.add_argument("--backbone", type=Path, required=True, help="of the rewards; may be the policy itself")
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--members", type=Path, nargs="+", required=True)
    args.add_argument("--centroid", type=Path, required=True)
    args.add_argument("--problems", type=Path, required=True)
    args.add_argument("--derived-online", type=Path, required=True)
    args.add_argument("--derived-reward", type=Path, required=True)
    args.add_argument("--verifier", required=True)
    args.add_argument("--steps", type=int, required=True)
    args.add_argument("--prompts-per-step", type=int, required=True)
    args.add_argument("--kl-percentile", type=float, required=True, help="p_KL of Eq. 10")
    args.add_argument("--evaluate-every", type=int, required=True)
    add_sampling(args)
    args.add_argument("--evaluation-seed", type=int, required=True, help="the same for every policy of the study")
    args.add_argument("--seed", type=int, required=True)
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--trajectory", type=Output, required=True)
    args.add_argument("--updates", type=Output, required=True)
    args.add_argument("--samples", type=Output, required=True)
    args.add_argument("--output", type=Output, required=True, help="adapter folder")
    add_checkpoints(args)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with dump_on_nan(args.output.parent / "stopped.json", args.seed):
        adapt(args)


def adapt(args: argparse.Namespace) -> None:
    """The run that the arguments ask for, from reading its inputs to publishing its outputs."""
    check_adapters(args.policy, [args.adapter])
    check_adapters(args.backbone, args.members)
    check_safetensors(args.centroid)
    whose = read_json(args.metrics, ["method", "level", "beta", "seed"])
    kl = read_json(args.kl_beta, ["level", "beta"])
    online, reward = (read_json(path, ["inputs", "values"]) for path in (args.derived_online, args.derived_reward))
    training, evaluation = (read_table(args.problems, PROBLEMS, split) for split in ("online", "evaluation"))
    made = Origin.of(args, __file__)
    made.verify_policy(args)
    verify = verifier(args.verifier)
    use_threads(args.threads)
    import torch

    from goodhart.evaluation.probes import examine
    from goodhart.evaluation.responses import Examination
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.adapters import attach_adapter, publish_adapter
    from goodhart.models.ensemble import load_centroid, load_with_policy
    from goodhart.models.loading import LARGE, load_policy, load_tokenizer
    from goodhart.models.manifest import check_model
    from goodhart.models.tokens import encode_prompts
    from goodhart.runtime.signals import defer_signals
    from goodhart.sampling.settings import Sampling
    from goodhart.training.checkpoints import Checkpoints
    from goodhart.training.online.loop import OnlineRun, Settings

    check_model(args.policy)
    torch.manual_seed(args.seed)
    used = values(online)
    tokenizer = load_tokenizer(args.policy)
    model = attach_adapter(load_policy(args.policy, args.precision), args.adapter, "policy", trainable=True)
    model = attach_adapter(model, args.adapter, "reference")
    ensemble = load_with_policy(model, args.policy, args.backbone, args.precision, args.members, values(reward))
    settings = Settings(
        prompts_per_step=args.prompts_per_step,
        sampling=Sampling.of(args),
        beta=kl["beta"],
        kl_percentile=args.kl_percentile,
        learning_rate=used["learning_rate"],
        clip_norm=used["clip_norm"],
        weight_decay=used["weight_decay"],
        warmup_steps=used["warmup_steps"],
        micro_batch=used["batch_size"],
        recompute=online["inputs"]["parameters"] > LARGE,
    )
    exam = Examination(
        evaluation["prompt"].tolist(),
        evaluation["answer"].tolist(),
        verify,
        Sampling.of(args),
        args.evaluation_seed,
    )
    cell = {
        **{name: whose[name] for name in ("method", "level", "beta", "seed")},
        "kl_level": kl["level"],
        "kl_beta": kl["beta"],
    }
    centroid = load_centroid(args.centroid)
    prompts = training["prompt"].tolist()
    loop = OnlineRun(model, tokenizer, ensemble, settings, prompts, encode_prompts(tokenizer, prompts), args.seed)
    trajectory: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []

    def evaluate(step: int) -> None:
        with label_step("evaluation after update", step):
            measures, rows, _ = examine(
                model, tokenizer, ensemble, centroid, exam, "reference", used["inference_batch_size"]
            )
        with defer_signals():
            trajectory.append({**cell, "step": step, **measures})
            if step in (0, args.steps):
                ids = evaluation["problem_id"]
                samples.extend({**cell, "step": step, "problem_id": i, **row} for i, row in zip(ids, rows, strict=True))

    def state() -> tuple[int, dict[str, Any]]:
        return loop.done, {"loop": loop.state(), "trajectory": trajectory, "samples": samples}

    outputs = [args.trajectory, args.updates, args.samples, args.output]
    with Checkpoints(args.checkpoints, made, args.checkpoint_minutes, outputs) as checkpoints:
        if saved := checkpoints.restore():
            loop.restore(saved["loop"])
            trajectory, samples = saved["trajectory"], saved["samples"]
        what = f"online {whose['level']} kl-{kl['level']} seed {args.seed}"
        with checkpoints.autosave(state) as keep:
            for step in progress(range(loop.done, args.steps + 1), what):
                if step > loop.done:
                    loop.step()
                due = step % args.evaluate_every == 0 or step == args.steps
                if due and step not in (row["step"] for row in trajectory):
                    evaluate(step)
                keep()
        write_table(args.updates, [{**cell, **update} for update in loop.updates], STEPS, made)
        write_table(args.samples, samples, SAMPLES, made)
        publish_adapter(model, "policy", args.output, args.policy, made)
        write_table(args.trajectory, trajectory, TRAJECTORY, made)


if __name__ == "__main__":
    run(main)
