"""A hash of the code that decides what a script makes, so that an edit reruns what it affects and nothing else.

Snakemake does not see what a script imports. The hash is a Merkle hash: in the syntax tree of a module each import from
this library is replaced by the hash of what it imports, wherever in the file the import stands, so that no path and no
dotted name enters, and a module may be moved or renamed freely. Left out is what decides no result: comments,
docstrings, layout, the annotations of functions, what is printed, help texts and the texts of errors, and the modules
of PLUMBING. The templates of a module that loads some (TEMPLATES) belong to it.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

# Modules through which results pass unchanged, as tests/store/test_plumbing.py shows for each of them: how a step is
# started and stopped, how files are written and checked. An edit here reruns nothing.
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
    """Hex digest over a script, or a module below `root`, and everything of its own folder that it imports.

    Raises:
        RecursionError: modules import each other in a circle.
    """
    root = root or module.parent
    if module.relative_to(root).as_posix() in PLUMBING:
        return "plumbing"
    reader = _Reader(root)
    tree = reader.visit(ast.parse(module.read_text()))
    digest = hashlib.sha256(ast.dump(_Renamed(reader.modules).visit(tree)).encode())
    digest.update(repr(sorted(reader.imports)).encode())
    if any("TEMPLATES" in map(ast.unparse, getattr(node, "targets", [])) for node in tree.body):
        for template in sorted((module.parent / "templates").iterdir()):
            digest.update(template.read_bytes())
    return digest.hexdigest()[:16]


class _Reader(ast.NodeTransformer):
    """Takes imports and texts out of a syntax tree; `imports` and `modules` say what stands behind a name instead."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.imports: set[tuple[str, str, str]] = set()  # what is imported from, its name there, its name here
        self.modules: dict[str, str] = {}  # names that stand for whole modules

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._note(alias.name, "", alias.asname or alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            inner, here = _file(self.root, f"{node.module}.{alias.name}"), alias.asname or alias.name
            if inner:  # `from a import b` of a module a.b
                self.modules[here] = fingerprint(inner, self.root)
                self.imports.add((self.modules[here], "", ""))
            else:
                self._note(node.module or "", alias.name, here)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        printed = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "print"
        return None if printed or isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "help"]
        return self.generic_visit(node)

    def _note(self, name: str, member: str, here: str) -> None:
        path = _file(self.root, name)
        self.imports.add((fingerprint(path, self.root) if path else name, member, here))


class _Renamed(ast.NodeTransformer):
    """A name that stands for a module of this library becomes that module's hash."""

    def __init__(self, modules: dict[str, str]) -> None:
        self.modules = modules

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.modules.get(node.id, node.id), node.ctx)


def _file(root: Path, name: str) -> Path | None:
    stem = root.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)
