r"""Plan the memory of every stage before one of them runs: what lies in it at its peak, and whether that fits.

A model is a model folder of a study, whose manifest names where its weights lie, or a bare config.json. Nothing is
downloaded or allocated. A stage that does not fit is a warning, not an error: docs/memory.md says what to change.

    python workflow/scripts/plan_memory.py --policy bench/qwen3-14b.json --backbone bench/qwen3-1.7b.json \
        --derived derived.json --precision nf4 --device cuda --memory-gb 80 --members 3 --max-new-tokens 512 \
        --batch-size 64 --engine auto --prompt-tokens 256 --prompts-per-step 16 --json memory.json --markdown memory.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import ENGINES, PRECISIONS, Output, parser, run
from goodhart.store.files import read_json, write_json, write_text
from goodhart.store.provenance import Origin


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--policy", type=Path, required=True, help="model folder or config.json")
    args.add_argument("--backbone", type=Path, required=True, help="of the rewards; may be the policy itself")
    args.add_argument("--derived", type=Path, required=True, help="derived.json of the study")
    args.add_argument("--precision", choices=PRECISIONS, required=True)
    args.add_argument("--device", choices=("cpu", "cuda"), required=True, help="where the study will run")
    args.add_argument("--memory-gb", type=float, required=True, help="memory of that device, in GiB")
    args.add_argument("--members", type=int, required=True, help="K, the rewards of the ensemble")
    args.add_argument("--max-new-tokens", type=int, required=True)
    args.add_argument("--batch-size", type=int, required=True, help="rows sampled together")
    args.add_argument("--engine", choices=ENGINES, required=True, help="auto: continuous on a GPU, loop on a CPU")
    args.add_argument("--prompt-tokens", type=int, required=True, help="tokens of the longest prompt")
    args.add_argument("--prompts-per-step", type=int, required=True, help="responses of an online update")
    args.add_argument("--json", type=Output, required=True)
    args.add_argument("--markdown", type=Output, required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    derived = read_json(args.derived, ["offline", "reward", "online"])

    made = Origin.of(args, __file__)
    from goodhart.memory import plan
    from goodhart.memory.architecture import architecture, same_architecture
    from goodhart.sampling.engines import engine_for

    offline, reward, online = (plan.training(derived[stage]) for stage in ("offline", "reward", "online"))
    policy = architecture(args.policy)
    shared = same_architecture(args.policy, args.backbone)
    stages = plan.plan(
        plan.Study(
            policy=policy,
            backbone=policy if shared else architecture(args.backbone),
            shared=shared,
            members=args.members,
            numbers=plan.Numbers(args.precision, args.device),
            offline=offline,
            reward=reward,
            online=online,
            engine=engine_for(args.engine, args.device),
            batch_size=args.batch_size,
            prompt_tokens=args.prompt_tokens,
            max_new_tokens=args.max_new_tokens,
            prompts_per_step=args.prompts_per_step,
        )
    )
    table = plan.table(stages, args.memory_gb)
    write_json(args.json, plan.record(stages, args.memory_gb), made)
    write_text(args.markdown, table)
    print(table)
    for stage in stages:
        if stage.peak > args.memory_gb * plan.GIB:
            print(
                f"warning: {stage.name} needs {stage.peak / plan.GIB:.1f} GiB of {args.memory_gb:g}, most of it "
                f"for {stage.largest}; docs/memory.md says what to change.",
                file=sys.stderr,
            )


if __name__ == "__main__":
    run(main)
