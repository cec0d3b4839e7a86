"""The items in memory while a model runs: bytes computed from the shapes of the model and the batch alone.

Each function names the operation that allocates the memory; docs/memory.md compares the estimates with measurements.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from goodhart.memory.sizes import Batch, Model

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes per weight: 4 bits, an 8-bit scale per 64 weights, a float32 per 256 scales
# TRL's DPO never holds all logits: its head processes tiles of at most this many tokens and vocabulary entries.
TILE_TOKENS, TILE_WORDS = 4096, 32768
PAGE = 256  # tokens per page of the cache in continuous batching


@dataclass(frozen=True, kw_only=True)
class Architecture(Model):
    """The shape of a causal model; fields are numbers of weights unless noted otherwise."""

    query: int  # width of all query heads
    key: int  # width of all key heads, the same as that of all value heads
    mlp: int
    vocabulary: int
    linear: int  # weights that NF4 packs: all linear layers except the head
    head: int  # weights of the head; 0 if tied to the embeddings
    largest: int  # weights of the largest linear layer
    adapted: int  # inputs + outputs over all projections that LoRA adapts

    @property
    def other(self) -> float:
        """Weights of embeddings and norms."""
        return self.parameters - self.linear - self.head


@dataclass(frozen=True)
class Numbers:
    """The number formats: the precision of the base weights, and the device (GPU or CPU)."""

    precision: str
    device: str

    @property
    def compute(self) -> int:
        """Bytes per activation and per weight that is not packed."""
        return 2 if self.precision != "float32" and self.device == "cuda" else 4

    def weights(self, packed: float, plain: float) -> dict[str, float]:
        if self.precision != "nf4":
            return {"base weights": (packed + plain) * self.compute}
        return {"base weights in NF4": packed * NF4, "embeddings, head and norms": plain * self.compute}


@dataclass(frozen=True, kw_only=True)
class Training(Batch):
    """The derived values of a stage that determine its memory."""

    lora_rank: int
    lora_dropout: float
    recompute: bool  # activation checkpointing


def lora_bytes(model: Architecture, rank: int) -> int:
    """Bytes of a LoRA adapter in float32."""
    return 4 * rank * model.adapted


def trained(model: Architecture, rank: int) -> dict[str, float]:
    """An adapter in training: weights, gradients and AdamW's two moments, all in float32."""
    one = lora_bytes(model, rank)
    return {"trained adapter": one, "its gradients": one, "its AdamW moments": 2 * one}


def merged_copies(model: Architecture, numbers: Numbers) -> dict[str, float]:
    """`adapters.merged` copies the float32 weights it merges an adapter into; in other precisions it merges nothing."""
    if numbers.precision != "float32":
        return {}
    return {"copies of merged projections": 4 * model.layers * model.hidden * 2 * (model.query + model.key)}


def wide_tensors(model: Architecture, numbers: Numbers, tokens: int) -> float:
    """Bytes of the wide tensors in one layer: those of the MLP or those of attention, whichever are larger."""
    mlp = 3 * model.mlp + 3 * model.hidden
    attention = 2 * model.hidden + 6 * model.query
    return tokens * max(mlp, attention) * numbers.compute


def unpacking(model: Architecture, numbers: Numbers) -> dict[str, float]:
    """The largest matrix, unpacked from 4 bits: bitsandbytes unpacks one matrix at a time."""
    return {"one unpacked matrix": model.largest * (numbers.compute + 4 / 64)} if numbers.precision == "nf4" else {}


def forward(model: Architecture, numbers: Numbers, rows: int, length: int) -> dict[str, float]:
    """A pass without gradients: the intermediate tensors of one decoder layer, and the causal mask of a padded batch.

    The mask exists twice: as booleans, and as the numbers that attention adds to its scores.
    """
    mask = rows * length**2 * (1 + numbers.compute)
    return {"work of a layer": wide_tensors(model, numbers, rows * length) + mask, **unpacking(model, numbers)}


def scoring(model: Architecture, numbers: Numbers, rows: int, length: int) -> dict[str, float]:
    """A pass of the ensemble: member 0 keeps the hidden states of every layer, although Eq. 12 needs only one layer."""
    states = rows * length * (model.layers + 1) * model.hidden * numbers.compute
    return {"hidden states of member 0": states, **forward(model, numbers, rows, length)}


def generation(model: Architecture, numbers: Numbers, rows: int, prompt: int, new: int) -> dict[str, dict[str, float]]:
    """The two phases of the `loop` engine: the pass over the prompts, and the last token, when the cache is longest."""
    token = cached_token(model, numbers) * rows
    return {
        "prompts": {"key-value cache": token * prompt, **forward(model, numbers, rows, prompt)},
        "last token": {
            # The cache of a layer is copied as it grows.
            "key-value cache": (token + token / model.layers) * (prompt + new),
            "logits of one position": rows * model.vocabulary * (numbers.compute + 3 * 4),
            **unpacking(model, numbers),
        },
    }


