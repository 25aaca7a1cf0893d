"""Decides what becomes of a run that is on record as running. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from tasks.common.lease import Lease

Policy = Literal["roll-back", "resume", "report"]
"""What an estate wants to be done with a release whose run has died."""


class RunState(StrEnum):
    """What the Prefect server says of a run. It is asked for reasons, never for permission: the lease gives that."""

    ALIVE = "alive"
    SUSPENDED = "suspended"
    ENDED = "ended"
    UNKNOWN = "unknown"
    """The server has forgotten it, or does not answer."""


@dataclass(frozen=True)
class Unfinished:
    """A run that is on record as running.

    Args:
        run_id: the run.
        rollback: it is a rollback, not a release.
        resumed: it was itself started to finish what an earlier run had left.
        lease: the lease that says who may act, as `deciding` finds it; None if nobody has one.
        had_lease: it has held it at some time, by its evidence; before that it changes nothing.
        state: what the Prefect server says of it.
        state_name: the same in Prefect's words, for people.
        answer_until: it has asked a person, who has not answered; an answer counts until then.
        out: instances of its release, or traffic for them, are where it was working.
        cancelled: somebody has asked for its end.
        successor: the state of the run that was started to finish it; None if none was.
        unsent: words of it, perhaps its end, are in a file that the ledger has not taken.
    """

    run_id: str
    rollback: bool
    resumed: bool
    lease: Lease | None
    had_lease: bool
    state: RunState
    state_name: str
    answer_until: datetime | None
    out: bool
    cancelled: bool = False
    successor: RunState | None = None
    unsent: bool = False


class Action(StrEnum):
    """What is done about an unfinished run."""

    LEAVE = "leave"
    """It is alive, or somebody else deals with it."""
    WAIT = "wait"
    """It is dead, and its lease has not expired yet."""
    WATCH = "watch"
    """It waits for an answer: what is out is looked at, and taken back when it is bad."""
    CLOSE = "close"
    """It has changed nothing: only its record is ended."""
    ROLL_BACK = "roll-back"
    RESUME = "resume"
    REPORT = "report"
    """A person must decide."""


@dataclass(frozen=True)
class Decision:
    """An action, and why: one sentence without a full stop."""

    action: Action
    why: str


def deciding(leases: Sequence[Lease | None], run_id: str) -> Lease | None:
    """Return the lease that says who may act about a run: where it wants to end, or where it is still at work.

    A release takes the leases of its environments one after the other: while it waits for the last of them, the ones
    before show that it is alive.

    Args:
        leases: of the environments that it changes, in order of its way, whoever has them.
        run_id: the run.
    """
    last = leases[-1]
    if last is not None and last.live:
        return last
    own = [lease for lease in leases if lease is not None and lease.holder == run_id]
    return next((lease for lease in own if lease.live), last or next(iter(own), None))


def decide(run: Unfinished, policy: Policy, now: datetime) -> Decision:
    """Return what to do about an unfinished run.

    The lease says who may act: as long as it is live, its holder does, whatever Prefect shows. Only an expired lease is
    taken over. A release is resumed once at most, and never where somebody has asked for its end; what dies twice is
    rolled back. A rollback is always finished: to turn it back would bring back what somebody wanted to leave.

    Args:
        run: what was found.
        policy: what the estate wants to be done with a dead release.
        now: aware.
    """
    lease = run.lease
    own = lease is not None and lease.holder == run.run_id
    if lease is not None and lease.live and not own:
        return Decision(Action.LEAVE, f"run {lease.holder[:8]} has the lease, and deals with what it finds")
    if lease is not None and lease.live and not lease.parked:
        if run.state is RunState.ENDED:
            return Decision(
                Action.WAIT, f"its run has ended ({run.state_name}); its lease expires in {lease.left_s:.0f} s"
            )
        return Decision(Action.LEAVE, "it renews its lease")
    # A lease of its own is proof also where its evidence was lost.
    if not run.had_lease and not own:
        if run.state is RunState.ENDED:
            return Decision(Action.CLOSE, f"its run has ended ({run.state_name}) before its turn had come")
        return Decision(Action.LEAVE, "it waits for its turn")
    return _untended(run, policy, now)


def _untended(run: Unfinished, policy: Policy, now: datetime) -> Decision:
    """It has had its turn, and nobody renews its lease."""
    kept = run.lease is not None and run.lease.live
    if run.unsent:
        return Decision(Action.REPORT, "its last words are in a file that the ledger has not taken")
    if run.successor not in (None, RunState.ENDED):
        return Decision(Action.LEAVE, "another run was started to finish it")
    if run.answer_until is not None and run.state is not RunState.ALIVE and not _came_back(run):
        return _waiting(run, run.answer_until, now)
    if kept and run.state is RunState.ALIVE:
        return Decision(Action.LEAVE, "it is about to go on")
    if kept and run.state is RunState.SUSPENDED:
        return Decision(Action.WATCH, "it was suspended by hand, and its lease is kept for it")
    return _dead(run, policy)


def _came_back(run: Unfinished) -> bool:
    """Return whether it was resumed, and ended before it could put the answer on record."""
    lease = run.lease
    return run.state is RunState.ENDED and lease is not None and lease.holder == run.run_id and not lease.parked


def _waiting(run: Unfinished, answer_until: datetime, now: datetime) -> Decision:
    # First: an answer that comes too late ends the run on the Prefect server.
    if now > answer_until:
        return Decision(Action.ROLL_BACK, f"nobody has answered until {answer_until:%Y-%m-%d %H:%M:%S} UTC")
    if run.state is RunState.ENDED:
        return Decision(Action.ROLL_BACK, f"its run was ended ({run.state_name}) while it waited for an answer")
    return Decision(Action.WATCH, f"it waits for an answer until {answer_until:%Y-%m-%d %H:%M:%S} UTC")


def _dead(run: Unfinished, policy: Policy) -> Decision:
    how = f"its run was not heard of until its lease expired; Prefect says {run.state_name}"
    again = run.resumed or run.successor is not None
    if run.rollback:
        if again:
            return Decision(Action.REPORT, f"{how}; it is a rollback that was resumed before")
        if run.cancelled:
            return Decision(Action.REPORT, f"{how}; it is a rollback that somebody has cancelled")
        return Decision(Action.RESUME, f"{how}; a rollback is always finished")
    if not run.out:
        return Decision(Action.ROLL_BACK, f"{how}; nothing of it is out")
    if policy == "report":
        return Decision(Action.REPORT, f"{how}; this estate leaves the decision to people")
    if policy == "resume" and run.cancelled:
        return Decision(Action.ROLL_BACK, f"{how}; somebody has cancelled it")
    if policy == "resume" and not again:
        return Decision(Action.RESUME, how)
    return Decision(Action.ROLL_BACK, f"{how}; it had been resumed before" if policy == "resume" else how)
