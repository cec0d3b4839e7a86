"""Loading base models (float32, bfloat16 or nf4) and tokenisers from the model folders of a study."""

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig

from goodhart.errors import InputError
from goodhart.models.manifest import check_model, read_manifest
from goodhart.runtime import distributed
from goodhart.runtime.types import PreTrainedModel, PreTrainedTokenizerBase
from goodhart.store.hub import weights_folder

LARGE = 5e7  # number of parameters above which memory matters more than speed


class Float32Head(torch.nn.Linear):
    """A score head that computes in float32 even under autocast, since differences between rewards are small."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        with torch.autocast(states.device.type, enabled=False):
            return super().forward(states.float())


def device() -> torch.device:
    """This process's GPU if there is one, else the CPU."""
    return torch.device("cuda", distributed.local_rank()) if torch.cuda.is_available() else torch.device("cpu")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokeniser of a model folder, which is checked first, with an end token and a different padding token.

    The tokeniser has a chat template only if the study uses the template with this model. The two tokens must differ
    because a classifier takes its score from the last token that is not padding: if they were the same, reward models
    would be trained on the token before the end.
    """
    manifest = check_model(folder)
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
                f"the tokenizer of {named} can pad only with its end-of-sequence token; add a separate pad_token "
                "to the tokenizer of a local copy."
            )
        tokenizer.pad_token = spare[0]
    tokenizer.padding_side = "left"
    return tokenizer


def load_policy(folder: Path, precision: str) -> PreTrainedModel:
    """The causal model of a model folder, frozen, in evaluation mode."""
    return _load(AutoModelForCausalLM, folder, precision)


def load_reward_backbone(folder: Path, precision: str) -> PreTrainedModel:
    """The sequence classifier (one label) with the weights of a model folder, frozen, with a new random head."""
    logging.getLogger("transformers.modeling_utils").setLevel(logging.ERROR)  # no warning about the new head
    model = _load(AutoModelForSequenceClassification, folder, precision, num_labels=1)
    head = Float32Head(model.score.in_features, 1, bias=False, device="meta")
    head.load_state_dict(model.score.float().state_dict(), assign=True)
    model.score = head.requires_grad_(False).eval()
    return model


def _load(auto_class: Any, folder: Path, precision: str, **options: Any) -> PreTrainedModel:
    """The model of an Auto class in a checked folder, on this process's device, frozen, in evaluation mode."""
    tokenizer, manifest = load_tokenizer(folder), read_manifest(folder)
    # A model consists of weights and a config; code in its folder or repository is never run.
    options |= {"trust_remote_code": False, "use_safetensors": True}
    gpu = device().type == "cuda"
    if gpu:
        options["device_map"] = {"": device()}
    elif precision == "bfloat16":
        raise InputError("precision bfloat16 needs a GPU; use float32 or nf4 on a CPU.")
    if precision == "nf4":
        compute = torch.bfloat16 if gpu else torch.float32
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
            llm_int8_skip_modules=["lm_head", "score"],
        )
    else:
        compute = getattr(torch, precision)
    model = auto_class.from_pretrained(weights_folder(folder, manifest), dtype=compute, **options)
    model.manifest = manifest  # attach_adapter compares adapters with this manifest
    model.config.pad_token_id = tokenizer.pad_token_id
    never_repack(model)
    return model.requires_grad_(False).eval()


def never_repack(model: PreTrainedModel) -> None:
    """Prevent bitsandbytes from repacking 4-bit weights on a CPU with 16-bit arithmetic.

    Otherwise, it would repack them in the first forward pass without gradients, with only a warning, for a kernel that
    rounds to bfloat16 and computes no gradients.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
