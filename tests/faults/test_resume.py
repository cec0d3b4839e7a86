"""Training that is stopped goes on to the very bytes of training that is not, wherever it was stopped."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from stopping import At, Plan, results, run_apart
from transformers import Trainer

from goodhart.runtime import signals
from goodhart.training import trainers
from house import wait_for
from tiny_study import Study

TERM, KILL, INT = signal.SIGTERM, signal.SIGKILL, signal.SIGINT
SHORT = {"--steps 700": "--steps 40"}  # of pretraining
PRETRAIN, REWARD, OFFLINE = "pretrain_policy", "train_reward/1", "train_offline/p80/replicate-1"
ONLINE = "adapt_online/p80/kl-p20/replicate-1"

# What happens to a step, and the steps that its rerun must not have to do again; SIGKILL comes without warning, so that
# only what is saved counts, which is everything where a checkpoint follows every step. The first two of each step are
# part of every test run, the others of the long one. None is all steps there are: how many follows from sampled pairs.
POINTS: list[tuple[str, str, Plan, int, int | None]] = [
    ("in mid-step", PRETRAIN, At("goodhart.training.pretraining._collate", 7, TERM), 5, 6),
    ("in mid-checkpoint", PRETRAIN, At("goodhart.training.checkpoints.write_json", 30, KILL), 0, 29),
    ("in the update", PRETRAIN, At("torch.optim.AdamW.step", 20, TERM), 5, 20),
    ("in mid-step", PRETRAIN, At("goodhart.training.pretraining._collate", 7, KILL), 0, 6),
    *(
        point
        for step in (REWARD, OFFLINE)
        for point in (
            ("in mid-step", step, At("transformers.Trainer.training_step", 3, TERM), 5, 2),
            ("in mid-checkpoint", step, At("goodhart.training.checkpoints.write_json", 3, KILL), 0, 2),
            ("after dropout was drawn", step, At("torch.Tensor.backward", 3, TERM), 5, 2),
            ("in mid-step", step, At("transformers.Trainer.training_step", 4, KILL), 0, 3),
            ("in the update", step, At("torch.optim.AdamW.step", 2, INT), 5, 2),
            ("in mid-checkpoint", step, At("goodhart.training.checkpoints.write_json", 2, TERM), 0, 2),
        )
    ),
    ("after the last update", OFFLINE, At("transformers.Trainer._finalize_training", 1, TERM), 5, None),
    ("while sampling", ONLINE, At("goodhart.training.online.loop.sample", 2, TERM), 5, 1),
    ("in mid-checkpoint", ONLINE, At("goodhart.training.checkpoints.write_json", 3, KILL), 0, 1),
    ("in mid-step", ONLINE, At("goodhart.training.online.loop.online_loss", 2, KILL), 0, 1),
    ("in the update", ONLINE, At("torch.optim.AdamW.step", 3, TERM), 5, 3),
    ("in an evaluation", ONLINE, At("goodhart.evaluation.probes.prompt_entropy", 2, INT), 5, 2),
]


def cases() -> list[Any]:
    seen = Counter[str]()
    found = []
    for i, (what, step, *rest) in enumerate(POINTS):
        seen[step] += 1
        marks = [pytest.mark.long] if seen[step] > 2 else []
        found.append(pytest.param(step, *rest, id=f"{i}-{step.partition('/')[0]}-{what}", marks=marks))
    return found


def often(minutes: float) -> dict[str, str]:
    return SHORT | {"--checkpoint-minutes 5": f"--checkpoint-minutes {minutes}"}


@pytest.fixture(scope="module")
def whole(tiny: Study, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """The results of a step that nothing interrupts."""
    known: dict[str, dict[str, bytes]] = {}

    def run(step: str) -> dict[str, bytes]:
        if step not in known:
            folder = tmp_path_factory.mktemp("whole")
            code, stderr = run_apart(tiny, step, folder, changes=often(5))
            assert code == 0, stderr
            known[step] = results(folder)
        return known[step]

    return run


@pytest.mark.parametrize(("step", "fault", "minutes", "kept"), cases())
def test_a_stopped_run_ends_with_the_bytes_of_one_that_was_not(
    tiny: Study,
    tmp_path: Path,
    whole: Callable[[str], dict[str, bytes]],
    step: str,
    fault: Plan,
    minutes: float,
    kept: int | None,
) -> None:
    code, first = run_apart(tiny, step, tmp_path, fault, changes=often(minutes))
    assert code in (128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGKILL), first
    assert results(tmp_path) == {}
    if code > 0:
        name = signal.Signals(code - 128).name
        assert f"{step.partition('/')[0]}.py: stopped by {name}; a rerun resumes from here" in first
    code, second = run_apart(tiny, step, tmp_path, changes=often(minutes))
    assert code == 0, second
    if kept is None:
        kept = len(json.loads((tiny / "replicate-1/offline/dpo/p80/metrics.json").read_text())["history"])
    assert f"resuming after step {kept}, from {tmp_path}" in second
    assert results(tmp_path) == whole(step)
    assert step != ONLINE or any(name.endswith("/responses.parquet") for name in whole(step))
    assert not list(tmp_path.rglob("step-*")), "checkpoints go after success"


def test_a_run_stopped_again_and_again_ends_with_the_same_bytes(
    tiny: Study, tmp_path: Path, whole: Callable[[str], dict[str, bytes]]
) -> None:
    for kept in range(1, 4):
        code, _ = run_apart(
            tiny, OFFLINE, tmp_path, At("transformers.Trainer.training_step", 2, TERM), changes=often(5)
        )
        assert code == 128 + signal.SIGTERM
        (newest, *_) = sorted(tmp_path.rglob("step-*"), reverse=True)
        assert newest.name == f"step-{kept:08d}"
    assert run_apart(tiny, OFFLINE, tmp_path, changes=often(5))[0] == 0
    assert results(tmp_path) == whole(OFFLINE)


@pytest.fixture(scope="module")
def killed(tiny: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of a run that was killed in its fourth step."""
    folder = tmp_path_factory.mktemp("killed")
    run_apart(tiny, OFFLINE, folder, At("transformers.Trainer.training_step", 4, KILL), changes=often(0))
    return folder


