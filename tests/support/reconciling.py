"""What the stories of dead, paused and competing runs share: quick versions, other settings, runs, reconciliations."""

import itertools
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tasks.common.errors import Retryable
from tasks.release.model import Evidence, Outcome, ReleaseRecord
from tests.support.lab import LabPlace, commit_quick, first_release, flow_process, kill, worker_of
from tests.support.processes import wait_until

SOAK = "canary 5 %"
WITHIN_S = 300.0
"""Longest wait for what nobody is asked to do: it may need the schedule, an expired lease, and a busy machine."""
_EVERY_S = 0.1
"""Each look opens a connection: often enough to see every step, and seldom enough to leave them a processor."""
_STATE_EACH = 10
_VERSIONS = ("east", "west", "north")
_FINAL = {"Completed", "Failed", "Crashed", "Cancelled"}


def prepare(place: LabPlace) -> None:
    """One of three quick versions serves production alone, and the others are there to be released."""
    for version in _VERSIONS:
        if version not in place.versions:
            commit_swift(place, version)
    if not place.serving():
        assert first_release(place, _VERSIONS[0]).code == 0
    elif not any(place.serving() == {place.name(version): 100.0} for version in _VERSIONS):
        place.require_released(_VERSIONS[0])


def commit_swift(place: LabPlace, version: str, end_to_end: Sequence[str] = ()) -> None:
    """`version` is a tag: next to no tests, and a canary of two stages, so that a story comes to its point soon.

    With a command for the end-to-end tests, it is run in staging when the candidate has its traffic.
    """

    def hurry(service: dict[str, Any]) -> None:
        service["test"] = {"steps": [{"name": "imports", "command": ["python", "-c", "import campus"]}]}
        service["scan"][0]["command"] = ["python", "-m", "bandit", "-q", "-r", "e2e", "-f", "sarif", "-o", "{output}"]
        service["end_to_end"] = [{"name": "journey", "command": list(end_to_end)}] if end_to_end else []
        service["promotion"]["stages"] = [
            {"weight": weight, "soak": "1h", "checks": [{"metric": "error_rate", "at_most": "1%"}]}
            for weight in ("5%", "100%")
        ]

    commit_quick(place, version, hurry)


def cast(place: LabPlace) -> tuple[str, str, str]:
    """Return the version that serves production alone, and the two others."""
    (serving,) = [version for version in _VERSIONS if place.serving() == {place.name(version): 100.0}]
    first, second = [version for version in _VERSIONS if version != serving]
    return serving, first, second


@contextmanager
def settings(
    place: LabPlace, *, soak: str = "3s", webhook: str = "", lease: str = "5s", **environments: str
) -> Iterator[None]:
    """The lab's estate has other settings within the `with`; every run reads the file when it begins.

    Args:
        place: the lab.
        soak: how long a stage is watched.
        webhook: address of a chat that is told everything; '' for none.
        lease: of every environment.
        environments: further settings of every environment.
    """
    file = place.lab.estate_file
    before = file.read_text()
    estate = yaml.safe_load(before)
    for environment in estate["environments"].values():
        environment |= {"lease": lease, **environments}
    estate["environments"]["production"]["pace"] = {
        "soak_at_most": soak,
        "analysis_every_at_most": "1s",
        "settle_at_most": "0s",
        "stable_for_at_most": "2s",
    }
    if webhook:
        (place.lab.home / "secrets" / "chat").write_text(webhook)
        estate["notifications"] = [{"driver": "webhook", "name": "chat", "url": "file:secrets/chat"}]
    _replace(file, yaml.safe_dump(estate))
    try:
        yield
    finally:
        _replace(file, before)


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(file)


class Begun:
    """A run that was started on the Prefect server itself: nobody follows it, which leaves others a processor."""

    def __init__(self, place: LabPlace, run_id: str) -> None:
        self.id = run_id
        self._place = place

    @property
    def record(self) -> ReleaseRecord:
        """Return its record."""
        return self._place.record(self.id)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Return what the ledger has of it so far; nothing where the ledger does not answer."""
        with suppress(Retryable):
            return self._place.estate.ledger.evidence(self.id)
        return ()

    def changes_since(self, moment: datetime) -> list[str]:
        """Return what it has changed since the moment; what was refused to it has not changed anything."""
        kinds = ("step", "place", "stage", "roll-back")
        return [e.name for e in self.evidence if e.at > moment and e.kind in kinds and "error" not in e.facts]

    def await_evidence(self, wanted: Callable[[Evidence], bool], what: str) -> Evidence:
        """Wait for one fact, and return it."""
        looks = itertools.count()

        def found() -> Evidence | None:
            # The Prefect server has better things to do than to tell ten times a second that it has not ended.
            ended = next(looks) % _STATE_EACH == 0 and self.prefect_state in _FINAL
            fact = next((item for item in self.evidence if wanted(item)), None)
            assert fact or not ended, f"it ended before {what}: {self.evidence[-1:]}"
            return fact

        evidence = wait_until(found, within_s=WITHIN_S, what=what, every_s=_EVERY_S)
        assert evidence is not None
        return evidence

    def await_kind(self, kind: str) -> None:
        """Wait for the first fact of a kind."""
        self.await_evidence(lambda item: item.kind == kind, kind)

    def await_soak(self) -> None:
        """Users are served by both, and the release was judged at least once."""
        self.await_evidence(lambda item: (item.kind, item.name) == ("verdict", SOAK), f"verdict of {SOAK}")

    def await_step(self, beginning: str, environment: str) -> None:
        """Wait until a step was taken."""

        def taken(item: Evidence) -> bool:
            return (
                item.kind == "step"
                and item.name.startswith(beginning)
                and item.facts["environment"] == environment
                and "error" not in item.facts
            )

        self.await_evidence(taken, f"{beginning} in {environment}")

    def await_end(self) -> ReleaseRecord:
        """Wait until its end is on record, and return that."""

        def ended() -> ReleaseRecord | None:
            with suppress(Retryable):
                return found if (found := self.record).outcome is not Outcome.RUNNING else None
            return None

        record = wait_until(ended, within_s=WITHIN_S, what=f"the end of run {self.id}", every_s=_EVERY_S)
        assert record is not None
        return record

    @property
    def prefect_state(self) -> str:
        """Return what the Prefect server calls its state."""
        return self._place.prefect_state(self.id)

    def await_final(self) -> str:
        """Wait until the Prefect server takes it for ended, and return its state."""
        wait_until(lambda: self.prefect_state in _FINAL, within_s=WITHIN_S, what=f"the last state of {self.id}")
        return self.prefect_state

    def process(self) -> int:
        """Return the process that it runs in."""
        return flow_process(self._place.lab, self.id)

    def kill(self) -> datetime:
        """Its process was killed, and its worker has told the Prefect server; returns when it was gone."""
        gone_at = kill(self.process())
        wait_until(lambda: self.prefect_state == "Crashed", within_s=60, what="state Crashed", every_s=_EVERY_S)
        return gone_at


def worker(place: LabPlace) -> int:
    """Return the worker's process."""
    return worker_of(place.lab)


