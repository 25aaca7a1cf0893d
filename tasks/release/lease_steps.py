"""How a run gets the right to change an environment, and what it does with who had it before.

Apart from `steps` only because of its size; the same layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.logging import get_run_logger

from blocks.job import Job
from blocks.lease_keeper import KeptLease, await_lease
from tasks.common.errors import Refused, SlipwayError
from tasks.common.lease import Lease, Waiting
from tasks.common.lease_steps import claim
from tasks.common.run_steps import cancel_run, state_of
from tasks.common.steps import ONCE
from tasks.release.model import Kind, Outcome, ReleaseRecord

_LOOK_BACK = 100


def take_leases(job: Job) -> None:
    """Nobody but this run can change the environments that it will work in (REL-4).

    In the order of the way, which is the same for every run: two runs never wait for each other in a circle.

    Raises:
        Refused: another run is at work there, and the estate's policy or patience ends here.
        LeaseLost: yet another run was faster.
    """
    for environment in job.environments:
        take_lease(job, environment)


@task(name="lease", task_run_name="{environment}: wait for the lease", **ONCE)
def take_lease(job: Job, environment: str) -> None:
    """The lease is held, renewed, and known to router and runtime: older holders are refused by them from now on.

    A rollback is an emergency: it does not queue behind a release, but cancels it, whatever the policy.

    *Idempotent:* yes; a run that comes back gets a new token.

    Raises:
        Refused: as `when_busy` of the run's last environment says, or another run has ended this one meanwhile.
    """
    settings, log = job.site(environment).environment, get_run_logger()
    # One policy for the whole way: who is to be refused in production must not wait in the queue of staging.
    last = job.site(job.environment).environment
    policy = "supersede" if job.record.kind is Kind.ROLLBACK else last.when_busy
    leases, scope = job.estate.ledger.leases, job.scope(environment)

    waited_for: set[str] = set()

    def on_waiting(waiting: Waiting) -> None:
        first = waiting.held_by not in waited_for
        waited_for.add(waiting.held_by)
        if first:
            job.journal.note("waiting", scope, held_by=waiting.held_by, ahead=waiting.ahead, policy=policy)
        if policy == "supersede":
            _supersede(job, waiting, first=first)

    patience = 0.0 if policy == "refuse" else last.queue_at_most_s
    lease = await_lease(leases, scope, job.record.id, settings.lease_s, patience, log.info, on_waiting)
    _work_under(job, environment, lease)
    _require_open(job)


@contextmanager
def adopted(unfinished: Job, holder: str) -> Iterator[None]:
    """The holder alone may change, within the block, the environments of a run that is dead or suspended.

    Raises:
        Refused: somebody is at work there by now.
    """
    leases, log = unfinished.estate.ledger.leases, get_run_logger()
    try:
        for environment in unfinished.environments:
            ttl_s, scope = unfinished.site(environment).environment.lease_s, unfinished.scope(environment)
            lease = await_lease(leases, scope, holder, ttl_s, 0.0, log.info, instead_of=unfinished.record.id)
            _work_under(unfinished, environment, lease, taken_over_by=holder)
        yield
    finally:
        for kept in unfinished.leases.values():
            kept.give_up()


def _work_under(job: Job, environment: str, lease: Lease, **facts: Any) -> None:
    """The lease is renewed from now on, on record, and known to router and runtime, which refuse every older one."""
    ttl_s = job.site(environment).environment.lease_s
    job.hold(environment, KeptLease(job.estate.ledger.leases, lease, ttl_s, get_run_logger().warning))
    job.journal.note("lease", lease.scope, token=lease.token, environment=environment, **facts)
    claim(job.site(environment))


def abandoned(job: Job) -> list[ReleaseRecord]:
    """Return the unfinished runs that worked in this run's last environment and have no lease any more, newest first.

    To be asked with the lease in hand: nobody else can be at work there then. A run that still waits for its turn has
    never had a lease, and is not among them.
    """
    ledger = job.estate.ledger
    past = ledger.records(job.service.service, job.environment, _LOOK_BACK)
    running = [record for record in past if record.outcome is Outcome.RUNNING and record.id != job.record.id]
    return [record for record in running if any(item.kind == "lease" for item in ledger.evidence(record.id))]


def free_parked(unfinished: Job) -> None:
    """What was kept for a suspended run that has been brought to its end is free. *Idempotent:* yes.

    A rollback takes the last environment's lease only; the others would be kept until the question expires.
    """
    leases = unfinished.estate.ledger.leases
    for environment in unfinished.environments:
        lease = leases.find(unfinished.scope(environment))
        if lease is not None and lease.parked and lease.holder == unfinished.record.id:
            leases.give_up(lease)


def _supersede(job: Job, waiting: Waiting, *, first: bool) -> None:
    """The holder is told to stop. One that runs turns its release back; one that is suspended never wakes up again."""
    log, leases = get_run_logger(), job.estate.ledger.leases
    if first:
        log.warning("run %s is cancelled, as this one goes before it", waiting.held_by)
        try:
            known = cancel_run(waiting.held_by, f"run {job.record.id} goes before it")
        except SlipwayError as problem:
            log.warning("it could not be cancelled, its lease is waited for: %s", problem.what)
            return
        if not known:
            log.warning("the Prefect server does not know it: its lease is waited for")
    # Each time: one that is being cancelled may just have been suspended.
    held = leases.find(waiting.scope)
    if held is None or not held.parked or held.holder != waiting.held_by:
        return
    state = state_of(held.holder)
    if state is None or state.is_final():
        leases.give_up(held)


def _require_open(job: Job) -> None:
    """This run was not ended by another one, say while it was suspended.

    Raises:
        Refused: it was.
    """
    record = job.estate.ledger.record(job.record.id)
    if record.outcome is not Outcome.RUNNING:
        raise Refused(
            f"this run was ended while it was away: {record.outcome}",
            on=str(job.site(job.environment).target),
            state=(record.error or "see its record").splitlines()[0],
            next_action="'slipway status' shows what serves; release again if it is still wanted",
        )
