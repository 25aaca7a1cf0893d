"""The WAL that lies in a repository, and how far it reaches."""

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from pwd import struct_passwd

from blocks import shell
from blocks.backups.refusals import start_from
from blocks.files import system_errors
from blocks.postgresql import find_binaries
from blocks.users import own
from tasks.common.backups import RestoreTo, StoredBackup
from tasks.common.errors import Refused, SlipwayError, Unsafe

_COMMIT = re.compile(r"desc: (?:COMMIT|ABORT|COMMIT_PREPARED|ABORT_PREPARED)\S* (?:\d+: )?(\d{4}-\d\d-\d\d \S+) UTC")
# PostgreSQL's default, 16 MiB: 256 segments have the same middle of their names.
_EACH = 256


@dataclass(frozen=True)
class Range:
    """WAL that a backup needs to be consistent, by the names of its first and last segment.

    Args:
        archive: the folder of its cluster's version: '15-1'.
        start: the first segment.
        stop: the last one.
    """

    archive: str
    start: str
    stop: str


class WalArchive(ABC):
    """The WAL of one cluster, in one or two repositories.

    Args:
        folder: the engine's own folder: what is known of the source is kept there, and WAL is fetched into it.
        data: the source's data folder, which may be gone.
        user: whom the folder belongs to; None for the user that we are.
    """

    def __init__(self, folder: Path, data: Path, user: struct_passwd | None) -> None:
        self._folder = folder
        self._data = data
        self._user = user
        self._known = folder / "known"
        self._commits: dict[tuple[int, str], datetime | None] = {}

    @abstractmethod
    def segments(self, archive: str, repository: int) -> dict[int, tuple[str, datetime]]:
        """Return the segments that are there: by number, the name on the newest timeline and when it arrived.

        Raises:
            Refused, Retryable: the repository cannot be read.
        """

    @abstractmethod
    def fetch(self, name: str, into: Path, control: Path, repository: int) -> None:
        """The file is the segment; `control` is a data folder with the source's control file, if nothing else."""

    @abstractmethod
    def run(self, *argv: str) -> shell.Completed:
        """Return how a program has ended that was run by the engine's user, with what it has printed."""

    def reach(
        self, there: Mapping[int, tuple[str, datetime]], wanted: Range, ended: datetime, repository: int
    ) -> datetime:
        """Return the newest moment that the WAL without a gap after a backup leads to: its last commit.

        Where the WAL cannot be read for want of the source's control file: when its newest segment arrived.

        Args:
            there: the segments of the backup's archive, listed once for all backups: there may be very much of it.
            wanted: what the backup needs of it.
            ended: when the backup was complete; aware.
            repository: its number.
        """
        last = unbroken(there, number_of(wanted.start))
        control = self._control()
        for number in range(last, number_of(wanted.stop) - 1, -1):
            name, arrived = there[number]
            at = arrived if control is None else self._last_commit(name, control, repository)
            if at is not None:
                return max(at, ended)
        return ended

    def remember_control(self) -> None:
        """The source's control file is kept, so that WAL can be read when the source is lost. *Idempotent:* yes."""
        kept = self._known / "global" / "pg_control"
        with system_errors("the source's control file cannot be kept", kept):
            for folder in (self._known, kept.parent):
                own(folder, self._user)
            shutil.copyfile(self._data / "global" / "pg_control", kept)
            if self._user is not None:
                shutil.chown(kept, self._user.pw_uid, self._user.pw_gid)

    def _control(self) -> Path | None:
        return next((each for each in (self._known, self._data) if (each / "global" / "pg_control").exists()), None)

    def _last_commit(self, name: str, control: Path, repository: int) -> datetime | None:
        """Return when the last transaction of a segment ended; None if none did, or it cannot be read."""
        key = (repository, name)
        if key not in self._commits:
            self._commits[key] = self._read_last_commit(name, control, repository)
        return self._commits[key]

    def _read_last_commit(self, name: str, control: Path, repository: int) -> datetime | None:
        file = self._folder / "scratch" / name
        try:
            self.fetch(name, file, control, repository)
            # It fails at the end of each segment, where it would need the next one: only what it has shown counts.
            shown = self.run(str(find_binaries() / "pg_waldump"), "--rmgr=Transaction", str(file))
        except SlipwayError:
            return None
        finally:
            file.unlink(missing_ok=True)
        times = _COMMIT.findall(shown.stdout)
        return datetime.fromisoformat(times[-1]).replace(tzinfo=UTC) if times else None


