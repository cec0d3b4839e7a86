"""Llama-like decoders in plain torch, which sampling, scoring and the online update use on a CPU.

    h = x + o(attention(rope(norm(q)), rope(norm(k)), v));    y = h + down(silu(gate) * up)

where q, k, v are projections of norm(x), gate and up are projections of norm(h), and norm is the root mean square norm.

For a small model, transformers and PEFT spend most of a forward pass on overhead between operations and on padding.
Here, q, k and v are one matrix product, and so are their LoRA matrices. Only attention computes on padding. The
key-value cache has its full length from the start. The weights are the frozen weights of the transformers model, in the
same memory. The adapters are those of PEFT and receive gradients. Results differ from transformers' only by rounding
(tests/models/test_decoder.py).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from goodhart.models.adapters import base_of
from goodhart.models.tokens import Batch
from goodhart.runtime.types import PeftModel, PreTrainedModel

SHAPES = ("llama", "qwen2", "qwen3")  # supported model types; only Qwen3 normalises q and k
ROTATIONS = ("default", "linear", "llama3")  # rotary embeddings whose frequencies do not depend on the text length

# (layer number, q (tokens, heads, size), k and v (tokens, kv_heads, size)) -> (tokens, heads * size)
Attend = Callable[..., torch.Tensor]


class Projection(NamedTuple):
    """y = x weight' + bias + (x down') up'; down (rank, in) and up (out, rank) are the LoRA matrices of its modules."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    down: torch.Tensor | None = None
    up: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = F.linear(x, self.weight, self.bias)
        return y if self.down is None or self.up is None else torch.addmm(y, F.linear(x, self.down), self.up.T)


class Block(NamedTuple):
    """The weights of one layer; modules with the same input share one matrix, stacked by rows."""

    layer: Any
    inputs: torch.Tensor  # q, k and v
    bias: torch.Tensor | None
    gates: torch.Tensor  # gate and up
    down: torch.Tensor
    norms: tuple[torch.Tensor, torch.Tensor]  # before attention, before the MLP
    norm_of_heads: torch.Tensor | None  # of q and k: (heads + kv_heads, size)

    def projections(self) -> tuple[Projection, Projection]:
        """The projection to q, k and v, and the output projection of attention, with the active adapter."""
        *inputs, output = _attention(self.layer)
        linear = _linear(output)
        return (
            Projection(self.inputs, self.bias, *_lora(inputs)),
            Projection(linear.weight, linear.bias, *_lora([output])),
        )


class Decoder:
    """The layers of a transformers model, with its active adapter."""

    def __init__(self, model: PreTrainedModel) -> None:
        inner, config = model.model, model.config
        self.model = model
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = inner.layers[0].self_attn.head_dim
        self.epsilon = config.rms_norm_eps
        self.blocks = [_block(layer, self.heads, self.kv_heads) for layer in inner.layers]
        self.rotations = self._rotations(256)

    def states(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states before the last layer and after the final norm: (rows, width, hidden) each, 0 on padding."""
        rows, width = batch.ids.shape
        real = batch.mask.flatten().nonzero().squeeze(-1)
        places = batch.positions.flatten()[real]
        length = int(places.max()) + 1
        aligned = real // width * length + places  # without padding on the left, the causal mask suffices

        def attend(_layer: int, *heads: torch.Tensor) -> torch.Tensor:
            q, k, v = (
                x.new_zeros(rows * length, *x.shape[1:]).index_copy(0, aligned, x).view(rows, length, *x.shape[1:])
                for x in heads
            )
            out = self.attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
            return out.transpose(1, 2).reshape(rows * length, -1)[aligned]

        weights = [block.projections() for block in self.blocks]
        before, after = self.run(batch.ids.flatten()[real], places, length, weights, attend)
        penultimate, last = (x.new_zeros(rows * width, x.shape[-1]).index_copy(0, real, x) for x in (before, after))
        return penultimate.view(rows, width, -1), last.view(rows, width, -1)

    def run(
        self,
        ids: torch.Tensor,
        places: torch.Tensor,
        length: int,
        weights: Sequence[tuple[Projection, Projection]],
        attend: Attend,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run tokens through all layers.

        Args:
            ids, places: (tokens,) each: token ids, and the position of each token in its text.
            length: an upper bound of the positions.
            weights: `Block.projections` of each block.
            attend: a function that computes the attention of a layer.

        Returns:
            the hidden states before the last layer and after the final norm: (tokens, hidden) each.
        """
        if length > self.rotations.shape[1]:
            self.rotations = self._rotations(2 * length)
        cos, sin = self.rotations[:, places]
        x = before = self.model.model.embed_tokens(ids)
        for i, (block, projections) in enumerate(zip(self.blocks, weights, strict=True)):
            before = x
            arguments = (x, block, *projections, (cos, sin), partial(attend, i))
            if block.layer.training and torch.is_grad_enabled():  # `adapters.activation_checkpointing`
                x = checkpoint(self._layer, *arguments, use_reentrant=False)
            else:
                x = self._layer(*arguments)
        return before, self._norm(x, self.model.model.norm.weight)

    def _layer(
        self,
        x: torch.Tensor,
        block: Block,
        inputs: Projection,
        output: Projection,
        rotation: tuple[torch.Tensor, torch.Tensor],
        attend: Attend,
    ) -> torch.Tensor:
        cos, sin = rotation
        turned = self.heads + self.kv_heads
        heads = inputs(self._norm(x, block.norms[0])).view(len(x), turned + self.kv_heads, self.size)
        qk = heads[:, :turned]
        if block.norm_of_heads is not None:
            qk = F.rms_norm(qk, (self.size,), None, self.epsilon) * block.norm_of_heads
        qk = torch.addcmul(qk * cos, qk.roll(self.size // 2, -1), sin)
        x = x + output(attend(qk[:, : self.heads], qk[:, self.heads :], heads[:, turned:]))
        gate, up = F.linear(self._norm(x, block.norms[1]), block.gates).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, block.down)

    def attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **mask: Any) -> torch.Tensor:
        """Attention over (rows, heads or kv_heads, length, size)."""
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=self.heads != self.kv_heads, **mask)

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], weight, self.epsilon)

    def _rotations(self, length: int) -> torch.Tensor:
        """cos and sin of the rotary embedding, with sin negated in its first half: (2, length, 1, size)."""
        places = torch.arange(length).unsqueeze(0)
        cos, sin = self.model.model.rotary_emb(self.model.model.norm.weight, places)
        first, second = sin.chunk(2, -1)
        return torch.cat([cos, torch.cat([-first, second], -1)]).unsqueeze(2)


