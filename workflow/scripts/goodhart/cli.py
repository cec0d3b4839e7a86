"""The command line of a step: a dataclass whose fields are its flags, and how a script ends.

    @dataclass(frozen=True, kw_only=True)
    class Arguments(Flags):
        problems: pd.DataFrame = table(PROBLEMS)  # read and checked before the work starts (`store.flags`)
        sampling: Sampling = group(Sampling)  # a dataclass of settings: each of its fields is a flag
        seed: int
        output: Output

    given = Arguments.parse(argv)

A field `max_new_tokens` is the flag --max-new-tokens. A field with a default may be left out; a list or tuple takes
several values.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path, PosixPath
from types import NoneType, UnionType
from typing import Any, Self, TypeVar, get_args, get_origin, get_type_hints

from goodhart.errors import InputError
from goodhart.runtime.signals import Stopped

T = TypeVar("T")


class Output(PosixPath):
    """The type of a flag that names what a script writes; a plain `Path` is what it reads (`store.provenance`)."""


class Source(str):
    """The type of a flag that names a file or folder of this machine, or else something elsewhere."""


class Labelled(str):
    """The type of a flag that reads NAME=FILE."""


# The types of flags; a field of any other type is what `read` makes of the file or folder that the flag names.
KINDS = (int, float, str, Output, Source, Labelled)


def flag(
    read: Callable[[Path], Any] | None = None,
    *,
    help: str | None = None,
    choices: Sequence[str] | None = None,
    default: Any = MISSING,
) -> Any:
    """A field with more to say than its type: how to `read` the file or folder it names, its choices, its help."""
    return field(metadata={"read": read, "help": help, "choices": choices}, default=default)


def group(cls: type[T]) -> T:
    """A field that is a dataclass of settings, each of whose fields is a flag."""
    return field(metadata={"group": cls})


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser that shows a script's docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The base of every script's arguments; `raw` is the command line as it was given, with paths for contents."""

    raw: argparse.Namespace = field(init=False, repr=False, compare=False)

    @classmethod
    def parser(cls) -> argparse.ArgumentParser:
        """The parser, whose help begins with the docstring of the script."""
        made = parser(sys.modules[cls.__module__].__doc__)
        for one, annotation in _flags(cls):
            kind, several = _kind(annotation)
            made.add_argument(
                f"--{one.name.replace('_', '-')}",
                type=kind if kind in KINDS else Path,
                required=one.default is MISSING,
                default=argparse.SUPPRESS,
                help=one.metadata.get("help"),
                choices=one.metadata.get("choices"),
                **({"action": "extend", "nargs": "+"} if several else {}),
            )
        return made

    @classmethod
    def parse(cls, argv: Sequence[str] | None = None) -> Self:
        """The arguments of a command line, every file they name read and checked; `InputError` says what is wrong."""
        raw = cls.parser().parse_args(argv)
        given = _fill(cls, vars(raw))
        object.__setattr__(given, "raw", raw)
        return given


def _flags(cls: type) -> Iterator[tuple[Field[Any], Any]]:
    """The fields of a dataclass that are flags, those of its groups among them, and their annotations."""
    annotations = get_type_hints(cls)
    for one in fields(cls):
        if "group" in one.metadata:
            yield from _flags(one.metadata["group"])
        elif one.init:
            yield one, annotations[one.name]


def _kind(annotation: Any) -> tuple[Any, bool]:
    """The type of a flag's value or values, and whether there are several, as of list[T] and tuple[T, ...]."""
    several = get_origin(annotation) in (list, tuple)
    kinds = [kind for kind in get_args(annotation) if kind not in (NoneType, ...)]
    if len(kinds) == 1 and (several or get_origin(annotation) is UnionType):
        return kinds[0], several
    return annotation, False


def _fill(cls: type[T], raw: Mapping[str, Any]) -> T:
    """A dataclass of flags from what the command line gave."""
    values: dict[str, Any] = {}
    for one in fields(cls):  # type: ignore[arg-type]
        if "group" in one.metadata:
            values[one.name] = _fill(one.metadata["group"], raw)
        elif one.name in raw:
            given, read = raw[one.name], one.metadata.get("read") or (lambda value: value)
            values[one.name] = tuple(map(read, given)) if isinstance(given, list) else read(given)
    return cls(**values)


def run(main: Callable[[], None]) -> None:
    """Run a script: an `InputError` becomes one sentence on stderr and exit code 1, anything else keeps its traceback.

    A script that used torch says how much memory it took. The process then ends at once: unloading torch takes a
    second that a workflow of fifty jobs would rather keep.
    """
    try:
        main()
    except InputError as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as signal:
        print(f"{Path(sys.argv[0]).name}: stopped by {signal}; a rerun goes on from here", file=sys.stderr, flush=True)
        os._exit(128 + signal.number)
    except KeyboardInterrupt:  # while it was still reading or importing
        print(f"{Path(sys.argv[0]).name}: stopped by SIGINT; a rerun starts it anew", file=sys.stderr, flush=True)
        os._exit(130)
    if "torch" in sys.modules:
        print(peak_memory(), file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def peak_memory() -> str:
    """What this process and, where it used one, its GPU held at most, as a line for the log; a GiB is 2^30 bytes."""
    import resource

    import torch

    status = Path("/proc/self/status")
    if status.is_file():  # getrusage's maximum may be that of the process that started this one
        peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    line = f"peak memory: {peak / 2**30:.2f} GiB of the process"
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        line += f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB of the GPU"
    return line
