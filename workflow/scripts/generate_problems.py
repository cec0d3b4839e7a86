r"""Generate the problems of an embedded task, and the teacher's corpus for pretraining.

Every item of the task, such as a set of letters, belongs to only one split, so that the pretraining corpus contains no
question from the preference, online or evaluation problems. `--task NAME --help` lists the settings of a task.

    python workflow/scripts/generate_problems.py --task sorting --letters 5 --alphabet 20 --error-share 0.3 \
        --pretraining-examples 15000 --preference-problems 4000 --online-problems 1000 --evaluation-problems 512 \
        --seed 0 --problems problems.parquet --corpus corpus.parquet
"""

from dataclasses import dataclass

from goodhart.cli import Output, choice, run
from goodhart.data.tasks.registry import TASKS
from goodhart.data.tasks.task import Task
from goodhart.store.files import write_table
from goodhart.store.flags import StepFlags
from goodhart.store.schemas.inputs import CORPUS, PROBLEMS


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    task: Task = choice(TASKS)
    pretraining_examples: int
    preference_problems: int
    online_problems: int
    evaluation_problems: int
    seed: int
    problems: Output
    corpus: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    import numpy as np

    from goodhart.data.tasks import pools

    task, rng = given.task, np.random.default_rng(given.seed)
    of_split = pools.split(task.items(), pools.SHARES, rng)
    problems = [
        {
            "problem_id": f"{split}-{number}",
            "split": split,
            "prompt": task.prompt(item, rng),
            "answer": task.answer(item),
        }
        for split in ("preference", "online", "evaluation")
        for number, item in enumerate(pools.distinct(of_split[split], getattr(given, f"{split}_problems")))
    ]
    corpus = [
        {"row": row, "prompt": task.prompt(item, rng), "response": task.teach(item, rng)}
        for row, item in enumerate(pools.draw(of_split["pretraining"], given.pretraining_examples, rng))
    ]
    write_table(given.problems, problems, PROBLEMS, given.origin)
    write_table(given.corpus, corpus, CORPUS, given.origin)


if __name__ == "__main__":
    run(main)
