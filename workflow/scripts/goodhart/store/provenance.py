"""The provenance of a file: the code that wrote it, its arguments and the identities of its inputs, without paths.

The same step on the same inputs has the same origin on any machine and in any folder. Therefore a file with an origin
is the same byte for byte, and a comparison of two origins shows what differs.
"""

import argparse
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from goodhart.cli import Output, Source
from goodhart.errors import InputError
from goodhart.store.files import check_safetensors, read_json
from goodhart.store.fingerprint import fingerprint
from goodhart.store.identity import MANIFEST, Identity, difference

UNRECORDED = {"checkpoint_minutes"}  # flags that change no result
DERIVED = ("derived", "beta", "kl_beta")  # prefixes of flags whose files hold values of Appendix C or the beta grid


class Origin(dict[str, Any]):
    """The provenance of the outputs of a script, ready for JSON.

    Keys: script, its name; code, the fingerprint of all code it runs; arguments, by flag; inputs, by flag, the parts of
    an `Identity` or a list of them; derived, by flag, the values used from Appendix C or the beta grid.
    """

    @classmethod
    def of(cls, args: argparse.Namespace, script: str, **pinned: Any) -> "Origin":
        """The origin of the outputs of a script.

        Args:
            args: the parsed command line; outputs (`Output`) are left out, inputs are replaced by their identities.
            script: the `__file__` of the script.
            pinned: additional facts determined by the script, such as the commit of a dataset.
        """
        arguments: dict[str, Any] = {}
        inputs: dict[str, Any] = {}
        derived: dict[str, Any] = {}
        for name, value in sorted(vars(args).items()):
            values = value if isinstance(value, list) else [value]
            if name in UNRECORDED or any(isinstance(one, Output) for one in values):
                continue
            # An input names something on this machine.
            named = [isinstance(one, Path) or (isinstance(one, Source) and Path(one).exists()) for one in values]
            if not values or not all(named):
                arguments[name] = value
                continue
            found = [(Identity.of if isinstance(one, Source) else Identity.read)(Path(one)).parts for one in values]
            inputs[name] = found if isinstance(value, list) else found[0]
            if name.startswith(DERIVED) and isinstance(value, Path) and (used := _used(value)):
                derived[name] = used
        path = Path(script).resolve()
        facts = {**({"derived": derived} if derived else {}), **pinned}
        return cls(script=path.stem, code=fingerprint(path), arguments=arguments, inputs=inputs, **facts)

    @classmethod
    def read(cls, path: Path) -> "Origin | None":
        """The origin stored in a file, model folder or adapter; None if it has no origin and is therefore external."""
        path = path / MANIFEST if path.is_dir() else path
        try:
            return cls(_READERS[path.suffix](path))
        except (KeyError, TypeError, ValueError, OSError):  # another file type, or no origin
            return None

    def verify(self, path: Path, step: str, inputs: Sequence[str], settings: Sequence[str] = ()) -> None:
        """Raise `InputError` if `step` wrote `path` with inputs or settings that differ from those of this origin.

        Files without an origin are treated as external and pass; their content is checked elsewhere.

        Args:
            inputs: the flags whose files or folders must be the same in both origins.
            settings: the arguments and derived values that must be the same.
        """
        written = Origin.read(path)
        if written is None:
            return
        for name in inputs:
            before, after = written["inputs"].get(name), self["inputs"][name]
            if before != after:
                raise InputError(f"{path} was made with {difference(before, after, name)}; rerun {step}.")
        for name in settings:
            before, after = written._setting(name), self._setting(name)
            if before != after:
                raise InputError(f"{path} was made with {name} {before}, but this step uses {after}; rerun {step}.")

    def verify_policy(self, args: argparse.Namespace) -> None:
        """`verify` the inputs of a policy evaluation: adapter, reward models, and files computed with those."""
        self.verify(args.adapter, "train_offline", ["policy"])
        trained = Origin.read(args.adapter)
        if trained not in (None, Origin.read(args.metrics)):
            raise InputError(f"{args.metrics} belongs to another adapter than {args.adapter}; rerun train_offline.")
        held_out = getattr(args, "held_out", [])
        for member in (*args.members, *held_out):
            self.verify(member, "train_reward", ["backbone"])
        for path in (args.centroid, args.quality, getattr(args, "baseline", None)):
            if path is not None:
                rewards = ["members", "held_out"] if held_out else ["members"]
                self.verify(path, "evaluate_rewards", [*rewards, "backbone"])

    def _setting(self, name: str) -> Any:
        """The argument of that name, or the derived value from the first flag that has it."""
        places = [self["arguments"], *self.get("derived", {}).values()]
        return next((place[name] for place in places if name in place), None)


def _of_text(path: Path) -> dict[str, Any]:
    """The origin in the head of an HTML page, or in the description of an SVG."""
    found = re.search(r'<meta name="origin" content="(.*?)">|<dc:description>(.*?)</dc:description>', path.read_text())
    return json.loads(html.unescape((found[1] or found[2]) if found else ""))


_READERS = {
    ".json": lambda path: json.loads(path.read_bytes())["origin"],
    ".parquet": lambda path: json.loads(pq.read_metadata(path).metadata[b"origin"]),
    ".safetensors": lambda path: json.loads(check_safetensors(path)["__metadata__"]["goodhart"])["origin"],
    ".svg": _of_text,
    ".html": _of_text,
}


def _used(path: Path) -> dict[str, Any]:
    """The values in use of a derived/<stage>.json, or the level and beta of a beta/<level>.json."""
    content = read_json(path)
    if "values" in content:
        return {name: entry["value"] for name, entry in content["values"].items()}
    return {name: content[name] for name in ("level", "beta") if name in content}
