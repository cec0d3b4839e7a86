"""Two sides of a comparison, run in turn: A B A B. A slow minute of the machine then slows both sides of a pair."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

# A row a pair: `ours` and `theirs` in `unit`; `target` is what theirs / ours should be at least, `check` what was found
# to be the same on both sides.
COLUMNS = ["comparison", "case", "peer", "pair", "ours", "theirs", "unit", "target", "check"]


def seconds(action: Callable[[], object]) -> float:
    """How long a call takes."""
    _wait()
    start = time.perf_counter()
    action()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    """Until a GPU has done what it was told to."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(
    ours: Callable[[], float], theirs: Callable[[], float], pairs: int, warmups: int = 1
) -> list[tuple[float, float]]:
    """What both sides return, pair by pair, after some pairs that do not count."""
    return [(ours(), theirs()) for _ in range(warmups + pairs)][warmups:]


def record(
    comparison: str,
    case: str,
    peer: str,
    measured: Iterable[tuple[float, float]],
    check: str,
    target: float | None = None,
    unit: str = "s",
) -> pd.DataFrame:
    """Rows of one comparison; says on stderr what it came to."""
    rows = [(comparison, case, peer, i, *pair, unit, target, check) for i, pair in enumerate(measured, start=1)]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"target": float})
    ratio = table["theirs"] / table["ours"]
    print(
        f"{comparison}, {case}, against {peer}: {ratio.median():.2f} ({ratio.min():.2f} to {ratio.max():.2f}), "
        f"{table['ours'].median():.3g} against {table['theirs'].median():.3g} {unit}",
        file=sys.stderr,
        flush=True,
    )
    return table


def publish(path: Path, *parts: pd.DataFrame) -> None:
    """Write tables of the same columns as one Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(parts, ignore_index=True).to_parquet(path, index=False)
