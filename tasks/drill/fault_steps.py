"""How a fault comes, and goes again: first the undo journal, then the fault; and back in the opposite order."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import task
from prefect.logging import get_run_logger

from blocks.drills import reaper
from blocks.drills.undo_journal import now
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.lease_steps import holder
from tasks.common.steps import ONCE
from tasks.drill.journal import GRACE_S, Entry
from tasks.drill.model import Injection
from tasks.drill.steps import Drilling

_UNDO_WITHIN_S = 60.0
_SEEN_WITHIN_S = 5.0
_POLL_S = 0.2


@contextmanager
def undone_afterwards(work: Drilling) -> Iterator[None]:
    """Whatever happens within the block, every fault of the round is undone after it, as far as a driver can.

    Raises:
        Unsafe: one could not be undone; the reaper goes on trying.
        Retryable: another drill has faults in place.
    """
    with work.place.journal.held(holder()):
        try:
            yield
        finally:
            undo(work)


@task(name="inject", task_run_name="inject the fault into {work.place.experiment.cluster}", **ONCE)
def inject(work: Drilling, found: tuple[Injection, ...]) -> None:
    """Every fault is there, and seen to be. Each was in the undo journal, on the disk, before.

    Raises:
        Refused: nobody would undo it if this process died, or there is nothing to hit.
        Unsafe: it was injected, and is not seen.
    """
    work.place.journal.prepare()
    reaper.ensure(work.place.journal.folder)
    for injection in found:
        work.lease.require()
        fault = work.place.fault(injection)
        if work.place.experiment.undo.by == "person":
            # What a restore would come back to: everything after it has to be carried over.
            work.now.mark("aimed")
        entry = entry_of(work, injection, len(work.now.entries), dict(fault.aim()))
        work.place.journal.add(entry)
        work.now.entries.append(entry)
        work.now.mark("injecting")
        fault.inject(entry.aim)
        _require_seen(work, entry)
        get_run_logger().warning("injected: %s", injection)
    work.now.mark("injected")


def entry_of(work: Drilling, injection: Injection, number: int, aim: dict[str, object]) -> Entry:
    """Return what is written to the undo journal about a fault."""
    experiment, context = work.place.experiment, work.place.estate.context
    return Entry(
        id=f"{holder()}-{work.now.number:02}-{number:02}-{uuid.uuid4().hex[:6]}",
        drill=experiment.drill,
        run_id=holder(),
        number=number,
        driver=injection.driver,
        settings=dict(injection.settings),
        aim=aim,
        base=str(context.base),
        written=now(),
        expires_s=experiment.longest_s + GRACE_S,
        tools=context.path,
        node=injection.node,
    )


def _require_seen(work: Drilling, entry: Entry) -> None:
    fault = work.place.fault(Injection(entry.driver, entry.settings, entry.node))
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while not fault.injected(entry.aim):
        if time.monotonic() > deadline:
            raise Unsafe(
                "the fault was injected, and is not seen",
                on=str(entry),
                state="it is undone next; what the drill would measure means nothing",
                next_action="find out why it is not there: a supervisor that was faster, or a setting",
            )
        time.sleep(_POLL_S)


def undo(work: Drilling) -> None:
    """Nothing of the round's faults is left that a driver can undo. *Idempotent:* yes.

    It is no task: nothing of Prefect, nor its server, stands between a fault and its undoing.

    Raises:
        Unsafe: one could not be undone; the reaper goes on trying.
    """
    work.now.mark("undone")
    left: list[SlipwayError] = []
    for entry in reversed(work.now.entries):
        try:
            undone = _patiently(work, entry)
        except SlipwayError as error:
            left.append(error)
            continue
        work.say(f"undone: {entry}: {undone[0]}")
        if undone[1]:
            work.now.by_hand.append(undone[1])
            get_run_logger().warning("a person must act: %s", work.redact(undone[1]))
    if left:
        raise Unsafe(
            f"{len(left)} faults could not be undone: {left[0].what}",
            on=str(work),
            state="they are in place, and in the undo journal; the reaper tries on",
            next_action=f"{left[0].next_action}; 'slipway reap --all' says what is left",
            facts={each.on: each.what for each in left},
        )


def _patiently(work: Drilling, entry: Entry) -> tuple[str, str]:
    deadline = time.monotonic() + _UNDO_WITHIN_S
    while True:
        try:
            found = work.place.journal.undo(entry)
        except (Retryable, Refused):
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return found.said, found.by_hand
