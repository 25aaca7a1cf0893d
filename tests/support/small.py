"""A small estate: a supervisord, an HAProxy and a folder store of its own, and a service whose answers are scripted."""

import collections
import contextlib
import http.client
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.client.schemas.objects import State
from pydantic import BaseModel

from blocks.ledger import PostgresqlLedger
from flows.release import release
from flows.rollback import rollback
from tasks.release.model import Evidence, ReleaseRecord
from tasks.release.request import ReleaseRequest, RollbackRequest
from tests.support.haproxy import Haproxy, running_haproxy
from tests.support.ledger import open_ledger
from tests.support.processes import free_port
from tests.support.repositories import Repo
from tests.support.supervisor import RunningSupervisor, children_of, running_supervisord

RUN_SECRET = "SMALL_RUN_SECRET"
TEST_SECRET = "SMALL_TEST_SECRET"

APP = """\
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

with open("answers.json") as file:
    answers = json.load(file)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.environ['SLIPWAY_RELEASE']} {os.getpid()}".encode()
        self.send_response(answers.get(self.path, 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

for line in answers.get("says", []):
    print(line.format(**os.environ), flush=True)
if "exit" in answers:
    sys.exit(answers["exit"])
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
JOURNEY = """\
import os, sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(os.environ["SLIPWAY_URL"] + "/journey", timeout=5).read()
except urllib.error.HTTPError as error:
    sys.exit(f"the journey ended with {error}")
"""
_NO_ERRORS = [{"metric": "errors", "at_most": "1%"}]
SERVICE: dict[str, Any] = {
    "service": "campus",
    "build": {"include": ["app.py", "answers.json"]},
    "test": {"steps": [{"name": "unit", "command": ["true"]}]},
    "scan": [{"tool": "clean", "command": ["cp", "report.sarif", "{output}"]}],
    "run": {
        "command": ["python3", "-S", "-E", "app.py"],
        "secrets": ["TOKEN"],
        "probes": {
            "liveness": {"path": "/live"},
            "readiness": {"path": "/ready", "every": "100ms", "timeout": "2s"},
            "ready_within": "20s",
        },
        "drain": "2s",
    },
    "smoke": [{"path": "/health", "expect": 200}],
    "end_to_end": [{"name": "journey", "command": ["python3", "journey.py"]}],
    "metrics": {"errors": {"query": "vector(0)", "unit": "percent"}},
    "analysis": {"every": "100ms", "wait_for_data": "500ms"},
    "promotion": {"strategy": "blue-green", "watch": "200ms", "checks": _NO_ERRORS},
    "validation": {
        "settle": "0s",
        "limits": _NO_ERRORS,
        "stable_for": "200ms",
        "critical_features": [{"path": "/feature", "expect": 200}],
    },
}
"""A service file that asks for everything, and waits for next to nothing."""


def sarif(*messages: str) -> str:
    """Return a scanner's report with a high finding for each message."""
    finding = {"ruleId": "planted", "level": "error", "locations": [_LOCATION]}
    results = [{**finding, "message": {"text": message}} for message in messages]
    tool = {"driver": {"name": "planter", "rules": [{"id": "planted"}]}}
    return json.dumps({"version": "2.1.0", "runs": [{"tool": tool, "results": results}]})


_LOCATION = {"physicalLocation": {"artifactLocation": {"uri": "app.py"}, "region": {"startLine": 7}}}


class Visitors:
    """Somebody who asks production for a page again and again, on a new connection each time. Use `visiting`."""

    def __init__(self, haproxy: Haproxy) -> None:
        self.answered: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self._haproxy = haproxy
        self._leaving = threading.Event()

    @property
    def met(self) -> set[str]:
        """Return the releases that answered."""
        return set(self.answered)

    def visit(self) -> None:
        """Ask until told to leave."""
        while not self._leaving.wait(0.02):
            try:
                status, body = self._haproxy.get()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                continue
            if status == 200:
                self.answered[body.partition(" ")[0]] += 1
            else:
                self.failures.append(f"{status} {body}")

    def leave(self) -> None:
        """Ask no more."""
        self._leaving.set()


