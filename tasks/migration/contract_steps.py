"""What has to hold before data is changed or removed: a fresh verified backup, and no code that needs the old shape.

A part of `steps`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from blocks.migrations.released import place_of
from tasks.common.errors import SlipwayError
from tasks.common.lease_steps import held
from tasks.common.migrations import Phase
from tasks.common.steps import ONCE
from tasks.migration import contract, copies
from tasks.migration.catalogue import Observed
from tasks.migration.contract import Unmet
from tasks.migration.plan import Action
from tasks.migration.request import MigrateRequest, UndoRequest
from tasks.migration.steps import Migrating


@contextmanager
def permitted(work: Migrating) -> Iterator[None]:
    """What has to hold before the plan is carried out does; while an old shape goes, nobody releases here.

    Raises:
        Refused: something does not hold, all of it listed; or a release is at work here.
    """
    require_conditions(work)
    if not work.removes:
        yield
        return
    with held(work.estate, work.request.service, work.request.environment):
        # A release may have begun, and ended, until the lease was ours.
        require_conditions(work)
        yield


@contextmanager
def unused(work: Migrating) -> Iterator[None]:
    """No code that serves has the migration that is undone, and nobody releases any within the block.

    Raises:
        Refused: some has, and nobody answers for it; or a release is at work here.
    """
    assert isinstance(work.request, UndoRequest), "only what is undone"
    attempt = work.target.observe().attempt(work.request.name)
    if attempt is None or not attempt.standing.has_done(Phase.VALIDATE):
        yield
        return
    with held(work.estate, work.request.service, work.request.environment):
        require_unused(work)
        yield


@task(name="unused", task_run_name="no code that serves has the migration", **ONCE)
def require_unused(work: Migrating) -> None:
    """No code that serves has the migration that is undone, or a person answers for it. *Idempotent:* yes.

    Raises:
        Refused: some has.
    """
    request, now = work.request, datetime.now(UTC)
    assert isinstance(request, UndoRequest), "only what is undone"
    place = place_of(work.estate, request.service, request.environment, now)
    found = contract.still_used(request.name, work.target.observe().attempt(request.name), place)
    contract.require_met(found, str(work), request.accept_contract)
    words = contract.accepted_words(found, request.requested_by, request.accept_contract, now)
    if words:
        get_run_logger().warning(words)
        with work.target.locked(work.run_id, work.spec.wait_s) as engine:
            engine.note(request.name, accepted=words)


@task(name="conditions", task_run_name="conditions of {work}", **ONCE)
def require_conditions(work: Migrating) -> None:
    """Every condition of the plan is met, or a person answers for it, which is kept for the record.

    Raises:
        Refused: lists all that are not met.
    """
    assert isinstance(work.request, MigrateRequest), "undo has none"
    observed, now = work.target.observe(), datetime.now(UTC)
    work.removes = contract.removed_by(work.actions, observed)
    found, backup = conditions(work.estate, work.request, observed, work.actions, now)
    contract.require_met(found, str(work), work.request.accept_contract)
    work.backup = backup or work.backup
    work.accepted = contract.accepted_words(found, work.request.requested_by, work.request.accept_contract, now)
    if work.accepted:
        get_run_logger().warning(work.accepted)


def conditions(
    estate: OpenEstate, request: MigrateRequest, observed: Observed, actions: Sequence[Action], now: datetime
) -> tuple[tuple[Unmet, ...], str]:
    """Return every condition of a plan that is not met, and the id of the backup that there is; '' for none."""
    spec = estate.migrated(request.service, request.environment)
    found: list[Unmet] = []
    names = contract.removed_by(actions, observed)
    if names:
        since = now - timedelta(seconds=spec.rollback_window_s)
        place = place_of(estate, request.service, request.environment, since)
        apply = f"slipway migration apply {request.service} --in {request.environment}"
        found += contract.unmet(names, observed, place, spec.rollback_window_s, now, apply)
    if spec.backup is None or not copies.needed_for(actions, observed):
        return tuple(found), ""
    chosen = _backup(estate, request, spec.backup, spec.backup_verified_within_s, now)
    return ((*found, chosen), "") if isinstance(chosen, Unmet) else (tuple(found), chosen)


def _backup(estate: OpenEstate, request: MigrateRequest, plan: str, within_s: float, now: datetime) -> str | Unmet:
    try:
        estate.ledger.prepare()
        entries = estate.ledger.catalogue.entries(plan)
    except SlipwayError as error:
        return Unmet(
            f"there is a verified backup of {plan}", f"{error.what} [{error.on}]", error.next_action, firm=True
        )
    return copies.choose(entries, request.backup, plan, within_s, now)
