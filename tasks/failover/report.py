"""What a run of `failover`, `switchover` or `failback` has done, for people. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tasks.common.accounts import Done
from tasks.common.failovers import FailoverObjectives
from tasks.common.markdown import escape, table
from tasks.common.moves import Closed, Move, MoveKind
from tasks.common.units import show_duration
from tasks.failover.decide import show_loss
from tasks.failover.model import Decision, Phase, Step


@dataclass
class Account:
    """What was done, in the order in which it was. Texts are without secrets.

    Args:
        kind: what was asked for.
        failover: its name.
        by: who has asked.
        decision: what was decided; None while nothing is.
        move: what is carried out: after a planned one was taken back, the way back.
        steps: each step, with its seconds.
        remarks: what a person has to know, one sentence each.
        down_since: when users stopped to be served, as far as it is known.
        served_at: when the first request as a user was answered at the new site; None if none was.
        closed: how the move has ended; None where it has not.
        state: what is true now, where it has failed.
        changed: whether a step that users may notice was begun.
    """

    kind: MoveKind
    failover: str
    by: str
    decision: Decision | None = None
    move: Move | None = None
    steps: list[Done] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    down_since: datetime | None = None
    served_at: datetime | None = None
    closed: Closed | None = None
    state: str = ""
    changed: bool = False

    @property
    def outage_s(self) -> float | None:
        """Return how long users were not served, as far as it is known."""
        if self.down_since is None or self.served_at is None:
            return None
        return max(0.0, (self.served_at - self.down_since).total_seconds())

    def remark(self, said: str) -> None:
        """It is told, once. *Idempotent:* yes."""
        if said not in self.remarks:
            self.remarks.append(said)


def report(account: Account, objectives: FailoverObjectives, problem: str) -> str:
    """Return the account as Markdown: how it ended first, then the steps, then what was measured.

    Args:
        account: what was done.
        objectives: of the failover.
        problem: why the run has failed, without secrets; '' where it has not.
    """
    title = account.move or account.kind
    parts = [
        f"# {escape(str(title))}: {escape(account.failover)}",
        _ended(account, problem),
        "\n".join(f"- {escape(each)}" for each in _facts(account, failed=bool(problem))),
        "## What was done",
        table(("at", "step", "took", "what came of it"), [tuple(map(escape, row)) for row in _rows(account.steps)])
        if account.steps
        else "Nothing.",
        "## What was measured",
        table(("what", "measured", "objective"), [tuple(map(escape, row)) for row in measured(account, objectives)]),
    ]
    return "\n\n".join(parts) + "\n"


def measured(account: Account, objectives: FailoverObjectives) -> list[tuple[str, str, str]]:
    """Return what was measured, beside the objectives."""
    rows = []
    outage_s, rto_s = account.outage_s, objectives.rto_s
    if outage_s is not None:
        verdict = "met" if outage_s <= rto_s else "MISSED"
        rows.append(("RTO: users were not served", show_duration(outage_s), f"{show_duration(rto_s)}: {verdict}"))
    else:
        rows.append(("RTO: users were not served", "not known", show_duration(rto_s)))
    loss = account.decision.loss if account.decision is not None else None
    if loss is not None:
        limit = show_duration(objectives.rpo_s)
        if loss.seconds is not None:
            limit += ": met" if loss.seconds <= objectives.rpo_s else ": MISSED"
        rows.append(("RPO: lost", f"{show_loss(loss)}; {loss.how}", limit))
    if account.steps:
        rows.append(("the run's steps", show_duration(sum(each.took_s for each in account.steps)), ""))
    return rows


def served_by(account: Account) -> str:
    """Return who serves now, in words; '' where that is not known."""
    if account.closed is None or account.move is None:
        return ""
    return f"{account.move.target} serves"


def plan_lines(decision: Decision, steps: Sequence[Step]) -> tuple[str, ...]:
    """Return what would be done, in order, for people."""
    first = f"ask a person, because {decision.asks}" if decision.asks else ""
    fenced = [
        "go no further unless it is shown that the old site takes no writes" if last else ""
        for last in [any(step.phase is Phase.FENCE for step in steps)]
    ]
    before = [str(step) for step in steps if step.phase in (Phase.READY, Phase.FENCE)]
    after = [str(step) for step in steps if step.phase not in (Phase.READY, Phase.FENCE)]
    return tuple(filter(None, [first, *before, *fenced, *after]))


def _ended(account: Account, problem: str) -> str:
    if problem:
        return f"**It failed**: {escape(problem)}"
    outage = f", after {show_duration(account.outage_s)}" if account.outage_s is not None else ""
    return f"**{escape(served_by(account) or 'It has ended')}**{escape(outage)}."


def _facts(account: Account, *, failed: bool) -> list[str]:
    found = [f"asked for by {account.by or 'unknown'} (not authenticated)"]
    if account.decision is not None:
        found.append(f"lost: {show_loss(account.decision.loss)} ({account.decision.loss.how})")
    if failed:
        found.append(f"now: {account.state or 'nothing was changed'}")
    return [*found, *account.remarks]


def _rows(steps: Sequence[Done]) -> list[tuple[str, str, str, str]]:
    return [(f"{each.at:%H:%M:%S}", each.what, show_duration(each.took_s), each.said) for each in steps]
