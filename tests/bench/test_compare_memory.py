"""A study that was run against its plan, from logs in the format in which the scripts write them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import compare_memory
from goodhart.cli import peak_memory
from goodhart.errors import InputError


def study(root: Path, logs: dict[str, str]) -> None:
    """A plan of two stages in GiB, and a log and a benchmark of every job."""
    plan = {
        "score_reference": {"peak": 12.75, "held": {"CUDA context and libraries": 0.75, "base weights in NF4": 6.0}},
        "train_reward": {"peak": 4.75, "held": {"CUDA context and libraries": 0.75}},
        "adapt_online": {"peak": 24.0, "held": {}},
    }
    texts = {"results/bench/memory.json": json.dumps({"memory_gib": 80, "stages": plan})}
    for name, text in logs.items():
        texts[f"logs/bench/replicate-0/{name}.log"] = f"of the scorer: 1 done in 2.0 s\n{text}\n"
        texts[f"benchmarks/bench/replicate-0/{name}.tsv"] = "s\th:m:s\tmax_rss\n61.4983\t0:01:01\t1517.52\n"
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_gpus_figure_stands_against_the_plan_without_cudas_own_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "peak memory: 3.10 GiB of the process, {} GiB of the GPU"
    two = "\n".join(line.format(gpu) for gpu in ("8.00", "5.00"))
    study(tmp_path, {"score_reference": line.format("12.50"), "train_reward/member-0": two})
    monkeypatch.chdir(tmp_path)
    compare_memory.main(["--study", "bench"])
    assert capsys.readouterr().out.splitlines() == [
        "| stage | seconds | measured, GiB | planned, GiB | planned / measured |",
        "|---|---:|---:|---:|---:|",
        "| replicate-0/score_reference | 61 | 12.50 | 12.00 | 0.96 |",
        "| replicate-0/train_reward/member-0 | 61 | 8.00 | 4.00 | 0.50 |",
    ]


def test_without_a_gpu_the_processs_peak_is_compared_and_said_to_be_no_prediction(tmp_path: Path) -> None:
    line = peak_memory()  # as a script of this machine writes it
    study(tmp_path, {"train_reward/member-1": line, "train_reward/member-0": line})
    found = compare_memory.jobs("bench", tmp_path)
    assert [job.name for job in found] == [f"replicate-0/train_reward/member-{k}" for k in range(2)]
    if not torch.cuda.is_initialized():
        assert [f"{job.measured:.2f}" for job in found] == [line.split()[2]] * 2
        assert [job.planned for job in found] == [4.75, 4.75]
        assert "not what the plan predicts" in compare_memory.table(found)


def test_a_halved_batch_is_marked(tmp_path: Path) -> None:
    text = "training: 8 rows do not fit into memory, continuing with 4\npeak memory: 3.10 GiB of the process, 7.00 GiB"
    study(tmp_path, {"score_reference": f"{text} of the GPU"})
    said = compare_memory.table(compare_memory.jobs("bench", tmp_path))
    assert "| replicate-0/score_reference * |" in said
    assert "a batch was halved" in said


def test_a_study_that_was_not_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"memory\.json"):
        compare_memory.jobs("bench", tmp_path)
    study(tmp_path, {"adapt_online": "killed before its end"})
    with pytest.raises(InputError, match="run the study first"):
        compare_memory.jobs("bench", tmp_path)
    study(tmp_path, {"score_reference": "peak memory: 3.10 GiB of the process"})
    os.truncate(tmp_path / "benchmarks/bench/replicate-0/score_reference.tsv", 0)
    with pytest.raises(InputError, match=r"score_reference\.tsv"):
        compare_memory.jobs("bench", tmp_path)
