"""Files that rot, go stale or do not fit: through the scripts themselves, one sentence each, and nothing is lost."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from goodhart.errors import InputError
from goodhart.models.manifest import check_adapters, check_model, stamp_model
from goodhart.store.files import check_safetensors, read_json, read_table, write_json, write_table
from goodhart.store.identity import Identity
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import LOGPROBS, PREFERENCES
from goodhart.store.schemas.measurements import TRAJECTORY
from tiny_study import Study, placed

RUN = "online/dpo/p20/kl-p20"
TRAIN, PROBE = "train_offline/p20", "probe_offline/p20"
TABLE, REFERENCE, DERIVED = "data/preferences.parquet", "reference/logprobs.parquet", "derived/offline.json"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(study: Study, step: str, outputs: Path, instead: dict[str, Path]) -> str:
    """The one sentence with which a step refuses; what was there before is there still, and nothing else."""
    before = contents(outputs)
    with pytest.raises(InputError) as caught:
        study.run(step, outputs, instead)
    assert len(str(caught.value).splitlines()) == 1
    assert contents(outputs) == before
    return str(caught.value)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "Parquet": (TABLE, lambda path: read_table(path, PREFERENCES)),
    "JSON": (DERIVED, lambda path: read_json(path, ["inputs", "values"])),
    "safetensors": ("reward/centroid.safetensors", check_safetensors),
    **{
        f"adapter: {name}": (f"reward/member-0/adapter/{name}", lambda path: check_adapters(POLICY[0], [path.parent]))
        for name in ("adapter_model.safetensors", "adapter_config.json", "manifest.json")
    },
    **{
        f"model: {name}": (f"policy/{name}", lambda path: check_model(path.parent))
        for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "manifest.json")
    },
}
POLICY: list[Path] = []


@pytest.mark.parametrize("kind", READERS)
def test_a_bit_flipped_anywhere_is_told(tiny: Study, tmp_path: Path, kind: str) -> None:
    """300 random places a file, every one of the last 64 bytes, and 100 places where the file was cut."""
    POLICY[:] = [tiny / "policy"]
    name, read = READERS[kind]
    path = tmp_path / name
    whole = (tiny / name).parent if ":" in kind else tiny / name
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(whole, path.parent) if ":" in kind else shutil.copytree(whole.parent, path.parent)
    content = path.read_bytes()
    read(path)
    rng = random.Random(0)
    bits = [rng.randrange(8 * len(content)) for _ in range(300)]
    bits += [8 * (len(content) - end) + rng.randrange(8) for end in range(1, 65)]
    damaged = [
        content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :] for bit in bits
    ]
    damaged += [content[: rng.randrange(len(content))] for _ in range(100)]
    for changed in damaged:
        path.write_bytes(changed)
        with pytest.raises(InputError) as caught:
            read(path)
        assert len(str(caught.value).splitlines()) == 1
        assert str(path.parent) in str(caught.value)


def test_the_sentence_of_a_flipped_bit(tiny: Study, tmp_path: Path) -> None:
    path = tmp_path / "preferences.parquet"
    content = bytearray((tiny / TABLE).read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    message = refusal(tiny, TRAIN, tmp_path / "out", {TABLE: path})
    assert message == f"{path} was changed or damaged after it was made; rerun the step that makes it."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="kl"), "is not a trajectory table: it lacks the columns ['kl']."),
        (lambda t: t.assign(step=t["step"].astype(str)), "column step has type large_string and not int64."),
        (lambda t: t.assign(proxy=t["proxy"].astype(str)), "column proxy has type large_string and not double."),
        (lambda t: t.assign(level=range(len(t))), "column level has type int64 and not string."),
        (lambda t: t.assign(n=t["n"] > 0), "column n has type bool and not int64."),
        (lambda t: t.assign(step=t["step"] + 0.5), "is not a trajectory table: Float value 0.500000 was truncated"),
        (lambda t: pd.concat([t, t[-1:]]), "the trajectory table has several rows for one"),
    ],
    ids=["column missing", "text", "text for a float", "number for text", "flag", "fraction", "step twice"],
)
def test_a_table_of_another_form_is_refused(
    tiny: Study, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    name, path = f"{RUN}/trajectory.parquet", tmp_path / "trajectory.parquet"
    change(read_table(tiny / name, TRAJECTORY)).to_parquet(path)
    message = refusal(tiny, "collect_runs", tmp_path / "out", {name: path})
    assert str(path) in message
    assert said in message


def test_types_that_lose_nothing_are_taken(tiny: Study, tmp_path: Path) -> None:
    """As other tools write them: narrow numbers, long strings, categories."""
    found = read_table(tiny / RUN / "trajectory.parquet", TRAJECTORY)
    narrow = found.astype({"step": "int32", "n": "float64", "level": "category", "true": "float32"})
    narrow.to_parquet(tmp_path / "t.parquet")
    again = read_table(tmp_path / "t.parquet", TRAJECTORY)
    pd.testing.assert_frame_equal(again, found.assign(true=found["true"].astype("float32").astype("float64")))


class Stale:
    """A study whose reference was made with something that has changed since: policy, preferences, derived values."""

    def __init__(self, tiny: Study, folder: Path) -> None:
        self.tiny, self.folder = tiny, folder
        self.instead: dict[str, Path] = {}

    def policy(self, prompts: str = "plain", **changes: Any) -> Path:
        """A copy of the policy; `template` and `weights` change files, anything else its manifest."""
        folder = self.folder / f"policy{len(list(self.folder.iterdir()))}"
        shutil.copytree(self.tiny / "policy", folder)
        if template := changes.pop("template", None):
            (folder / "chat_template.jinja").write_text(template)
        if changes.pop("weights", False):
            weights = {name: value * np.float32(1.5) for name, value in load_file(folder / "model.safetensors").items()}
            save_file(weights, folder / "model.safetensors", {"format": "pt"})
        stamp_model(folder, folder, prompts)
        write_json(folder / "manifest.json", {**read_json(folder / "manifest.json"), **changes})
        return folder

    def reference(self, policy: Path) -> Path:
        """The table that score_reference would have made with another policy."""
        made = Origin.read(self.tiny / REFERENCE)
        assert made is not None
        made = {**made, "inputs": {**made["inputs"], "policy": Identity.read(policy).parts}}
        path = self.folder / "logprobs.parquet"
        write_table(path, read_table(self.tiny / REFERENCE, LOGPROBS), LOGPROBS, made)
        return path


@pytest.fixture
def stale(tiny: Study, tmp_path: Path) -> Stale:
    (tmp_path / "changed").mkdir()
    return Stale(tiny, tmp_path / "changed")


IDENTITY = ("model", "revision", "sha256")
HUB = {"model": "some/model", "revision": "c0ffee"}
CHANGES: dict[str, tuple[Callable[[Stale], dict[str, Path]], str]] = {
    "revision": (
        lambda s: {"policy": s.policy(**HUB), REFERENCE: s.reference(s.policy(**{**HUB, "revision": "decade"}))},
        "another revision than the policy's",
    ),
    "weights": (lambda s: {"policy": s.policy(weights=True)}, "other weights than the policy's"),
    "template": (
        lambda s: {
            "policy": s.policy("chat", template="{{ messages }}"),
            REFERENCE: s.reference(s.policy("chat", template="{{ messages }}\n")),
        },
        "another chat template than the policy's",
    ),
    "prompts": (
        lambda s: {"policy": s.policy("chat", template="{{ messages }}")},
        "another setting of prompts than the policy's",
    ),
    "subset": (lambda s: {TABLE: subset(s)}, "other preferences"),
    "length": (lambda s: {DERIVED: shorter(s)}, "max_length 28, but this step uses 27"),
}


def subset(stale: Stale) -> Path:
    path = stale.folder / "preferences.parquet"
    pairs = read_table(stale.tiny / TABLE, PREFERENCES)
    write_table(path, pairs[pairs["split"] != "validation"], PREFERENCES, Origin.read(stale.tiny / TABLE))
    return path


def shorter(stale: Stale) -> Path:
    record = read_json(stale.tiny / DERIVED)
    record["values"]["max_length"]["value"] -= 1
    write_json(stale.folder / "offline.json", record, Origin.read(stale.tiny / DERIVED))
    return stale.folder / "offline.json"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", [TRAIN, PROBE])
def test_a_stale_reference_is_refused(tiny: Study, tmp_path: Path, stale: Stale, step: str, change: str) -> None:
    instead, said = CHANGES[change]
    paths = instead(stale)
    if step == PROBE and "policy" in paths:  # with adapters of that policy, as others would be refused before
        identity = Identity.read(paths["policy"]).parts
        for name in ("offline/dpo/p20/adapter", "reward/member-0/adapter", "reward/member-1/adapter"):
            paths[name] = tmp_path / "changed" / name
            shutil.copytree(tiny / name, paths[name])
            record = {**read_json(paths[name] / "manifest.json"), **{key: identity[key] for key in IDENTITY}}
            write_json(paths[name] / "manifest.json", record)
    message = refusal(tiny, step, tmp_path / "out", paths)
    reference = paths.get(REFERENCE, tiny / REFERENCE)
    assert message == f"{reference} was made with {said}; rerun score_reference."


def test_an_external_reference_is_checked_by_its_content(tiny: Study, tmp_path: Path) -> None:
    """Without an origin it is taken where its pairs and tokens fit, and gives the same weights."""
    path = tmp_path / "logprobs.parquet"
    read_table(tiny / REFERENCE, LOGPROBS).to_parquet(path)
    tiny.run(TRAIN, tmp_path / "out", {REFERENCE: path})
    weights = "offline/dpo/p20/adapter/adapter_model.safetensors"
    assert (tmp_path / "out" / placed(weights)).read_bytes() == (tiny / weights).read_bytes()


def test_what_was_made_with_other_rewards_is_refused(tiny: Study, tmp_path: Path) -> None:
    """The centroid and the baseline of another ensemble; members of other preferences; metrics of another adapter."""
    other = {"reward/member-1/adapter": tiny / "reward/member-0/adapter"}
    for step in (PROBE, f"adapt_online/{RUN.removeprefix('online/dpo/')}"):
        message = refusal(tiny, step, tmp_path / "out", other)
        assert message == f"{tiny / 'reward/centroid.safetensors'} was made with other members; rerun evaluate_rewards."
    other = {"reward/held-out-0/adapter": tiny / "reward/member-0/adapter"}
    message = refusal(tiny, PROBE, tmp_path / "out", other)
    assert message == f"{tiny / 'reward/centroid.safetensors'} was made with other held_out; rerun evaluate_rewards."
    metrics = {"offline/dpo/p20/metrics.json": tiny / "offline/dpo/p80/metrics.json"}
    assert "metrics.json belongs to another adapter than " in refusal(tiny, PROBE, tmp_path / "out", metrics)
    made = Origin.read(tiny / "reward/quality.json")
    assert made is not None
    others = {**made, "inputs": {**made["inputs"], "members": made["inputs"]["members"][::-1]}}
    write_json(tmp_path / "quality.json", read_json(tiny / "reward/quality.json"), others)
    message = refusal(tiny, PROBE, tmp_path / "out", {"reward/quality.json": tmp_path / "quality.json"})
    assert message == f"{tmp_path / 'quality.json'} was made with other members; rerun evaluate_rewards."
    pairs = read_table(tiny / TABLE, PREFERENCES)
    write_table(tmp_path / "preferences.parquet", pairs[pairs["pair_id"] > 0], PREFERENCES)
    message = refusal(tiny, "evaluate_rewards", tmp_path / "out", {TABLE: tmp_path / "preferences.parquet"})
    assert message == f"{tiny / 'reward/member-0/adapter'} was made with other preferences; rerun train_reward."


WRITERS = ["generate_problems", "derive_beta/p20", "evaluate_rewards", "train_reward/0", "collect_runs", "draw_figures"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a library may still have a file open there


def fill(path: Path) -> None:
    """Write to a file until its disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as handle:
        while True:
            handle.write(bytes(1024))


@pytest.mark.parametrize("step", WRITERS)
def test_a_full_disk_takes_nothing_away(tiny: Study, disk: Path, step: str) -> None:
    """Older outputs are on it; it fills up while the step writes, which therefore leaves them as they were."""
    tiny.run(step, disk)
    fill(disk / "ballast")
    message = refusal(tiny, step, disk, {})
    assert message.startswith("there is no room for ")
    assert message.endswith(" (No space left on device); make room and rerun.")


@pytest.mark.parametrize("step", ["generate_problems", "train_reward/0"])
def test_a_limit_on_files_takes_nothing_away(tiny: Study, tmp_path: Path, step: str) -> None:
    """The same without a right to mount anything; safetensors are written by Rust, which has words of its own."""
    tiny.run(step, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        message = refusal(tiny, step, tmp_path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith("there is no room for ")
    assert message.endswith(" (File too large); make room and rerun.")
