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
