"""The command line of a step: a dataclass whose fields are the flags, and `run`, which handles how a script ends.

    @dataclass(frozen=True, kw_only=True)
    class Arguments(Flags):
        problems: pd.DataFrame = table(PROBLEMS)  # read and checked before the work starts (`store.flags`)
        sampling: Sampling = group(Sampling)  # a dataclass of settings: each of its fields is a flag
        task: Task = choice(TASKS)  # --task NAME, and the flags of the dataclass of that name
        seed: int
        output: Output

    given = Arguments.parse(argv)

A field `max_new_tokens` is the flag --max-new-tokens. A field with a default is optional; a list or tuple takes several
values.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path, PosixPath
from types import NoneType
from typing import Any, Self, get_args, get_origin, get_type_hints

from goodhart.errors import InputError
from goodhart.runtime.signals import Stopped
from goodhart.runtime.types import T


class Output(PosixPath):
    """The type of a flag for a path that the script writes; it reads a plain `Path` (`store.provenance`)."""


class Source(str):
    """The type of a flag for a local file or folder, or a repository name on the Hugging Face hub."""


def flag(
    read: Callable[[Path], Any] | None = None,
    *,
    help: str | None = None,
    choices: Sequence[str] | None = None,
    default: Any = MISSING,
) -> Any:
    """A field with a function to `read` its file or folder, with choices, or with a help text."""
    return field(metadata={"read": read, "help": help, "choices": choices}, default=default)


def group(cls: type[T]) -> T:
    """A field that holds a dataclass of settings; each field of that dataclass is a flag."""
    return field(metadata={"group": cls})


def choice(classes: Mapping[str, type]) -> Any:
    """A field that holds one of several dataclasses of settings; its flag takes a name and adds the flags of that one.

    With `--help` after the name, the help includes these flags.
    """
    return field(metadata={"classes": classes})


class _Parser(argparse.ArgumentParser):
    """A parser that knows the flags of the class that a command line chooses."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.to_choose: dict[str, Mapping[str, type]] = {}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        for name, classes in self.to_choose.items():
            names = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
            names.add_argument(_spelt(name), dest="name")
            if (chosen := names.parse_known_args(given)[0].name) in classes:
                self.add_flags(classes[chosen])
        self.to_choose = {}
        return super().parse_known_args(given, namespace)

    def add_flags(self, cls: type) -> None:
        """Add the flags of a dataclass."""
        for item, annotation in _flags(cls):
            # Optional types, list[T] and tuple[T, ...] have one type of values; the last two take several values.
            kinds = [kind for kind in get_args(annotation) if kind not in (NoneType, ...)]
            kind = kinds[0] if len(kinds) == 1 else annotation
            several = len(kinds) == 1 and get_origin(annotation) in (list, tuple)
            choices = item.metadata.get("choices")
            if "classes" in item.metadata:
                self.to_choose[item.name] = item.metadata["classes"]
                kind, choices = str, list(item.metadata["classes"])
            self.add_argument(
                _spelt(item.name),
                type=kind if kind in (int, float, str, Output, Source) else Path,
                required=item.default is MISSING,
                default=argparse.SUPPRESS,
                help=item.metadata.get("help"),
                choices=choices,
                **({"action": "extend", "nargs": "+"} if several else {}),
            )


def _spelt(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def parser(description: str | None) -> _Parser:
    """An argument parser that shows the docstring of a script unchanged."""
    return _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The base class for the arguments of every script; `raw` is the parsed command line before any file is read."""

    raw: argparse.Namespace = field(init=False, repr=False, compare=False)

    @classmethod
    def parser(cls) -> argparse.ArgumentParser:
        """The parser, whose help begins with the docstring of the script."""
        arguments = parser(sys.modules[cls.__module__].__doc__)
        arguments.add_flags(cls)
        return arguments

    @classmethod
    def parse(cls, argv: Sequence[str] | None = None) -> Self:
        """The arguments of a command line, with all their files read and checked (`InputError`)."""
        raw = cls.parser().parse_args(argv)
        given = _fill(cls, vars(raw))
        object.__setattr__(given, "raw", raw)
        return given


def _flags(cls: type) -> Iterator[tuple[Field[Any], Any]]:
    """All flags of a dataclass, including those of its groups, with their annotations."""
    annotations = get_type_hints(cls)
    for item in fields(cls):
        if "group" in item.metadata:
            yield from _flags(item.metadata["group"])
        elif item.init:
            yield item, annotations[item.name]


def _fill(cls: type[T], raw: Mapping[str, Any]) -> T:
    """A dataclass of flags, filled from the parsed command line."""
    values: dict[str, Any] = {}
    for item in fields(cls):  # type: ignore[arg-type]
        if "group" in item.metadata:
            values[item.name] = _fill(item.metadata["group"], raw)
        elif "classes" in item.metadata:
            values[item.name] = _fill(item.metadata["classes"][raw[item.name]], raw)
        elif item.name in raw:
            given, read = raw[item.name], item.metadata.get("read") or (lambda value: value)
            values[item.name] = tuple(map(read, given)) if isinstance(given, list) else read(given)
    return cls(**values)


def run(main: Callable[[], None]) -> None:
    """Run a script: an `InputError` becomes one sentence on stderr and exit code 1; other errors keep their traceback.

    A script that used torch prints its peak memory. The process then exits without unloading torch, which saves a
    second in each of the many jobs of a workflow.
    """
    script = Path(sys.argv[0]).name
    try:
        main()
    except InputError as error:
        sys.exit(f"{script}: error: {error}")
    except Stopped as signal:
        print(f"{script}: stopped by {signal}; a rerun resumes from here", file=sys.stderr, flush=True)
        os._exit(128 + signal.number)
    except KeyboardInterrupt:  # before training, while files are read or modules imported
        print(f"{script}: stopped by SIGINT; a rerun starts from the beginning", file=sys.stderr, flush=True)
        os._exit(130)
    if "torch" in sys.modules:
        print(peak_memory(), file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def peak_memory() -> str:
    """A log line with the peak memory of this process and, if it used a GPU, of the GPU, in GiB (2^30 bytes)."""
    import resource

    import torch

    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss may include the peak of the parent process
        peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    line = f"peak memory: {peak / 2**30:.2f} GiB of the process"
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        line += f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB of the GPU"
    return line
