"""The embedded tasks by name, which are also the names of their sections in the configuration."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from goodhart.data.tasks.arithmetic import Arithmetic
from goodhart.data.tasks.sorting import Sorting
from goodhart.data.tasks.task import Task

TASKS: dict[str, type[Task]] = {"arithmetic": Arithmetic, "sorting": Sorting}


def task_of(name: str, section: Mapping[str, Any]) -> Task:
    """The task with the settings of its section, which may have further keys."""
    return TASKS[name](**{field.name: section[field.name] for field in fields(TASKS[name])})  # type: ignore[arg-type]
