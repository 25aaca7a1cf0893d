"""Which backup a migration may rely on: the newest that was restored and found right, and is fresh. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tasks.common.backups import Entry
from tasks.common.migrations import Phase
from tasks.common.units import show_duration
from tasks.migration.catalogue import Observed
from tasks.migration.contract import Unmet
from tasks.migration.plan import Action, Fill, Run

_NEEDED_FOR = (Phase.EXECUTE, Phase.CLEANUP)


def needed_for(actions: Sequence[Action], observed: Observed) -> tuple[Phase, ...]:
    """Return the phases of a plan that change or remove what is stored, for which there has to be a backup.

    One that was begun with a backup on record goes on with that: it was as fresh as it had to be.
    """
    begun = {
        (each.standing.name, step.phase) for each in observed.attempts if each.standing.backup for step in each.steps
    }
    phases = {
        each.at.phase for each in actions if isinstance(each, Run | Fill) and (each.at.name, each.at.phase) not in begun
    }
    return tuple(each for each in _NEEDED_FOR if each in phases)


def choose(entries: Sequence[Entry], wanted: str, plan: str, within_s: float, now: datetime) -> str | Unmet:
    """Return the id of the newest verified backup, if it is fresh; else what is there instead.

    Args:
        entries: of the plan's catalogue, without those that were removed.
        wanted: id of the one that it has to be; '' for any.
        plan: name of the plan.
        within_s: how old it may be, from its end.
        now: aware.
    """
    what = f"there is a backup of {plan}, verified, and not older than {show_duration(within_s)}"
    found = [each for each in entries if wanted in ("", each.id)]
    if wanted and not found:
        return Unmet(what, f"there is no {wanted}", "name one that there is, or none: the newest is found", firm=True)
    sound = [each for each in found if each.verified_at is not None and each.unsound_at is None]
    newest = max(sound, key=lambda each: each.stored.ended_at, default=None)
    if newest is not None and now - newest.stored.ended_at <= timedelta(seconds=within_s):
        return newest.id
    latest = max(found, key=lambda each: each.stored.ended_at, default=None)
    state = f"the newest verified one: {_told(newest, now)}; the newest: {_told(latest, now)}"
    return Unmet(what, state, f"slipway backup {plan}; slipway verify-backup {plan}; then run this again", firm=True)


def _told(entry: Entry | None, now: datetime) -> str:
    if entry is None:
        return "none"
    age = show_duration((now - entry.stored.ended_at).total_seconds())
    state = "found to be wrong" if entry.unsound_at is not None else "" if entry.verified_at else "not verified"
    return f"{entry.id}, {age} old" + (f", {state}" if state else "")
