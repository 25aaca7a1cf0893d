"""What people are told about drills. Pure."""

from datetime import datetime

from tasks.common.occasion import Occasion
from tasks.notify.messages import error_rows
from tasks.notify.model import About, Message, Topic

_WHEN = "%Y-%m-%d %H:%M:%S UTC"


def drill_failed(about: About, at: datetime, error: str, *, unsafe: bool, run: str, link: str = "") -> Message:
    """Return the message about a drill that has failed, or did not begin: why, the state now, the next action.

    Args:
        about: the drill.
        at: when it has ended.
        error: the error block, without secrets.
        unsafe: whether something is left that nobody has undone, or two nodes took writes at once.
        run: id of the run.
        link: where to read on.
    """
    what, rows = error_rows(error)
    lines = [
        f"Why: {what}",
        f"Wrong: {rows['wrong']}" if "wrong" in rows else "",
        f"State: {rows['state']}" if "state" in rows else "",
        f"Next: {rows.get('next', 'read the log of the run; docs/how-to/practise-failover.md says what to do')}",
    ]
    return Message(
        title=f"drill {about.service} failed" + (": NEEDS A PERSON NOW" if unsafe else ""),
        text="\n".join(line for line in lines if line),
        occasion=Occasion.UNSAFE if unsafe else Occasion.FAILED,
        about=about,
        at=at,
        facts={"run": run},
        link=link,
    )


def drill_passed(about: About, at: datetime, *, said: str, run: str, link: str = "") -> Message:
    """Return the message about a drill that has passed: what was measured."""
    return Message(
        title=f"drill {about.service} passed",
        text=f"Found: {said}\nNext: nothing; its report shows the timeline",
        occasion=Occasion.SUCCEEDED,
        about=about,
        at=at,
        facts={"run": run},
        link=link,
    )


def drill_asks(
    about: About, users: str, at: datetime, expires_at: datetime, *, by: str, run: str, link: str = ""
) -> Message:
    """Return the message that asks whether a drill may be practised on what serves: until when, how to answer."""
    lines = [
        f"{by} (not authenticated) asks to practise on what serves. Users would notice: {users}.",
        f"Without an answer it ends at {expires_at.strftime(_WHEN)}, and nothing is broken.",
        f"Answer: 'slipway approve {run} --reason TEXT', or 'reject' instead of 'approve', or in the Prefect UI.",
    ]
    return Message(
        title=f"drill {about.service}: approval wanted",
        text="\n".join(lines),
        occasion=Occasion.APPROVAL_WANTED,
        about=about,
        at=at,
        facts={"expires": expires_at.strftime(_WHEN), "run": run},
        link=link,
    )


def about_drill(estate: str, drill: str) -> About:
    """Return what messages about a drill are about."""
    return About(Topic.DRILL, estate, drill)
