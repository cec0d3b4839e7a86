"""A tiny study from end to end, and what Snakemake wants to run again after each kind of change."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from goodhart.store.files import read_json
from house import ROOT, TINY, copy_house, run_snakemake

Snakemake = Callable[..., subprocess.CompletedProcess]


def jobs(planned: subprocess.CompletedProcess) -> dict[str, int]:
    """The job table of a dry run, without the targets that only collect and the record that follows any other job."""
    output = planned.stdout
    assert planned.returncode == 0, output[-3000:]
    table = re.search(r"^job +count\n[- ]+\n(.*?)^total", output, flags=re.MULTILINE | re.DOTALL)
    rows = [line.split() for line in table[1].splitlines()] if table else []
    counts = {name: int(count) for name, count in rows}
    assert ("write_provenance" in counts) == ("all" in counts)
    return {name: n for name, n in counts.items() if name not in {"all", "figures", "tables", "write_provenance"}}


@contextmanager
def edited(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    try:
        yield
    finally:
        path.write_text(before)


@pytest.mark.long
def test_imports_of_another_process_change_no_byte(study: Path, tmp_path: Path) -> None:
    """One online run and all before it, every job importing for itself."""
    house = copy_house(tmp_path)
    rules = house / "workflow/rules/common.smk"
    text = rules.read_text()
    assert "if workflow.is_main_process and" in text
    rules.write_text(text.replace("if workflow.is_main_process and", "if False and"))
    done = run_snakemake(house, "results/tiny/replicate-1/online/dpo/p80/kl-p20/trajectory.parquet")
    assert done.returncode == 0, done.stdout[-3000:]
    cold = house / "results/tiny"
    files = [path.relative_to(cold) for path in cold.rglob("*") if path.is_file()]
    assert len(files) > 30
    for file in files:
        assert (cold / file).read_bytes() == (study / file).read_bytes(), file


def test_study_is_complete(study: Path) -> None:
    online = sorted(str(p.parent.relative_to(study)) for p in study.glob("replicate-*/online/**/trajectory.parquet"))
    assert online == [
        f"replicate-{replicate}/online/dpo/{level}/kl-{kl}"
        for replicate in (0, 1)
        for level, kl in (("p20", "p20"), ("p80", "p20"), ("p80", "p80"))
    ]
    assert not (study / "replicate-1" / "policy").exists()  # nothing is redrawn here, and nothing copied
    grid = json.loads((study / "beta_grid.json").read_text())["levels"]
    assert [level["level"] for level in grid] == ["p20", "p80"]
    assert 0 < grid[0]["beta"] < 1 < grid[1]["beta"]
    assert set(read_json(study / "replicate-0" / "derived.json")) == {"offline", "reward", "online"}
    figures = {path.stem for path in study.glob("figures/*.svg")}
    assert figures == {path.stem for path in study.glob("figures/*.pdf")}
    assert {"rewards_by_step", "gap_by_step", "augc_by_beta", "beta_by_lambda"} <= figures
    record = read_json(study / "provenance.json", ["git", "software", "models", "derived", "origins"])
    files = {path.relative_to(study).as_posix() for path in study.rglob("*") if path.is_file()}
    assert {row["path"] for row in record["artefacts"]} == files - {"provenance.json"}
    assert [row["path"] for row in record["artefacts"] if row["origin"] not in record["origins"]] == []
    assert len(json.loads((study / "checklist.json").read_text())["items"]) == 14
    assert not list(study.rglob("*.tmp")), "a temporary file was left behind"


def test_second_run_has_nothing_to_do(study: Path, snakemake: Snakemake) -> None:
    assert "Nothing to be done" in snakemake("-n").stdout


def test_touch_and_comments_rerun_nothing(study: Path, house: Path, snakemake: Snakemake) -> None:
    for path in (house / "workflow" / "scripts").rglob("*.py"):
        path.write_text(path.read_text() + "\n# A remark.\n")
    assert "Nothing to be done" in snakemake("-n").stdout


def test_edit_of_online_loop_reruns_online_runs_and_what_follows(
    study: Path, house: Path, snakemake: Snakemake
) -> None:
    loop = house / "workflow" / "scripts" / "goodhart" / "training" / "online" / "loss.py"
    with edited(loop, lambda text: text.replace("DEGENERATE = 1e-6", "DEGENERATE = 2e-6")):
        planned = jobs(snakemake("-n"))
        assert snakemake("-n", "--rerun-triggers", "mtime").returncode == 0
        assert not jobs(snakemake("-n", "--rerun-triggers", "mtime"))
    assert planned == {
        "adapt_online": 6,
        "collect_runs": 1,
        "tabulate_levels": 1,
        "fit_power_law": 2,
        "fit_overoptimisation": 1,
        "decide": 1,
        "write_findings": 1,
        "draw_figures": 1,
        "show_samples": 1,
    }


def test_edit_of_plotting_reruns_figures_only(study: Path, house: Path, snakemake: Snakemake) -> None:
    plotting = house / "workflow" / "scripts" / "goodhart" / "report" / "panels.py"
    with edited(plotting, lambda text: text + "\nEXTRA = 1\n"):
        assert jobs(snakemake("-n")) == {"draw_figures": 1}


@pytest.mark.parametrize(
    ("module", "text", "other"),
    [
        ("store/checksums.py", "was changed or damaged", "was damaged or changed"),
        ("models/ensemble.py", "has no score head", "is without a score head"),
        ("runtime/progress.py", "done in", "all done in"),
    ],
)
def test_a_changed_error_text_reruns_nothing(
    study: Path, house: Path, snakemake: Snakemake, module: str, text: str, other: str
) -> None:
    path = house / "workflow" / "scripts" / "goodhart" / module
    with edited(path, lambda content: content.replace(text, other)):
        assert "Nothing to be done" in snakemake("-n").stdout


def test_a_moved_module_reruns_nothing(study: Path, tmp_path: Path) -> None:
    """The online loss and the panels of figures in other rooms, under other names, every import of them rewritten."""
    house = copy_house(tmp_path)
    library = house / "workflow" / "scripts" / "goodhart"
    for folder in ("results", ".snakemake"):
        shutil.copytree(study.parents[1] / folder, house / folder, symlinks=True)
    moves = {"training/online/loss": "analysis/a_loss", "report/panels": "runtime/drawing_of_panels"}
    for old, new in moves.items():
        (library / f"{old}.py").rename(library / f"{new}.py")
    for path in library.parent.rglob("*.py"):
        text = path.read_text()
        for old, new in moves.items():
            room, _, name = old.rpartition("/")
            place, _, title = new.rpartition("/")
            dotted, other = room.replace("/", "."), place.replace("/", ".")
            text = text.replace(f"goodhart.{dotted}.{name}", f"goodhart.{other}.{title}")
            text = text.replace(f"from goodhart.{dotted} import {name}", f"from goodhart.{other} import {title}")
        path.write_text(text)
    assert "a_loss" in (library / "training/online/loop.py").read_text()
    assert "drawing_of_panels" in "".join(path.read_text() for path in library.glob("report/figures/*.py"))
    assert "Nothing to be done" in run_snakemake(house, "-n").stdout


def test_a_step_that_loads_no_model_is_no_job_of_a_cluster() -> None:
    """`use rule` resets `localrule`, so that each rule repeats it."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules = re.findall(r"^ *use rule (\w+) as (\w+) with:\n(.*?)(?=^ *params:)", text, flags=re.MULTILINE | re.DOTALL)
    assert len(rules) > 20
    assert [name for base, name, lines in rules if ("localrule: True" in lines) != (base == "step")] == []


