"""What is no error, and stops no run, but makes a study's numbers mean less: counted, and said where there is any."""

from __future__ import annotations

from collections.abc import Iterator

from goodhart.report.numbers import plural
from goodhart.report.results import Results

WHOLE = 0.05  # share of responses that may be cut or empty before the page says so


def counted(results: Results) -> Iterator[str]:
    """A sentence each for cut and empty responses, updates without a preference, and true rewards that start at 0."""
    runs = results.runs
    n = f"n = {plural(len(runs), 'run')}"
    if (share := runs["truncated_end"].mean()) > WHOLE:
        yield (
            f"At the end of the online stage the token limit cut {share:.0%} of the responses ({n}): an answer that "
            "was not reached counts as wrong; sampling.max_new_tokens raises the limit."
        )
    if (share := runs["empty_end"].mean()) > WHOLE:
        yield (
            f"At the end of the online stage {share:.0%} of the responses are empty ({n}): what their rewards, "
            "distances and diversity judge is the prompt and an end token."
        )
    if some := int((runs["zero_variance_batches"] > 0).sum()):
        most = runs.sort_values("zero_variance_batches").iloc[-1]
        yield (
            f"In {some} of {plural(len(runs), 'run')} there are updates whose rewards did not differ, at most "
            f"{most['zero_variance_batches']} of {most['steps']} in one: these have no policy term, only the penalty."
        )
    if some := int(runs["true_at_start_is_zero"].sum()):
        yield (
            f"In {some} of {plural(len(runs), 'run')} the true reward is 0 at the start: it cannot fall, so that their "
            "gap shows the proxy's rise alone, and Eq. 2 divides by its epsilon."
        )
