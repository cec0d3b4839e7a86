"""A study's record as an RO-Crate: files, and the actions that took and made them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.model.file import File
from rocrate.rocrate import ROCrate

from goodhart.provenance import digest

PROPERTY = {"@type": "PropertyValue"}
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"


def crate(record: Mapping[str, Any], license_: str) -> dict[str, Any]:
    """The JSON-LD of a Process Run Crate from a provenance.json: one action an origin that made a file."""
    made = ROCrate(version="1.1")
    profile = {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    made.root_dataset["conformsTo"] = made.add(ContextEntity(made, PROFILE, profile))
    made.root_dataset["license"] = made.add(ContextEntity(made, license_, {"@type": "CreativeWork", "name": license_}))
    made.name = f"goodhart study {record['study']}"
    made.description = "Offline conservatism and online reward hacking: adapters, trajectories, tables and figures."
    made.root_dataset["datePublished"] = datetime.now(UTC).date().isoformat()
    files: dict[str, File] = {}
    for row in record["artefacts"]:
        described = {"name": row["path"], "contentSize": str(row["bytes"]), "sha256": row["sha256"]}
        files[row["path"]] = made.add(File(made, dest_path=row["path"], properties=described))
    inputs = _by_content(record)
    for name, origin in record["origins"].items():
        script = {"@type": "SoftwareApplication", "name": origin["script"], "version": origin["code"]}
        arguments = [
            made.add(
                ContextEntity(made, f"#{name[:16]}/{flag}", {**PROPERTY, "name": flag, "value": json.dumps(value)})
            )
            for flag, value in origin["arguments"].items()
        ]
        taken = {path for content in _contents(origin["inputs"]) for path in inputs.get(content, [])}
        made.add_action(
            made.add(ContextEntity(made, f"#{origin['script']}-{origin['code']}", script)),
            identifier=f"#{name}",
            object=[*(files[path] for path in sorted(taken)), *arguments],
            result=[files[row["path"]] for row in record["artefacts"] if row["origin"] == name],
            properties={"name": origin["script"]},
        )
    return made.metadata.generate()


def _contents(value: Any) -> Iterator[str]:
    """The hashes that stand for the inputs of an origin: of a model its identity's, of several all."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping) and "tokenizer" in value:
        yield digest(value)
    else:
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _contents(part)


def _by_content(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """The files an origin means by a hash: one file, the manifest of a folder, or the tables of an online run."""
    found: dict[str, list[str]] = defaultdict(list)
    tables: dict[str, dict[str, str]] = defaultdict(dict)
    for row in record["artefacts"]:
        found[row["sha256"]].append(row["path"])
        path = PurePosixPath(row["path"])
        if path.suffix == ".parquet":
            tables[str(path.parent)][path.name] = row["sha256"]
    for folder, hashes in tables.items():
        found[digest(dict(sorted(hashes.items())))] += [f"{folder}/{name}" for name in hashes]
    for folder, identity in record["models"].items():
        found[digest(identity)].append(f"{folder}/manifest.json")
    for folder, content in record["adapters"].items():
        found[content].append(f"{folder}/manifest.json")
    return found
