"""What people are told on each occasion: what happened, why, and what to do next."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tasks.common.model import Target
from tasks.common.occasion import Occasion
from tasks.common.units import show_duration
from tasks.notify.model import About, Message, Topic

_ENDED = {
    Occasion.SUCCEEDED: "succeeded",
    Occasion.FAILED: "failed; {environment} was not changed",
    Occasion.ROLLED_BACK: "rolled back; the former release serves {environment}",
    Occasion.UNSAFE: "NEEDS A PERSON NOW; the state of {environment} is not known to be good",
}
_NEXT = {
    Occasion.SUCCEEDED: "nothing",
    Occasion.FAILED: "read the run's summary; mend the commit, and release again",
    Occasion.ROLLED_BACK: "read the verdicts in the run's summary; mend the commit, and release again",
    Occasion.UNSAFE: "look now: 'slipway status' shows what serves, docs/how-to/roll-back.md what to do",
}
_ROW = re.compile(r"^  ([a-z][^:]*):\s+(.*)$")


class Run(Protocol):
    """What is told of a release or rollback: the ledger's record of it fits."""

    @property
    def id(self) -> str:
        """Return the run's id."""
        ...

    @property
    def kind(self) -> str:
        """Return 'release' or 'rollback'."""
        ...

    @property
    def service(self) -> str:
        """Return what was released."""
        ...

    @property
    def environment(self) -> str:
        """Return where to."""
        ...

    @property
    def commit(self) -> str:
        """Return the commit's hash."""
        ...

    @property
    def subject(self) -> str:
        """Return the first line of the commit's message."""
        ...

    @property
    def requested_by(self) -> str:
        """Return who asked for it."""
        ...

    @property
    def started_at(self) -> datetime:
        """Return its start."""
        ...

    @property
    def outcome(self) -> str:
        """Return how it ended."""
        ...

    @property
    def error(self) -> str | None:
        """Return the error block that ended it."""
        ...


def ended(run: Run, estate: str, at: datetime, link: str = "") -> Message:
    """Return the message about a release or rollback that has ended: how, why, the next action.

    Args:
        run: its record, with one of the four outcomes of a run that has ended.
        estate: the estate's name.
        at: when it ended.
        link: where to read on.

    Raises:
        ValueError: the record has no outcome to tell of.
    """
    occasion = Occasion(run.outcome)
    how = _ENDED[occasion].format(environment=run.environment)
    what, rows = error_rows(run.error or "")
    lines = [
        f"The {run.kind} {how}.",
        f"Commit: {run.subject}",
        f"Why: {what}" if what else "",
        f"State: {rows['state']}" if "state" in rows else "",
        f"Next: {rows.get('next', _NEXT[occasion])}",
    ]
    return Message(
        title=f"{run.service} {run.commit[:7]} to {run.environment}: {run.kind} {how}",
        text="\n".join(line for line in lines if line),
        occasion=occasion,
        about=_about(run, estate),
        at=at,
        facts={
            "commit": run.commit,
            "asked for by": f"{run.requested_by} (not authenticated)",
            "took": show_duration((at - run.started_at).total_seconds()),
            "run": run.id,
        },
        link=link,
    )


def approval_wanted(
    run: Run, estate: str, at: datetime, expires_at: datetime, *, before: str, risk: str = "", link: str = ""
) -> Message:
    """Return the message that asks for an approval: who wants what, until when, how to answer.

    Args:
        run: its record.
        estate: the estate's name.
        at: when it was asked.
        expires_at: no answer counts after that.
        before: what waits for the answer: the start, or a share of the traffic.
        risk: what to look at; left out where empty.
        link: where to read on, and to answer.
    """
    lines = [
        f"{run.requested_by} (not authenticated) asks to {run.kind} {run.commit[:7]} to {run.environment}.",
        f"Commit: {run.subject}",
        f"Risk: {risk}" if risk else "",
        f"Without an answer it ends at {_time(expires_at)}; what is out of it is rolled back then.",
        f"Answer: 'slipway approve {run.id} --reason TEXT', or 'reject' instead of 'approve', or in the Prefect UI.",
    ]
    return Message(
        title=f"{run.service} {run.commit[:7]} to {run.environment}: approval wanted before {before}",
        text="\n".join(line for line in lines if line),
        occasion=Occasion.APPROVAL_WANTED,
        about=_about(run, estate),
        at=at,
        facts={"commit": run.commit, "expires": _time(expires_at), "run": run.id},
        link=link,
    )


def reconciled(where: Target, at: datetime, *, found: str, done: str, next_action: str, link: str = "") -> Message:
    """Return the message about a release without a living run: what was found, what was done, what is next."""
    return Message(
        title=f"{where.service} in {where.environment}: reconciled: {done}",
        text=f"Found: {found}\nDone: {done}\nNext: {next_action}",
        occasion=Occasion.RECONCILED,
        about=_at(Topic.RELEASE, where),
        at=at,
        link=link,
    )


def drift(where: Target, at: datetime, differences: Sequence[str], link: str = "") -> Message:
    """Return the message about production that is not as Slipway left it. Nothing was changed."""
    listed = "\n".join(f"- {each}" for each in differences)
    return Message(
        title=f"{where.service} in {where.environment}: changed by somebody else ({len(differences)} differences)",
        text=f"{listed}\nNothing was changed.\nNext: find out who did this and why; 'slipway status' shows what serves",
        occasion=Occasion.DRIFT,
        about=_at(Topic.DRIFT, where),
        at=at,
        link=link,
    )