def number_of(segment: str) -> int:
    """Return a segment's place in the order of all, whatever its timeline."""
    return int(segment[8:16], 16) * _EACH + int(segment[16:24], 16)


def unbroken(there: Mapping[int, object], first: int) -> int:
    """Return the last segment that is reached from the first one without a gap; the one before it if it is missing."""
    last = first
    while last in there:
        last += 1
    return last - 1


def gap(there: Mapping[int, object], first: int) -> int | None:
    """Return the first segment that is missing while there are later ones; None if there is no gap."""
    last = unbroken(there, first)
    return last + 1 if there and max(there) > last else None


def missing(there: Mapping[int, object], wanted: Range) -> Sequence[str]:
    """Return the segments of a range that are not there."""
    numbers = range(number_of(wanted.start), number_of(wanted.stop) + 1)
    return [name_of(number, wanted.start[:8]) for number in numbers if number not in there]


def name_of(number: int, timeline: str) -> str:
    """Return the name of a segment by its place."""
    return f"{timeline}{number // _EACH:08X}{number % _EACH:08X}"


def choose_start(
    to: RestoreTo, stored: Sequence[StoredBackup], reach: Callable[[], Mapping[str, datetime]], on: str
) -> tuple[StoredBackup, bool]:
    """Return the backup that a restore starts from, and whether all WAL that there is counts.

    Args:
        to: what is asked for.
        stored: what there is, oldest first.
        reach: returns the newest moment that each backup leads to, by its label.
        on: the repository.

    Raises:
        Refused: no such backup, or none reaches the point in time.
    """
    if to.at is None:
        return start_from(to.label, None, None, stored, on), not to.backup_only
    reached = reach()
    newest = max(reached.values(), default=None)
    start = start_from(to.label, to.at, newest, stored, on)
    able = [each for each in stored if each.ended_at <= to.at <= reached[each.label] and not each.error]
    able = [each for each in able if to.label in (None, each.label)]
    if not able:
        raise Refused(
            f"WAL on the way to {to.at.isoformat(sep=' ')} is missing",
            on=on,
            next_action="ask for an earlier point in time, or for one after a later backup",
            facts={f"{start.label} reaches": reached[start.label].isoformat(sep=" ")},
        )
    # PostgreSQL stops before the first commit after the target; after the last commit of all there is none.
    return able[-1], to.at == reached[able[-1].label] == newest


def require_wal(there: Mapping[int, object], wanted: Range, on: str, *, to_the_end: bool) -> None:
    """The WAL that makes a backup consistent is there, and nothing is missing between it and the end.

    Args:
        there: the segments that are there, by number.
        wanted: what the backup needs.
        on: the repository.
        to_the_end: all WAL after it counts.

    Raises:
        Unsafe: something is missing.
    """
    absent = list(missing(there, wanted))
    first_gap = gap(there, number_of(wanted.start)) if to_the_end else None
    if first_gap is not None and not absent:
        absent = [name_of(first_gap, wanted.start[:8])]
    if absent:
        raise Unsafe(
            "WAL that the restore needs is missing in the repository",
            on=on,
            state="nothing was restored",
            next_action="restore from the other repository, or only what is reached: name the backup and a point "
            "in time before the gap",
            facts={"missing": ", ".join(absent[:5])},
        )
