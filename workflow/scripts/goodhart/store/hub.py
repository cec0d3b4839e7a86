"""Repositories of the Hugging Face hub, as folders that cannot change: one commit, in the cache of this machine.

What is fetched once is found again without any network, by its commit or by the name it was fetched under.
"""

from collections.abc import Sequence
from pathlib import Path

from goodhart.errors import InputError

# The files of a model: what describes it, then its weights, in one format that cannot run code. Folders hold other
# formats (onnx, original), and so does consolidated.safetensors.
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
    """The folder of a repository at one revision; its name is the commit.

    Without a network, or with HF_HUB_OFFLINE=1, the cache answers, for a branch or tag with the commit last seen.

    Args:
        revision: branch, tag or commit; None: main.
        kind: "model" or "dataset".
        patterns, without: which files are fetched, and which of these are not.
        cached: ask the cache alone, as a job must that has no network.
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
    except errors.GatedRepoError as error:  # before RepositoryNotFoundError, of which it is one
        raise InputError(
            f"{where} is gated; accept its terms on its page of the hub and log in with `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{where} does not exist on the hub, or is private; correct its name, or log in with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{where} does not exist on the hub, though the {kind} does; correct the revision.") from error
    except Exception as error:  # no network, no answer, no room: the client has many more ways to fail
        if cached or constants.HF_HUB_OFFLINE:
            raise InputError(
                f"{where} is not in the cache of this machine, or not whole; fetch it where there is a network, with "
                "HF_HUB_OFFLINE unset and the same HF_HOME."
            ) from error
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise InputError(
            f"{where} cannot be fetched from the hub ({reason:.200}); check the network, or name a local path."
        ) from error
    return Path(folder)