def unsettled(estate: str, at: datetime, problems: Sequence[str], link: str = "") -> Message:
    """Return the message about what a reconciliation could not bring to an end: a person must look."""
    listed = "\n".join(f"- {each}" for each in problems)
    return Message(
        title=f"{estate}: NEEDS A PERSON NOW; {len(problems)} things could not be reconciled",
        text=f"{listed}\nNext: 'slipway status' shows what serves, docs/how-to/roll-back.md what to do",
        occasion=Occasion.UNSAFE,
        about=About(Topic.RECONCILIATION, estate),
        at=at,
        link=link,
    )


def backup_failed(
    plan: str, estate: str, at: datetime, error: str, *, unsafe: bool, run: str, taken: bool = False, link: str = ""
) -> Message:
    """Return the message about a backup that has failed: why, the state now, the next action.

    Args:
        plan: name of the plan.
        estate: the estate's name.
        at: when it failed.
        error: the error block, without secrets.
        unsafe: whether a backup is damaged: what would be given back after a loss is not known to be good.
        run: id of the run.
        taken: whether a new backup is there all the same, whole and in the catalogue.
        link: where to read on.
    """
    what, rows = error_rows(error)
    how = "the new backup is whole, what comes after it was not done" if taken else "no new backup that is whole"
    how = "NEEDS A PERSON NOW; a backup is damaged" if unsafe else how
    lines = [
        f"Why: {what}",
        f"State: {rows['state']}" if "state" in rows else "",
        f"Next: {rows.get('next', 'read the log of the run; docs/how-to/backups.md says what to do')}",
    ]
    return Message(
        title=f"backup of {plan} failed: {how}",
        text="\n".join(line for line in lines if line),
        occasion=Occasion.UNSAFE if unsafe else Occasion.FAILED,
        about=About(Topic.BACKUP, estate, plan),
        at=at,
        facts={"run": run},
        link=link,
    )


def backup_taken(plan: str, estate: str, at: datetime) -> Message:
    """Return the message that the data of a plan are backed up again."""
    return Message(
        title=f"backup of {plan} succeeded",
        text="Next: nothing",
        occasion=Occasion.SUCCEEDED,
        about=About(Topic.BACKUP, estate, plan),
        at=at,
    )


def damage_not_found(plan: str, estate: str, at: datetime, error: str, *, run: str, link: str = "") -> Message:
    """Return the message that a plan's verification does not find what it is there to find.

    Args:
        plan: name of the plan.
        estate: the estate's name.
        at: when that was seen.
        error: the error block, without secrets.
        run: id of the run.
        link: where to read on.
    """
    what, rows = error_rows(error)
    return Message(
        title=f"verification of {plan} NEEDS A PERSON NOW; it does not find damage that was made on purpose",
        text="\n".join([f"Why: {what}", *(f"{name.capitalize()}: {rows[name]}" for name in ("state", "next"))]),
        occasion=Occasion.UNSAFE,
        # Not about the backups themselves: the next one of them that is taken does not end this trouble.
        about=About(Topic.VERIFICATION, estate, plan),
        at=at,
        facts={"run": run},
        link=link,
    )


def damage_found(plan: str, estate: str, at: datetime) -> Message:
    """Return the message that a plan's verification finds what it is there to find."""
    return Message(
        title=f"verification of {plan} finds all damage that was made on purpose",
        text="Next: nothing",
        occasion=Occasion.SUCCEEDED,
        about=About(Topic.VERIFICATION, estate, plan),
        at=at,
    )


def wal_held(
    plan: str, estate: str, at: datetime, problems: Sequence[str], *, run: str = "", link: str = ""
) -> Message:
    """Return the message that WAL fills the disk of a plan's source, or was lost to whoever reads it.

    Args:
        plan: name of the plan.
        estate: the estate's name.
        at: when it was seen.
        problems: one sentence each.
        run: id of the run that has seen it.
        link: where to read on.
    """
    listed = "\n".join(f"- {each}" for each in problems)
    return Message(
        title=f"the source of {plan}: NEEDS A PERSON NOW; its WAL piles up, or was lost",
        text=f"{listed}\nNext: docs/how-to/back-up-postgresql.md says what to do where WAL piles up",
        occasion=Occasion.UNSAFE,
        about=About(Topic.WAL, estate, plan),
        at=at,
        facts={"run": run} if run else {},
        link=link,
    )


def wal_let_go(plan: str, estate: str, at: datetime) -> Message:
    """Return the message that the source of a plan gets rid of its WAL again."""
    return Message(
        title=f"the source of {plan} gets rid of its WAL",
        text="Next: nothing",
        occasion=Occasion.SUCCEEDED,
        about=About(Topic.WAL, estate, plan),
        at=at,
    )


def error_rows(block: str) -> tuple[str, dict[str, str]]:
    """Return an error block's first line, and its rows by name; of a text that is no such block, its first line."""
    first, *rest = block.strip().splitlines() or [""]
    rows: dict[str, str] = {}
    name = ""
    for line in rest:
        match = _ROW.match(line)
        if match is not None:
            name = match[1]
            rows.setdefault(name, match[2])
        elif name and line.startswith("   "):
            rows[name] += f"\n{line.strip()}"
    return first, rows


def _about(run: Run, estate: str) -> About:
    return About(Topic.RELEASE, estate, run.service, run.environment)


def _at(topic: Topic, where: Target) -> About:
    return About(topic, where.estate, where.service, where.environment)


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
