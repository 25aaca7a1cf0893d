"""What people are told about moves between sites. Pure."""

from collections.abc import Sequence
from datetime import datetime

from tasks.common.occasion import Occasion
from tasks.notify.messages import error_rows
from tasks.notify.model import About, Message, Topic

_WHEN = "%Y-%m-%d %H:%M:%S UTC"


def move_failed(
    about: About, wish: str, at: datetime, error: str, *, unsafe: bool, back: bool, run: str, link: str = ""
) -> Message:
    """Return the message about a move that has failed: why, the state now, the next action.

    Args:
        about: the failover.
        wish: what was asked for.
        at: when it failed.
        error: the error block, without secrets.
        unsafe: whether it is not known that users are served.
        back: whether the site that served before serves again.
        run: id of the run.
        link: where to read on.
    """
    what, rows = error_rows(error)
    lines = [
        f"Asked for: {wish}",
        f"Why: {what}",
        f"State: {rows['state']}" if "state" in rows else "",
        f"Next: {rows.get('next', 'read the log of the run; docs/how-to/fail-over.md says what to do')}",
    ]
    how = "NEEDS A PERSON NOW" if unsafe else "taken back" if back else "nothing was changed"
    occasion = Occasion.UNSAFE if unsafe else Occasion.ROLLED_BACK if back else Occasion.FAILED
    return Message(
        title=f"{about.service}: {wish} failed: {how}",
        text="\n".join(line for line in lines if line),
        occasion=occasion,
        about=about,
        at=at,
        facts={"run": run},
        link=link,
    )


def move_finished(
    about: About, wish: str, at: datetime, served: str, said: Sequence[str], *, run: str, link: str = ""
) -> Message:
    """Return the message about a move that has ended well: who serves, and what was measured."""
    return Message(
        title=f"{about.service}: {served}",
        text="\n".join([f"Done: {wish}", *said, "Next: read the report; docs/how-to/fail-over.md says how to go back"]),
        occasion=Occasion.SUCCEEDED,
        about=about,
        at=at,
        facts={"run": run},
        link=link,
    )


def move_asks(
    about: About, wish: str, at: datetime, expires_at: datetime, *, by: str, lost: str, run: str, link: str = ""
) -> Message:
    """Return the message that asks whether a failover may move: until when, what is lost, how to answer."""
    lines = [
        f"{by} (not authenticated) asks for: {wish}.",
        f"Lost: {lost}.",
        f"Without an answer it ends at {expires_at.strftime(_WHEN)}, and nothing is changed.",
        f"Answer: 'slipway approve {run} --reason TEXT', or 'reject' instead of 'approve', or in the Prefect UI.",
    ]
    return Message(
        title=f"{about.service}: {wish}: approval wanted",
        text="\n".join(lines),
        occasion=Occasion.APPROVAL_WANTED,
        about=about,
        at=at,
        facts={"expires": expires_at.strftime(_WHEN), "run": run},
        link=link,
    )


def about_failover(estate: str, failover: str) -> About:
    """Return what messages about the moves of a failover are about."""
    return About(Topic.FAILOVER, estate, failover)
