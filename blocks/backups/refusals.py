"""What every backup engine refuses, in the same words."""

from collections.abc import Sequence
from datetime import datetime

from tasks.common.backups import Abilities, Ability, BackupKind, StoredBackup
from tasks.common.errors import Refused

_SHOWN = 5
_NEEDED = {BackupKind.DIFFERENTIAL: Ability.DIFFERENTIAL, BackupKind.INCREMENTAL: Ability.INCREMENTAL}


def require(abilities: Abilities, ability: Ability, on: str) -> None:
    """The engine can do it.

    Raises:
        Refused: it cannot; why.
    """
    if ability not in abilities.can:
        raise Refused(
            f"{ability} cannot be had here: {abilities.missing[ability]}",
            on=on,
            next_action="ask for what the engine can do, or name another engine in the estate file",
        )


def require_kind(abilities: Abilities, kind: BackupKind, on: str) -> None:
    """The engine can take backups of this kind.

    Raises:
        Refused: it cannot; why.
    """
    if kind in _NEEDED:
        require(abilities, _NEEDED[kind], on)


def find(label: str, stored: Sequence[StoredBackup], on: str) -> StoredBackup:
    """Return the backup of this label.

    Raises:
        Refused: there is none; the newest that there are are named.
    """
    for backup in stored:
        if backup.label == label:
            return backup
    newest = [backup.label for backup in stored][-_SHOWN:]
    raise Refused(
        f"there is no backup {label!r}",
        on=on,
        next_action="take the label of one that there is",
        facts={"newest there": ", ".join(newest) or "none at all"},
    )


def start_from(
    label: str | None, at: datetime | None, reaches: datetime | None, stored: Sequence[StoredBackup], on: str
) -> StoredBackup:
    """Return the backup that a restore starts from: the one of the label, else the newest that was complete by then.

    Args:
        label: the one that was asked for; None for any.
        at: point in time to reach; None for the end.
        reaches: the newest moment that the repository can restore.
        stored: what there is, oldest first.
        on: the repository.

    Raises:
        Refused: no backup reaches the point in time, which range is reached is named; or there is no such backup.
    """
    named = None if label is None else find(label, stored, on)
    whole = [backup for backup in ([named] if named else stored) if not backup.error]
    if not whole:
        raise Refused(
            "there is no backup to restore" if named is None else f"the engine reports an error in {named.label}",
            on=on,
            next_action="take a backup first" if named is None else "restore another backup",
            facts={"error": named.error} if named else {},
        )
    usable = [backup for backup in whole if at is None or backup.ended_at <= at]
    if at is not None and (not usable or reaches is None or at > reaches):
        raise Refused(
            f"no backup reaches {_moment(at)}",
            on=on,
            next_action="ask for a point in time within the range, or restore without one",
            facts={"reachable from": _moment(whole[0].ended_at), "reachable to": _moment(reaches)},
        )
    return max(usable, key=lambda backup: backup.ended_at)


def refuse_needed(labels: Sequence[str], stored: Sequence[StoredBackup], on: str) -> None:
    """No backup that is to stay needs one of these.

    Raises:
        Refused: some do; which one needs which.
    """
    going = set(labels)
    needed = {
        f"{backup.label} needs {', '.join(sorted(going.intersection(backup.needs)))}": None
        for backup in stored
        if backup.label not in going and going.intersection(backup.needs)
    }
    if needed:
        raise Refused(
            "other backups, which are to stay, need what is to be expired",
            on=on,
            next_action="expire those together with it, or keep it",
            facts={"needed": "\n".join(needed)},
        )


def _moment(at: datetime | None) -> str:
    return "nothing" if at is None else at.isoformat(sep=" ")