@contextlib.contextmanager
def visiting(haproxy: Haproxy) -> Iterator[Visitors]:
    """Production is visited for the length of a `with`."""
    visitors = Visitors(haproxy)
    thread = threading.Thread(target=visitors.visit)
    thread.start()
    try:
        yield visitors
    finally:
        visitors.leave()
        thread.join()


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Args:
        run_id: the flow run's.
        error: what it raised; None if it succeeded.
        visitors: what users got meanwhile.
    """

    run_id: str
    error: BaseException | None
    visitors: Visitors


class Small:
    """The estate in `folder`. Use `small_estate`."""

    def __init__(
        self, folder: Path, haproxy: Haproxy, supervisor: RunningSupervisor, database: str, prometheus: str
    ) -> None:
        self.folder = folder
        self.haproxy = haproxy
        self.supervisor = supervisor
        self.repo = Repo(folder / "campus")
        self.ledger: PostgresqlLedger = open_ledger(folder, database)
        self.ports = {
            environment: {slot: [free_port()] for slot in ("blue", "green")}
            for environment in ("staging", "production")
        }
        self.url = {
            environment: f"http://127.0.0.1:{port}"
            for environment, port in (("staging", haproxy.elsewhere_port), ("production", haproxy.port))
        }
        self.file = folder / "estate.yaml"
        self.write_estate(prometheus)

    def write_estate(self, prometheus: str, **changes: object) -> None:
        """The estate file names this Prometheus; `changes` replace top-level keys."""
        settings: dict[str, Any] = {
            "estate": "small",
            "workspace": "work",
            "tools": [str(Path(sys.executable).parent)],
            "ledger": {"driver": "postgresql", "dsn": "file:dsn", "connect_timeout": "2s"},
            "store": {"driver": "folder", "folder": "store"},
            "environments": {
                "staging": self._environment("staging", prometheus),
                "production": {**self._environment("production", prometheus), "promotes_from": "staging"},
            },
            "services": {"campus": {"repository": "campus", "test_secrets": {"TEST_TOKEN": f"env:{TEST_SECRET}"}}},
            **changes,
        }
        self.file.write_text(yaml.safe_dump(settings))

    def _environment(self, name: str, prometheus: str) -> dict[str, Any]:
        return {
            "url": self.url[name],
            "replicas": 1,
            # Longer than a busy machine needs for a renewal; who comes after a run that lost its ledger waits for it.
            "lease": "20s",
            "runtime": {
                "driver": "supervisord",
                "socket": str(self.supervisor.socket),
                "programs": str(self.supervisor.programs),
                "releases": "releases",
                "logs": "logs",
                "ports": {"campus": self.ports[name]},
            },
            "router": {
                "driver": "haproxy",
                "socket": str(self.haproxy.socket),
                "state": str(self.haproxy.state),
                "capacity": 4,
                "timeout": "2s",
            },
            "metrics": {"driver": "prometheus", "url": prometheus, "timeout": "2s"},
            "preflight": {"cpu_free_at_least": "0%", "memory_free_at_least": "1%", "disk_free_at_least": "1%"},
            "secrets": {"TOKEN": f"env:{RUN_SECRET}"},
        }

    def commit(
        self, *, answers: Mapping[str, object] | None = None, files: Mapping[str, str] | None = None, **parts: object
    ) -> str:
        """Commit a version of the service, and return its hash.

        Args:
            answers: status by path; 'says' (lines) and 'exit' (code) at the start.
            files: more files, or others in place of the usual ones.
            parts: top-level keys of the service file, in place of the usual ones.
        """
        return self.repo.commit(
            "Change something",
            {
                "slipway.yaml": yaml.safe_dump({**SERVICE, **parts}),
                "app.py": APP,
                "answers.json": json.dumps(dict(answers or {})),
                "journey.py": JOURNEY,
                "report.sarif": sarif(),
                **(files or {}),
            },
        )

    def release(self, revision: str, **request: str) -> Ended:
        """Run the release flow to its end while production is visited."""
        given = {"service": "campus", "estate": str(self.file), "requested_by": "ann", "commit": revision, **request}
        return self._run(release, ReleaseRequest.model_validate(given))

    def rollback(self, **request: str) -> Ended:
        """Run the rollback flow to its end while production is visited."""
        given = {"service": "campus", "estate": str(self.file), "requested_by": "ann", **request}
        return self._run(rollback, RollbackRequest.model_validate(given))

    def _run(self, flow: Flow[[Any], None], request: BaseModel) -> Ended:
        with visiting(self.haproxy) as visitors:
            state: State[Any] = flow(request, return_state=True)
        found = state.result(raise_on_failure=False)
        error = found if isinstance(found, BaseException) else None
        return Ended(str(state.state_details.flow_run_id), error, visitors)

    def record(self, ended: Ended) -> ReleaseRecord:
        """Return the run's record in the ledger."""
        return self.ledger.record(ended.run_id)

    def evidence(self, ended: Ended, kind: str) -> list[Evidence]:
        """Return the run's evidence of a kind."""
        return [item for item in self.ledger.evidence(ended.run_id) if item.kind == kind]

    def served(self, environment: str = "production") -> set[str]:
        """Return the releases that answer an environment's users."""
        port = {"production": self.haproxy.port, "staging": self.haproxy.elsewhere_port}[environment]
        found = set()
        for _ in range(10):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            with contextlib.closing(connection):
                connection.request("GET", "/")
                answer = connection.getresponse()
                found.add(answer.read().decode().partition(" ")[0] if answer.status == 200 else str(answer.status))
        return found

    def processes(self) -> set[int]:
        """Return the process ids of all instances."""
        return set(children_of(self.supervisor.pid))

    def stored(self, digest: str | None) -> Path:
        """Return the file of an artefact in the store."""
        assert digest is not None
        return self.folder / "store" / "sha256" / digest.removeprefix("sha256:")


@contextlib.contextmanager
def small_estate(folder: Path, database: str, prometheus: str) -> Iterator[Small]:
    """A small estate is there for the length of a `with`; nothing was released yet."""
    with running_haproxy() as haproxy, running_supervisord() as supervisor:
        yield Small(folder, haproxy, supervisor, database, prometheus)
