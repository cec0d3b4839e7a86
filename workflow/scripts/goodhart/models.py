"""Loading what others trained: base models in their precision, tokenisers, and LoRA adapters on a shared base.

A model folder of a study holds `manifest.json`; its `model` names the weights: "." for the folder itself (a policy
trained here), else a local folder or a hub id with an immutable revision.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from goodhart import processes
from goodhart.artifacts import read_json, write_json
from goodhart.errors import InputError
from goodhart.hub import MODEL_FILES, OTHER_FILES, snapshot
from goodhart.manifest import ATTENTION, check_adapter, weight_files

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


LARGE = 5e7  # parameters from which on memory matters more than speed
LIBRARY_CODE = {"trust_remote_code": False, "use_safetensors": True}  # a model brings weights, and never code


class Float32Head(torch.nn.Linear):
    """A score head in float32 whatever the backbone computes in, under autocast too: rewards differ by little."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        with torch.autocast(states.device.type, enabled=False):
            return super().forward(states.float())


def device() -> torch.device:
    """This process's accelerator if there is one, else the CPU."""
    return torch.device("cuda", processes.local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def check_model(folder: Path) -> dict[str, Any]:
    """Read a model folder's manifest and check that its weights are here and, where they are local, whole."""
    manifest = _manifest(folder)
    source = _source(folder, manifest)
    if manifest["revision"] is None:
        weight_files(source)
        for name in ("config.json", "tokenizer_config.json"):
            read_json(source / name)
        if (source / "tokenizer.json").is_file():
            read_json(source / "tokenizer.json", ["model"])
    return manifest


def same_model(one: Path, other: Path) -> bool:
    """Whether two model folders stand for the same weights, so that one copy in memory serves both."""
    if one.resolve() == other.resolve():
        return True
    first, second = (
        {**_manifest(folder), "prompts": None} for folder in (one, other)
    )  # how it is asked, not what it is
    return first == second and first["model"] != "."


def _manifest(folder: Path) -> dict[str, Any]:
    keys = ["model", "revision", "prompts", "hidden_size", "parameters", "projections"]
    return read_json(folder / "manifest.json", keys)


def _source(folder: Path, manifest: dict[str, Any]) -> Path:
    """The folder with the weights; those of the hub were fetched by resolve_model, and no network is asked again."""
    if manifest["revision"] is not None:
        return snapshot(manifest["model"], manifest["revision"], "model", MODEL_FILES, OTHER_FILES, cached=True)
    return folder if manifest["model"] == "." else Path(manifest["model"])


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokeniser of a model folder, with an end token and another one to pad with.

    It has a chat template only where the study asks this model with it.

    A classifier reads its score off the last token that is not padding: were the two the same, rewards would be
    trained on the token before the end.
    """
    from transformers import AutoTokenizer

    manifest = _manifest(folder)
    tokenizer = AutoTokenizer.from_pretrained(_source(folder, manifest), trust_remote_code=False)
    if manifest["prompts"] == "plain":
        tokenizer.chat_template = None
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer of {folder} has no end-of-sequence token; set eos_token in its config.")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        spare = [token for token in tokenizer.all_special_tokens if token != tokenizer.eos_token]
        if not spare:
            raise InputError(
                f"the tokenizer of {folder} has no special token to pad with; set pad_token in its config."
            )
        tokenizer.pad_token = spare[0]
    tokenizer.padding_side = "left"
    return tokenizer


def load_policy(folder: Path, precision: str) -> PreTrainedModel:
    """The causal model of a model folder, frozen, in evaluation mode."""
    from transformers import AutoModelForCausalLM

    manifest = _manifest(folder)
    model = AutoModelForCausalLM.from_pretrained(_source(folder, manifest), **LIBRARY_CODE, **_weights(precision))
    return _frozen(model, load_tokenizer(folder), manifest)


def load_reward_backbone(folder: Path, precision: str) -> PreTrainedModel:
    """The sequence classifier (one label) on a model folder's weights, frozen; its head is fresh."""
    from transformers import AutoModelForSequenceClassification

    logging.getLogger("transformers.modeling_utils").setLevel(logging.ERROR)  # a fresh head is what we ask for
    manifest = _manifest(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        _source(folder, manifest), **LIBRARY_CODE, **_weights(precision), num_labels=1
    )
    head = Float32Head(model.score.in_features, 1, bias=False, device="meta")
    head.load_state_dict(model.score.float().state_dict(), assign=True)
    model.score = head
    return _frozen(model, load_tokenizer(folder), manifest)


def _weights(precision: str) -> dict[str, Any]:
    place = {"device_map": {"": device()}} if device().type == "cuda" else {}
    if precision == "bfloat16" and not place:
        raise InputError("precision bfloat16 needs a GPU; use float32 or nf4 on a CPU.")
    if precision != "nf4":
        return {"dtype": getattr(torch, precision), **place}
    from transformers import BitsAndBytesConfig

    compute = torch.bfloat16 if device().type == "cuda" else torch.float32
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=["lm_head", "score"],
    )
    return {"dtype": compute, "quantization_config": quantization, **place}


