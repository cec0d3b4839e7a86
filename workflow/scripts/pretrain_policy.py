r"""Train the embedded policy: a word-level tokeniser and a tiny Qwen3 on the teacher's corpus.

    python workflow/scripts/pretrain_policy.py --corpus corpus.parquet --hidden-size 64 --layers 2 --heads 2 \
        --kv-heads 1 --head-dim 32 --mlp-size 192 --steps 2400 --batch-size 32 --learning-rate 5e-3 --seed 0 \
        --threads 1 --checkpoints checkpoints --checkpoint-minutes 5 --output policy
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from goodhart.cli import Output, add_checkpoints, parser, run, use_threads
from goodhart.runtime.finite import dump_on_nan
from goodhart.store.files import publish, read_table
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import CORPUS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--corpus", type=Path, required=True)
    args.add_argument("--hidden-size", type=int, required=True)
    args.add_argument("--layers", type=int, required=True)
    args.add_argument("--heads", type=int, required=True)
    args.add_argument("--kv-heads", type=int, required=True)
    args.add_argument("--head-dim", type=int, required=True)
    args.add_argument("--mlp-size", type=int, required=True)
    args.add_argument("--steps", type=int, required=True)
    args.add_argument("--batch-size", type=int, required=True)
    args.add_argument("--learning-rate", type=float, required=True)
    args.add_argument("--seed", type=int, required=True)
    args.add_argument("--threads", type=int, required=True)
    args.add_argument("--output", type=Output, required=True, help="model folder")
    add_checkpoints(args)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    corpus = read_table(args.corpus, CORPUS)
    use_threads(args.threads)
    import torch

    from goodhart.models.manifest import stamp_model
    from goodhart.models.tokens import encode_prompts, encode_responses
    from goodhart.training.checkpoints import Checkpoints
    from goodhart.training.pretraining import Shape, build_model, build_tokenizer, train

    torch.manual_seed(args.seed)
    tokenizer = build_tokenizer([*corpus["prompt"], *corpus["response"]])
    shape = Shape(args.hidden_size, args.layers, args.heads, args.kv_heads, args.head_dim, args.mlp_size)
    model = build_model(tokenizer, shape)
    made = Origin.of(args, __file__)
    with (
        Checkpoints(args.checkpoints, made, args.checkpoint_minutes, [args.output]) as checkpoints,
        dump_on_nan(args.output.with_suffix(".stopped.json"), args.seed),
    ):
        losses = train(
            model,
            encode_prompts(tokenizer, corpus["prompt"].tolist()),
            encode_responses(tokenizer, corpus["response"].tolist()),
            steps=args.steps,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            generator=torch.Generator().manual_seed(args.seed),
            checkpoints=checkpoints,
        )
        print(f"loss of the last 100 steps: {sum(losses[-100:]) / len(losses[-100:]):.3f} nats a token")
        with publish(args.output) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            stamp_model(folder, folder, "plain", made)


if __name__ == "__main__":
    run(main)
