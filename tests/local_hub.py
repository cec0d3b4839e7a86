"""A hub of models and datasets on this machine, for the real clients: commits, branches, gates and their errors."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Files = Mapping[str, bytes]


@dataclass
class Repository:
    """Commits by hash, and the branches that point to them."""

    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


class LocalHub:
    """Serves what is pushed to it at `url`, from entering to leaving a `with` block; `requests` is what was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []

    def push(self, kind: str, name: str, files: Files, branch: str = "main", gated: bool = False) -> str:
        """Commit `files` as the whole content of a branch; returns the commit."""
        repository = self.repositories.setdefault(f"{kind}s/{name}", Repository(gated))
        content = b"".join(path.encode() + files[path] for path in sorted(files))
        commit = hashlib.sha1(content).hexdigest()
        repository.commits[commit] = dict(files)
        repository.branches[branch] = commit
        return commit

    def __enter__(self) -> LocalHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub

    def do_HEAD(self) -> None:
        self._respond(body=False)

    def do_GET(self) -> None:
        self._respond(body=True)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _respond(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.requests.append(path)
        api = path.startswith("api/")
        kind, owner, name, *rest = (
            path.removeprefix("api/") if api or path.startswith("datasets/") else f"models/{path}"
        ).split("/")
        repository = self.hub.repositories.get(f"{kind}/{owner}/{name}")
        if repository is None:
            return self._refuse(401, "RepoNotFound")
        action, revision, *inner = rest if rest else ("revision", "main")
        commit = repository.commit(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        files = repository.commits[commit]
        if action == "revision":
            return self._send(json.dumps({"id": f"{owner}/{name}", "sha": commit}).encode(), commit, body)
        if action == "tree":
            tree = [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]
            return self._send(json.dumps(tree).encode(), commit, body)
        if repository.gated:
            return self._refuse(403, "GatedRepo")
        if "/".join(inner) not in files:
            return self._refuse(404, "EntryNotFound")
        return self._send(files["/".join(inner)], commit, body)

    def _send(self, content: bytes, commit: str, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
