"""A hash of the code a script runs, so that an edit reruns what it affects and nothing else.

Snakemake does not see what a script imports. The hash covers the syntax trees of the script and of every module it
imports inside `workflow/scripts/`, wherever in the file the import stands, without comments, docstrings and layout.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path


def fingerprint(script: Path) -> str:
    """Hex digest over the script and everything of its own folder that it imports, directly or not."""
    root = script.parent
    digest = hashlib.sha256()
    for path in sorted(_reachable(script, root)):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(_read(path)[1].encode())
    return digest.hexdigest()[:16]


def _reachable(script: Path, root: Path) -> set[Path]:
    seen: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [module for name in _read(path)[0] if (module := _module(root, name)) is not None]
    return seen


def _module(root: Path, name: str) -> Path | None:
    stem = root.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


@cache
def _read(path: Path) -> tuple[tuple[str, ...], str]:
    """Dotted names a file may import, and its syntax tree as text, without docstrings.

    `from a.b import c` may mean the module a.b or the module a.b.c.
    """
    names: list[str] = []
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return tuple(names), ast.dump(tree)
