"""Which backup is verified. Pure."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from difflib import get_close_matches

from tasks.common.backups import FIRST, OF_POSTGRESQL, Entry, Form
from tasks.common.errors import Refused

NEWEST, RANDOM, LEAST_RECENTLY = "newest", "random", "least-recently-verified"

_NEVER = datetime.min.replace(tzinfo=UTC)


def choose(which: str, plan: str, entries: Sequence[Entry], pick: Callable[[Sequence[Entry]], Entry]) -> Entry:
    """Return the backup that is asked for.

    Args:
        which: one of the words above, or a backup's id.
        plan: the plan's name.
        entries: its backups that are there.
        pick: returns one of several by chance.

    Raises:
        Refused: there is none, or none of this id.
    """
    if not entries:
        raise Refused(
            "there is no backup to verify",
            on=f"the plan {plan}",
            next_action="take one, or see by 'slipway backups' why there is none",
        )
    if which == NEWEST:
        return newest(entries)
    if which == RANDOM:
        return pick(entries)
    if which == LEAST_RECENTLY:
        return min(entries, key=lambda each: (_looked_at(each), -each.stored.ended_at.timestamp(), each.id))
    found = next((each for each in entries if each.id == which), None)
    if found is None:
        near = get_close_matches(which, [NEWEST, RANDOM, LEAST_RECENTLY, *(each.id for each in entries)], 3, 0.5)
        raise Refused(
            f"the plan {plan} has no backup {which!r}",
            on="the request",
            next_action=f"ask for {NEWEST}, {RANDOM}, {LEAST_RECENTLY}, or an id of a backup that was not expired"
            + (f", such as {', '.join(near)}" if near else ""),
        )
    return found


def newest(entries: Sequence[Entry]) -> Entry:
    """Return the newest backup of the first repository; of a copy, only where that one has none."""
    return max(entries, key=lambda each: (each.repository == FIRST, each.stored.ended_at, each.id))


def is_newest(entry: Entry, entries: Sequence[Entry]) -> bool:
    """Return whether no backup of the same repository is newer."""
    return all(each.stored.ended_at <= entry.stored.ended_at for each in entries if each.repository == entry.repository)


def _looked_at(entry: Entry) -> datetime:
    """Return when it was last verified, whatever was found: one that is not sound must not keep all others waiting."""
    return max(entry.verified_at or _NEVER, entry.unsound_at or _NEVER)


def require_scratch(form: Form, forms: AbstractSet[Form], name: str, plan: str) -> None:
    """Backups of this form can be restored into the scratch server, and looked at there.

    Args:
        form: of what is restored.
        forms: those that the scratch server takes.
        name: the database that is looked at; '' where the plan names none.
        plan: for errors.

    Raises:
        Refused: the scratch server is for others, or it is not said which database is looked at.
    """
    if form not in forms:
        raise Refused(
            f"no scratch server is for backups of the form {form.value}: that of the plan takes "
            f"{' and '.join(sorted(forms))}",
            on=f"the plan {plan}",
            next_action=f"change backups.{plan}.verification.scratch: the driver 'postgresql' is for a server or a "
            "dump, 'folder' for files or a Redis snapshot",
        )
    if (form in OF_POSTGRESQL) != bool(name):
        found = "it is not said which one" if not name else f"there is none in a backup of the form {form.value}"
        raise Refused(
            f"a database is looked at after each restore, and {found}",
            on=f"the plan {plan}",
            next_action=f"{'remove' if name else 'add'} 'database' and 'name' under backups.{plan}.verification",
        )
