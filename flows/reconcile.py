"""Bring what has no live holder to an end, and report what is not as it was left."""

from datetime import UTC, datetime

from prefect import flow

from blocks.estate import OpenEstate, open_estate
from flows.rollout import look_at_suspended, take_back
from tasks.common.errors import Unsafe
from tasks.common.lease_steps import holder
from tasks.release.announce_steps import announce_reconciled
from tasks.release.lease_steps import adopted
from tasks.release.model import ReleaseRecord
from tasks.release.open_steps import reopen
from tasks.release.reconcile_steps import (
    Account,
    await_expiry,
    close_unstarted,
    deliver,
    kept_releases,
    put_to_rest,
    resume,
    scopes,
    show_account,
    survey,
    unfinished_records,
)
from tasks.release.request import ReconcileRequest
from tasks.release.unfinished import Action, Decision, decide
from tasks.rollout.drift_steps import look_for_drift, stop_half_made


@flow(name="reconcile", flow_run_name="reconcile")
def reconcile(request: ReconcileRequest | None = None) -> None:
    """Bring what has no live holder to an end, and report what is not as it was left.

    Started by schedule, and when a run has crashed or has not been heard of. It takes nothing from a live holder, and
    two of it at once do no harm: both need the lease. A place that does not answer does not stand in the way of the
    others: every problem is kept for the end. *Idempotent:* yes.
    """
    estate, account = open_estate(request.estate if request is not None else ""), Account()
    with account.apart():
        account.tell(deliver(estate))
    for record in unfinished_records(estate):
        with account.apart():
            account.tell(settle(estate, record))
    for service in estate.file.services:
        with account.apart():
            kept = kept_releases(estate, service)
            for environment in estate.file.environments:
                with account.apart():
                    account.tell(stop_half_made(estate, service, environment, kept))
                    account.report(look_for_drift(estate, service, environment))
    show_account(estate, account)
    account.require_none()


def settle(estate: OpenEstate, record: ReleaseRecord) -> list[str]:
    """An unfinished run is left to its holder, or brought to an end as the estate wants it; returns what was done.

    Raises:
        Unsafe: a person must decide, or taking it back has failed.
    """
    decision = _decide(estate, record)
    if decision.action is Action.WAIT:
        await_expiry(estate.ledger.leases, scopes(estate, record), record.id)
        decision = _decide(estate, record)
    name = f"{record.kind} of {record.service} {record.release[:7]} to {record.environment}, run {record.id[:8]}"
    match decision.action:
        case Action.LEAVE | Action.WAIT:
            return []
        case Action.WATCH:
            broken = look_at_suspended(reopen(estate, record))
            return [roll_back(estate, record, f"{name}: bad while it waited for an answer: {broken}")] if broken else []
        case Action.CLOSE:
            close_unstarted(estate, record, f"{name}: {decision.why}")
            return [announce_reconciled(estate, record, f"{name}: {decision.why}", "its record was closed")]
        case Action.RESUME:
            done = f"run {resume(estate, record)[:8]} finishes it"
            return [announce_reconciled(estate, record, f"{name}: {decision.why}", done)]
        case Action.ROLL_BACK:
            return [roll_back(estate, record, f"{name}: {decision.why}")]
        case Action.REPORT:
            raise Unsafe(
                f"{name} is unfinished: {decision.why}",
                on=f"{record.service} in {record.environment}",
                state="nothing was changed by this reconciliation",
                next_action="'slipway status' shows what serves; then run the release again, or 'slipway rollback'",
            )


def roll_back(estate: OpenEstate, record: ReleaseRecord, why: str) -> str:
    """The release is out of every environment where it was half way in, its record is ended; returns what was done.

    Raises:
        Refused: somebody is at work there by now.
        Unsafe: the roll-back has failed.
    """
    unfinished = reopen(estate, record)
    with adopted(unfinished, holder()):
        outcome = take_back(unfinished, why)
        put_to_rest(unfinished)
    return f"{why}; its end: {outcome}"


def _decide(estate: OpenEstate, record: ReleaseRecord) -> Decision:
    policy = estate.file.environments[record.environment].after_crash
    return decide(survey(estate, record), policy, datetime.now(UTC))
