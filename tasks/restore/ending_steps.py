"""How a restore begins and ends: the right to work, the way back on failure, and who is told. A part of `steps`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prefect import task
from prefect.exceptions import Pause
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from blocks.lease_keeper import KeptLease, await_lease
from tasks.common.errors import Refused, SlipwayError, Unsafe
from tasks.common.lease import Waiting, scope_of
from tasks.common.lease_steps import holder
from tasks.common.restores import ENDED
from tasks.common.steps import ONCE
from tasks.common.units import show_duration
from tasks.restore.announce_steps import announce_end
from tasks.restore.choose import wish_of
from tasks.restore.decide import require_fits
from tasks.restore.model import BroughtBack
from tasks.restore.report import Account, way_back
from tasks.restore.request import RestoreRequest
from tasks.restore.steps import Restoring, read_masking

_DIED_S = 5.0
"""So much longer than a lease lasts it is waited for: that of a run that has died has expired by then."""
_TO_COME_BACK_S = 600.0
"""A run whose answer has come may have to wait for a worker."""


@contextmanager
def restoring(estate: OpenEstate, request: RestoreRequest) -> Iterator[Restoring]:
    """This run alone may change the target within the block; how it has ended is on record, shown and told.

    A run that is suspended has not ended: the target is kept for it.

    Raises:
        Refused: no such plan or target, one that is for something else, rules with mistakes, or another run is at work
            on the target; which one.
    """
    account = Account(wish_of(request), request.to)
    work: Restoring | None = None
    try:
        work = _begin(estate, request, account)
        yield work
    except Pause:
        if work is not None:
            _park(work)
        raise
    except BaseException as error:
        if work is not None:
            work.lease.give_up()
        announce_end(estate, request, account, error)
        raise
    work.lease.give_up()
    announce_end(estate, request, account, None)


@contextmanager
def brought_back_on_failure(work: Restoring) -> Iterator[None]:
    """Whatever fails within the block, the former state is in its place afterwards, and its server runs if it had.

    Raises:
        Unsafe: it could not be brought back.
    """
    try:
        yield
    except BaseException as error:
        work.account.state = bring_back(work)
        work.account.aside = ""
        get_run_logger().warning("brought back: %s", work.account.state)
        if isinstance(error, SlipwayError):
            # Whatever it was: nothing at the target is in doubt any more.
            raise BroughtBack(
                error.what,
                on=error.on,
                state=work.account.state,
                next_action=error.next_action,
                facts=error.facts,
            ) from error
        raise


@task(name="bring back", task_run_name="bring back what was at {work.request.to}", **ONCE)
def bring_back(work: Restoring) -> str:
    """The former state is in its place; returns what is true now. *Idempotent:* yes.

    Raises:
        Unsafe: it could not be brought back.
    """
    with work.step("bring back what was there") as said:
        try:
            said.append(work.target.bring_back())
        except SlipwayError as error:
            aside = (
                f"; {way_back(work.account.aside, work.target.where, work.target.address)}"
                if work.account.aside
                else ""
            )
            raise Unsafe(
                f"the restore has failed, and the former state was not brought back: {error.what}",
                on=error.on,
                state=f"{error.state}{aside}",
                next_action=f"{error.next_action}; or run the restore again: it begins by bringing it back",
                facts=error.facts,
            ) from error
    return said[0]


def _begin(estate: OpenEstate, request: RestoreRequest, account: Account) -> Restoring:
    plan, spec = estate.backup_plan(request.plan), estate.target_spec(request.plan, request.to)
    observed = estate.target(request.plan, request.to)
    account.where, account.address = observed.where, observed.address
    require_fits(estate.backup(request.plan).form, observed.forms, spec, f"{request.plan} into {request.to}")
    masking = read_masking(estate, spec)
    estate.ledger.prepare()
    if any(each.kind == ENDED for each in estate.ledger.restores.notes(holder())):
        # What a person has approved was done, or given up: that says nothing of another time.
        raise Refused(
            "this run has ended before, and is not done again",
            on=str(request.to),
            next_action="start another one: it asks anew where something is there",
        )
    lease = take_lease(estate, request, observed.where)
    target = estate.target(request.plan, request.to, lease)
    work = Restoring(estate, request, plan, spec, target, lease, account, masking)
    if masking is not None and not work.database:
        lease.give_up()
        raise Refused(
            "the target has rules for a masking, and it is not said which database they are for",
            on=str(work),
            next_action=f"name it under backups.{request.plan}.targets.{request.to}.database",
        )
    return work


@task(name="lease", task_run_name="wait for the lease on the target {request.to}", **ONCE)
def take_lease(estate: OpenEstate, request: RestoreRequest, where: str) -> KeptLease:
    """Nobody but this run restores into the target. That of a run that has died is waited for until it has expired.

    Raises:
        Refused: another run is at work on it; which one.
    """
    log, ttl_s = get_run_logger(), estate.backup_plan(request.plan).lease_s
    leases, scope = estate.ledger.leases, scope_of("restore", where)

    def look(waiting: Waiting) -> None:
        # That of a run that waits for an answer is good for longer than anybody waits here.
        if waiting.left_s > ttl_s + _DIED_S:
            raise _taken(waiting.held_by, where, waiting.left_s)

    try:
        lease = await_lease(leases, scope, holder(), ttl_s, ttl_s + _DIED_S, log.info, look)
    except Refused as error:
        found = leases.find(scope)
        by, left_s = (found.holder, found.left_s) if found is not None else ("another run", 0.0)
        raise _taken(by, where, left_s) from error
    return KeptLease(leases, lease, ttl_s, log.warning)


def _taken(by: str, where: str, left_s: float) -> Refused:
    return Refused(
        f"the run {by} restores into this target, or waits for an answer before it does",
        on=where,
        next_action=f"let run {by} end, or cancel it in the Prefect UI, then restore again; where nobody has answered "
        f"it in time, the target is kept for {show_duration(max(left_s, 0.0))} from now",
    )


def _park(work: Restoring) -> None:
    """The target is kept for this run while it waits for an answer."""
    waits_s = (work.expires_at - datetime.now(UTC)).total_seconds() if work.expires_at is not None else 0.0
    try:
        work.lease.park(max(waits_s, 0.0) + _TO_COME_BACK_S)
    except SlipwayError as error:
        get_run_logger().warning("others may restore there before this run is resumed: %s", error.what)
