"""What a reconciliation finds out about runs and places, and the few things that it changes by itself.

Apart from `steps` only because of its size; the same layer.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from prefect.client.schemas.objects import StateType
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from blocks.job import Job
from blocks.journal import deliver_unsent, unsent_file
from tasks.common.errors import Retryable, SlipwayError, Unsafe
from tasks.common.lease import Leases, scope_of
from tasks.common.model import Drift
from tasks.common.run_steps import cancel_run, start_run, state_of
from tasks.common.steps import TRANSIENT, only_shown
from tasks.release.account import NOTHING, account_text
from tasks.release.announce_steps import announce_findings, announce_to_automations
from tasks.release.approval import unanswered
from tasks.release.model import Evidence, Kind, Outcome, ReleaseRecord
from tasks.release.request import ReleaseRequest, RollbackRequest
from tasks.release.unfinished import RunState, Unfinished, deciding

RESUMED_BY = "reconcile"
"""Who asks for a run that finishes what another one has left."""
_LOOK_BACK = 1000
_LOOK_EVERY_S = 5.0
_SUSPENDED = "Suspended"
_CANCELLED = ("Cancelling", "Cancelled")
_RESUMED = "resumed"


@dataclass
class Account:
    """What a reconciliation has found, done, and could not do."""

    done: list[str] = field(default_factory=list)
    drift: list[Drift] = field(default_factory=list)
    problems: list[SlipwayError] = field(default_factory=list)

    def tell(self, lines: Sequence[str]) -> None:
        """The lines are in the report and in the run's log."""
        for line in lines:
            get_run_logger().warning(line)
        self.done += lines

    def report(self, drift: Sequence[Drift]) -> None:
        """The drift is in the report and in the run's log."""
        for item in drift:
            get_run_logger().warning("%s: %s; expected: %s", item.where, item.found, item.expected)
        self.drift += drift

    @contextmanager
    def apart(self) -> Iterator[None]:
        """A problem inside the block is kept for the end, so that it does not stand in the way of the rest."""
        try:
            yield
        except SlipwayError as problem:
            get_run_logger().error("%s", problem.block())
            self.problems.append(problem)

    def require_none(self) -> None:
        """Nothing went wrong.

        Raises:
            Unsafe: something did; lists it all.
        """
        if self.problems:
            raise Unsafe(
                f"{len(self.problems)} things could not be reconciled",
                on=", ".join(dict.fromkeys(problem.on for problem in self.problems)),
                state="what could be reconciled was; see the report",
                next_action="; ".join(dict.fromkeys(problem.next_action for problem in self.problems)),
                facts={str(n): problem.what for n, problem in enumerate(self.problems, start=1)},
            )


@task(name="look for unfinished runs", **TRANSIENT)
def unfinished_records(estate: OpenEstate) -> list[ReleaseRecord]:
    """Return the runs that are on record as running, oldest first; nothing is changed."""
    found = []
    for service in estate.file.services:
        found += [r for r in estate.ledger.records(service, None, _LOOK_BACK) if r.outcome is Outcome.RUNNING]
    return sorted(found, key=lambda record: record.started_at)


def deliver(estate: OpenEstate) -> list[str]:
    """What runs of this worker could not send to the ledger is there now; returns one line for each run."""
    delivered = deliver_unsent(estate.ledger, estate.workspace)
    for record in (estate.ledger.record(run_id) for run_id in delivered):
        # Who could not reach the ledger may not have reached the Prefect server; what it has taken then counts once.
        if record.outcome is not Outcome.RUNNING:
            announce_to_automations(estate, record)
    return [f"run {run_id[:8]}: what the ledger had not taken was delivered" for run_id in delivered]


def await_expiry(leases: Leases, scopes: Sequence[str], run_id: str) -> None:
    """Every lease of the dead run has expired, is somebody else's, or has had the time to expire; none is taken before.

    No longer: a process that Prefect takes for dead may live and renew it, and others wait for this reconciliation.

    Args:
        leases: where the leases are.
        scopes: what the run may hold, in order of its way.
        run_id: the run.
    """
    deadlines_s: dict[str, float] = {}
    while (lease := deciding([leases.find(scope) for scope in scopes], run_id)) is not None:
        now_s = time.monotonic()
        deadline_s = deadlines_s.setdefault(lease.scope, now_s + lease.left_s + _LOOK_EVERY_S)
        if not lease.live or lease.holder != run_id or now_s > deadline_s:
            return
        time.sleep(min(max(lease.left_s, 0.1), _LOOK_EVERY_S))


def scopes(estate: OpenEstate, record: ReleaseRecord) -> list[str]:
    """Return what the run needs the leases of, in order of its way."""
    path = estate.path_to(record.environment) if record.kind is Kind.RELEASE else [record.environment]
    return [scope_of(record.service, environment) for environment in path]


