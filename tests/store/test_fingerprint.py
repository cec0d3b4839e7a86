"""An edit changes the fingerprint of what runs it and of nothing else; layout, comments and docstrings do not count."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from goodhart.store.fingerprint import fingerprint

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
PLOTTING = (SCRIPTS / "draw_figures.py").exists()
# A small tree of scripts: train.py imports lib.model late, which imports lib.numbers.
FILES = {
    "train.py": '"""What it does."""\nimport sys\n\ndef main():\n    from lib.model import load\n    return load(1)\n',
    "plot.py": "from lib import drawing\n\nprint(drawing.WIDTH)\n",
    "lib/__init__.py": "",
    "lib/model.py": '"""Models."""\nfrom lib.numbers import TWO\n\ndef load(x):\n    """Load."""\n    return x + TWO\n',
    "lib/numbers.py": "TWO = 2\n",
    "lib/drawing.py": "WIDTH = 3\n",
    "lib/unused.py": "import lib.numbers\n",
}


def of(folder: Path, script: str, **edits: str) -> str:
    """The fingerprint of a script of the small tree, some files of which read otherwise."""
    names = {name.replace("/", "_").removesuffix(".py"): name for name in FILES}
    contents = FILES | {names[key]: text for key, text in edits.items()}
    root = folder / str(len(list(folder.iterdir())))
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return fingerprint(root / script)


def test_it_depends_on_content_not_on_place(tmp_path: Path) -> None:
    assert of(tmp_path, "train.py") == of(tmp_path, "train.py")
    assert len(of(tmp_path, "train.py")) == 16


def test_comments_docstrings_and_layout_do_not_count(tmp_path: Path) -> None:
    tidy = "'''Other.'''\nimport sys # y\ndef main():\n  from lib.model import (\n load)\n  # so\n  return load( 1)"
    silent = "from lib.numbers import TWO\ndef load(x):\n    return (x + TWO)\n"
    assert of(tmp_path, "train.py", train=tidy, lib_model=silent) == of(tmp_path, "train.py")


@pytest.mark.parametrize(
    "edit",
    [
        {"train": FILES["train.py"].replace("load(1)", "load(2)")},
        {"lib_model": FILES["lib/model.py"].replace("+", "-")},
        {"lib_numbers": "TWO = 2.0\n"},
        {"lib_numbers": "TWO = 2\nTHREE = 3\n"},
    ],
    ids=["itself", "a lazy import", "an import of that", "an addition"],
)
def test_code_that_is_reached_counts(tmp_path: Path, edit: dict[str, str]) -> None:
    assert of(tmp_path, "train.py", **edit) != of(tmp_path, "train.py")


def test_what_is_said_does_not_count(tmp_path: Path) -> None:
    """Texts of errors, what is printed, help texts and annotations of functions."""
    said = "def load(x):\n    if x < 0:\n        raise ValueError(f'{x} is wrong.')\n    flag(help='x')\n"
    said += "    return x + TWO\n"
    other = said.replace("(x):", "(x: int) -> int:").replace("f'{x} is wrong.'", "'no'").replace("help='x'", "")
    other = other.replace("    return", "    print(x)\n    return")
    head = "from lib.numbers import TWO\n\n"
    assert of(tmp_path, "train.py", lib_model=head + said) == of(tmp_path, "train.py", lib_model=head + other)
    assert of(tmp_path, "train.py", lib_model=head + said.replace("x < 0", "x <= 0")) != of(
        tmp_path, "train.py", lib_model=head + said
    )
    assert of(tmp_path, "train.py", lib_model=head + said.replace("ValueError", "KeyError")) != of(
        tmp_path, "train.py", lib_model=head + said
    )


def test_a_module_may_be_moved_and_renamed(tmp_path: Path) -> None:
    """Both kinds of imports, in an order that the new name changes."""
    before, after = tmp_path / "before", tmp_path / "after"
    for root, name in ((before, "lib.drawing"), (after, "lib.art.a_sketch")):
        package, _, module = name.rpartition(".")
        files = FILES | {
            "plot.py": f"import sys\nfrom {package} import {module}\nfrom {name} import WIDTH\nprint({module}.WIDTH)\n"
            f"x = {module}.WIDTH + WIDTH\n",
            f"{name.replace('.', '/')}.py": FILES["lib/drawing.py"],
        }
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    assert fingerprint(before / "plot.py") == fingerprint(after / "plot.py")
    (after / "lib/art/a_sketch.py").write_text("WIDTH = 4\n")
    fingerprint.cache_clear()
    assert fingerprint(before / "plot.py") != fingerprint(after / "plot.py")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("from a import f\nx = f()\nfrom b import f", "from b import f\nx = f()\nfrom a import f"),
        ("from a import f\nfrom b import f", "from b import f\nfrom a import f"),
        (
            "if x:\n    from a import f\nelse:\n    from b import f",
            "if x:\n    from b import f\nelse:\n    from a import f",
        ),
        ("def g():\n    from a import f\ndef h():\n    pass", "def g():\n    pass\ndef h():\n    from a import f"),
        ("from a import f\nfrom b import g", "from a import g\nfrom b import f"),
        ("print(x)", "print((x := 2))"),
        ("print(x, file=out)", "print(y, file=out)"),
        ("raise Stop(1)", "raise Stop(2)"),
    ],
    ids=[
        "order",
        "last wins",
        "branch",
        "function",
        "member",
        "assignment",
        "written to a file",
        "no text of an error",
    ],
)
def test_what_decides_a_value_counts(tmp_path: Path, one: str, other: str) -> None:
    assert of(tmp_path, "plot.py", plot=one) != of(tmp_path, "plot.py", plot=other)


def test_the_order_of_imports_does_not_count(tmp_path: Path) -> None:
    one, other = "import sys\nfrom a import f\nfrom b import g", "from b import g\nfrom a import f\n\nimport sys"
    assert of(tmp_path, "plot.py", plot=one) == of(tmp_path, "plot.py", plot=other)


def test_a_relative_import_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="relative import"):
        of(tmp_path, "train.py", lib_model="from .numbers import TWO\n")


def test_packages_hold_no_code_that_a_fingerprint_misses() -> None:
    """An import of a.b runs a/__init__.py, which the fingerprint reads only where it is imported itself."""
    for package in SCRIPTS.rglob("__init__.py"):
        lines = ast.parse(package.read_text()).body
        only_text = all(isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in lines)
        assert only_text or package.parent.name == "figures", package


def test_templates_count_for_the_module_that_loads_them(tmp_path: Path) -> None:
    (tmp_path / "lib/templates").mkdir(parents=True)
    (tmp_path / "page.py").write_text("from lib.html import TEMPLATES\n")
    (tmp_path / "lib/html.py").write_text("from pathlib import Path\nTEMPLATES = Path(__file__).parent / 'templates'\n")
    (tmp_path / "lib/templates/page.html.jinja").write_text("<p>One.</p>")
    before = fingerprint(tmp_path / "page.py")
    (tmp_path / "lib/templates/page.html.jinja").write_text("<p>Two.</p>")
    fingerprint.cache_clear()
    edited = fingerprint(tmp_path / "page.py")
    (tmp_path / "lib/templates/page.html.jinja").rename(tmp_path / "lib/templates/other.html.jinja")
    fingerprint.cache_clear()
    assert len({before, edited, fingerprint(tmp_path / "page.py")}) == 3


def test_code_that_is_not_reached_does_not_count(tmp_path: Path) -> None:
    assert of(tmp_path, "train.py", lib_drawing="WIDTH = 4\n", lib_unused="raise") == of(tmp_path, "train.py")
    assert of(tmp_path, "plot.py", lib_numbers="TWO = 3\n") == of(tmp_path, "plot.py")


def test_a_module_behind_from_package_import_counts(tmp_path: Path) -> None:
    assert of(tmp_path, "plot.py", lib_drawing="WIDTH = 4\n") != of(tmp_path, "plot.py")


@pytest.mark.parametrize(
    ("module", "users"),
    [
        ("training/online/loop", {"adapt_online"}),
        ("training/offline", {"train_offline"}),
        ("training/pretraining", {"pretrain_policy"}),
        ("data/pairing", {"load_preferences"}),
        ("verifiers/mathematics", {"adapt_online", "probe_offline", "sample_preferences", "sample_reference"}),
        pytest.param(
            "report/panels", {"draw_figures"}, marks=pytest.mark.skipif(not PLOTTING, reason="no figures yet")
        ),
    ],
)
def test_an_edit_of_the_library_touches_the_scripts_that_use_it(tmp_path: Path, module: str, users: set[str]) -> None:
    """On a copy of the workflow's own scripts."""
    for edition in ("before", "after"):
        shutil.copytree(SCRIPTS, tmp_path / edition, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "after" / "goodhart" / f"{module}.py"
    path.write_text(path.read_text() + "\n\nADDED = 1\n")
    scripts = [script.name for script in SCRIPTS.glob("*.py")]
    changed = {s for s in scripts if fingerprint(tmp_path / "before" / s) != fingerprint(tmp_path / "after" / s)}
    assert changed == {f"{user}.py" for user in users}