def test_forced_adapter_reruns_its_own_runs_and_the_collection(study: Path, snakemake: Snakemake) -> None:
    adapter = "results/tiny/replicate-1/offline/dpo/p80/adapter"
    planned = snakemake("-n", "--forcerun", adapter)
    assert jobs(planned) == {
        "train_offline": 1,
        "probe_offline": 1,
        "adapt_online": 2,
        "collect_runs": 1,
        "tabulate_levels": 1,
        "fit_power_law": 2,
        "fit_overoptimisation": 1,
        "decide": 1,
        "write_findings": 1,
        "draw_figures": 1,
    }
    outputs = re.findall(r"^    output: (.*)", planned.stdout, flags=re.MULTILINE)
    runs = [path for line in outputs for path in line.split(", ") if "/offline/" in path or "/online/" in path]
    assert runs
    assert all("/p80/" in path and "/replicate-1/" in path for path in runs)


def test_a_level_is_rerun_in_all_replicates(study: Path, snakemake: Snakemake) -> None:
    adapters = [f"results/tiny/replicate-{replicate}/offline/dpo/p80/adapter" for replicate in (0, 1)]
    counts = jobs(snakemake("-n", "--forcerun", *adapters))
    assert (counts["train_offline"], counts["probe_offline"], counts["adapt_online"]) == (2, 2, 4)


REDRAWN = {  # what redraw adds to the plan of two replicates, beside their offline and online stages
    "rewards": {
        "train_reward": 4,
        "train_held_out": 2,
        "evaluate_rewards": 2,
        "sample_preferences": 1,
        "pretrain_policy": 1,
    },
    "preferences, rewards": {"train_reward": 4, "sample_preferences": 2, "score_reference": 2, "sample_reference": 1},
    "policy, preferences, rewards": {"pretrain_policy": 2, "generate_problems": 1, "sample_reference": 2},
    "task, policy, preferences, rewards": {"generate_problems": 2, "pretrain_policy": 2, "derive_hyperparameters": 6},
}


