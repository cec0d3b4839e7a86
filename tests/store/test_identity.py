"""An identity follows the content of a file, a model or an adapter, and nothing of the place it lies in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from goodhart.errors import InputError
from goodhart.store.identity import Identity, difference
from tiny_study import Study

HUB = ("some/model", "c0ffee")


def model(folder: Path, value: float = 1.0, shards: int = 1) -> Path:
    """A model of so many files, all weights of which have one value."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    names = [f"model-{k}.safetensors" for k in range(shards)] if shards > 1 else ["model.safetensors"]
    for k, name in enumerate(names):
        save_file({f"w{k}": np.full(2, value)}, folder / name)
    if shards > 1:
        index = {"weight_map": {f"w{k}": name for k, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("shards", [1, 2])
def test_the_identity_of_a_model_follows_its_weights(tmp_path: Path, shards: int) -> None:
    one, same, other = (
        Identity.of_model(model(tmp_path / name, value, shards), "plain")
        for name, value in (("one", 1.0), ("same", 1.0), ("other", 1.5))
    )
    assert one == same != other
    assert difference(one.parts, other.parts, "policy") == "other weights than the policy's"
    assert {name for name in one.files if name.endswith("safetensors")} == {
        path.name for path in (tmp_path / "one").glob("*.safetensors")
    }


def test_a_model_of_the_hub_goes_by_its_name_and_commit(tmp_path: Path) -> None:
    one = Identity.of_model(model(tmp_path / "one"), "chat", HUB)
    other = Identity.of_model(model(tmp_path / "other", 1.5), "chat", HUB)
    assert one == other
    assert (one.parts["model"], one.parts["revision"], one.parts["sha256"], one.files) == (*HUB, None, {})
    assert difference(one.parts, {**one.parts, "revision": "decade"}, "policy") == "another revision than the policy's"


def test_what_is_stamped_is_read_and_verified(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    identity = Identity.of_model(folder, "chat")
    identity.stamp(folder, model=".", hidden_size=2)
    assert Identity.read(folder) == identity
    shutil.copytree(folder, tmp_path / "copy")
    Identity.read(folder).verify(tmp_path / "copy")
    (tmp_path / "copy/config.json").write_text("{ ")
    with pytest.raises(InputError, match=r"config\.json was changed or damaged"):
        Identity.read(folder).verify(tmp_path / "copy")


@pytest.mark.parametrize("change", ["place", "base", "scale", "weights", "no manifest"])
def test_an_adapter_is_told_by_its_weights_its_base_and_how_they_apply(
    tiny: Study, tmp_path: Path, change: str
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(tiny / "offline/dpo/p20/adapter", adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    record = json.loads((adapter / "manifest.json").read_text())
    record.pop("seal")
    if change == "place":
        config["base_model_name_or_path"] = "elsewhere"
    if change == "scale":
        config["lora_alpha"] += 1
    if change == "base":
        record["sha256"] = "of another"
    if change == "weights":
        record["files"]["adapter_model.safetensors"]["sha256"] = "of others"
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "manifest.json").write_text(json.dumps(record))
    if change == "no manifest":
        (adapter / "manifest.json").unlink()
    same = Identity.read(adapter) == Identity.read(tiny / "offline/dpo/p20/adapter")
    assert same == (change == "place")


def test_a_folder_of_tables_goes_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/steps.parquet").write_bytes(b"one")
    before = Identity.read(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert Identity.read(tmp_path / "moved") == before
    (tmp_path / "moved/steps.parquet").write_bytes(b"two")
    assert Identity.read(tmp_path / "moved") != before
    with pytest.raises(InputError, match="run does not exist"):
        Identity.read(tmp_path / "run")
