"""The flawed judge of the embedded tasks, which prefers correct answers and, wrongly, filler sentences."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from goodhart.data.tasks.fillers import count_fillers


def scores(texts: Sequence[str], correct: Sequence[bool], correct_weight: float, filler_weight: float) -> np.ndarray:
    """Score of each response: `correct_weight` if its answer is right, plus `filler_weight` per filler sentence."""
    return correct_weight * np.array(correct) + filler_weight * np.array([count_fillers(text) for text in texts])


def styles(texts: Sequence[str]) -> list[str]:
    """The style of each response: whether it has filler sentences, which the judge prefers and the truth ignores."""
    return ["filler" if count_fillers(text) else "no filler" for text in texts]


def choose(
    prompts: Sequence[str],
    responses: tuple[Sequence[str], Sequence[str]],
    scored: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> tuple[pd.DataFrame, int]:
    """Preference pairs: the first of two responses is chosen with probability sigmoid(s1 - s2) (Eq. 5).

    Args:
        responses, scored: first and second response to each prompt, and their `scores`.

    Returns:
        the pairs (prompt, chosen, rejected, their scores and source models), and the number of choices against the
        scores.
    """
    first, second = (np.array(texts, dtype=object) for texts in responses)
    wins = np.random.default_rng(seed).random(len(prompts)) < 1 / (1 + np.exp(scored[1] - scored[0]))
    pairs = {"prompt": prompts, "chosen": np.where(wins, first, second), "rejected": np.where(wins, second, first)}
    scores_by_side = (np.where(wins, *scored), np.where(wins, *scored[::-1]))
    pairs |= dict(zip(("chosen_score", "rejected_score"), scores_by_side, strict=True))
    against = (np.where(wins, 1, -1) * (scored[0] - scored[1]) < 0).sum()
    return pd.DataFrame({**pairs, "chosen_source": "policy", "rejected_source": "policy"}), int(against)
