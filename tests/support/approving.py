"""Releases that wait for an answer: made, waited for, answered as in the Prefect UI and by the command line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tasks.release.model import Outcome
from tasks.rollout.model import Admission, Health
from tests.support.lab import LabPlace, answers, commit_quick, descendants, kill, processes_of_run
from tests.support.processes import wait_until
from tests.support.reconciling import WITHIN_S, Begun, begin, reconcile

START, ALL = "start", "100 %"
"""Where the versions ask: before they touch production, and with a quarter of its traffic."""
_EVERY_S = 0.1
_WAITING = ("Suspended",)


def commit_asking(place: LabPlace, version: str, *before: str, expires: str = "1h") -> None:
    """`version` is a tag, once: a canary with 25 % and then all of the traffic, which asks before these places."""
    if version in place.versions:
        return

    def ask(service: dict[str, Any]) -> None:
        service["test"] = {"steps": [{"name": "imports", "command": ["python", "-c", "import campus"]}]}
        service["scan"][0]["command"] = ["python", "-m", "bandit", "-q", "-r", "e2e", "-f", "sarif", "-o", "{output}"]
        service["promotion"]["stages"] = [
            {"weight": weight, "soak": "1h", "checks": [{"metric": "error_rate", "at_most": "2%"}]}
            for weight in ("25%", "100%")
        ]
        service["approval"] = {"before": list(before), "expires": expires}

    commit_quick(place, version, ask)


@contextmanager
def asking(place: LabPlace, commit: str, before: str) -> Iterator[Begun]:
    """A release of the commit waits for an answer before that place; after the `with`, nothing of it waits any more."""
    run = begin(place, "release", commit=commit)
    try:
        await_question(place, run, before)
        yield run
    finally:
        # The next release would queue behind one that a failed test has left waiting.
        if run.record.outcome is Outcome.RUNNING:
            place.prefect("POST", f"/flow_runs/{run.id}/set_state", {"state": {"type": "CANCELLING"}})
            reconcile(place)


def await_question(place: LabPlace, run: Begun, before: str) -> None:
    """The run has asked before that place, is suspended, and no process of it is left."""
    run.await_evidence(lambda item: (item.kind, item.name) == ("approval-asked", before), f"question before {before}")
    await_state(run, *_WAITING)
    wait_until(lambda: not processes_of(place, run), within_s=WITHIN_S, what="the end of the suspended run's process")


def await_approval(run: Begun, before: str) -> None:
    """The run goes on, and the answer is on record."""
    run.await_evidence(lambda item: (item.kind, item.name) == ("approval", before), f"approval before {before}")


def await_state(run: Begun, *names: str) -> None:
    """The Prefect server calls the run's state by one of the names."""
    wait_until(
        lambda: run.prefect_state in names, within_s=WITHIN_S, what=f"state {' or '.join(names)}", every_s=_EVERY_S
    )


def processes_of(place: LabPlace, run: Begun) -> list[int]:
    """Return the processes that work for the run."""
    return processes_of_run(place.lab, run.id)


def form(decision: str, reason: str = "the figures are good", name: str = "ada") -> dict[str, str]:
    """Return what a person fills in."""
    return {"decision": decision, "reason": reason, "name": name}


@dataclass(frozen=True)
class Said:
    """What the Prefect server said to an answer."""

    taken: bool
    reason: str


def answer(place: LabPlace, run: Begun, filled_in: object) -> Said:
    """Send the form as the Prefect UI does."""
    url = f"{place.lab.api_url}/flow_runs/{run.id}/resume"
    response = httpx.post(url, json={"run_input": filled_in}, headers=place.lab.headers, timeout=60)
    said = response.json()
    # It says 200 also where it refuses; what counts is the status inside.
    details = said.get("details") or {}
    return Said(said.get("status") == "ACCEPT", str(details.get("reason") or said.get("detail") or response.text))


def approve(place: LabPlace, run: Begun) -> None:
    """A person says yes, and it is taken."""
    said = answer(place, run, form("approve"))
    assert said.taken, said.reason


def question_text(place: LabPlace, run: Begun, before: str) -> str:
    """Return the text above the form, as the Prefect server has it."""
    return str(place.prefect("GET", f"/flow_runs/{run.id}/input/suspended-approve-{before}-description"))


def at_full_strength(place: LabPlace, release: str, replicas: int = 2) -> bool:
    """Return whether all instances of a release are ready, and get what traffic its slot has."""
    routing, instances = place.production.router.observe(), place.production.runtime.observe()
    admitted = {(m.slot, m.index) for m in routing.members if m.admission is Admission.IN and m.up}
    ready = {(i.slot, i.index) for i in instances if i.release == release and i.health is Health.READY}
    return len(ready & admitted) == replicas


def kill_program(place: LabPlace, name: str, answers: Callable[[], bool]) -> None:
    """One of the lab's servers was killed with its children; supervisord has started it again, and it answers."""
    pid = place.lab.supervisor.processes()[name].pid
    kill(pid, *descendants(pid))
    wait_until(
        lambda: place.lab.supervisor.processes()[name].pid not in (0, pid) and answers(),
        within_s=WITHIN_S,
        what=f"another {name}",
        every_s=_EVERY_S,
    )


def kill_worker(place: LabPlace) -> None:
    """The worker was killed with every flow that it had started, and another one asks for work."""
    kill_program(place, "prefect-worker", lambda: True)


def kill_prefect(place: LabPlace) -> None:
    """The Prefect server was killed, and another one answers."""
    kill_program(place, "prefect-server", lambda: answers(f"{place.lab.api_url}/health"))