def checkpoints(killed: Path, folder: Path) -> list[Path]:
    """The checkpoints of that run in a folder of their own, the newest first."""
    shutil.copytree(killed, folder, dirs_exist_ok=True)
    found = sorted((path for path in folder.rglob("step-*") if path.is_dir()), reverse=True)
    assert [path.name for path in found] == ["step-00000003", "step-00000002"]
    return found


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped bit in the weights": lambda folder: flip(folder / "checkpoint/adapter_model.safetensors"),
    "flipped bit in the optimiser": lambda folder: flip(folder / "checkpoint/optimizer.pt"),
    "half a file": lambda folder: (folder / "checkpoint/rng_state.pth").write_bytes(b""),
    "missing file": lambda folder: (folder / "checkpoint/scheduler.pt").unlink(),
    "half a record": lambda folder: (folder / "checkpoint.json").write_text('{"step": 3, "no'),
    "no record": lambda folder: (folder / "checkpoint.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tiny: Study, tmp_path: Path, killed: Path, whole: Callable[[str], dict[str, bytes]], damage: str
) -> None:
    newest, _ = checkpoints(killed, tmp_path)
    DAMAGES[damage](newest)
    code, stderr = run_apart(tiny, OFFLINE, tmp_path, changes=often(0))
    assert code == 0, stderr
    assert str(newest) in stderr
    assert "It is skipped." in stderr
    assert "resuming after step 2" in stderr
    assert results(tmp_path) == whole(OFFLINE)


def test_without_a_valid_checkpoint_it_starts_over(
    tiny: Study, tmp_path: Path, killed: Path, whole: Callable[[str], dict[str, bytes]]
) -> None:
    for folder in checkpoints(killed, tmp_path):
        flip(folder / "checkpoint/optimizer.pt")
    code, stderr = run_apart(tiny, OFFLINE, tmp_path, changes=often(0))
    assert code == 0
    assert stderr.count("It is skipped.") == 2
    assert "resuming" not in stderr
    assert results(tmp_path) == whole(OFFLINE)


@pytest.mark.parametrize("change", ["other flag", "other input"])
def test_a_checkpoint_of_another_run_is_not_continued(tiny: Study, tmp_path: Path, killed: Path, change: str) -> None:
    """Another epoch count, or another beta file of the same name: the run starts from the beginning, and says so."""
    checkpoints(killed, tmp_path / "out")
    study, changes = tiny, often(0)
    if change == "other flag":
        changes = changes | {"--epochs 1": "--epochs 2"}
    else:
        study = Study(tmp_path / "copy")
        shutil.copytree(tiny.root, study.root)
        beta = json.loads((study / "beta/p80.json").read_text())
        beta.pop("seal")
        (study / "beta/p80.json").write_text(json.dumps({**beta, "beta": 9.0}))
    code, stderr = run_apart(study, OFFLINE, tmp_path / "out", changes=changes)
    assert code == 0, stderr
    assert "belongs to other inputs, code or libraries; starting from the beginning" in stderr
    assert run_apart(study, OFFLINE, tmp_path / "whole", changes=changes)[0] == 0
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "LARGE", 0)


@dataclass(frozen=True)
class Small:
    """A memory that holds eight pairs, and a log of the steps that were tried within it."""

    seen: Path

    def __call__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        step = Trainer.training_step

        def full(trainer: Trainer, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *args: object) -> Any:
            if len(inputs["input_ids"]) > 16:  # two rows a pair
                raise RuntimeError("CUDA out of memory")
            with self.seen.open("a") as log:
                log.write(f"{trainer.state.global_step}\n")
            return step(trainer, model, inputs, *args)

        monkeypatch.setattr(Trainer, "training_step", full)


