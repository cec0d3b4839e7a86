"""Requirements for a model to be used in a study, checked before its weights are downloaded or read."""

from pathlib import Path
from typing import Any

from goodhart.errors import InputError
from goodhart.store.files import read_json

CLASSES = ("policy", "reward")
PRECISIONS = ("float32", "bfloat16", "nf4")  # of the base weights; nf4 is QLoRA
PROMPTS = ("chat", "plain")  # prompts are rendered with the chat template of the model, or used as plain text
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def admit(folder: Path, where: str, role: str, prompts: str) -> None:
    """Raise `InputError` unless the model in `folder` supports the role (of CLASSES) and the prompts (of PROMPTS).

    The model needs a tokeniser, and transformers must have a class for its type and role. `where` is the name of the
    model in errors.
    """
    if not (folder / "config.json").is_file():
        part = "an adapter; name its base model" if (folder / "adapter_config.json").is_file() else "not a model"
        raise InputError(f"{where} has no config.json: it is {part}.")
    config = read_json(folder / "config.json")
    _check_type(config, where, role)
    if not isinstance(config.get("hidden_size"), int):  # multimodal models have hidden_size in a nested config
        raise InputError(f"{where} has no hidden_size in its config.json; use a text-only model.")
    if not any((folder / name).is_file() for name in VOCABULARIES):
        # Otherwise transformers would create a tokeniser with nothing but a few special tokens.
        raise InputError(f"{where} has no tokenizer ({', '.join(VOCABULARIES)}); save one in the folder of the model.")
    if prompts == "chat" and _tokenizer(folder, where).chat_template is None:
        raise InputError(
            f"{where} has no chat template; set {role}.prompts: plain, or save the tokenizer with a chat_template."
        )


def _check_type(config: dict[str, Any], where: str, role: str) -> None:
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING_NAMES:
        raise InputError(
            f"{where} is of type {kind!r}, which transformers does not support without remote code; "
            "this project never runs remote code (trust_remote_code), so use another model."
        )
    classes, need = {
        "policy": (modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "has no class for text generation"),
        "reward": (modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, "has no class with a score head"),
    }[role]
    if kind not in classes:
        raise InputError(f"{where} is of type {kind!r}, which {need} in transformers; use another {role} model.")


def _tokenizer(folder: Path, where: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # each tokeniser class raises errors of its own
        reason = " ".join(str(error).split())
        raise InputError(f"the tokenizer of {where} cannot be loaded ({reason:.200}); save it again.") from error
