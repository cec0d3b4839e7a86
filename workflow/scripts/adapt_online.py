r"""Adapt one offline checkpoint online against the reward ensemble (Eq. 8-10), and evaluate proxy and true reward.

The policy starts from the offline adapter, and its reference is a frozen copy of this adapter. Both share one base
model, and so do the reward models if they have the same backbone. The true reward is measured but never used in
training.

    python workflow/scripts/adapt_online.py --adapter adapter --metrics metrics.json --kl-beta beta/p20.json \
        --policy policy --backbone policy --precision float32 --members member-0/adapter member-1/adapter \
        --quality quality.json --centroid centroid.safetensors --problems problems.parquet \
        --derived-online derived/online.json --derived-reward derived/reward.json --verifier gsm8k --steps 72 \
        --prompts-per-step 64 --kl-percentile 90 --evaluate-every 8 --max-new-tokens 48 --batch-size 192 \
        --engine auto --evaluation-seed 1 --replicate 0 \
        --threads 1 --checkpoints checkpoints --checkpoint-minutes 5 --trajectory trajectory.parquet \
        --updates steps.parquet --responses responses.parquet --output adapter
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, group, run
from goodhart.evaluation.flags import EvaluationFlags
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_table
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import PROBLEMS
from goodhart.store.schemas.measurements import ONLINE_RESPONSES, STEPS, TRAJECTORY
from goodhart.training.settings import AutosaveFlags, Online, Settings


@dataclass(frozen=True, kw_only=True)
class Arguments(EvaluationFlags, AutosaveFlags):
    kl_beta: Record = record("level", "beta", help="beta/<level>.json, with the beta of Eq. 10")
    problems: tuple[Frame, Frame] = table(PROBLEMS, "online", "evaluation")
    derived_online: Record = record("inputs", "values")
    online: Online = group(Online)
    replicate: int = flag(help="number of the replicate, which seeds the run")
    trajectory: Output
    updates: Output
    responses: Output
    output: Output = flag(help="adapter folder")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    given.verify()
    import pandas as pd
    import torch

    from goodhart.evaluation.probes import Evaluator
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.adapters import publish_adapter
    from goodhart.models.loading import LARGE
    from goodhart.training.checkpoints import Checkpoints
    from goodhart.training.online.loop import OnlineRun, adapt

    torch.manual_seed(given.replicate)
    used, (training, evaluation) = values(given.derived_online), given.problems
    evaluator = Evaluator.load(given, evaluation, used["inference_batch_size"], trainable=True)
    settings = Settings(
        **vars(given.online),
        sampling=given.sampling,
        beta=given.kl_beta["beta"],
        recompute=given.derived_online["inputs"]["parameters"] > LARGE,
        **{name: used[name] for name in ("learning_rate", "clip_norm", "weight_decay", "warmup_steps", "batch_size")},
    )
    loop = OnlineRun(
        evaluator.model,
        evaluator.tokenizer,
        evaluator.ensemble,
        settings,
        training["prompt"].tolist(),
        given.replicate,
    )

    cell = {
        **{name: given.metrics[name] for name in ("method", "level", "beta", "replicate")},
        "kl_level": given.kl_beta["level"],
        "kl_beta": given.kl_beta["beta"],
    }
    outputs = [given.trajectory, given.updates, given.responses, given.output]
    with (
        Checkpoints(given.checkpoints, given.origin, given.checkpoint_minutes, outputs) as checkpoints,
        dump_on_nan(given.output.parent / "stopped.json", given.replicate),
    ):
        trajectory, responses = adapt(
            loop,
            lambda: evaluator.evaluate("reference"),
            checkpoints,
            f"online {cell['level']} kl-{cell['kl_level']} replicate {given.replicate}",
        )
        write_table(given.updates, [{**cell, **row} for row in loop.updates], STEPS, given.origin)
        answers = pd.concat([pd.DataFrame(columns).assign(**cell) for columns in responses], ignore_index=True)
        write_table(given.responses, answers, ONLINE_RESPONSES, given.origin)
        publish_adapter(evaluator.model, "policy", given.output, given.policy, given.origin)
        write_table(given.trajectory, [{**cell, **row} for row in trajectory], TRAJECTORY, given.origin)


if __name__ == "__main__":
    run(main)
