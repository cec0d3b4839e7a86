"""What lies in memory while a model works, item by item: bytes from the shape of the model and of the batch alone.

Each function names what allocates it; docs/memory.md says how near it comes to what is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from goodhart.memory.sizes import Batch, Model

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a weight: 4 bits, an 8-bit scale for 64 of them, a float32 for 256 scales
# TRL's DPO never holds all logits: its head goes over at most so many tokens by so many words at a time.
TILE_TOKENS, TILE_WORDS = 4096, 32768
PAGE = 256  # tokens of a page of continuous batching's cache


@dataclass(frozen=True, kw_only=True)
class Architecture(Model):
    """The shape of a causal model; numbers of weights where nothing else is said."""

    query: int  # width of all query heads
    key: int  # width of all key heads, which is that of the values
    mlp: int
    vocabulary: int
    linear: int  # in linear layers but the head: what NF4 packs
    head: int  # the head's own; 0 where it is tied to the embeddings
    largest: int  # of the largest linear layer
    adapted: int  # inputs + outputs over all projections that LoRA adapts

    @property
    def other(self) -> float:
        """Embeddings and norms."""
        return self.parameters - self.linear - self.head


@dataclass(frozen=True)
class Numbers:
    """How numbers are stored and where: the precision of the base weights, on a GPU or on a CPU."""

    precision: str
    device: str

    @property
    def compute(self) -> int:
        """Bytes of an activation and of a weight that is not packed."""
        return 2 if self.precision != "float32" and self.device == "cuda" else 4

    def weights(self, packed: float, plain: float) -> dict[str, float]:
        if self.precision != "nf4":
            return {"base weights": (packed + plain) * self.compute}
        return {"base weights in NF4": packed * NF4, "embeddings, head and norms": plain * self.compute}


@dataclass(frozen=True, kw_only=True)
class Training(Batch):
    """A stage's derived values that decide its memory."""

    lora_rank: int
    lora_dropout: float
    recompute: bool  # activation checkpointing


def lora_bytes(model: Architecture, rank: int) -> int:
    """A LoRA adapter in float32."""
    return 4 * rank * model.adapted


def trained(model: Architecture, rank: int) -> dict[str, float]:
    """An adapter that trains: its weights, their gradients and AdamW's two moments, all float32."""
    one = lora_bytes(model, rank)
    return {"trained adapter": one, "its gradients": one, "its AdamW moments": 2 * one}


def merged_copies(model: Architecture, numbers: Numbers) -> dict[str, float]:
    """`adapters.merged` keeps the float32 weights that it folds the adapter into; others are sampled unmerged."""
    if numbers.precision != "float32":
        return {}
    return {"copies of merged projections": 4 * model.layers * model.hidden * 2 * (model.query + model.key)}


def wide_tensors(model: Architecture, numbers: Numbers, tokens: int) -> float:
    """The MLP's three wide tensors, or attention's heads, in one layer."""
    mlp = 3 * model.mlp + 3 * model.hidden
    attention = 2 * model.hidden + 6 * model.query
    return tokens * max(mlp, attention) * numbers.compute


def unpacking(model: Architecture, numbers: Numbers) -> dict[str, float]:
    """bitsandbytes unpacks one 4-bit matrix at a time; the largest decides."""
    return {"one unpacked matrix": model.largest * (numbers.compute + 4 / 64)} if numbers.precision == "nf4" else {}


def forward(model: Architecture, numbers: Numbers, rows: int, length: int) -> dict[str, float]:
    """A pass without gradients: what one decoder layer needs for itself, and the causal mask of a padded batch.

    The mask is there as truth values and as the numbers that attention adds.
    """
    mask = rows * length**2 * (1 + numbers.compute)
    return {"work of a layer": wide_tensors(model, numbers, rows * length) + mask, **unpacking(model, numbers)}


def scoring(model: Architecture, numbers: Numbers, rows: int, length: int) -> dict[str, float]:
    """A pass of the ensemble: member 0 keeps the hidden states of every layer, of which Eq. 12 wants one."""
    states = rows * length * (model.layers + 1) * model.hidden * numbers.compute
    return {"hidden states of member 0": states, **forward(model, numbers, rows, length)}


def generation(model: Architecture, numbers: Numbers, rows: int, prompt: int, new: int) -> dict[str, dict[str, float]]:
    """The moments of the `loop` engine: the pass over the prompts, and the last token, when the cache is longest."""
    token = cached_token(model, numbers) * rows
    one_layer = token / model.layers  # is copied as it grows
    return {
        "prompts": {"key-value cache": token * prompt, **forward(model, numbers, rows, prompt)},
        "last token": {
            "key-value cache": (token + one_layer) * (prompt + new),
            "logits of one position": rows * model.vocabulary * (numbers.compute + 3 * 4),
            **unpacking(model, numbers),
        },
    }


