"""Repositories of the Hugging Face hub, as immutable folders: one commit each, in the local cache; weights of a model.

A repository that was fetched once is found again without a network, by commit, or by the branch or tag it was fetched
under.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goodhart.errors import InputError
from goodhart.store.files import check_safetensors, read_json

# The files of a model: its description, then its weights in safetensors, which cannot run code. Subfolders (onnx,
# original) and consolidated.safetensors hold the weights in other formats.
SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
MODEL_FILES = (*SMALL_FILES, "*.safetensors")
OTHER_FILES = ("*/*", "consolidated*")


def snapshot(
    repository: str,
    revision: str | None,
    kind: str,
    patterns: Sequence[str],
    without: Sequence[str] = (),
    cached: bool = False,
) -> Path:
    """The folder of a repository at one revision; the folder's name is the commit.

    Without a network, or with HF_HUB_OFFLINE=1, the cache is used; a branch or tag then gives the commit last fetched.

    Args:
        revision: branch, tag or commit; None means main.
        kind: "model" or "dataset".
        patterns, without: the patterns of files to fetch, and of files to leave out.
        cached: use the cache only, for jobs without a network.
    """
    from huggingface_hub import constants, errors, snapshot_download

    where = f"{kind} {repository}" + (f" at revision {revision}" if revision else "")
    try:
        folder = snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(without),
            local_files_only=cached,
        )
    except errors.HFValidationError as error:
        raise InputError(f"{repository!r} is neither a local path nor a name on the hub; correct it.") from error
    except errors.GatedRepoError as error:  # before its base class RepositoryNotFoundError
        raise InputError(f"{where} is gated; accept its terms on the hub and log in with `hf auth login`.") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{where} does not exist on the hub, or is private; correct its name, or log in with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{where} does not exist on the hub, though the {kind} does; correct the revision.") from error
    except Exception as error:  # no network, no response, a full disk: the client can fail in many more ways
        if cached or constants.HF_HUB_OFFLINE:
            raise InputError(
                f"{where} is not in the cache of this machine, or is incomplete; fetch it on a machine with a "
                "network, with HF_HUB_OFFLINE unset and the same HF_HOME."
            ) from error
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise InputError(
            f"{where} cannot be fetched from the hub ({reason:.200}); check the network, or name a local path."
        ) from error
    return Path(folder)


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
