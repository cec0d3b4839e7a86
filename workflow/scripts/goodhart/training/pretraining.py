"""The embedded policy: a word-level tokeniser and a tiny Qwen3, trained on the responses of the teacher."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from goodhart.runtime.finite import Watched
from goodhart.runtime.progress import progress
from goodhart.runtime.signals import defer_signals
from goodhart.training.checkpoints import Checkpoints
from goodhart.training.settings import Shape

PAD, END = "<pad>", "<end>"
WORDS = Regex(r"\n| ?\d| ?#+| ?[A-Za-z]+[.,!:?]?| ?[^\sA-Za-z0-9#]")


def build_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A word-level tokeniser; tokens include their leading space, so that decoding restores the text exactly."""
    split = pre_tokenizers.Split(WORDS, behavior="isolated")
    words = sorted({piece for text in texts for piece, _ in split.pre_tokenize_str(text)})
    vocabulary = {word: index for index, word in enumerate([PAD, END, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )


def build_model(tokenizer: PreTrainedTokenizerFast, shape: Shape) -> Qwen3ForCausalLM:
    """A freshly initialised Qwen3 of the given shape, with tied embeddings, in float32."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            tie_word_embeddings=True,
            max_position_embeddings=512,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            intermediate_size=shape.mlp_size,
        )
    )


def train(
    model: Qwen3ForCausalLM,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
    checkpoints: Checkpoints,
) -> list[float]:
    """Minimise the next-token loss on the responses (AdamW, cosine to zero); returns the loss of every step, in nats.

    Every pass takes the rows in a new random order. Batches of rows of similar length would have less padding, but on
    chains of sums, they halved the accuracy of the policy. Training resumes from the newest checkpoint.

    Raises:
        NotFinite: a loss, a gradient norm or a final weight is not finite.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = math.isqrt(steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: min((t + 1) / warmup, 0.5 * (1 + math.cos(math.pi * t / steps)))
    )
    order: list[int] = []
    losses: list[float] = []
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}

    def state() -> tuple[int, dict[str, Any]]:
        states = {name: part.state_dict() for name, part in parts.items()}
        return len(losses), {"generator": generator.get_state(), "order": order, "losses": losses, **states}

    if (saved := checkpoints.restore()) is not None:
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        generator.set_state(saved["generator"])
        order, losses = saved["order"], saved["losses"]
    model.train()
    with checkpoints.autosave(state) as save_if_due:
        for step in progress(range(len(losses) + 1, steps + 1), "pretraining"):
            if not order:
                order = torch.randperm(len(prompts), generator=generator).tolist()
            rows = order[-batch_size:]
            batch = [prompts[i] for i in rows], [responses[i] for i in rows]
            loss = model(**_collate(*batch)).loss
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
            watched = Watched("update", step, prompt=batch[0], tokens=batch[1])
            watched.check("loss", loss.item())
            watched.check("gradient norm", norm)
            with defer_signals():
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
                losses.append(loss.item())
                del order[-batch_size:]
            save_if_due()
    Watched("update", steps).check("sum of all weights after it", sum(p.sum().item() for p in model.parameters()))
    return losses


def _collate(prompts: list[Sequence[int]], responses: list[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Right-padded ids, and labels that are -100 on prompts and padding; causal attention needs no padding mask."""
    rows = list(zip(prompts, responses, strict=True))
    ids = [torch.tensor([*prompt, *response]) for prompt, response in rows]
    labels = [torch.tensor([-100] * len(prompt) + [*response]) for prompt, response in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }
