"""The shape of a model from its configuration alone; the model is built on the meta device."""

from pathlib import Path

import torch
from torch.nn import Linear
from transformers import AutoConfig, AutoModelForCausalLM

from goodhart.errors import InputError
from goodhart.memory.items import Architecture
from goodhart.models.manifest import ATTENTION, read_manifest, same_weights
from goodhart.store.files import read_json
from goodhart.store.hub import weights_folder


def architecture(where: Path) -> Architecture:
    """The shape of the causal model in a model folder or described by a config.json; nothing is downloaded.

    Raises:
        InputError: if there is no configuration, or it does not describe a causal model with attention projections.
    """
    source = where if where.suffix == ".json" else weights_folder(where, read_manifest(where)) / "config.json"
    read_json(source, ["model_type", "hidden_size"])
    try:
        config = AutoConfig.from_pretrained(source)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{where} does not describe a causal language model ({str(error).splitlines()[0]}); correct its config."
        ) from error
    head = model.get_output_embeddings()
    linear = {n: m for n, m in model.named_modules() if isinstance(m, Linear) and m is not head}
    projections = [m for n, m in linear.items() if n.rpartition(".")[2] in ATTENTION]
    if not projections:
        raise InputError(f"{where} has no {', '.join(ATTENTION)}, which LoRA adapts (section 4.1); use another model.")
    weights = {n: m.weight.numel() for n, m in linear.items()}
    query, key = (next(m.out_features for n, m in linear.items() if n.endswith(side)) for side in ("q_proj", "k_proj"))
    return Architecture(
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        parameters=model.num_parameters(),
        query=query,
        key=key,
        mlp=max(m.out_features for n, m in linear.items() if n.rpartition(".")[2] not in ATTENTION),
        vocabulary=config.vocab_size,
        linear=sum(weights.values()),
        head=0 if head.weight is model.get_input_embeddings().weight else head.weight.numel(),
        largest=max(weights.values()),
        adapted=sum(m.in_features + m.out_features for m in projections),
    )


def same_architecture(policy: Path, backbone: Path) -> bool:
    """Whether reward models and policy share a base: same model folder, same weights, or same config.json."""
    if ".json" in (policy.suffix, backbone.suffix):
        return policy.resolve() == backbone.resolve()
    return same_weights(policy, backbone)
