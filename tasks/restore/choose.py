"""Which backup a restore starts from, and which state it is to reach. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches

from tasks.common.backups import FIRST, Entry, RestoreTo
from tasks.common.errors import Refused
from tasks.restore.model import Chosen
from tasks.restore.request import RestoreRequest

_SHOWN = 3


def choose(
    request: RestoreRequest,
    entries: Sequence[Entry],
    reaches: Callable[[int], datetime | None],
    *,
    point_in_time: bool,
) -> Chosen:
    """Return what is restored: the newest backup that is not known to be unsound, or what was asked for.

    Args:
        request: what was asked for.
        entries: the plan's backups that are there.
        reaches: returns the newest moment that a repository can restore.
        point_in_time: whether the engine can restore to one.

    Raises:
        Refused: there is no such backup, it is on record as unsound, or the point in time cannot be reached; then the
            range is named that can.
    """
    sound = [each for each in entries if not _wrong(each)]
    if request.backup:
        sound = [_named(request.backup, request.plan, entries)]
    if not sound:
        raise Refused(
            "there is no backup to restore that is not known to be unsound",
            on=f"the plan {request.plan}",
            next_action="'slipway backups' shows why; a damaged one can be restored by hand, with its engine",
            facts={
                "on record as unsound": ", ".join(each.id for each in entries[:_SHOWN]) or "none: there is no backup"
            },
        )
    if request.at is None:
        entry = max(sound, key=_order)
        return Chosen(entry, RestoreTo(entry.stored.label, backup_only=bool(request.backup)), _remarks(entry, entries))
    if not point_in_time:
        raise _without_wal(request, sound)
    entry = _start_of(request, request.at, sound, reaches)
    return Chosen(entry, RestoreTo(entry.stored.label, request.at), _remarks(entry, entries))


def recheck(asked: Mapping[str, object], entries: Sequence[Entry]) -> Chosen:
    """Return what a run has asked a person about, as it can still be restored.

    Args:
        asked: facts of the question on record.
        entries: the plan's backups that are there now.

    Raises:
        Refused: it was expired, or found to be unsound meanwhile.
    """
    wanted = str(asked["entry"])
    entry = next((each for each in entries if each.id == wanted), None)
    if entry is None or _wrong(entry):
        raise Refused(
            "the backup that was asked about was expired meanwhile" if entry is None else "it was found to be unsound",
            on=wanted,
            next_action="restore again: another one is chosen",
        )
    at = datetime.fromisoformat(str(asked["at"])) if asked["at"] else None
    to = RestoreTo(entry.stored.label, at, backup_only=bool(asked["backup_only"]))
    return Chosen(entry, to, _remarks(entry, entries))


def wish_of(request: RestoreRequest) -> str:
    """Return in a few words what was asked for: 'campus-db as of 2026-11-22 13:37:00 UTC'."""
    if request.at is not None:
        since = f", from {request.backup}" if request.backup else ""
        return f"{request.plan} as of {moment(request.at)}{since}"
    return request.backup or f"the newest state of {request.plan}"


def moment(at: datetime) -> str:
    """Return a moment as people read it."""
    text = at.astimezone(UTC).isoformat(sep=" ", timespec="microseconds").removesuffix("+00:00")
    return f"{text.removesuffix('.000000')} UTC"


def _named(wanted: str, plan: str, entries: Sequence[Entry]) -> Entry:
    entry = next((each for each in entries if each.id == wanted), None)
    if entry is None:
        near = get_close_matches(wanted, [each.id for each in entries], _SHOWN, 0.5)
        raise Refused(
            f"the plan {plan} has no backup {wanted!r}",
            on="the request",
            next_action="name one that was not expired" + (f", such as {', '.join(near)}" if near else ""),
        )
    if _wrong(entry):
        others = [each for each in entries if not _wrong(each)]
        good = max(others, key=_order).id if others else ""
        raise Refused(
            "this backup is on record as unsound",
            on=wanted,
            next_action=f"restore another one, such as {good}" if good else "take a new one, as there is no other",
            facts={"since": moment(entry.unsound_at) if entry.unsound_at else "it was taken", **_error(entry)},
        )
    return entry


def _start_of(
    request: RestoreRequest, at: datetime, sound: Sequence[Entry], reaches: Callable[[int], datetime | None]
) -> Entry:
    """Return the newest backup that was complete by then, of a repository that reaches that far."""
    ends = {number: reaches(number) for number in sorted({each.repository for each in sound})}
    able = [
        each
        for each in sound
        if each.stored.ended_at <= at and (end := ends[each.repository]) is not None and at <= end
    ]
    if able:
        return max(able, key=_order)
    begins = {number: min(e.stored.ended_at for e in sound if e.repository == number) for number in ends}
    raise Refused(
        f"no backup reaches {moment(at)}",
        on=f"the plan {request.plan}",
        next_action="ask for a point in time within the range, or for a backup",
        facts={
            f"repository {number}": f"from {moment(begins[number])} to {moment(end)}" if end else "reaches nothing"
            for number, end in ends.items()
        },
    )


def _without_wal(request: RestoreRequest, sound: Sequence[Entry]) -> Refused:
    assert request.at is not None
    at = request.at
    nearest = sorted(sound, key=lambda each: abs((each.stored.ended_at - at).total_seconds()))[:_SHOWN]
    return Refused(
        "the engine of this plan keeps no WAL: it has no points in time between its backups",
        on=f"the plan {request.plan}",
        next_action="name one of its backups instead",
        facts={each.id: f"as of {moment(each.stored.ended_at)}" for each in nearest},
    )


def _remarks(entry: Entry, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return what a person has to know of this backup."""
    found = []
    if entry.verified_at is None:
        found.append("this backup was never restored before: nobody knows whether what comes back is right")
    newer = [each for each in entries if _wrong(each) and each.stored.ended_at > entry.stored.ended_at]
    if newer:
        found.append(
            f"{len(newer)} newer on record as unsound, and left out: {', '.join(e.id for e in newer[:_SHOWN])}"
        )
    return tuple(found)


def _wrong(entry: Entry) -> bool:
    return entry.unsound_at is not None or bool(entry.stored.error)


def _error(entry: Entry) -> dict[str, str]:
    return {"found": entry.stored.error} if entry.stored.error else {}


def _order(entry: Entry) -> tuple[datetime, bool, str]:
    """Newest last; of two that are as new, that of the first repository."""
    return entry.stored.ended_at, entry.repository == FIRST, entry.id