def paged_generation(
    model: Architecture, numbers: Numbers, rows: int, prompt: int, new: int, prefill: int
) -> dict[str, dict[str, float]]:
    """The moment of the `continuous` engine: one pass over the last tokens of running rows and the prompts of new ones.

    Its cache is there from the start, for `rows` of the longest rows, and so is the mask of a full pass over all of
    it. Without flash attention a layer gathers the keys and values of all rows, repeated for every query head.
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
    """Keys and values of one token in every layer."""
    return 2 * model.layers * model.key * numbers.compute


def logits(model: Architecture, numbers: Numbers, rows: int, tokens: int, use: str) -> dict[str, float]:
    """The logits of so many positions in each of so many rows, and what is made of them (goodhart.logprobs).

    Without gradients that is one row's at a time, and the layers' work is over by then.
    """
    c = numbers.compute
    upcast = 4 if c < 4 else 0
    count = rows * tokens * model.vocabulary
    if use == "gradient":
        return {"logits": count * (c + upcast + 3 * 4)}
    # The exponentials inside logsumexp; or log p, p and their product, when the float32 copy is gone.
    copies = upcast + 4 if use == "log-probs" else 3 * 4
    return {"logits": count * c, "float32 logits of one row": tokens * model.vocabulary * copies}


def activations(model: Architecture, numbers: Numbers, tokens: int, layer: float) -> dict[str, float]:
    """What autograd keeps of a pass over so many tokens: `layer` bytes of each layer, and the inputs of the end."""
    return {"activations": model.layers * layer + tokens * model.hidden * (4 + numbers.compute)}


def saved(model: Architecture, numbers: Numbers, rank: int, dropout: float, autocast: bool) -> float:
    """Bytes a token that autograd keeps of one decoder layer whose base is frozen.

    Norms keep their inputs in float32; attention its queries, the keys and values repeated for every query head, and
    its output; the gated MLP three wide tensors. A frozen matrix keeps no input, LoRA's down-projection does: in
    float32 unless autocast made it the compute type, and with dropout a mask and a copy of its own for each matrix.
    """
    c = numbers.compute
    lora = c if autocast else 4
    inputs = 3 * model.hidden + model.query
    if dropout:
        lora_inputs = inputs * (lora + (1 if numbers.device == "cuda" else 4))
    elif c < 4 and not (autocast and numbers.precision == "nf4"):
        lora_inputs = inputs * lora  # each matrix casts its input for itself
    else:
        lora_inputs = model.hidden * c  # one tensor for queries, keys and values; the fourth is attention's output
    norms = 4 * (2 * model.hidden + model.query + model.key)
    return norms + lora_inputs + 4 * rank * lora + (4 * model.query + 3 * model.mlp) * c


def update(
    model: Architecture,
    numbers: Numbers,
    stage: Training,
    rows: int,
    length: int,
    trainer: bool,
    head: Mapping[str, float],
) -> dict[str, dict[str, float]]:
    """The moments of an update over so many rows at a time, in a TRL trainer or online.

    A trainer drops out, and computes under autocast on a GPU; online there is neither. In large models the layers are
    recomputed one by one, so that little but their inputs is stored until then; `head` is what the head takes between
    the forward and the backward pass.
    """
    autocast = trainer and numbers.compute < 4
    dropout = stage.lora_dropout if trainer else 0
    mask = rows * length**2 * numbers.compute  # as attention adds it
    layer = rows * length * saved(model, numbers, stage.lora_rank, dropout, autocast) + mask
    copies = {"adapter in the compute type": 2 * stage.lora_rank * model.adapted} if autocast else {}
    work = forward(model, numbers, rows, length)
    if stage.recompute:
        stored = activations(model, numbers, rows * length, rows * length * model.hidden * numbers.compute)
        one = {"activations of one layer": layer}
    else:
        stored, one = activations(model, numbers, rows * length, layer), {}
    return {"head": {**copies, **stored, **head}, "backward pass": {**copies, **stored, **one, **work}}


def tiles(model: Architecture, numbers: Numbers, stage: Training) -> dict[str, float]:
    """The head of TRL's DPO: a buffer of one tile; a CPU works on the tile in seven float32 copies, a GPU in place."""
    tokens = min(TILE_TOKENS, 2 * stage.batch_size * stage.max_length)
    work = 0 if numbers.device == "cuda" else 29 * tokens * min(TILE_WORDS, model.vocabulary)
    gradient = 4 * 2 * stage.batch_size * stage.max_length * model.hidden
    return {"tile of logits": tokens * TILE_WORDS * numbers.compute + work + gradient}


def score_head(model: Architecture, numbers: Numbers, stage: Training) -> dict[str, float]:
    """The head of a reward model, in float32 (models.Float32Head): a copy of the last states, and their gradient."""
    copy = 4 if numbers.compute < 4 else 0
    return {"states of the head": (copy + 4) * 2 * stage.batch_size * stage.max_length * model.hidden}