def test_rows_grouped_by_length_come_in_the_same_order_after_a_stop(tiny: Study, tmp_path: Path) -> None:
    """As for a large model: grouped rows, recomputed activations, two passes, stopped in the second one."""

    stop = At("transformers.Trainer.training_step", 8, TERM)
    two = often(5) | {"--epochs 1": "--epochs 2"}
    assert run_apart(tiny, REWARD, tmp_path / "whole", large, changes=two)[0] == 0
    assert run_apart(tiny, REWARD, tmp_path / "out", large, stop, changes=two)[0] == 128 + signal.SIGTERM
    code, stderr = run_apart(tiny, REWARD, tmp_path / "out", large, changes=two)
    assert (code, "resuming after step 7" in stderr) == (0, True), stderr
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    history = json.loads((tmp_path / "out/replicate-0/reward/member-1/metrics.json").read_text())["history"]
    assert history[-1]["epoch"] == 2.0


def test_a_batch_halved_before_the_stop_stays_halved(tiny: Study, tmp_path: Path) -> None:
    """Memory runs out for more than 8 rows: what was trained is kept, and neither the rerun nor its record forget."""
    seen = tmp_path / "seen"
    small, stop = Small(seen), At("transformers.Trainer.training_step", 6, TERM)
    assert run_apart(tiny, OFFLINE, tmp_path / "whole", small, changes=often(5))[0] == 0
    whole = seen.read_text()
    seen.unlink()
    assert run_apart(tiny, OFFLINE, tmp_path / "out", small, stop, changes=often(5))[0] == 128 + signal.SIGTERM
    code, stderr = run_apart(tiny, OFFLINE, tmp_path / "out", small, changes=often(5))
    assert code == 0, stderr
    assert "do not fit into memory" not in stderr
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert len(seen.read_text().split()) - len(whole.split()) <= 2, "only the interrupted step was done again"


def test_memory_that_runs_out_late_costs_the_interrupted_step_only(tiny: Study, tmp_path: Path) -> None:
    late = At("transformers.Trainer.training_step", 4, RuntimeError("CUDA out of memory"))
    code, stderr = run_apart(tiny, OFFLINE, tmp_path, late, changes=often(0))
    assert code == 0, stderr
    assert "16 rows do not fit into memory, continuing with 8" in stderr
    assert "resuming after step 3" in stderr


def twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second signal comes while the first one's checkpoint is written."""
    At("transformers.Trainer.training_step", 3, TERM)(monkeypatch)
    At("goodhart.training.checkpoints.write_json", 1, TERM)(monkeypatch)


def test_a_second_signal_does_not_end_the_saving(
    tiny: Study, tmp_path: Path, whole: Callable[[str], dict[str, bytes]]
) -> None:
    assert run_apart(tiny, OFFLINE, tmp_path, twice, changes=often(5))[0] == 128 + TERM
    code, stderr = run_apart(tiny, OFFLINE, tmp_path, changes=often(5))
    assert (code, "resuming after step 2" in stderr) == (0, True), stderr
    assert results(tmp_path) == whole(OFFLINE)


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    tiny: Study, tmp_path: Path, whole: Callable[[str], dict[str, bytes]]
) -> None:
    full = At("goodhart.training.checkpoints.write_json", 2, OSError(errno.ENOSPC, "No space left on device"))
    code, stderr = run_apart(tiny, OFFLINE, tmp_path, full, changes=often(0))
    assert code == 0, stderr
    assert "no checkpoint of step 2: there is no room for step-00000002 in " in stderr
    assert results(tmp_path) == whole(OFFLINE)


def test_two_processes_of_one_run_never_work_side_by_side(
    tiny: Study, tmp_path: Path, whole: Callable[[str], dict[str, bytes]]
) -> None:
    """The second waits for the first, which stands still for a while, and has nothing to do when that one is done."""
    log = tmp_path / f"{OFFLINE.replace('/', '-')}.stderr"
    with ThreadPoolExecutor() as pool:
        frozen = At("transformers.Trainer.training_step", 3, signal.SIGSTOP)
        first = pool.submit(run_apart, tiny, OFFLINE, tmp_path, frozen, changes=often(0))
        wait_for(lambda: list(tmp_path.rglob("step-00000002")))
        (lock,) = tmp_path.rglob("lock")
        process = int(lock.read_text().split()[1])
        second = pool.submit(run_apart, tiny, OFFLINE, tmp_path, changes=often(0))
        wait_for(lambda: f"waiting: process {process} on " in log.read_text())
        os.kill(process, signal.SIGCONT)
        assert [first.result()[0], second.result()[0]] == [0, 0]
    assert "the other process has finished this run" in log.read_text()
    assert results(tmp_path) == whole(OFFLINE)


def test_signals_wait_for_the_end_of_a_deferred_section() -> None:
    done = []

    def update() -> None:
        with signals.stoppable():
            with signals.defer_signals():
                signal.raise_signal(TERM)
                done.append("update")
                with signals.defer_signals():
                    done.append("record")
            done.append("never")

    with pytest.raises(signals.Stopped, match="SIGTERM") as caught:
        update()
    assert done == ["update", "record"]
    assert caught.value.number == signal.SIGTERM


def test_signals_have_their_old_meaning_afterwards() -> None:
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with signals.stoppable():
        assert [signal.getsignal(number) for number in signals.SIGNALS] != before
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
