"""An online run from its first evaluation to its last, with checkpoints and resumption."""

from collections.abc import Callable
from typing import Any

from goodhart.runtime.finite import label_step
from goodhart.runtime.progress import progress
from goodhart.runtime.signals import defer_signals
from goodhart.training.checkpoints import Checkpoints
from goodhart.training.online.loop import OnlineRun

Rows = list[dict[str, Any]]


def adapt(
    loop: OnlineRun,
    evaluate: Callable[[], tuple[dict[str, Any], Rows]],
    checkpoints: Checkpoints,
    description: str,
) -> tuple[Rows, Rows]:
    """Make all updates of a run, with an evaluation before the first, at its interval and after the last.

    The run resumes from the newest checkpoint; a signal saves the state after the last whole update.

    Args:
        evaluate: returns measures of the current policy, and one row per response.

    Returns:
        the measures of every evaluation, and the responses of the first and the last one, each with its `step`.
    """
    steps = loop.settings.steps
    trajectory: Rows = []
    samples: Rows = []

    def state() -> tuple[int, dict[str, Any]]:
        return loop.done, {"loop": loop.state(), "trajectory": trajectory, "samples": samples}

    if saved := checkpoints.restore():
        loop.restore(saved["loop"])
        trajectory, samples = saved["trajectory"], saved["samples"]
    with checkpoints.autosave(state) as save_if_due:
        for step in progress(range(loop.done, steps + 1), description):
            if step > loop.done:
                loop.step()
            due = step % loop.settings.evaluate_every == 0 or step == steps
            if due and step not in (row["step"] for row in trajectory):
                with label_step("evaluation after update", step):
                    measures, responses = evaluate()
                with defer_signals():
                    trajectory.append({"step": step, **measures})
                    if step in (0, steps):
                        samples.extend({"step": step, **row} for row in responses)
            save_if_due()
    return trajectory, samples