def _frozen(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, manifest: dict[str, Any]) -> PreTrainedModel:
    model.manifest = manifest  # adapters are checked against it
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.device.type == "cpu":
        for module in model.modules():
            # bitsandbytes would repack 4-bit weights for a kernel that computes no gradients, and only warn of it.
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    model.requires_grad_(False)
    return model.eval()


def lora_config(rank: int, alpha: int, dropout: float, task: str) -> LoraConfig:
    """LoRA on every attention projection (section 4.1); a reward (`SEQ_CLS`) trains and saves its head too."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(ATTENTION),
        task_type=task,
        modules_to_save=["score"] if task == "SEQ_CLS" else None,
    )


def attach_adapter(model: PreTrainedModel | PeftModel, folder: Path, name: str, trainable: bool = False) -> PeftModel:
    """Add the adapter of `folder` to a base under `name` and make it the active one.

    On a base that already carries adapters it joins them; the base itself is never copied. Dropout stays off: the
    policy that is updated is the policy that was sampled. An adapter of another base is refused.
    """
    from peft import PeftModel

    check_adapter(folder, model.manifest)
    if isinstance(model, PeftModel):
        model.load_adapter(str(folder), adapter_name=name, is_trainable=trainable)
    else:
        model = PeftModel.from_pretrained(model, str(folder), adapter_name=name, is_trainable=trainable)
    activate(model, name, trainable)
    return model.eval()


def activate(model: PeftModel, name: str | None, trainable: bool = False) -> None:
    """Make one adapter the active one, or none (the bare base); without `trainable`, no gradients are turned on."""
    if name is None:
        model.base_model.disable_adapter_layers()
        return
    model.base_model.enable_adapter_layers()
    model.base_model.set_adapter(name, inference_mode=not trainable)


def save_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Save one adapter, and nothing of the others on its base, into a folder that is there."""
    model.save_pretrained(folder, selected_adapters=[name])
    if (folder / name).is_dir():  # PEFT puts an adapter of another name than 'default' in a subfolder
        for path in (folder / name).iterdir():
            path.rename(folder / path.name)
        (folder / name).rmdir()
    tidy_adapter(folder)


def tidy_adapter(folder: Path) -> None:
    """Make a saved adapter a result: the same bytes in every process, and no empty model card.

    PEFT keeps the names of the adapted modules in a set, whose order differs from process to process.
    """
    config = read_json(folder / "adapter_config.json", ["target_modules"])
    write_json(folder / "adapter_config.json", {**config, "target_modules": sorted(config["target_modules"])})
    (folder / "README.md").unlink(missing_ok=True)


@contextmanager
def merged(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Fold the active adapter into the base weights for a while, so that sampling pays nothing for it.

    The base weights are put back from a copy, bit for bit, rather than by subtraction. Only float32 weights are
    touched: rounding to bfloat16 would lose most of an adapter, and 4-bit weights must not be merged into at all.
    """
    from peft import PeftModel
    from peft.tuners.lora import Linear

    if not isinstance(model, PeftModel):
        yield
        return
    linear = [module for module in model.modules() if type(module) is Linear]
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
def recomputed(model: PeftModel) -> Iterator[None]:
    """Compute each layer's activations anew in the backward pass, for a while, rather than keep them.

    transformers does so only in training mode, which would turn dropout on: the layers alone are put into it here, and
    not what is in them.
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
