"""Figure 4: what users notice when the worker and the run that it works on are killed in the middle of switches.

Everything as in production: a rollback by the worker, SIGKILL for both processes at a random step after the run got
its lease, the worker back by its service manager, and 'reconcile', which has the dead run finished by a new one.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from tasks.common.errors import Retryable
from tasks.common.lease import scope_of
from tasks.common.run_steps import start_run
from tasks.release.model import Evidence, Kind, Outcome, ReleaseRecord
from tasks.release.request import ReconcileRequest, RollbackRequest
from tests.bench.arithmetic import Spread
from tests.bench.place import Place
from tests.bench.report import Grid, Section
from tests.bench.traffic import Load
from tests.support.lab import kill, processes_of_run, worker_of

CLAIM = (
    "Zero failed requests also when the worker is killed in the middle of 20 switches, at 200 requests/s, open loop; "
    "each switch is finished without anybody deciding anything."
)
_WITHIN_S = 180.0
_SEED = 3


@dataclass(frozen=True)
class Killed:
    """One switch whose run was killed: how far it had come, and how long until another run had finished it."""

    number: int
    last: str
    finished_after_s: float


def measure(place: Place, count: int) -> Section:
    """Return what users got during `count` switches whose runs and worker were killed."""
    place.have("v2", "v1")
    place.start_load()
    chance, switches, missed = random.Random(_SEED), list[Killed](), 0
    facts = _facts_of_a_switch(place, "v2")
    place.stable = "v2"
    while len(switches) < count:
        version = "v2" if place.stable == "v1" else "v1"
        found = _killed_switch(place, version, len(switches) + 1, chance.randrange(1, facts))
        place.stable = version
        if found is None:
            missed += 1
            continue
        switches.append(found)
        if found.number % 5 == 0:
            place.say(f"{found.number} of {count} switches killed and finished")
    return _section(place.end_load(), switches, missed)


def _facts_of_a_switch(place: Place, version: str) -> int:
    """Return how many facts a switch that nobody disturbs puts on record, from its lease to its end."""
    run_id = start_run("rollback", _request(place, version))
    _await(lambda: _is_over(place, run_id), "the end of the first switch")
    return len(_since_the_lease(place, run_id))


def _newest(place: Place) -> tuple[ReleaseRecord, ...]:
    return place.estate.ledger.records("campus", "production", 3)


def _since_the_lease(place: Place, run_id: str) -> list[Evidence]:
    evidence = list(_evidence(place, run_id))
    kinds = [item.kind for item in evidence]
    return evidence[kinds.index("lease") :] if "lease" in kinds else []


def _killed_switch(place: Place, version: str, number: int, after: int) -> Killed | None:
    """Return how it went; None if the switch was over before the kill.

    Args:
        place: the lab.
        version: what is returned to.
        number: of the switch.
        after: how many facts are on record, from the lease on, when it is killed.
    """
    run_id = start_run("rollback", _request(place, version))
    # One that finds more done already has fewer facts, and may be over before.
    _await(
        lambda: len(_since_the_lease(place, run_id)) >= after or _is_over(place, run_id),
        f"fact {after} of run {run_id}, or its end,",
    )
    if _is_over(place, run_id):
        return None
    kill(worker_of(place.lab), *processes_of_run(place.lab, run_id))
    killed_at, record = time.monotonic(), place.estate.ledger.record(run_id)
    if record.outcome is not Outcome.RUNNING:
        return None
    last = [item for item in _evidence(place, run_id) if item.kind in ("lease", "place", "step", "smoke", "stage")][-1]
    _await(lambda: not _lease_is_live(place), "the end of the dead run's lease")
    start_run("reconcile", ReconcileRequest(estate=str(place.lab.estate_file)))
    _await(lambda: _finished(place, version, record), f"the end of switch {number}")
    return Killed(number, f"{last.kind} {last.name}", time.monotonic() - killed_at)


def _is_over(place: Place, run_id: str) -> bool:
    return any(record.id == run_id and record.outcome is not Outcome.RUNNING for record in _newest(place))


def _lease_is_live(place: Place) -> bool:
    lease = place.estate.ledger.leases.find(scope_of("campus", "production"))
    return lease is not None and lease.live


def _request(place: Place, version: str) -> RollbackRequest:
    return RollbackRequest(
        service="campus",
        environment="production",
        estate=str(place.lab.estate_file),
        requested_by="make bench",
        to=place.release_name(version),
        reason="measured",
    )


def _evidence(place: Place, run_id: str) -> tuple[Evidence, ...]:
    return place.estate.ledger.evidence(run_id)


def _finished(place: Place, version: str, killed: ReleaseRecord) -> bool:
    newest = place.estate.ledger.records("campus", "production", 1)[0]
    done = (newest.kind, newest.release, newest.outcome)
    return newest.id != killed.id and done == (Kind.ROLLBACK, place.release_name(version), Outcome.SUCCEEDED)


def _await(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not done():
        if time.monotonic() > deadline:
            raise Retryable(f"{what} did not come", on="the lab", next_action="read the runs in its Prefect UI")
        time.sleep(0.02)


def _section(load: Load, switches: list[Killed], missed: int) -> Section:
    spread = Spread.of(switch.finished_after_s for switch in switches)
    facts = [
        f"{load.failed} of {load.sent} requests failed; with 95 % confidence at most "
        f"{100 * load.failed_at_most:.4f} % do (Clopper-Pearson, one-sided).",
        f"From the kill to the record of the run that finished it: {spread.median:.1f} s "
        f"({spread.least:.1f} to {spread.most:.1f}, n = {spread.count}); up to 10 s of it are the lab's lease, which "
        "has to expire first (60 s where nobody changes it). 'reconcile' is started then; its schedule may need "
        "another minute for that.",
        f"{missed} more switches were over before they could be killed, and are not counted.",
        f"At worst the load generator sent a request {load.late_s:.2f} s after its moment.",
    ]
    reached = Counter(switch.last for switch in switches)
    rows = tuple((what, str(number)) for what, number in reached.most_common())
    return Section(
        name="killed",
        title="Switches whose worker is killed",
        claim=CLAIM,
        met=load.failed == 0,
        facts=tuple(facts),
        grids=(Grid("What was on record last when the run was killed", ("step", "times"), rows),),
        data={
            "switches": len(switches),
            "missed": missed,
            "requests": load.sent,
            "failed": load.failed,
            "failed_at_most_percent": 100 * load.failed_at_most,
            "failures": [asdict(line) for line in load.failures],
            "finished_after_s": asdict(spread),
            "measured_at": datetime.now(UTC).isoformat(),
        },
    )