def decoder_of(model: PreTrainedModel | PeftModel) -> Decoder | None:
    """The decoder of a model, built once per model; None if the model is unsupported or in training mode.

    Only float32 weights on a CPU are supported, since on a GPU or with 4-bit weights transformers' kernels are faster.
    """
    base = base_of(model)
    if base.training:
        return None
    if "_plain_decoder" not in vars(base):
        base._plain_decoder = Decoder(base) if _is_supported(base) else None
    return base._plain_decoder


def _is_supported(model: PreTrainedModel) -> bool:
    config = model.config
    if config.model_type not in SHAPES or model.device.type != "cpu":
        return False
    mlps = [module for layer in model.model.layers for module in _mlp(layer)]
    linear = [_linear(module) for layer in model.model.layers for module in _attention(layer)] + mlps
    return (
        all(type(module) is torch.nn.Linear and module.weight.dtype is torch.float32 for module in linear)
        and not any(module.weight.requires_grad for module in linear)  # slices of one matrix would get no gradients
        and all(module.bias is None for module in mlps)
        and config.hidden_act == "silu"
        and config.rope_parameters["rope_type"] in ROTATIONS
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    )


def _attention(layer: Any) -> list[Any]:
    attention = layer.self_attn
    return [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]


def _mlp(layer: Any) -> list[Any]:
    return [layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj]


def _block(layer: Any, heads: int, kv_heads: int) -> Block:
    inputs = [_linear(module) for module in _attention(layer)[:3]]
    biases = [module.bias for module in inputs if module.bias is not None]
    norms = [getattr(layer.self_attn, f"{name}_norm", None) for name in "qk"]
    of_heads = [norm.weight.data.expand(n, -1) for norm, n in zip(norms, (heads, kv_heads), strict=True) if norm]
    gate, up, down = _mlp(layer)
    return Block(
        layer,
        _in_one(inputs),
        torch.cat(biases) if biases else None,
        _in_one([gate, up]),
        down.weight,
        (layer.input_layernorm.weight, layer.post_attention_layernorm.weight),
        torch.cat(of_heads) if of_heads else None,
    )


def _in_one(modules: Sequence[Any]) -> torch.Tensor:
    """The weights of several modules as one matrix; the weight of each module becomes a view of its rows."""
    weight = torch.cat([module.weight.data for module in modules])
    for module, rows in zip(modules, weight.split([module.out_features for module in modules]), strict=True):
        module.weight.data = rows
    return weight


def _linear(module: Any) -> Any:
    """The linear module itself, or the linear module that PEFT wraps."""
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module


def _lora(modules: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor] | tuple[()]:
    """The active adapter's matrices for modules with one input, scaled: (rank, in) and (out, rank); or ()."""
    wrapped = [module for module in modules if hasattr(module, "get_base_layer")]
    if not wrapped or wrapped[0].disable_adapters or wrapped[0].merged:
        return ()
    (name,) = wrapped[0].active_adapters
    if any(module.lora_variant.get(name) for module in wrapped):
        raise NotImplementedError(f"adapter {name} is a variant of LoRA, which this decoder does not support")
    downs = [module.lora_A[name].weight for module in wrapped]
    ups = [module.lora_B[name].weight * module.scaling[name] for module in wrapped]
    return torch.cat(downs), torch.block_diag(*ups)