def paged_generation(
    model: Architecture, numbers: Numbers, rows: int, prompt: int, new: int, prefill: int
) -> dict[str, dict[str, float]]:
    """The only phase of the `continuous` engine: one pass over last tokens of running rows and prompts of new rows.

    Two allocations exist from the start: the cache for `rows` rows of maximum length, and the mask of a full pass over
    the whole cache. Without flash attention, a layer gathers the keys and values of all rows, repeated for every query
    head.
    """
    pages = rows * (-(-(prompt + new) // PAGE) + 1)
    tokens = max(prefill, rows)
    gathered = rows * (prompt + new) * 2 * (model.key + model.query) * numbers.compute
    return {
        "continuous batch": {
            "key-value cache": cached_token(model, numbers) * PAGE * (pages + 2),
            "mask of all rows": tokens * (PAGE * pages + tokens) * numbers.compute,
            "work of a layer": max(gathered, wide_tensors(model, numbers, min(tokens, rows * prompt))),
            **unpacking(model, numbers),
        }
    }


def cached_token(model: Architecture, numbers: Numbers) -> int:
    """Bytes of the keys and values of one token in all layers."""
    return 2 * model.layers * model.key * numbers.compute


def logits(model: Architecture, numbers: Numbers, rows: int, tokens: int, use: str) -> dict[str, float]:
    """The logits of `tokens` positions in each of `rows` rows, and the tensors computed from them (goodhart.logprobs).

    Without gradients, these tensors exist for one row at a time, after the tensors of the layers are freed.
    """
    c = numbers.compute
    upcast = 4 if c < 4 else 0
    count = rows * tokens * model.vocabulary
    if use == "gradient":
        return {"logits": count * (c + upcast + 3 * 4)}
    # The exponentials inside logsumexp; or, once the float32 copy is freed, log p, p and their product.
    copies = upcast + 4 if use == "log-probs" else 3 * 4
    return {"logits": count * c, "float32 logits of one row": tokens * model.vocabulary * copies}


def saved(model: Architecture, numbers: Numbers, rank: int, dropout: float, autocast: bool) -> float:
    """Bytes per token that autograd stores for one decoder layer with frozen base weights.

    Norms store their inputs in float32. Attention stores its queries, the keys and values repeated for every query
    head, and its output; the gated MLP stores three wide tensors. A frozen matrix stores no input, but LoRA's
    down-projection does: in float32, or in the compute type under autocast. With dropout, each matrix also stores a
    mask and its own copy of the input.
    """
    c = numbers.compute
    lora = c if autocast else 4
    inputs = 3 * model.hidden + model.query
    if dropout:
        lora_inputs = inputs * (lora + (1 if numbers.device == "cuda" else 4))
    elif c < 4 and not (autocast and numbers.precision == "nf4"):
        lora_inputs = inputs * lora  # each matrix casts its own copy of the input
    else:
        lora_inputs = model.hidden * c  # q, k, v share it; o's input is attention's output, counted below
    norms = 4 * (2 * model.hidden + model.query + model.key)
    return norms + lora_inputs + 4 * rank * lora + (4 * model.query + 3 * model.mlp) * c


def update(
    model: Architecture,
    numbers: Numbers,
    stage: Training,
    head: Mapping[str, float],
    online: tuple[int, int] | None = None,
) -> dict[str, dict[str, float]]:
    """The phases of an update: in a TRL trainer, over the chosen and rejected responses of a batch, or online.

    `online` is the number and length of the rows of an online update. A trainer uses dropout, and autocast on a GPU; an
    online update uses neither. With activation checkpointing (large models), the layers are recomputed one by one, and
    little more than their inputs is stored. `head` is the memory of the head between the forward and the backward pass.
    """
    rows, length = online or (2 * stage.batch_size, stage.max_length)
    autocast = not online and numbers.compute < 4
    dropout = 0 if online else stage.lora_dropout
    mask = rows * length**2 * numbers.compute  # in the form that attention adds to its scores
    layer = rows * length * saved(model, numbers, stage.lora_rank, dropout, autocast) + mask
    copies = {"adapter in the compute type": 2 * stage.lora_rank * model.adapted} if autocast else {}
    work = forward(model, numbers, rows, length)
    states = rows * length * model.hidden * numbers.compute
    one = {"activations of one layer": layer} if stage.recompute else {}
    # `states` are also an input of the head; the final norm stores its input in float32.
    stored = model.layers * (states if stage.recompute else layer) + states + 4 * rows * length * model.hidden
    kept = {**copies, "activations": stored}
    return {"head": {**kept, **head}, "backward pass": {**kept, **one, **work}}


def tiles(model: Architecture, numbers: Numbers, stage: Training) -> dict[str, float]:
    """The head of TRL's DPO: a buffer of one tile. A CPU works in seven float32 copies of it, a GPU in place."""
    tokens = min(TILE_TOKENS, 2 * stage.batch_size * stage.max_length)
    work = 0 if numbers.device == "cuda" else 29 * tokens * min(TILE_WORDS, model.vocabulary)
    gradient = 4 * 2 * stage.batch_size * stage.max_length * model.hidden
    return {"tile of logits": tokens * TILE_WORDS * numbers.compute + work + gradient}


def score_head(model: Architecture, numbers: Numbers, stage: Training) -> dict[str, float]:
    """The float32 head of a reward model (models.Float32Head): a copy of the last hidden states, and their gradient."""
    copy = 4 if numbers.compute < 4 else 0
    return {"states of the head": (copy + 4) * 2 * stage.batch_size * stage.max_length * model.hidden}
