"""LoRA adapters on a shared base: attaching, activating, merging for sampling, saving."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from goodhart.errors import InputError
from goodhart.models.manifest import ATTENTION, check_adapter, stamp_adapter
from goodhart.runtime.types import LoraConfig, PeftModel, PreTrainedModel
from goodhart.store.files import publish


def lora_config(rank: int, alpha: int, dropout: float, task: str) -> LoraConfig:
    """LoRA on every attention projection (section 4.1); a reward model (`SEQ_CLS`) also trains and saves its head."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(ATTENTION),
        task_type=task,
        modules_to_save=["score"] if task == "SEQ_CLS" else None,
    )


def base_of(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model under its adapters, or the model itself if it has none."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def attach_adapter(model: PreTrainedModel | PeftModel, folder: Path, name: str, trainable: bool = False) -> PeftModel:
    """Add the adapter of `folder` to a model under `name` and activate it; the base is never copied.

    Dropout stays off, so that the updated policy is the sampled policy. An adapter that was trained on another base is
    an `InputError`.
    """
    from peft import PeftModel

    check_adapter(folder, model.manifest)
    if base_of(model) is not model:
        model.load_adapter(str(folder), adapter_name=name, is_trainable=trainable)
    else:
        model = PeftModel.from_pretrained(model, str(folder), adapter_name=name, is_trainable=trainable)
    check_finite({key: weights for key, weights in model.named_parameters() if f".{name}." in key}, folder)
    activate(model, name, trainable)
    return model.eval()


def check_finite(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Raise `InputError` if any weight of an adapter is NaN or infinite."""
    broken = [name for name, values in weights.items() if not values.isfinite().all()]
    if broken:
        raise InputError(
            f"{folder} has weights that are not finite ({len(broken)} of {len(weights)} matrices, the first "
            f"{broken[0]}); train it again with a lower learning rate."
        )


def activate(model: PeftModel, name: str | None, trainable: bool = False) -> None:
    """Activate one adapter, or none (the bare base); its weights have gradients only if `trainable`."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if name is None:
        model.base_model.disable_adapter_layers()
        return
    # Each switch is slow because it visits all modules. All layers are in the same state, so we check only the first.
    layer = next(module for module in model.modules() if isinstance(module, BaseTunerLayer))
    if layer.disable_adapters:
        model.base_model.enable_adapter_layers()
    if layer.active_adapters != [name] or layer.lora_A[name].weight.requires_grad != trainable:
        model.base_model.set_adapter(name, inference_mode=not trainable)


def save_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Save one adapter of a model into a folder, without PEFT's empty model card."""
    model.save_pretrained(folder, selected_adapters=[name])
    if (folder / name).is_dir():  # PEFT puts an adapter not named 'default' into a subfolder
        for path in (folder / name).iterdir():
            path.rename(folder / path.name)
        (folder / name).rmdir()
    (folder / "README.md").unlink(missing_ok=True)


def publish_adapter(model: PeftModel, name: str, path: Path, base: Path, origin: Mapping[str, Any]) -> None:
    """Publish one adapter as a result, with its manifest; `base` is the model folder that it was trained on."""
    with publish(path) as folder:
        save_adapter(model, name, folder)
        stamp_adapter(folder, base, origin)


@contextmanager
def merged(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Merge the active adapter into the base weights inside this context, so that sampling is as fast as without it.

    Afterwards the base weights are restored from a copy, bit for bit. Only float32 weights are merged: rounding to
    bfloat16 would lose most of an adapter, and an adapter cannot be merged into 4-bit weights.
    """
    from peft.tuners.lora import Linear

    linear = [module for module in model.modules() if type(module) is Linear and not module.disable_adapters]
    layers = [layer for layer in linear if layer.get_base_layer().weight.dtype is torch.float32]
    copies = [layer.get_base_layer().weight.data.clone() for layer in layers]
    for layer in layers:
        layer.merge()
    try:
        yield
    finally:
        for layer, copy in zip(layers, copies, strict=True):
            layer.unmerge()
            layer.get_base_layer().weight.data.copy_(copy)


@contextmanager
def activation_checkpointing(model: PeftModel) -> Iterator[None]:
    """Activation checkpointing inside this context: the backward pass recomputes the activations of each layer.

    transformers checkpoints only in training mode, which would turn dropout on. We therefore set the layers to training
    mode, but not the modules inside them.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    base = model.get_base_model()
    layers = [module for module in base.modules() if isinstance(module, GradientCheckpointingLayer)]
    base.activation_checkpointing_enable()
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        base.activation_checkpointing_disable()
        for layer in layers:
            layer.training = False
