"""How a move between sites begins and ends: the right to work, the way back, and who is told. A part of `steps`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from prefect import task
from prefect.exceptions import Pause
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from blocks.failovers import failover_plan
from blocks.lease_keeper import KeptLease, await_lease
from tasks.common.errors import Refused, SlipwayError, Unsafe
from tasks.common.lease import LeaseLost, Waiting, scope_of
from tasks.common.lease_steps import holder
from tasks.common.moves import ENDED, Closed, MoveKind
from tasks.common.steps import ONCE
from tasks.failover.announce_steps import announce_end
from tasks.failover.carry import carry_out
from tasks.failover.model import Phase, TakenBack
from tasks.failover.plan import way_back
from tasks.failover.report import Account
from tasks.failover.request import MoveRequest
from tasks.failover.steps import Moving, on_step, open_tools

_DIED_S = 5.0
"""So much longer than a lease lasts it is waited for: that of a run that has died has expired by then."""
_TO_COME_BACK_S = 600.0
"""A run whose answer has come may have to wait for a worker."""


@contextmanager
def moving(estate: OpenEstate, request: MoveRequest, kind: MoveKind) -> Iterator[Moving]:
    """This run alone may move the failover within the block; how it has ended is on record, shown and told.

    A run that is suspended has not ended: its right is kept for it.

    Raises:
        Refused: no such failover, another run moves it, or a release is at work and the move can wait.
    """
    account, work = Account(kind, request.failover, request.requested_by), None
    with ExitStack() as stack:
        try:
            work = _begin(estate, request, account, stack)
            yield work
            account.closed = Closed.REACHED
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
def taken_back_on_failure(work: Moving) -> Iterator[None]:
    """Where a planned move fails within the block before its point of no return, the old site serves afterwards.

    Raises:
        TakenBack: it has failed, and the old site serves again.
        Unsafe: it has failed, and the old site could not be made to serve.
    """
    try:
        yield
    except Exception as error:
        # Whoever has the lease now carries the move on, or takes it back: this run may do neither.
        lost = isinstance(error, LeaseLost)
        if lost or not work.account.changed or not work.move.planned or work.move.promoting:
            work.account.state = _state_now(work, error)
            raise
        take_back(work, error)
        if not isinstance(error, SlipwayError):
            raise
        raise TakenBack(
            error.what, on=error.on, state=work.account.state, next_action=error.next_action, facts=error.facts
        ) from error


@task(name="take back", task_run_name="have {work.move.source} serve again", **ONCE)
def take_back(work: Moving, why: Exception) -> None:
    """The site that served before serves again. *Idempotent:* yes.

    Raises:
        Unsafe: it could not be brought about.
    """
    served = work.move.source
    work.account.move = way_back(work.move)
    try:
        for phase in (Phase.FENCE, Phase.PROMOTE, Phase.LET_IN, Phase.POINT, Phase.VALIDATE, Phase.FOLLOW):
            carry_out(phase, work.move, work.tools, lambda step: on_step(work, step))
    except SlipwayError as error:
        raise Unsafe(
            f"the move has failed, and {served} was not made to serve again: {error.what}",
            on=error.on,
            state=f"it may be that nobody serves; {error.state}",
            next_action=f"'slipway switchover {work.request.failover} --to {served}' tries it again",
            facts={**error.facts, "the move failed because": getattr(why, "what", type(why).__name__)},
        ) from why
    work.account.closed = Closed.TURNED_BACK
    work.account.state = f"{served} serves again, and has everything"


def _state_now(work: Moving, error: Exception) -> str:
    move = work.account.move
    if not work.account.changed or move is None or isinstance(error, LeaseLost):
        return getattr(error, "state", "")
    if move.promoting:
        again = f"'slipway {work.kind} {work.request.failover} --to {move.target}'"
        return f"{move.target} was being promoted: {again} carries it on"
    return f"{move.source} is fenced, or was to be, and nobody was promoted; {getattr(error, 'state', '')}"


def _begin(estate: OpenEstate, request: MoveRequest, account: Account, stack: ExitStack) -> Moving:
    plan = failover_plan(estate, request.failover)
    estate.ledger.prepare()
    if any(each.kind == ENDED for each in estate.ledger.moves.notes(holder())):
        # What a person has approved was done, or given up: that says nothing of another time.
        raise Refused(
            "this run has ended before, and is not done again",
            on=request.failover,
            next_action="start another one: it looks, decides and asks anew",
        )
    lease = take_lease(estate, request)
    try:
        keep_releases_out(estate, request, account, stack)
    except BaseException:
        lease.give_up()
        raise
    return Moving(estate, request, account.kind, plan, open_tools(estate, request.failover, lease), lease, account)


@task(name="lease", task_run_name="wait for the lease on {request.failover}", **ONCE)
def take_lease(estate: OpenEstate, request: MoveRequest) -> KeptLease:
    """Nobody but this run moves the failover. That of a run that has died is waited for until it has expired.

    Raises:
        Refused: another run moves it; which one.
    """
    log, ttl_s = get_run_logger(), failover_plan(estate, request.failover).lease_s
    leases, scope = estate.ledger.leases, scope_of("failover", request.failover)

    def see(waiting: Waiting) -> None:
        # That of a run that waits for an answer is good for longer than anybody waits here.
        if waiting.left_s > ttl_s + _DIED_S:
            raise _taken(waiting.held_by, request.failover)

    try:
        lease = await_lease(leases, scope, holder(), ttl_s, ttl_s + _DIED_S, log.info, see)
    except Refused as error:
        found = leases.find(scope)
        raise _taken(found.holder if found is not None else "another run", request.failover) from error
    return KeptLease(leases, lease, ttl_s, log.warning)


def keep_releases_out(estate: OpenEstate, request: MoveRequest, account: Account, stack: ExitStack) -> None:
    """No release of the service begins while this run works; one that is at work stops a move that can wait.

    Raises:
        Refused: a release is at work, and nothing is down.
    """
    log, plan = get_run_logger(), failover_plan(estate, request.failover)
    leases, ttl_s = estate.ledger.leases, plan.lease_s
    scope = scope_of(plan.service, plan.environment)
    # Users are not served: a failover waits for no release, which turns itself back where it finds nothing well. What
    # nobody waits for may wait until the lease of a move that has died has expired.
    within_s = 0.0 if account.kind is MoveKind.FAILOVER else ttl_s + _DIED_S
    try:
        lease = await_lease(leases, scope, holder(), ttl_s, within_s, log.info)
    except Refused as error:
        found = leases.find(scope)
        run = found.holder if found is not None else "another run"
        if account.kind is MoveKind.FAILOVER:
            if not estate.ledger.moves.notes(run):
                account.remark(f"run {run} was at work on {plan.service} in {plan.environment}: see how it has ended")
            return
        raise Refused(
            f"run {run} is at work on {plan.service} in {plan.environment}, and nothing is down",
            on=request.failover,
            next_action=f"let run {run} end ('slipway releases list' shows it), then start this again",
        ) from error
    stack.callback(KeptLease(leases, lease, ttl_s, log.warning).give_up)


def _taken(by: str, failover: str) -> Refused:
    return Refused(
        f"the run {by} moves {failover}, or waits for an answer before it does",
        on=failover,
        next_action=f"see what run {by} does in the Prefect UI; let it end, answer it, or cancel it; then start this "
        "again",
    )


def _park(work: Moving) -> None:
    """The move is kept for this run while it waits for an answer."""
    waits_s = (work.expires_at - datetime.now(UTC)).total_seconds() if work.expires_at is not None else 0.0
    try:
        work.lease.park(max(waits_s, 0.0) + _TO_COME_BACK_S)
    except SlipwayError as error:
        get_run_logger().warning("others may move it before this run is resumed: %s", error.what)
