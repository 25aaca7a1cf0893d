"""A whole lab for the acceptance tests, worked as people work it: by the command line, and seen through its router.

Everything of Slipway and Prefect runs in processes of its own, with an environment that names this lab and nothing
else. Prefect reads its settings when it is first imported, and other suites of the same pytest process import it, too;
and it is the command line and the worker that people depend on, so these are what is tested.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml

from blocks.estate import OpenEstate, Site, open_estate
from deployments.lab.campus_versions import make_repository
from deployments.lab.lab import ROOT, Lab
from deployments.lab.load_report import Phase, PhaseReport, summarise
from tasks.release.model import Evidence, ReleaseRecord
from tasks.rollout.model import Admission
from tests.support.processes import running, wait_until
from tests.support.repositories import Repo

RUN_WITHIN_S = 300.0
FEW_PER_S = 50
"""Requests a second that leave two processors room for everything else that a test does."""
_OURS = ("PREFECT_", "SLIPWAY_")


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return what was printed for scripts."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Answer:
    """One request of the load. `sent_at` is the real moment, not the scheduled one."""

    release: str
    error: str
    sent_at: datetime
    ended_at: datetime


class Users:
    """Open-loop load on production, counted in a file by a process of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def report(self, since: datetime, until: datetime) -> PhaseReport:
        """Return what users got for the requests of a time; read it when the load has ended, or they may be open."""
        (report,) = summarise(self._path, [Phase("users", since, until)])
        return report

    def answers(self) -> list[Answer]:
        """Return every request that has ended so far."""
        lines = [json.loads(line) for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        start = datetime.fromisoformat(lines[0]["started_at"]) if lines else datetime.now(UTC)
        return [_answer(start, line) for line in lines if "n" in line]

    def served_since(self, moment: datetime) -> Counter[str]:
        """Return the number of good answers by release, of requests that were sent after the moment."""
        return Counter(a.release for a in self.answers() if a.sent_at > moment and not a.error)


def _answer(start: datetime, line: Mapping[str, Any]) -> Answer:
    due = start + timedelta(seconds=line["at"])
    sent, ended = due + timedelta(seconds=line["late"]), due + timedelta(seconds=line["s"])
    return Answer(line["release"], line["error"], sent, ended)


class Run:
    """A release or rollback that the command line follows."""

    def __init__(self, process: "subprocess.Popen[bytes]", run_id: str, place: "LabPlace") -> None:
        self.id = run_id
        self._process = process
        self._place = place

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Return what the ledger has of it so far."""
        return self._place.estate.ledger.evidence(self.id)

    def await_evidence(self, kind: str, name: str) -> Evidence:
        """Wait for one fact, and return it."""

        def found() -> Evidence | None:
            assert self._process.poll() is None, f"the run ended before {kind} {name}: {self.evidence[-1]}"
            return next((e for e in self.evidence if (e.kind, e.name) == (kind, name)), None)

        # Some have little time from there on, before it is over what they wait for.
        evidence = wait_until(found, within_s=RUN_WITHIN_S, what=f"{kind} {name}", every_s=0.05)
        assert evidence is not None
        return evidence

    def flow_process(self) -> int:
        """Return the process that the flow runs in."""
        return flow_process(self._place.lab, self.id)

    def kill(self) -> datetime:
        """The flow's process was killed without a chance to do anything; returns when it was gone."""
        return kill(self.flow_process())

    def exit_code(self) -> int:
        """Wait for the command line's end."""
        return self._process.wait(RUN_WITHIN_S)


class LabPlace:
    """A running lab, campus's versions in its repository, and ways to look at both from the outside."""

    def __init__(self, lab: Lab, versions: dict[str, str], scratch: Path) -> None:
        self.lab = lab
        self.versions = versions
        self._scratch = scratch

    @cached_property
    def estate(self) -> OpenEstate:
        """Return the lab's estate, opened in this process: to look, and never to act."""
        return open_estate(str(self.lab.estate_file))

    @cached_property
    def production(self) -> Site:
        """Return campus in production."""
        return self.estate.site("campus", "production")

    @property
    def url(self) -> str:
        """Return where users reach production."""
        return self.production.environment.url

    def name(self, version: str) -> str:
        """Return a version's name as instances carry it."""
        return self.versions[version][:12]

    def slipway(self, *arguments: str) -> Done:
        """Run the command line to its end."""
        done = subprocess.run(
            self._command(arguments), env=self._env(), cwd=ROOT, capture_output=True, text=True, timeout=RUN_WITHIN_S
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def following(self, *arguments: str) -> Iterator[Run]:
        """Start a release or rollback, which is on record when this returns; ended with the `with` if still there."""
        known = {record.id for record in self.records()}
        log = self._scratch / f"{time.monotonic_ns()}.log"
        process = subprocess.Popen(
            self._command(arguments), env=self._env(), cwd=ROOT, stdout=log.open("wb"), stderr=subprocess.STDOUT
        )

        def begun() -> str:
            assert process.poll() is None, log.read_text()
            return next((record.id for record in self.records() if record.id not in known), "")

        try:
            yield Run(process, wait_until(begun, within_s=RUN_WITHIN_S, what="the run's record"), self)
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def users(self, per_s: int = FEW_PER_S) -> Iterator[Users]:
        """Users are there for the length of the `with`; afterwards every request is accounted for."""
        name = f"load-{time.monotonic_ns()}"
        path = self._scratch / f"{name}.jsonl"
        argv = [sys.executable, "-m", "deployments.lab.load", f"--url={self.url}", f"--rate={per_s}"]
        with running([*argv, f"--out={path}"], log=self._scratch / f"{name}.log", cwd=ROOT) as process:
            users = Users(path)
            wait_until(lambda: path.exists() and len(users.answers()) > 0, what="the first answers")
            yield users
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    @contextmanager
    def without_reconcile(self) -> Iterator[None]:
        """Nobody brings dead runs to an end within the `with`: no schedule, no automation."""
        found = self.prefect("GET", "/deployments/name/reconcile/slipway")
        automations = self.prefect("POST", "/automations/filter", {})
        self.prefect("PATCH", f"/deployments/{found['id']}", {"paused": True})
        for automation in automations:
            self.prefect("PATCH", f"/automations/{automation['id']}", {"enabled": False})
        try:
            # One that has begun is waited for.
            wait_until(lambda: not self._reconciling(found["id"]), within_s=60, what="the end of a reconciliation")
            yield
        finally:
            self.prefect("PATCH", f"/deployments/{found['id']}", {"paused": False})
            for automation in automations:
                self.prefect("PATCH", f"/automations/{automation['id']}", {"enabled": True})

    def _reconciling(self, deployment_id: str) -> bool:
        wanted = {
            "deployments": {"id": {"any_": [deployment_id]}},
            "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}},
        }
        return bool(self.prefect("POST", "/flow_runs/filter", wanted))

    def records(self) -> tuple[ReleaseRecord, ...]:
        """Return the ledger's records, newest first."""
        return self.estate.ledger.records("campus", None, 1000)

    def record(self, run_id: str) -> ReleaseRecord:
        """Return one record."""
        return self.estate.ledger.record(run_id)

    def serving(self) -> dict[str, float]:
        """Return production's share of the traffic by release, as observed now."""
        routing, instances = self.production.router.observe(), self.production.runtime.observe()
        slots = {i.slot: i.release for i in instances}
        return {slots[slot]: weight for slot, weight in routing.weights.items() if weight > 0}

    def instances_of(self, version: str) -> list[str]:
        """Return the addresses of a version's instances in production."""
        return [i.address for i in self.production.runtime.observe() if i.release == self.name(version)]

    def processes_of(self, version: str) -> list[int]:
        """Return the processes of a version's instances in production, as supervisord knows them."""
        instances = [i for i in self.production.runtime.observe() if i.release == self.name(version)]
        known = self.lab.supervisor.processes()
        return [known[f"campus-production-{i.slot}-{i.index}"].pid for i in instances]

    def kill_all_of(self, version: str) -> tuple[datetime, datetime]:
        """All instances of a version in production were killed, and none is in the way of users any more.

        HAProxy finds out by its checks: until then there is nothing else in that slot to try (docs/known-limits.md).
        Returns when the kill began, and when nothing was sent to a dead instance any more.
        """
        addresses, began_at = self.instances_of(version), datetime.now(UTC)
        kill(*self.processes_of(version))

        def sent_to_the_dead() -> list[str]:
            members = self.production.router.observe().members
            sent_to = [m.address for m in members if m.address in addresses and m.up and m.admission is Admission.IN]
            return [address for address in sent_to if not answers(f"http://{address}/health/ready")]

        wait_until(lambda: not sent_to_the_dead(), within_s=60, what="an end to what is sent to the dead", every_s=0.05)
        return began_at, datetime.now(UTC)

    def require_released(self, version: str) -> None:
        """The version serves production alone: so that each module can be run without the ones before it."""
        if not self.serving():
            released = first_release(self, version)
        elif self.serving() != {self.name(version): 100.0}:
            released = release_under_load(self, "release", "campus", version)
        else:
            return
        assert released.code == 0, released.record.error

    def prefect(self, method: str, path: str, body: object = None) -> Any:
        """Return what the Prefect server's API answers."""
        answer = httpx.request(method, f"{self.lab.api_url}{path}", json=body, headers=self.lab.headers, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def prefect_state(self, run_id: str) -> str:
        """Return the name of a run's state."""
        return str(self.prefect("GET", f"/flow_runs/{run_id}")["state"]["name"])

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "deployments.cli", *arguments]

    def _env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        return {**kept, "SLIPWAY_VAR": str(self.lab.var), "COLUMNS": "200"}


@contextmanager
def running_lab(var: Path) -> Iterator[LabPlace]:
    """A lab of its own in the folder, down again when the `with` ends, however it ends."""
    lab = Lab(var)
    versions = make_repository(lab.campus_repository)
    scratch = var / "scratch"
    scratch.mkdir()
    try:
        lab.up(lambda text: None)
        place = LabPlace(lab, versions, scratch)
        place.estate.ledger.prepare()
        yield place
    finally:
        lab.down()


def commit_quick_canary(place: LabPlace, version: str) -> None:
    """`version` is a tag: v2 with one quick test, and a canary of 5 % and then all, so that a test sees more of it."""

    def with_two_stages(service: dict[str, Any]) -> None:
        service["promotion"]["stages"] = [s for s in service["promotion"]["stages"] if s["weight"] in ("5%", "100%")]

    commit_quick(place, version, with_two_stages)


def commit_quick(place: LabPlace, version: str, change: Callable[[dict[str, Any]], None]) -> None:
    """`version` is a tag: v2 with one quick test and one scan, its service file changed further."""
    repository = Repo(place.lab.campus_repository)
    repository.git("checkout", "--quiet", "v2")
    path = repository.path / "slipway.yaml"
    service = yaml.safe_load(path.read_text())
    service["description"] += f", {version}"
    service["test"]["steps"] = [
        {"name": "courses", "command": ["python", "-m", "pytest", "-q", "tests/test_courses.py"]}
    ]
    del service["test"]["coverage"]
    # The comments that tell detect-secrets what is no secret are lost here.
    service["scan"] = [scan for scan in service["scan"] if scan["tool"] == "bandit"]
    change(service)
    place.versions[version] = repository.commit(f"Quick canary {version}", {"slipway.yaml": yaml.safe_dump(service)})
    repository.git("tag", version)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    return [child for child, (parent, state) in _processes() if parent == pid and state != "Z"]


def descendants(pid: int) -> list[int]:
    """Return the processes that a process or one of these has started, and that still run."""
    found = [pid]
    for each in found:
        found += children(each)
    return found[1:]


def worker_of(lab: Lab) -> int:
    """Return the lab's worker: the process that supervisord watches."""
    return lab.supervisor.processes()["prefect-worker"].pid


def processes_of_run(lab: Lab, run_id: str) -> list[int]:
    """Return what works for a run: the process that the flow runs in first, and what waits for it."""
    below = descendants(worker_of(lab))
    named = [pid for pid in below if _read(pid, "comm") == f"run-{run_id[:8]}\n".encode()]
    return named + [pid for pid in below if pid not in named and run_id.encode() in _read(pid, "environ")]


def flow_process(lab: Lab, run_id: str) -> int:
    """Return the process that a run's flow runs in: the one that has taken the run's name, else a cold one."""
    return processes_of_run(lab, run_id)[0]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""  # it ended meanwhile


def kill(*pids: int) -> datetime:
    """The processes were killed (SIGKILL); returns when they were gone."""
    for pid in pids:
        # With one, others may have gone that live no longer than it does.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _alive(pids), within_s=10, what="the end of the killed processes")
    return datetime.now(UTC)


def _alive(pids: tuple[int, ...]) -> list[int]:
    return [pid for pid, (_, state) in _processes() if pid in pids and state != "Z"]


def _processes() -> Iterator[tuple[int, tuple[int, str]]]:
    """Yield each process with its parent and state. *Source:* proc(5), /proc/[pid]/stat."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue  # it ended meanwhile
            yield int(folder.name), (int(parent), state)


@dataclass(frozen=True)
class Released:
    """A release that the command line took to its end, and what users got meanwhile."""

    code: int
    record: ReleaseRecord
    evidence: tuple[Evidence, ...]
    users: PhaseReport
    answers: tuple[Answer, ...]

    def of(self, kind: str) -> list[Evidence]:
        """Return the evidence of a kind."""
        return [item for item in self.evidence if item.kind == kind]


def first_release(place: LabPlace, version: str) -> Released:
    """Run the very first release to its end; users come as soon as there is somebody to answer.

    Without them it would wait for figures to judge it by: no data is never a pass.
    """
    with place.following("release", "campus", version) as run:
        wait_until(
            lambda: answers(f"{place.url}/health/ready"), within_s=RUN_WITHIN_S, what="the first release's answer"
        )
        since = datetime.now(UTC)
        with place.users() as users:
            code = run.exit_code()
            until = datetime.now(UTC)
    return _released(place, run.id, code, users, since, until)


def answers(url: str) -> bool:
    """Return whether somebody answers there with success."""
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def release_under_load(place: LabPlace, *arguments: str, per_s: int = FEW_PER_S) -> Released:
    """Run a release or rollback to its end, with users there from before its start until after its end."""
    with place.users(per_s) as users:
        since = datetime.now(UTC)
        done = place.slipway(*arguments, "--json")
        until = datetime.now(UTC)
    assert done.out, done.err
    return _released(place, done.json["id"], done.code, users, since, until)


def _released(place: LabPlace, run_id: str, code: int, users: Users, since: datetime, until: datetime) -> Released:
    evidence = place.estate.ledger.evidence(run_id)
    return Released(code, place.record(run_id), evidence, users.report(since, until), tuple(users.answers()))


def failures(report: PhaseReport) -> tuple[int, int]:
    """Return failed and unaccounted requests; a time in which nobody asked anything proves nothing and fails."""
    assert report.scheduled > 0
    return report.failed, report.unaccounted