def kept_releases(estate: OpenEstate, service: str) -> set[str]:
    """Return the releases of a service that can be returned to somewhere."""
    ledger, keep = estate.ledger, estate.file.keep_releases
    return {r.release for environment in estate.file.environments for r in ledger.succeeded(service, environment, keep)}


def survey(estate: OpenEstate, record: ReleaseRecord) -> Unfinished:
    """Return what is known about an unfinished run at this moment.

    Raises:
        Retryable: the ledger or a runtime does not answer.
    """
    evidence = estate.ledger.evidence(record.id)
    question = unanswered(evidence)
    state, name = _state(record.id)
    leases = [estate.ledger.leases.find(scope) for scope in scopes(estate, record)]
    successors = [item.name for item in evidence if item.kind == _RESUMED]
    return Unfinished(
        run_id=record.id,
        rollback=record.kind is Kind.ROLLBACK,
        resumed=record.requested_by.startswith(RESUMED_BY),
        lease=deciding(leases, record.id),
        had_lease=any(item.kind == "lease" for item in evidence),
        state=state,
        state_name=name,
        answer_until=question.expires_at if question is not None else None,
        out=_is_out(estate, record, evidence),
        cancelled=name in _CANCELLED,
        successor=_state(successors[-1])[0] if successors else None,
        unsent=unsent_file(estate.workspace, record.id).exists(),
    )


def _is_out(estate: OpenEstate, record: ReleaseRecord, evidence: Sequence[Evidence]) -> bool:
    done = {item.name for item in evidence if item.kind == "phase"}
    where = [e for e in estate.path_to(record.environment) if f"rehearse in {e}" not in done]
    sites = [estate.site(record.service, environment) for environment in where]
    return any(instance.release == record.release for site in sites for instance in site.runtime.observe())


def _state(run_id: str) -> tuple[RunState, str]:
    try:
        state = state_of(run_id)
    except Retryable as problem:
        get_run_logger().warning("%s", problem.what)
        return RunState.UNKNOWN, "nothing"
    if state is None:
        return RunState.UNKNOWN, "nothing: it has forgotten the run"
    name = state.name or state.type.value.capitalize()
    if state.is_final():
        return RunState.ENDED, name
    suspended = state.type is StateType.PAUSED and name == _SUSPENDED
    return (RunState.SUSPENDED if suspended else RunState.ALIVE), name


def resume(estate: OpenEstate, record: ReleaseRecord) -> str:
    """A new run finishes what this one has left, which is on record; returns its id.

    *Idempotent:* yes, by the record's id.
    """
    asked_by, key = f"{RESUMED_BY}, for run {record.id[:8]} of {record.requested_by}", f"resume-{record.id}"
    about = {"service": record.service, "environment": record.environment, "requested_by": asked_by}
    if record.kind is Kind.ROLLBACK:
        reason = f"run {record.id[:8]} has died"
        run_id = start_run("rollback", RollbackRequest(**about, to=record.release, reason=reason), key=key)
    else:
        run_id = start_run("release", ReleaseRequest(**about, commit=record.commit), key=key)
    estate.ledger.append(Evidence(record.id, _RESUMED, run_id, datetime.now(UTC), {"by": RESUMED_BY}))
    return run_id


def close_unstarted(estate: OpenEstate, record: ReleaseRecord, why: str) -> None:
    """The record of a run that never had its turn is ended, and automations know it. *Idempotent:* yes."""
    estate.ledger.end(record.id, Outcome.FAILED, datetime.now(UTC), f"{why}; nothing was changed", None)
    announce_to_automations(estate, estate.ledger.record(record.id))


def put_to_rest(unfinished: Job) -> None:
    """A run that was brought to its end does not wake up any more, and its folder is gone. *Idempotent:* yes."""
    unfinished.close()
    try:
        cancel_run(unfinished.record.id, "it was brought to its end by a reconciliation")
    except SlipwayError as problem:
        get_run_logger().warning("run %s is not cancelled: %s", unfinished.record.id[:8], problem.what)


def show_account(estate: OpenEstate, account: Account) -> None:
    """What was found and done is an artifact, and people are told, if it is not what the last one said.

    The schedule comes every minute: what is still so is not told again.
    """
    text = account_text(account.done, account.drift, account.problems)
    key, last = f"reconcile-{estate.file.estate}", NOTHING
    with only_shown(), get_client(sync_client=True) as client:
        wanted = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=[key]))
        latest = client.read_latest_artifacts(artifact_filter=wanted, limit=1)
        last = str(latest[0].data) if latest else NOTHING
    if text == last:
        return
    announce_findings(estate, account.drift, account.problems)
    with only_shown():
        create_markdown_artifact(key=key, markdown=text, description="what was unfinished, or not as it was left")
