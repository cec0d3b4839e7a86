"""Requirements for a model to be used in a study, checked before its weights are downloaded or read.

A GGUF model, from a file or from inside an installed package, is first converted to safetensors.
"""

from importlib.util import find_spec
from pathlib import Path

from goodhart.errors import InputError
from goodhart.store.files import read_json

CLASSES = ("policy", "reward")
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
    from transformers import AutoTokenizer
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    config = read_json(folder / "config.json")
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
    if not isinstance(config.get("hidden_size"), int):  # multimodal models have hidden_size in a nested config
        raise InputError(f"{where} has no hidden_size in its config.json; use a text-only model.")
    if not any((folder / name).is_file() for name in VOCABULARIES):
        # Otherwise transformers would create a tokeniser with nothing but a few special tokens.
        raise InputError(f"{where} has no tokenizer ({', '.join(VOCABULARIES)}); save one in the folder of the model.")
    if prompts == "plain":
        return
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # each tokeniser class raises errors of its own
        reason = " ".join(str(error).split())
        raise InputError(f"the tokenizer of {where} cannot be loaded ({reason:.200}); save it again.") from error
    if tokenizer.chat_template is None:
        raise InputError(
            f"{where} has no chat template; set {role}.prompts: plain, or save the tokenizer with a chat_template."
        )


def find_gguf(model: str) -> Path:
    """The path of `file.gguf`, or of `package:file.gguf`, a file inside an installed Python package."""
    package, _, name = model.rpartition(":")
    if package:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(f"package {package} is not installed; install it, or use a .gguf file.")
        path = Path(spec.submodule_search_locations[0]) / name
    else:
        path = Path(name)
    if not path.is_file():
        raise InputError(f"{path} does not exist; correct the path of the .gguf file.")
    return path


def convert_gguf(path: Path, folder: Path) -> None:
    """Dequantise a GGUF file into a float32 safetensors model in `folder`."""
    if find_spec("gguf") is None:
        raise InputError(f"reading {path.name} needs the package gguf; install this project's extra 'gguf'.")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A model loaded from GGUF cannot be saved directly, because its config still refers to the quantised file.
    config = {k: v for k, v in loaded.config.to_dict().items() if k not in {"quantization_config", "_name_or_path"}}
    clean = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.float32)
    clean.load_state_dict(loaded.state_dict())
    clean.tie_weights()
    clean.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
