r"""Load problems with verifiable answers, from local files or hub datasets, into the table of problems.

    python workflow/scripts/load_problems.py --online gsm8k/train.jsonl --evaluation gsm8k/test.jsonl \
        --prompt-column question --answer-column answer --template '{question}' --online-problems 4 \
        --evaluation-problems 8 --seed 0 --problems problems.parquet --record problems.json
"""

from dataclasses import dataclass

from goodhart.cli import Output, Source, flag, run
from goodhart.errors import InputError
from goodhart.store.files import write_json, write_table
from goodhart.store.flags import StepFlags
from goodhart.store.provenance import Origin
from goodhart.store.schemas.inputs import PROBLEMS


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    online: Source = flag(help="file or dataset[:split] of the problems for online adaptation")
    evaluation: Source = flag(help="file or dataset[:split] of the problems for the true reward")
    name: str | None = flag(default=None, help="configuration of a hub dataset, such as 'main' of openai/gsm8k")
    revision: str | None = flag(default=None, help="branch, tag or commit of a hub dataset; default: main")
    prompt_column: str
    answer_column: str
    template: str = flag(help="prompt with the placeholder {question}")
    online_problems: int | None = flag(default=None, help="maximum number, drawn with the seed; default: all")
    evaluation_problems: int | None = flag(default=None, help="maximum number, drawn with the seed; default: all")
    seed: int
    problems: Output
    record: Output = flag(help="problems.json: the sources of the problems")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    if "{question}" not in given.template:
        raise InputError(f"--template {given.template!r} lacks the placeholder {{question}}; add it.")
    import pandas as pd

    from goodhart.data.sources import pick_columns, read_source

    parts, record = {}, {}
    for split in ("online", "evaluation"):
        source, limit = getattr(given, split), getattr(given, f"{split}_problems")
        frame, pinned = read_source(source, given.name, given.revision)
        frame = pick_columns(frame, {"question": given.prompt_column, "answer": given.answer_column}, source)
        rows = len(frame)
        if limit is not None and limit < rows:
            frame = frame.sample(n=limit, random_state=given.seed).sort_index()
        parts[split] = pd.DataFrame(
            {
                "problem_id": [f"{split}-{row}" for row in frame.index],
                "split": split,
                "prompt": [given.template.replace("{question}", str(text)) for text in frame["question"]],
                "answer": frame["answer"].astype(str),
            }
        )
        record[split] = {**pinned, "rows_in_source": rows, "problems": len(frame)}
    origin = Origin.of(given.raw, __file__, data=record)
    shared = parts["online"]["prompt"].isin(parts["evaluation"]["prompt"])
    write_table(given.problems, pd.concat(parts.values()), PROBLEMS, origin)
    write_json(given.record, {**record, "online_problems_also_evaluated": int(shared.sum())}, origin)


if __name__ == "__main__":
    run(main)
