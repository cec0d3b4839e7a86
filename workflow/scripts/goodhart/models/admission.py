"""What a model must be for a study to use it, found out before any weights are fetched or read."""

from pathlib import Path
from typing import Any

from goodhart.errors import InputError
from goodhart.store.files import read_json

CLASSES = ("policy", "reward")
PRECISIONS = ("float32", "bfloat16", "nf4")  # of base weights; nf4 is QLoRA
PROMPTS = ("chat", "plain")  # a prompt is rendered with the model's own chat template, or taken as it is
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def admit(folder: Path, where: str, role: str, prompts: str) -> None:
    """Raise `InputError` unless the model in `folder`, called `where`, can serve as a `role` with such prompts.

    It must be of a type whose code is the library's own, with a class for the role, and have a tokeniser.
    """
    if not (folder / "config.json").is_file():
        part = "an adapter, not a model; name its base" if (folder / "adapter_config.json").is_file() else "no model"
        raise InputError(f"{where} holds no config.json: it is {part}.")
    config = read_json(folder / "config.json")
    _check_type(config, where, role)
    if not isinstance(config.get("hidden_size"), int):  # nested in the config of a model of images and text
        raise InputError(f"{where} has no hidden_size in its config.json; name a model of text alone.")
    if not any((folder / name).is_file() for name in VOCABULARIES):
        # Without this, transformers would make up a tokeniser that knows a handful of special tokens.
        raise InputError(f"{where} has no tokenizer ({', '.join(VOCABULARIES)}); save one beside the model.")
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
            f"{where} is of type {kind!r}, which transformers does not know: it would need code of its own "
            "(trust_remote_code), which is never run; name another model."
        )
    classes, need = {
        "policy": (modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "generates no text"),
        "reward": (modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, "has no class with a score head"),
    }[role]
    if kind not in classes:
        raise InputError(f"{where} is of type {kind!r}, which {need} in transformers; name another {role} model.")


def _tokenizer(folder: Path, where: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # as many ways as there are tokenisers
        reason = " ".join(str(error).split())
        raise InputError(f"the tokenizer of {where} cannot be loaded ({reason:.200}); save it anew.") from error
