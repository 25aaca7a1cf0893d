"""What people are told about restores. Pure."""

from datetime import datetime

from tasks.common.occasion import Occasion
from tasks.notify.messages import error_rows
from tasks.notify.model import About, Message, Topic

_WHEN = "%Y-%m-%d %H:%M:%S UTC"


def restore_failed(
    about: About, wish: str, at: datetime, error: str, *, unsafe: bool, run: str, link: str = ""
) -> Message:
    """Return the message about a restore that has failed: why, the state now, the next action.

    Args:
        about: the plan and the target.
        wish: what was asked for.
        at: when it failed.
        error: the error block, without secrets.
        unsafe: whether it is not known what serves at the target.
        run: id of the run.
        link: where to read on.
    """
    what, rows = error_rows(error)
    lines = [
        f"Asked for: {wish}",
        f"Why: {what}",
        f"State: {rows['state']}" if "state" in rows else "",
        f"Next: {rows.get('next', 'read the log of the run; docs/how-to/restore.md says what to do')}",
    ]
    how = "NEEDS A PERSON NOW" if unsafe else "what was there before is there"
    return Message(
        title=f"restore of {about.service} failed: {how}",
        text="\n".join(line for line in lines if line),
        occasion=Occasion.UNSAFE if unsafe else Occasion.FAILED,
        about=about,
        at=at,
        facts={"run": run},
        link=link,
    )


def restore_finished(about: About, wish: str, at: datetime, *, said: str, run: str, link: str = "") -> Message:
    """Return the message about a restore that has ended well: which moment it came back to."""
    return Message(
        title=f"restore of {about.service} succeeded",
        text=f"Asked for: {wish}\nFound: {said}\nNext: look at it yourself; then take a backup of it if it serves",
        occasion=Occasion.SUCCEEDED,
        about=about,
        at=at,
        facts={"run": run},
        link=link,
    )


def restore_asks(
    about: About, wish: str, at: datetime, expires_at: datetime, *, by: str, run: str, link: str = ""
) -> Message:
    """Return the message that asks whether a restore may take the place of what is there: until when, how to answer."""
    lines = [
        f"{by} (not authenticated) asks to restore over what is there: {wish}.",
        f"Without an answer it ends at {expires_at.strftime(_WHEN)}, and nothing is changed.",
        f"Answer: 'slipway approve {run} --reason TEXT', or 'reject' instead of 'approve', or in the Prefect UI.",
    ]
    return Message(
        title=f"restore of {about.service}: approval wanted",
        text="\n".join(lines),
        occasion=Occasion.APPROVAL_WANTED,
        about=about,
        at=at,
        facts={"expires": expires_at.strftime(_WHEN), "run": run},
        link=link,
    )


def about_restore(estate: str, plan: str, target: str) -> About:
    """Return what messages about restores of a plan into a target are about."""
    return About(Topic.RESTORE, estate, f"{plan} into {target}")
