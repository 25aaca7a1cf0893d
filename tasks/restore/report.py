"""What a run of `restore` has done, for people. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tasks.common.accounts import Done
from tasks.common.backup_plans import Objectives
from tasks.common.markdown import escape, table
from tasks.common.units import show_duration
from tasks.restore.choose import moment


@dataclass
class Account:
    """What was done, in the order in which it was. Texts are without secrets.

    Args:
        wish: what was asked for.
        where: the target.
        steps: each step, with its seconds.
        remarks: what a person has to know, one sentence each.
        entry_id: the backup that it started from; '' while none is chosen.
        replayed_at: time of the last transaction that came back; None where it is not known.
        heartbeat: the newest heartbeat that came back; None where there is none.
        taken: when the backup was begun, and when it was complete, where it has no WAL; None where it has.
        rto_s: from the first change until the server answered; None if it does not.
        aside: where the former state is; '' where there was none, or it is in its place again.
        state: what is true now, where it has failed.
        address: where the target's server answers; '' where nothing is started.
    """

    wish: str
    where: str
    steps: list[Done] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    entry_id: str = ""
    replayed_at: datetime | None = None
    heartbeat: datetime | None = None
    taken: tuple[datetime, datetime] | None = None
    rto_s: float | None = None
    aside: str = ""
    state: str = ""
    address: str = ""

    def remark(self, said: str) -> None:
        """It is told, once. *Idempotent:* yes."""
        if said not in self.remarks:
            self.remarks.append(said)


def came_back_to(account: Account) -> str:
    """Return which moment was come back to, as far as it can be seen in what came back."""
    seen = [
        f"the last transaction that came back is of {moment(account.replayed_at)}" if account.replayed_at else "",
        f"the newest heartbeat that came back is of {moment(account.heartbeat)}" if account.heartbeat else "",
    ]
    if account.taken is not None:
        began, ended = account.taken
        seen.append(
            f"it came back as of the backup, which was begun at {moment(began)} and complete at {moment(ended)}"
        )
    return "; ".join(filter(None, seen)) or "it came back as of the end of the backup: no WAL after it was replayed"


def report(account: Account, objectives: Objectives, problem: str) -> str:
    """Return the account as Markdown: how it ended first.

    Args:
        account: what was done.
        objectives: of the plan.
        problem: why the run has failed, without secrets; '' where it has not.
    """
    ended = "It is up" if account.address else "It is in its place"
    parts = [
        f"# Restore into {escape(account.where)}",
        f"**It failed**: {escape(problem)}" if problem else f"**{ended}**: {escape(came_back_to(account))}.",
        "\n".join(f"- {escape(each)}" for each in _facts(account, objectives, failed=bool(problem))),
        "## What was done",
        table(("step", "took", "what came of it"), [tuple(map(escape, row)) for row in _rows(account.steps)])
        if account.steps
        else "Nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def way_back(aside: str, where: str, address: str) -> str:
    """Return how the state that was put aside is put back by hand."""
    data, user = where.rpartition(" on ")[0], "the server" if address else "what works with it"
    return (
        f"the former state is whole in {aside}, and is never removed by Slipway. To go back to it: stop {user}, "
        f"'mv {data} {data}.restored', 'mv {aside} {data}', start {user}. To be rid of it: remove the folder"
    )


def _facts(account: Account, objectives: Objectives, *, failed: bool) -> Sequence[str]:
    wanted = f"the objective is {show_duration(objectives.rto_s)}"
    found = [f"asked for: {account.wish}"]
    if account.entry_id:
        found.append(f"from the backup {account.entry_id}")
    if account.rto_s is not None:
        missed = "" if account.rto_s <= objectives.rto_s else ", which is missed"
        until = "it answered" if account.address else "it was in its place"
        found.append(f"RTO {show_duration(account.rto_s)} from the first change until {until}; {wanted}{missed}")
    if failed:
        found.append(f"now: {account.state or 'nothing was changed'}")
    elif account.aside:
        found.append(way_back(account.aside, account.where, account.address))
    return [*found, *account.remarks]


def _rows(steps: Sequence[Done]) -> list[tuple[str, str, str]]:
    return [(each.what, show_duration(each.took_s), each.said) for each in steps]
