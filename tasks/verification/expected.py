"""With what a restored copy is compared: its source as it was when the backup was taken, or as it is now. Pure."""

from dataclasses import dataclass

from tasks.common.source_facts import DatabaseFacts, SourceFacts

UNSEEN = "the source could not be observed"
_UNSTEADY = "the source's schema was changed while the backup was taken: nobody knows which one it has"
_OLDER = (
    "this is not the newest backup, the engine keeps no WAL after it, and what the source was when it was taken is not "
    "on record: schema and row counts are not compared"
)


@dataclass(frozen=True)
class Expected:
    """What a copy should be like.

    Args:
        facts: what should be in it; None where nobody knows.
        steady: whether its schema is known, too.
        why: why something of it is not known; '' where all is.
        remark: what people have to know of the comparison.
    """

    facts: DatabaseFacts | None
    steady: bool = True
    why: str = ""
    remark: str = ""


def expected(*, with_wal: bool, newest: bool, now: DatabaseFacts | None, then: SourceFacts | None) -> Expected:
    """Return what is expected of the copy of a backup.

    Args:
        with_wal: whether all that has happened since the backup is restored with it.
        newest: whether it is the newest of its repository.
        now: what is in the source now; None where it does not answer.
        then: what was in it when the backup was taken; None where that is not on record.
    """
    if not with_wal and then is not None:
        remark = f"compared with the source as it was when the backup was taken, at {then.at:%Y-%m-%d %H:%M:%S} UTC"
        return Expected(then.facts, then.steady, "" if then.steady else _UNSTEADY, remark)
    if not with_wal and not newest:
        return Expected(None, why=_OLDER, remark=_OLDER)
    return Expected(now, why="" if now is not None else UNSEEN)
