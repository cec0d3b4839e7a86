"""Conversion of GGUF models, from files or from inside installed packages, to safetensors."""

from importlib.util import find_spec
from pathlib import Path

from goodhart.errors import InputError


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
