r"""Write a study of the paper's sizes that needs no download: random weights in a given architecture, random words.

It runs through the workflow as it is, so that memory and time are those of the real thing; its results mean nothing.

    python bench/random_study.py --policy bench/qwen3-14b.json --reward bench/qwen3-1.7b.json --memory-gb 80 \
        --length 1024 --max-new-tokens 512 --pairs 80 --prompts-per-step 16 --gpus 1 --output results/bench-input
    snakemake --cores all all memory --configfile results/bench-input/config.yaml
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SHARD = 4 * 2**30  # bytes of a weight file
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|> {{ message.role }} {{ message.content }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, required=True, help="architecture: a config.json")
    parser.add_argument("--reward", type=Path, required=True, help="architecture of the reward backbone")
    parser.add_argument("--memory-gb", type=float, required=True, help="V_GB of Eq. B.3")
    parser.add_argument("--length", type=int, required=True, help="tokens of a preference pair, prompt and response")
    parser.add_argument("--max-new-tokens", type=int, required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--prompts-per-step", type=int, required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of weights, data and config.yaml")
    args = parser.parse_args(argv)
    for name in ("policy", "reward"):
        vocabulary = write_model(getattr(args, name), args.output / name)
    write_data(args.output, vocabulary, args.length, args.pairs)
    (args.output / "config.yaml").write_text(yaml.safe_dump(study(args), sort_keys=False))


def write_model(architecture: Path, folder: Path) -> int:
    """Random bfloat16 weights, in shards as the hub has them, and a tokeniser of as many words; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    config = AutoConfig.for_model(**json.loads(architecture.read_text()))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight")
    place = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(place).manual_seed(0)
    shards = list(_shards(shapes))
    index = {}
    for i, names in enumerate(shards, start=1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        weights = {name: _weight(shapes[name], config.initializer_range, generator) for name in names}
        save_file(weights, folder / file, {"format": "pt"})
        index |= dict.fromkeys(names, file)
    total = 2 * sum(shape.numel() for shape in shapes.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index})
    )
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    _tokenizer(config.vocab_size).save_pretrained(folder)
    return config.vocab_size


def _shards(shapes: dict[str, torch.Size]) -> Iterator[list[str]]:
    names, size = [], 0
    for name, shape in shapes.items():
        if names and size + 2 * shape.numel() > SHARD:
            yield names
            names, size = [], 0
        names.append(name)
        size += 2 * shape.numel()
    yield names


def _weight(shape: torch.Size, deviation: float, generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:  # of a norm
        return torch.ones(shape, dtype=torch.bfloat16)
    values = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32) * deviation
    return values.to(torch.bfloat16).cpu()


def _tokenizer(size: int) -> PreTrainedTokenizerFast:
    words = SPECIAL + [f"w{i}" for i in range(size - len(SPECIAL))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##")  # joins words by a space
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        chat_template=TEMPLATE,
    )


def write_data(folder: Path, vocabulary: int, length: int, pairs: int) -> None:
    """Pairs whose tokens number `length` with the template's, a quarter of them the prompt's; problems likewise."""
    draw = np.random.default_rng(0)

    def words(count: int) -> str:
        return " ".join(f"w{i}" for i in draw.integers(vocabulary - len(SPECIAL), size=count))

    prompt = length // 4
    response = length - prompt - 6  # the template's own tokens, and the end token
    rows = [{"prompt": words(prompt), "chosen": words(response), "rejected": words(response)} for _ in range(pairs)]
    problems = [{"question": words(prompt), "answer": f"#### {i}"} for i in range(pairs)]
    for name, content in (("pairs", rows), ("problems", problems)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))


def study(args: argparse.Namespace) -> dict:
    """One level, one replicate, three members, two updates: every stage at its full width, none at its full length.

    A reward reads no more rows at once than there are: with the width that Appendix C derives, no batch would be full.
    """
    folder, rows = args.output, args.prompts_per_step
    return {
        "study": "bench",
        "replicates": [0],
        "redraw": [],
        "levels": ["p50"],
        "arms": {"paper": "same", "matched": None},
        "decision": {"arm": "paper"},
        "precision": "nf4",
        "memory_gb": args.memory_gb,
        "gpus": args.gpus,
        "task": {
            "source": "dataset",
            "online_problems": None,
            "evaluation_problems": rows,
            "dataset": {
                "online": f"{folder}/problems.jsonl",
                "evaluation": f"{folder}/problems.jsonl",
                "name": None,
                "template": "{question}",
            },
        },
        "policy": {"model": f"{folder}/policy"},
        "reward": {
            "model": f"{folder}/reward",
            "held_out": 0,
            "epochs": 1,
            "override": {"max_length": args.length, "inference_batch_size": rows, "warmup_steps": 0},
        },
        "preferences": {
            "source": "dataset",
            "held_out_share": 0,
            "dataset": {
                "source": f"{folder}/pairs.jsonl",
                "chosen_score_column": None,
                "rejected_score_column": None,
            },
        },
        "offline": {"override": {"max_length": args.length, "warmup_steps": 0}},
        "online": {"steps": 2, "prompts_per_step": rows, "evaluate_every": 2},
        "sampling": {"max_new_tokens": args.max_new_tokens, "batch_size": rows},
        "evaluation": {"floor_seeds": 0},
    }


if __name__ == "__main__":
    main()
