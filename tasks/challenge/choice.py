"""Which damages can be made, and to which file. Pure."""

from collections.abc import Callable, Sequence

from tasks.challenge.model import Fault, Part, StoredFile
from tasks.common.backups import OF_POSTGRESQL, Form, StoredBackup


def target_of(
    fault: Fault, files: Sequence[StoredFile], pick: Callable[[Sequence[StoredFile]], StoredFile]
) -> StoredFile | None:
    """Return the file that is damaged; None where there is none.

    Args:
        fault: what will be done to it.
        files: those that the backup cannot be restored without.
        pick: returns one of several by chance, so that it is another one each time.
    """
    part = Part.WAL if fault is Fault.WAL_GONE else Part.CONTENT
    able = [each for each in files if each.part is part and each.size_bytes]
    return pick(able) if able else None


def older_than(label: str, stored: Sequence[StoredBackup]) -> StoredBackup | None:
    """Return the newest whole backup before one, which needs no other; None where there is none."""
    newest = next(each for each in stored if each.label == label)
    able = [each for each in stored if each.ended_at < newest.ended_at and not each.needs and not each.error]
    return max(able, key=lambda each: each.ended_at, default=None)


def left_out_because(fault: Fault, driver: str, *, in_folders: bool) -> str:
    """Return why a damage cannot be made.

    Args:
        fault: which.
        driver: the engine's name.
        in_folders: whether each backup has a folder of its own.
    """
    if fault is Fault.SWAPPED and not in_folders:
        return f"backups of {driver} share what they hold: none can stand in another one's place"
    return {
        Fault.FLIPPED: "the backup has no file that holds anything",
        Fault.TRUNCATED: "the backup has no file that holds anything",
        Fault.WAL_GONE: f"a backup of {driver} has no WAL",
        Fault.SWAPPED: "the repository has no older full backup",
        Fault.ARCHIVE_SILENT: f"{driver} keeps no WAL after a backup: nothing is archived",
        Fault.KEY_BROKEN: "no row of the database is referred to by a foreign key",
        Fault.TABLE_GONE: "the database has no table",
    }[fault]


def no_source_because(form: Form, *, restored: bool) -> str:
    """Return why no throw-away database can be made of a backup; '' where it can.

    Args:
        form: of what is restored.
        restored: whether the plan's verifications restore anything.
    """
    if form not in OF_POSTGRESQL:
        return f"there is no database in a backup of the form {form.value}"
    return "" if restored else "the plan has no 'verification': there is no server for a throw-away database"
