r"""Plan the memory of every stage before one of them runs: peak memory, and whether it fits.

A model is a model folder of a study, whose manifest locates the weights, or a bare config.json. Nothing is
downloaded or allocated. A stage that does not fit is a warning, not an error; docs/memory.md lists remedies.

    python workflow/scripts/plan_memory.py --policy bench/qwen3-14b.json --backbone bench/qwen3-1.7b.json \
        --derived derived.json --precision nf4 --device cuda --memory-gb 80 --members 3 --max-new-tokens 512 \
        --batch-size 64 --engine auto --prompt-tokens 256 --prompts-per-step 16 --json memory.json --markdown memory.md
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import Output, flag, group, run
from goodhart.models.flags import PRECISIONS
from goodhart.runtime.types import Record
from goodhart.sampling.settings import Sampling
from goodhart.store.files import write_json, write_text
from goodhart.store.flags import StepFlags, record


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    policy: Path = flag(help="model folder or config.json")
    backbone: Path = flag(help="model folder or config.json of the reward models; may be that of the policy")
    derived: Record = record("offline", "reward", "online", help="derived.json of the study")
    precision: str = flag(choices=PRECISIONS)
    device: str = flag(choices=("cpu", "cuda"), help="where the study will run")
    memory_gb: float = flag(help="memory of the device, in GiB")
    members: int = flag(help="K, the number of reward models")
    sampling: Sampling = group(Sampling)
    prompt_tokens: int = flag(help="tokens of the longest prompt")
    prompts_per_step: int = flag(help="responses per online update")
    json: Output
    markdown: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    from goodhart.memory import plan
    from goodhart.memory.architecture import architecture, same_architecture
    from goodhart.sampling.engines import engine_for

    policy = architecture(given.policy)
    shared = same_architecture(given.policy, given.backbone)
    stages = plan.plan(
        plan.Study(
            policy=policy,
            backbone=policy if shared else architecture(given.backbone),
            shared=shared,
            members=given.members,
            numbers=plan.Numbers(given.precision, given.device),
            **{stage: plan.training(given.derived[stage]) for stage in ("offline", "reward", "online")},
            engine=engine_for(given.sampling.engine, given.device),
            batch_size=given.sampling.batch_size,
            prompt_tokens=given.prompt_tokens,
            max_new_tokens=given.sampling.max_new_tokens,
            prompts_per_step=given.prompts_per_step,
        )
    )
    table = plan.table(stages, given.memory_gb)
    write_json(given.json, plan.record(stages, given.memory_gb), given.origin)
    write_text(given.markdown, table)
    print(table)
    for stage in stages:
        if stage.peak > given.memory_gb * plan.GIB:
            print(
                f"warning: {stage.name} needs {stage.peak / plan.GIB:.1f} GiB, but the device has {given.memory_gb:g}; "
                f"most of it is for {stage.largest}; docs/memory.md lists remedies.",
                file=sys.stderr,
            )


if __name__ == "__main__":
    run(main)
