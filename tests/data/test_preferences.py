"""From files to the canonical tables: what is read, what is dropped and counted, and no prompt in two splits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from goodhart.data import preferences, sources
from goodhart.errors import InputError
from goodhart.verifiers.gsm8k import is_correct

REAL = Path(__file__).parents[3] / "shared" / "data"
ROWS = [
    {"prompt": "Q: 1 + 2 =", "chosen": "#### 3", "rejected": "three,\nor four", "score": 9.5},
    {"prompt": "Größe?", "chosen": '"2"', "rejected": "007", "score": 1.0},
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    frame = pd.DataFrame(rows)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".json":
            path.write_text(json.dumps(rows))
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".parquet":
            frame.to_parquet(path)
    return str(path)


def pairs(count: int, **columns: Any) -> pd.DataFrame:
    numbers = range(count)
    texts = {"prompt": [f"p{i}" for i in numbers], "chosen": [f"c{i}" for i in numbers]}
    return pd.DataFrame({**texts, "rejected": [f"r{i}" for i in numbers], **columns})


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    frame, record = sources.read_source(write(tmp_path / f"rows{suffix}", ROWS))
    content = (tmp_path / f"rows{suffix}").read_bytes()
    assert record == {"source": f"rows{suffix}", "sha256": hashlib.sha256(content).hexdigest()}
    assert frame.to_dict("records") == ROWS


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
def test_text_is_never_taken_for_anything_else(tmp_path: Path, suffix: str) -> None:
    rows = [{"prompt": text, "chosen": text} for text in ("None", "NA", "12", "007", "2024-01-02", "1e5", " x ")]
    frame, _ = sources.read_source(write(tmp_path / f"rows{suffix}", [{**row, "rejected": ""} for row in rows]))
    pd.testing.assert_frame_equal(preferences.pair_texts(frame, "rows"), frame)
    assert frame["prompt"].tolist() == [row["prompt"] for row in rows]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("content", [b"", b'{"prompt": "a"', b"\xff\xfe\xfa\x00\x01"], ids=["empty", "cut", "binary"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content if suffix != ".csv" or content != b'{"prompt": "a"' else b'"prompt","chosen\n')
    with pytest.raises(InputError, match=str(path)) as caught:
        sources.read_source(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_does_not_exist_or_has_no_rows_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv does not exist"):
        sources.read_source(str(tmp_path / "nothing.csv"))
    (tmp_path / "header.csv").write_text("prompt,chosen\n")
    with pytest.raises(InputError, match=r"header\.csv has no rows"):
        sources.read_source(str(tmp_path / "header.csv"))


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_a_dot_reaches_into_a_nested_column(tmp_path: Path, suffix: str) -> None:
    rows = [{"prompt": text, "metadata": {"score": {"chosen": score}}} for text, score in (("a", 9.0), ("b", 7.5))]
    frame, _ = sources.read_source(write(tmp_path / f"rows{suffix}", rows))
    picked = sources.pick_columns(frame, {"prompt": "prompt", "chosen_score": "metadata.score.chosen"}, "rows")
    assert picked.to_dict("list") == {"prompt": ["a", "b"], "chosen_score": [9.0, 7.5]}


@pytest.mark.parametrize(
    ("column", "said"),
    [("answer", "'answer'; its columns are prompt"), ("metadata.score", "'score'"), ("prompt.text", "'text'")],
)
def test_a_column_that_is_missing_is_named(column: str, said: str) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b"], "metadata": [{"score": 1}, {"other": 2}]})
    with pytest.raises(InputError, match="^somewhere has no .*" + said):
        sources.pick_columns(frame, {"answer": column}, "somewhere")


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_conversations_of_a_file_become_texts(tmp_path: Path, suffix: str) -> None:
    asked, answers = (
        {"role": "user", "content": "Hello?"},
        ({"role": "assistant", "content": x} for x in ("Hi!", "No.")),
    )
    chosen, rejected = ([asked, answer] for answer in answers)
    frame, _ = sources.read_source(
        write(tmp_path / f"rows{suffix}", [{"chosen": chosen, "rejected": rejected, "id": 3}])
    )
    row = {"prompt": "Hello?", "chosen": "Hi!", "rejected": "No.", "id": 3}
    assert preferences.pair_texts(frame, "rows").to_dict("records") == [row]


def test_the_row_that_cannot_be_used_is_named() -> None:
    frame = pairs(3)
    frame.loc[2, "chosen"] = None
    with pytest.raises(InputError, match="row 2: expected a text or a list of messages"):
        preferences.pair_texts(frame, "somewhere")


def test_splits_go_by_prompt_and_are_near_80_10_10() -> None:
    splits = [preferences.split_of(f"prompt {i}", seed=0) for i in range(10_000)]
    shares = pd.Series(splits).value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.015)
    assert splits == [preferences.split_of(f"prompt {i}", seed=0) for i in range(10_000)]
    assert splits != [preferences.split_of(f"prompt {i}", seed=1) for i in range(10_000)]


def test_a_share_of_the_prompts_is_held_out_and_the_others_are_split_as_before() -> None:
    """Of a fifth that is held out, 80/10/10 of the rest are 64, 8 and 8 percent."""
    prompts = [f"prompt {i}" for i in range(10_000)]
    splits = pd.Series([preferences.split_of(prompt, seed=0, held_out=0.2) for prompt in prompts])
    shares = {preferences.HELD_OUT: 0.2, "train": 0.64, "validation": 0.08, "test": 0.08}
    assert splits.value_counts(normalize=True).to_dict() == pytest.approx(shares, abs=0.015)
    none = [preferences.split_of(prompt, seed=0, held_out=0.0) for prompt in prompts]
    assert none == [preferences.split_of(prompt, seed=0) for prompt in prompts]
    assert {preferences.split_of(prompt, seed=0, held_out=1.0) for prompt in prompts[:99]} == {preferences.HELD_OUT}
    more = [preferences.split_of(prompt, seed=0, held_out=0.3) for prompt in prompts]
    held_out, wider = ({p for p, s in zip(prompts, of, strict=True) if s == "held_out"} for of in (splits, more))
    assert held_out < wider


def test_held_out_prompts_are_in_no_other_split() -> None:
    prompts = [f"p{i % 50}" for i in range(400)]
    kept, counts = preferences.finish_preferences(pairs(400, prompt=prompts), seed=0, limit=None, held_out=0.3)
    assert kept.groupby("prompt")["split"].nunique().max() == 1
    assert set(counts["pairs_by_split"]) == {"held_out", "train", "validation", "test"}
    assert kept["split"].tolist() == [preferences.split_of(prompt, 0, 0.3) for prompt in kept["prompt"]]


@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_prompt_brings_all_of_its_pairs(seed: int) -> None:
    """Prompts of 2, 1 and 3 pairs, of which three are drawn: 3 to 9 pairs."""
    frame = pairs(6, prompt=["a", "b", "a", "c", "c", "c"]).set_index(pd.Index([9, 4, 4, 0, 1, 2]))  # any index
    drawn = preferences.bootstrap_prompts(frame, seed)
    times = drawn.groupby("chosen").size().to_dict()
    of_prompt = {
        prompt: {times.get(chosen, 0) for chosen in part["chosen"]} for prompt, part in frame.groupby("prompt")
    }
    assert all(len(counts) == 1 for counts in of_prompt.values())  # all pairs of a prompt as often
    assert sum(counts.pop() for counts in of_prompt.values()) == 3
    known = frame.to_dict("records")
    assert all(row in known for row in drawn.to_dict("records"))
    pd.testing.assert_frame_equal(drawn, preferences.bootstrap_prompts(frame, seed))


def test_a_bootstrap_leaves_out_a_third_of_the_prompts() -> None:
    """(1 - 1 / n)^n of them, about 1 / e; every seed leaves out others."""
    frame = pairs(2_000)
    drawn = [set(preferences.bootstrap_prompts(frame, seed)["prompt"]) for seed in (0, 1)]
    assert [len(prompts) / 2_000 for prompts in drawn] == pytest.approx([1 - 1 / np.e] * 2, abs=0.03)
    assert drawn[0] != drawn[1]


def test_the_prompts_of_a_source_are_resampled_before_a_part_of_it_is_drawn() -> None:
    whole, counts = preferences.finish_preferences(pairs(500), seed=3, limit=None, bootstrap=True)
    assert len(whole) == counts["pairs"] == 500
    assert counts["prompts"] == whole["prompt"].nunique() < 400
    assert whole["pair_id"].tolist() == list(range(500))
    assert whole.groupby("prompt")["split"].nunique().max() == 1  # copies of a pair are in one split
    limited, _ = preferences.finish_preferences(pairs(500), seed=3, limit=500, bootstrap=True)
    pd.testing.assert_frame_equal(limited, whole)
    part, _ = preferences.finish_preferences(pairs(500), seed=3, limit=499, bootstrap=True)
    assert len(part) == 499
    assert set(part["prompt"]) <= set(whole["prompt"])


def test_no_prompt_is_in_two_splits() -> None:
    prompts = [f"p{i % 50}" for i in range(400)]
    kept, counts = preferences.finish_preferences(pairs(400, prompt=prompts), seed=0, limit=None)
    assert kept.groupby("prompt")["split"].nunique().max() == 1
    assert counts["prompts"] == 50
    assert sum(counts["pairs_by_split"].values()) == counts["pairs"] == 400


def test_identical_pairs_are_dropped_and_tied_ones_kept_both_counted() -> None:
    frame = pairs(60, chosen_score=2.0, rejected_score=1.0)
    frame.loc[[0, 1], "chosen"] = frame.loc[[0, 1], "rejected"]
    frame.loc[[1, 2, 3, 4], "rejected_score"] = 2.0  # row 1 is identical, so only three ties are left
    kept, counts = preferences.finish_preferences(frame, seed=0, limit=None)
    assert (counts["rows_in_source"], counts["identical_pairs_dropped"]) == (60, 2)
    assert counts["pairs_with_tied_scores"] == 3
    assert kept["prompt"].tolist() == [f"p{i}" for i in range(2, 60)]
    assert kept["pair_id"].tolist() == list(range(58))


def test_without_scores_nothing_is_a_tie_and_the_columns_are_empty() -> None:
    kept, counts = preferences.finish_preferences(pairs(60), seed=0, limit=None)
    assert counts["pairs_with_tied_scores"] == 0
    assert kept[["chosen_score", "rejected_score", "chosen_source", "rejected_source"]].isna().all(axis=None)


def test_a_limit_draws_a_subset_by_the_seed() -> None:
    kept, counts = preferences.finish_preferences(pairs(500), seed=3, limit=100)
    again, _ = preferences.finish_preferences(pairs(500), seed=3, limit=100)
    other, _ = preferences.finish_preferences(pairs(500), seed=4, limit=100)
    assert len(kept) == counts["pairs"] == 100
    assert kept["split"].tolist() == [preferences.split_of(prompt, 3) for prompt in kept["prompt"]]
    pd.testing.assert_frame_equal(kept, again)
    assert set(kept["prompt"]) != set(other["prompt"])


def test_preferences_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="no preference pair has two different responses"):
        preferences.finish_preferences(pairs(5, chosen="same", rejected="same"), seed=0, limit=None)
    with pytest.raises(InputError, match=r"no pair in split (test|train) \(5 pairs"):
        preferences.finish_preferences(pairs(5, prompt="one prompt"), seed=0, limit=None)


def test_quantiles_by_hand() -> None:
    assert preferences.quantiles([4, 0, 1, 10, 2]) == {
        "minimum": 0,
        "p25": 1,
        "median": 2,
        "p75": 4,
        "maximum": 10,
        "mean": 3.4,
    }


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data in {REAL}")
def test_real_preferences() -> None:
    """1,000 pairs of UltraFeedback: four in five for training, scores under `metadata`, none against its scores."""
    source = str(REAL / "ultrafeedback" / "train.jsonl")
    columns = {name: name for name in ("prompt", "chosen", "rejected")}
    columns |= {f"{side}_score": f"metadata.score_{side}" for side in ("chosen", "rejected")}
    frame = sources.pick_columns(sources.read_source(source)[0], columns, source)
    kept, counts = preferences.finish_preferences(frame, seed=0, limit=None)
    assert counts["rows_in_source"] == 1_000 == len(kept) + counts["identical_pairs_dropped"]
    assert counts["pairs_with_tied_scores"] == (kept["chosen_score"] == kept["rejected_score"]).sum()
    assert counts["pairs_by_split"]["train"] / len(kept) == pytest.approx(0.8, abs=0.04)
    assert (kept["chosen_score"] >= kept["rejected_score"]).all()
    assert kept.groupby("prompt")["split"].nunique().max() == 1


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data in {REAL}")
def test_real_problems() -> None:
    """All 1,319 gold answers of GSM8K's test split are read, and accept themselves."""
    source = str(REAL / "gsm8k" / "test.jsonl")
    answers = sources.pick_columns(sources.read_source(source)[0], {"answer": "answer"}, source)["answer"]
    assert len(answers) == 1_319
    assert all(is_correct(answer, answer) for answer in answers)
    assert not np.any([is_correct("#### 123456789", answer) for answer in answers])


def test_chat_messages_in_a_csv_are_messages_or_refused(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "so."}]
    frame = pd.DataFrame({"chat": [json.dumps(turns), '[{"a": 1}]', "plain [{"], "n": [1, 2, 3]})
    frame.to_csv(tmp_path / "chat.csv", index=False)
    assert sources.read_source(str(tmp_path / "chat.csv"))[0]["chat"].tolist() == [turns, '[{"a": 1}]', "plain [{"]
    pd.DataFrame({"chat": [turns]}).to_csv(tmp_path / "python.csv", index=False)
    with pytest.raises(InputError, match=r"python\.csv cannot be read: its chat messages are Python literals"):
        sources.read_source(str(tmp_path / "python.csv"))
