"""Fifty kills at random moments of the tiny study, seeded: every result has the bytes of the study nobody disturbed."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from stopping import results, run_apart

from tiny_study import CHAIN, Study, write_sources

pytestmark = pytest.mark.long

KILLS = 50
OFTEN = {"--checkpoint-minutes 5": "--checkpoint-minutes 0.005"}


def placeless(folder: Path) -> dict[str, bytes]:
    """The results below a folder, but for its name, for where PEFT found the base, and for hashes of that."""
    found = results(folder)
    found.pop("provenance.json", None)
    for name in [name for name in found if name.endswith("adapter_config.json")]:
        found[name] = found[name].replace(str(folder).encode(), b"")
        record = str(Path(name).with_name("manifest.json"))
        content = json.loads(found[record])
        del content["seal"], content["files"]["adapter_config.json"]
        found[record] = json.dumps(content).encode()
    return found


def test_fifty_random_kills_change_no_byte(tiny: Study, tmp_path: Path) -> None:
    """Steps are hit in proportion to the time they take, each time at a random moment of what is left of them."""
    draw = random.Random(0)
    hits = Counter(draw.choices(list(tiny.seconds), list(tiny.seconds.values()), k=KILLS))
    write_sources(tmp_path / "source")
    study = Study(tmp_path, OFTEN)
    whole = placeless(tiny.root)
    resumed = 0
    for step in CHAIN:
        before = placeless(tmp_path)
        left = hits[step]
        while left:
            soon = min(tiny.seconds[step], 1 + 2 * tiny.seconds[step] / hits[step])  # or it would be done too early
            code, log = run_apart(study, step, tmp_path, after=draw.random() * soon)
            found = placeless(tmp_path)
            assert {name: whole.get(name) for name in found} == found, f"{step} was killed and left half a result"
            resumed += "resuming after step" in log
            if code == -signal.SIGKILL:
                left -= 1
                continue
            assert code == 0, log
            for name in found.keys() - before.keys():  # it was faster than the kill: once more
                (tmp_path / name).unlink()
        code, log = run_apart(study, step, tmp_path)
        assert code == 0, log
        resumed += "resuming after step" in log
    assert placeless(tmp_path) == whole
    assert not list(tmp_path.rglob("*.tmp")), "what a killed writer left is removed by the next one"
    assert resumed > 3  # some twenty on idle cores; under load, more kills come before the first checkpoint
    shutil.rmtree(tmp_path)