def begin(place: LabPlace, flow: str, **request: str) -> Begun:
    """A run of the flow for campus has begun: it is on record."""
    deployment = place.prefect("GET", f"/deployments/name/{flow}/slipway")["id"]
    body = {"parameters": {"request": {"service": "campus", "requested_by": "ada", **request}}}
    run_id = place.prefect("POST", f"/deployments/{deployment}/create_flow_run", body)["id"]
    return await_record(place, run_id)


def await_record(place: LabPlace, run_id: str) -> Begun:
    """Wait until the run is on record; one that ends without is told of at once."""

    def on_record() -> bool:
        state = place.prefect("GET", f"/flow_runs/{run_id}")["state"]
        if any(record.id == run_id for record in place.records()):
            return True
        assert state["name"] not in _FINAL, f"it ended without a record: {state['message']}"
        return False

    wait_until(on_record, within_s=WITHIN_S, what=f"the record of run {run_id}", every_s=_EVERY_S)
    return Begun(place, run_id)


def begin_release(place: LabPlace, version: str) -> Begun:
    """A release of the version has begun."""
    return begin(place, "release", commit=place.versions[version])


@dataclass(frozen=True)
class Reconciled:
    """How a reconciliation ended on the Prefect server, and its report, which is the last one's if nothing is new."""

    state: str
    message: str
    report: str


def reconcile(place: LabPlace) -> Reconciled:
    """Start a reconciliation, and wait for its end."""
    deployment = place.prefect("GET", "/deployments/name/reconcile/slipway")["id"]
    run_id = place.prefect("POST", f"/deployments/{deployment}/create_flow_run", {})["id"]
    Begun(place, run_id).await_final()
    state = place.prefect("GET", f"/flow_runs/{run_id}")["state"]
    return Reconciled(state["name"], state["message"] or "", report(place))


def report(place: LabPlace) -> str:
    """Return what the last reconciliation with something new has reported."""
    wanted = {"artifacts": {"key": {"any_": ["reconcile-lab"]}}}
    found = place.prefect("POST", "/artifacts/latest/filter", wanted)
    return str(found[0]["data"]) if found else ""


def runs_of(place: LabPlace, flow: str, since: datetime) -> list[dict[str, Any]]:
    """Return the flow's runs that have started after the moment, as the Prefect server has them."""
    wanted = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"start_time": {"after_": since.isoformat()}}}
    return list(place.prefect("POST", "/flow_runs/filter", wanted))


def await_successor(place: LabPlace, dead: Begun, since: datetime) -> Begun:
    """Wait for the one other release that has begun since, which finishes what the dead one has left."""
    others = wait_until(
        lambda: [run["id"] for run in runs_of(place, "release", since) if run["id"] != dead.id],
        within_s=WITHIN_S,
        what="the run that resumes",
        every_s=_EVERY_S,
    )
    assert len(others) == 1, f"it was resumed more than once: {others}"
    return await_record(place, others[0])


@contextmanager
def automation(place: LabPlace, name: str) -> Iterator[None]:
    """This one automation is at work within the `with`."""
    (found,) = [each for each in place.prefect("POST", "/automations/filter", {}) if each["name"] == name]
    place.prefect("PATCH", f"/automations/{found['id']}", {"enabled": True})
    try:
        yield
    finally:
        place.prefect("PATCH", f"/automations/{found['id']}", {"enabled": False})


@contextmanager
def schedule(place: LabPlace) -> Iterator[None]:
    """Reconciliations come by their schedule within the `with`."""
    deployment = place.prefect("GET", "/deployments/name/reconcile/slipway")["id"]
    place.prefect("PATCH", f"/deployments/{deployment}", {"paused": False})
    try:
        yield
    finally:
        place.prefect("PATCH", f"/deployments/{deployment}", {"paused": True})


def tell_haproxy(place: LabPlace, command: str) -> str:
    """Tell HAProxy something by hand, past Slipway; returns its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(place.lab.run_folder / "haproxy.sock"))
        connection.sendall(f"{command}\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode().strip()
