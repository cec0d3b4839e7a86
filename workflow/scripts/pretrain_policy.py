r"""Train the embedded policy: a word-level tokeniser and a tiny Qwen3 on the corpus of the teacher.

    python workflow/scripts/pretrain_policy.py --corpus corpus.parquet --hidden-size 64 --layers 2 --heads 2 \
        --kv-heads 1 --head-dim 32 --mlp-size 192 --steps 2400 --batch-size 32 --learning-rate 5e-3 --seed 0 \
        --threads 1 --checkpoints checkpoints --checkpoint-minutes 5 --policy policy
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, group, run
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import Frame
from goodhart.store.files import publish
from goodhart.store.flags import table
from goodhart.store.schemas.inputs import CORPUS
from goodhart.training.settings import AutosaveFlags, Shape


@dataclass(frozen=True, kw_only=True)
class Arguments(AutosaveFlags):
    corpus: Frame = table(CORPUS)
    shape: Shape = group(Shape)
    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    threads: int
    policy: Output = flag(help="model folder to write")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    use_threads(given.threads)
    import torch

    from goodhart.models.manifest import stamp_model
    from goodhart.models.tokens import encode_prompts, encode_responses
    from goodhart.training.checkpoints import Checkpoints
    from goodhart.training.pretraining import build_model, build_tokenizer, train

    torch.manual_seed(given.seed)
    tokenizer = build_tokenizer([*given.corpus["prompt"], *given.corpus["response"]])
    model = build_model(tokenizer, given.shape)
    with (
        Checkpoints(given.checkpoints, given.origin, given.checkpoint_minutes, [given.policy]) as checkpoints,
        dump_on_nan(given.policy.with_suffix(".stopped.json"), given.seed),
    ):
        losses = train(
            model,
            encode_prompts(tokenizer, given.corpus["prompt"].tolist()),
            encode_responses(tokenizer, given.corpus["response"].tolist()),
            steps=given.steps,
            batch_size=given.batch_size,
            learning_rate=given.learning_rate,
            generator=torch.Generator().manual_seed(given.seed),
            checkpoints=checkpoints,
        )
        print(f"loss of the last 100 steps: {sum(losses[-100:]) / len(losses[-100:]):.3f} nats per token")
        with publish(given.policy) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            stamp_model(folder, folder, "plain", given.origin)


if __name__ == "__main__":
    run(main)
