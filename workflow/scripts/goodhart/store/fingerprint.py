"""A hash of the code that determines a script's outputs, so that an edit reruns only the steps that it affects.

Snakemake does not track what a script imports. The hash is a Merkle hash: in the syntax tree of a module, each import
from this library is replaced by the hash of the imported module, so that paths and dotted names do not enter, and a
module may be moved or renamed freely. The hash leaves out code that affects no result: comments, docstrings, layout,
annotations of functions, printed messages, help and error texts, and the modules of PLUMBING. It includes the templates
of a module that names TEMPLATES.
"""

import ast
import hashlib
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

# Modules that start and stop steps, or write and check files, without changing results, as tests/store/test_plumbing.py
# verifies for each module. An edit of these modules reruns nothing.
PLUMBING = (
    "goodhart/cli.py",
    "goodhart/errors.py",
    "goodhart/launch/gpus.py",
    "goodhart/launch/resources.py",
    "goodhart/launch/warm.py",
    "goodhart/runtime/finite.py",
    "goodhart/runtime/progress.py",
    "goodhart/runtime/signals.py",
    "goodhart/runtime/types.py",
    "goodhart/store/checksums.py",
    "goodhart/store/files.py",
    "goodhart/store/fingerprint.py",
    "goodhart/store/flags.py",
    "goodhart/store/identity.py",
    "goodhart/store/provenance.py",
    "goodhart/store/publishing.py",
)


@cache
def fingerprint(module: Path, root: Path | None = None) -> str:
    """Hex digest over a script, or a module below `root`, and all modules below `root` that it imports.

    `root` defaults to the folder of the script.

    Raises:
        ValueError: a relative import, which is not supported.
        RecursionError: modules import each other in a circle.
    """
    root = root or module.parent
    if module.relative_to(root).as_posix() in PLUMBING:
        return "plumbing"
    tree = _Reader(root).visit(ast.parse(module.read_text()))
    digest = hashlib.sha256(ast.dump(tree).encode())
    if any(isinstance(name, ast.Name) and name.id == "TEMPLATES" for name in ast.walk(tree)):
        for template in sorted((module.parent / "templates").rglob("*.jinja")):
            digest.update(f"{template.name} {hashlib.sha256(template.read_bytes()).hexdigest()}".encode())
    return digest.hexdigest()[:16]


class _Reader(ast.NodeTransformer):
    """Removes texts, and replaces an import by an alias: (hash or external module name, member) as a local name.

    A module of this library that is imported as a whole has its hash as its local name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[str, str] = {}  # local name of a whole module: its hash

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for lines in (getattr(node, block, None) for block in ("body", "orelse", "finalbody")):
            if isinstance(lines, list):
                lines[:] = _sorted_imports(lines)
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.alias]:
        return [self._import(alias.name, "", alias.asname or alias.name) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.alias]:
        if node.level:
            raise ValueError("a fingerprint follows no relative import; name the module from its root.")
        found = []
        for alias in node.names:
            inner, here = _file(self.root, f"{node.module}.{alias.name}"), alias.asname or alias.name
            if inner:  # `from a import b`, where a.b is a module
                name = self.modules[here] = fingerprint(inner, self.root)
                found.append(ast.alias(name, name))
            else:
                found.append(self._import(node.module or "", alias.name, here))
        return found

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.modules.get(node.id, node.id), node.ctx)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func).endswith("Error"):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) or _is_print(node.value) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "help"]
        return self.generic_visit(node)

    def _import(self, name: str, member: str, here: str) -> ast.alias:
        path = _file(self.root, name)
        return ast.alias(repr((fingerprint(path, self.root) if path else name, member)), here)


def _sorted_imports(lines: list[Any]) -> list[Any]:
    """Sort each run of consecutive imports independently of paths, unless two of them bind the same name."""
    found: list[Any] = []
    for imported, run in groupby(lines, key=lambda line: isinstance(line, ast.alias)):
        block = list(run)
        if imported and len({line.asname for line in block}) == len(block):
            block.sort(key=ast.dump)
        found += block
    return found


def _is_print(value: ast.expr) -> bool:
    """Whether an expression only prints to the terminal."""
    if not isinstance(value, ast.Call) or ast.unparse(value.func) != "print":
        return False
    to = {ast.unparse(keyword.value) for keyword in value.keywords if keyword.arg in ("file", None)}
    return to <= {"sys.stderr"} and not any(isinstance(node, ast.NamedExpr) for node in ast.walk(value))


def _file(root: Path, name: str) -> Path | None:
    stem = root.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)