@pytest.mark.parametrize("redraw", REDRAWN)
def test_a_stage_is_redrawn_in_every_replicate_or_shared(house: Path, snakemake: Snakemake, redraw: str) -> None:
    text = (
        (house / TINY).read_text().replace("study: tiny", "study: drawn").replace("redraw: []", f"redraw: [{redraw}]")
    )
    (house / "drawn.yaml").write_text(text)
    planned = snakemake("-n", config="drawn.yaml")
    counts = jobs(planned)
    assert {name: counts[name] for name in REDRAWN[redraw]} == REDRAWN[redraw]
    assert (counts["train_offline"], counts["adapt_online"]) == (4, 6)
    # A replicate takes what it redraws from its own folder, and the rest from that of replicate 0.
    block = re.search(
        r"^rule adapt_online:\n    input: (.*)\n    output: \S*replicate-1/", planned.stdout, re.MULTILINE
    )
    used = {path.split("/")[3]: path.split("/")[2] for path in block[1].split(", ")}
    places = {"data": "task", "policy": "policy", "beta": "preferences", "reward": "rewards"}
    assert {used[folder] == "replicate-1" for folder, stage in places.items() if stage in redraw} <= {True}
    assert {used[folder] == "replicate-0" for folder, stage in places.items() if stage not in redraw} <= {True}


def test_an_arm_without_penalty_has_runs_of_its_own(house: Path, snakemake: Snakemake) -> None:
    text = (house / TINY).read_text().replace("study: tiny", "study: free")
    (house / "free.yaml").write_text(text.replace("{matched: p20}", "{matched: p20, free: none}"))
    planned = snakemake("-n", config="free.yaml")
    counts = jobs(planned)
    assert (counts["derive_beta"], counts["train_offline"], counts["adapt_online"]) == (3, 4, 10)
    outputs = re.findall(r"^    output: (.*)", planned.stdout, flags=re.MULTILINE)
    free = [line for line in outputs if "/kl-none/trajectory.parquet" in line]
    assert len(free) == 4
    assert any("/beta/none.json" in line for line in outputs)


def test_without_held_out_reward_models_none_are_trained(house: Path, snakemake: Snakemake) -> None:
    text = (house / TINY).read_text().replace("study: tiny", "study: plain").replace("held_out: 1", "held_out: 0")
    (house / "plain.yaml").write_text(f"{text}preferences: {{held_out_share: 0}}\n")
    planned = snakemake("-n", config="plain.yaml")
    assert "train_held_out" not in jobs(planned)
    assert "held-out" not in planned.stdout


def test_new_level_schedules_only_itself(study: Path, house: Path, snakemake: Snakemake) -> None:
    more = house / "more.yaml"
    more.write_text((house / TINY).read_text().replace("[p20, p80]", "[p20, b0.10, p80]"))
    planned = snakemake("-n", config="more.yaml")
    counts = jobs(planned)
    assert counts == {
        "derive_beta": 1,
        "collect_beta_grid": 1,
        "train_offline": 2,
        "probe_offline": 2,
        "adapt_online": 4,
        "collect_runs": 1,
        "tabulate_levels": 1,
        "fit_power_law": 2,
        "fit_overoptimisation": 1,
        "decide": 1,
        "write_findings": 1,
        "draw_figures": 1,
    }
    outputs = re.findall(r"^    output: (.*)", planned.stdout, flags=re.MULTILINE)
    assert not [line for line in outputs if re.search(r"/(offline|online)/dpo/p\d+/", line)]


def test_one_run_builds_nothing_else(study: Path, house: Path, snakemake: Snakemake) -> None:
    other = house / "other.yaml"
    other.write_text((house / TINY).read_text().replace("study: tiny", "study: other"))
    target = "results/other/replicate-0/online/dpo/p20/kl-p20/trajectory.parquet"
    counts = jobs(snakemake("-n", target, config="other.yaml"))
    assert counts["adapt_online"] == counts["train_offline"] == counts["derive_beta"] == 1
    assert (counts["train_reward"], counts["train_held_out"]) == (2, 1)
    assert "probe_offline" not in counts


def test_redrawing_trains_nothing(study: Path, snakemake: Snakemake) -> None:
    assert jobs(snakemake("-n", "figures", "--forcerun", "draw_figures")) == {"draw_figures": 1}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("onlin: {steps: 3}", "'onlin'"),
        ("online: {stepz: 3}", "'stepz'"),
        ("online: {steps: many}", "online.steps"),
        ("sampling: {batch_size: 0}", "sampling.batch_size"),
        ("levels: [p20, high]", "levels.1"),
        ("levels: [p0]", "p0"),
        ("task: {source: dataset}", "policy.model"),
    ],
)
def test_bad_configuration_stops_before_any_job(house: Path, snakemake: Snakemake, change: str, sentence: str) -> None:
    bad = house / "bad.yaml"
    bad.write_text(f"study: bad\n{change}\n")
    failed = snakemake(config="bad.yaml")
    assert failed.returncode == 1
    named = [line for line in failed.stdout.splitlines() if line.startswith("config: ")]
    assert len(named) == 1
    assert sentence in named[0]
    assert not (house / "results" / "bad").exists()


def test_report_is_self_contained(study: Path, house: Path, snakemake: Snakemake) -> None:
    made = snakemake("--report", "results/tiny/report.html")
    assert made.returncode == 0, made.stdout[-3000:]
    page = (study / "report.html").read_text()
    assert "gap_by_step" in page
    assert not re.search(r'<(script|link)[^>]+(src|href)="https?://', page)
