"""docs/science.md: its examples hold, its links lead somewhere, and the functions it names exist."""

import ast
import doctest
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "science.md"
TEXT = PAGE.read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\]\((?!https?:)([^)#\s]+)\)", TEXT)))
# [`module.function`](path/to/module.py), [`module.Class.method`](…) or, for a whole module, [`goodhart.room.module`](…)
NAMED = sorted(set(re.findall(r"\[`([\w.]+)`\]\(([^)#\s]+\.py)\)", TEXT)))
ROWS = [row.split("|")[1].strip() for row in TEXT.splitlines() if row.startswith("| ")][1:]

TREATED = [
    *(f"Eq. {n}" for n in range(1, 16)),
    *(f"B.{n}" for n in range(1, 8)),
    "C.1",
    "C.3",
    "A.1",
    "A.6",
    "Def. 6.1",
]
TREATED += ["tau_hack", "r_UQ", "Entropy collapse", "Diversity", "Alg. 1, line 2"]
FEWEST_EXAMPLES = 50


def test_the_examples_hold() -> None:
    """Read as `python -m doctest` reads the page, in one session."""
    page = doctest.DocTestParser().get_doctest(TEXT, {}, PAGE.name, str(PAGE), 0)
    assert len(page.examples) >= FEWEST_EXAMPLES
    printed: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(page, out=printed.append)
    assert results.failed == 0, "".join(printed)
    assert results.attempted == len(page.examples)


@pytest.mark.parametrize("link", LINKS)
def test_a_relative_link_leads_to_a_file(link: str) -> None:
    assert (PAGE.parent / link).is_file()


@pytest.mark.parametrize(("name", "link"), NAMED)
def test_a_named_function_exists(name: str, link: str) -> None:
    """Read from the syntax tree: importing some of the modules would load torch."""
    path = PAGE.parent / link
    if name.startswith("goodhart."):
        assert link.endswith(f"/{name.replace('.', '/')}.py")
    module, *inner = [path.stem] if name.startswith("goodhart.") else name.split(".")
    assert module == path.stem
    scope: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for part in inner:
        definitions = {
            node.name: node for node in ast.iter_child_nodes(scope) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        }
        assert part in definitions, f"{path.name} defines no {part}"
        scope = definitions[part]


def test_every_equation_has_a_row() -> None:
    """Labels such as Eq. 1 must not be found in Eq. 10."""
    missing = [label for label in TREATED if not any(re.search(rf"{re.escape(label)}(?!\d)", row) for row in ROWS)]
    assert not missing
    assert len(NAMED) >= len(ROWS)  # the pattern of the links still finds them
