"""Which files the weights of a model are loaded from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goodhart.errors import InputError
from goodhart.store.files import check_safetensors, read_json
from goodhart.store.hub import MODEL_FILES, OTHER_FILES, snapshot


def weights_folder(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """The folder of a model's weights; hub weights come from the local cache, where resolve_model put them."""
    if manifest["revision"] is not None:
        return snapshot(manifest["model"], manifest["revision"], "model", MODEL_FILES, OTHER_FILES, cached=True)
    return folder if manifest["model"] == "." else Path(manifest["model"])


def weight_files(folder: Path, where: str | None = None) -> list[Path]:
    """The checked safetensors files to load from a folder: model.safetensors, or the files in its index.

    Args:
        where: the name of the model in errors.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        files = [single]
    elif index.is_file():
        files = sorted({folder / name for name in read_json(index, ["weight_map"])["weight_map"].values()})
    else:
        raise InputError(
            f"{where or folder} contains neither model.safetensors nor its index; pickled weights (.bin, .pt) can "
            "run code and are never loaded, so save the model with save_pretrained first."
        )
    for path in files:
        check_safetensors(path)
    return files
