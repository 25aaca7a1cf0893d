"""A tiny application as a release: its archive, and the workload that runs it."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.common.model import Probes, Resources
from tasks.rollout.model import Workload

APP = """
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

probes = []

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/quit":
            os._exit(0)
        status = 200
        if self.path == "/ready":
            probes.append(self.path)
            status = int(os.environ.get("READY_STATUS", "200"))
        facts = {"env": dict(os.environ), "pid": os.getpid(), "directory": os.getcwd(), "probed": len(probes)}
        body = json.dumps(facts).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

print("says", os.environ.get("SAY"), flush=True)
if "EXIT" in os.environ:
    print("cannot go on with", os.environ.get("API_KEY"), flush=True)
    sys.exit(int(os.environ["EXIT"]))
if "IGNORE_TERM" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Release:
    """An archive and the workload that runs it."""

    archive: Path
    workload: Workload

    def with_env(self, **env: str) -> "Release":
        """Return it with more environment variables."""
        return replace(self, workload=replace(self.workload, env={**self.workload.env, **env}))

    def changed(self, **changes: object) -> "Release":
        """Return it with other values in its workload."""
        return replace(self, workload=replace(self.workload, **changes))  # type: ignore[arg-type]


def release_of(name: str, folder: Path, *, service: str = "campus", ready_within: str = "30s") -> Release:
    """Return a release of the tiny application, its archive written into the folder."""
    archive = write_archive(folder / f"{name}.tar.gz", {"app.py": APP, "release.txt": name})
    probe = {"path": "/ready", "every": "200ms", "timeout": "1s"}
    workload = Workload(
        service=service,
        release=name,
        digest=digest_of(archive),
        command=("python3", "app.py"),
        port_variable="PORT",
        env={},
        secrets={},
        probes=Probes.model_validate({"liveness": probe, "readiness": probe, "ready_within": ready_within}),
        drain_s=5.0,
        resources=Resources(),
    )
    return Release(archive, workload)


def write_archive(path: Path, files: Mapping[str, str]) -> Path:
    """Write a tar.gz archive of text files, by their names in it."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def digest_of(path: Path) -> str:
    """Return 'sha256:<hex>' of a file."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
