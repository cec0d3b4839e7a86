"""Loading base models in their precision, and their tokenisers, from the model folders of a study."""

import logging
from pathlib import Path
from typing import Any

import torch

from goodhart.errors import InputError
from goodhart.models.manifest import read_manifest
from goodhart.runtime import distributed
from goodhart.runtime.types import PreTrainedModel, PreTrainedTokenizerBase
from goodhart.store.hub import weights_folder

LARGE = 5e7  # parameters from which on memory matters more than speed
LIBRARY_CODE = {"trust_remote_code": False, "use_safetensors": True}  # a model brings weights, and never code


class Float32Head(torch.nn.Linear):
    """A score head in float32 whatever the backbone computes in, under autocast too: rewards differ by little."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        with torch.autocast(states.device.type, enabled=False):
            return super().forward(states.float())


def device() -> torch.device:
    """This process's accelerator if there is one, else the CPU."""
    return torch.device("cuda", distributed.local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokeniser of a model folder, with an end token and another one to pad with.

    It has a chat template only where the study asks this model with it.

    A classifier reads its score off the last token that is not padding: were the two the same, rewards would be
    trained on the token before the end.
    """
    from transformers import AutoTokenizer

    manifest = read_manifest(folder)
    tokenizer = AutoTokenizer.from_pretrained(weights_folder(folder, manifest), trust_remote_code=False)
    if manifest["prompts"] == "plain":
        tokenizer.chat_template = None
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer of {folder} has no end-of-sequence token; set eos_token in its config.")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        spare = [token for token in tokenizer.all_special_tokens if token != tokenizer.eos_token]
        if not spare:
            named = folder if manifest["model"] == "." else manifest["model"]
            raise InputError(
                f"the tokenizer of {named} has no special token but its end token to pad with; add another as "
                "pad_token to the tokenizer of a local copy."
            )
        tokenizer.pad_token = spare[0]
    tokenizer.padding_side = "left"
    return tokenizer


def load_policy(folder: Path, precision: str) -> PreTrainedModel:
    """The causal model of a model folder, frozen, in evaluation mode."""
    from transformers import AutoModelForCausalLM

    manifest = read_manifest(folder)
    model = AutoModelForCausalLM.from_pretrained(
        weights_folder(folder, manifest), **LIBRARY_CODE, **_weights(precision)
    )
    return _frozen(model, load_tokenizer(folder), manifest)


def load_reward_backbone(folder: Path, precision: str) -> PreTrainedModel:
    """The sequence classifier (one label) on a model folder's weights, frozen; its head is fresh."""
    from transformers import AutoModelForSequenceClassification

    logging.getLogger("transformers.modeling_utils").setLevel(logging.ERROR)  # a fresh head is what we ask for
    manifest = read_manifest(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        weights_folder(folder, manifest), **LIBRARY_CODE, **_weights(precision), num_labels=1
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
    never_repack(model)
    model.requires_grad_(False)
    return model.eval()


def never_repack(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking 4-bit weights where the CPU has 16-bit arithmetic.

    It would do so at the first pass without gradients, for a kernel that rounds to bfloat16 and computes no gradients,
    and only warn of it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
