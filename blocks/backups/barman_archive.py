"""The WAL that lies in a bucket of barman-cloud."""

import re
from datetime import datetime, timedelta
from pathlib import Path

from blocks import shell
from blocks.backups.barman_program import Program
from blocks.backups.barman_settings import Settings
from blocks.backups.buckets import Bucket, Stored
from blocks.backups.wal import Range, WalArchive, number_of

_SEGMENT = re.compile(r"[0-9A-F]{16}/([0-9A-F]{24})(?:\.[a-z0-9]+)?")


class Archive(WalArchive):
    """The WAL of one cluster, as barman-cloud-wal-archive has put it there.

    Args:
        program: barman-cloud.
        bucket: where it lies.
        settings: which cluster.
        data: the source's data folder, which may be gone.
    """

    def __init__(self, program: Program, bucket: Bucket, settings: Settings, data: Path) -> None:
        super().__init__(program.folder, data, program.user)
        self._program = program
        self._bucket = bucket
        self._prefix = f"{settings.root}wals/"

    def segments(self, archive: str, repository: int, of: Range | None = None) -> dict[int, tuple[str, datetime]]:
        """Return the segments that are there; of a range, no more than may be of it."""
        del archive, repository
        found: dict[int, tuple[str, datetime]] = {}
        for key, about in sorted(self._listed(of).items()):
            match = _SEGMENT.fullmatch(key.removeprefix(self._prefix))
            if match:
                # Whole seconds, cut off.
                found[number_of(match[1])] = (match[1], about.at + timedelta(seconds=1))
        return found

    def objects(self, wanted: Range) -> dict[str, Stored]:
        """Return the segments of a range as the bucket has them, by their keys."""
        first, last = number_of(wanted.start), number_of(wanted.stop)
        return {
            key: about
            for key, about in self._listed(wanted).items()
            if (match := _SEGMENT.fullmatch(key.removeprefix(self._prefix)))
            and match[1][:8] == wanted.start[:8]
            and first <= number_of(match[1]) <= last
        }

    def fetch(self, name: str, into: Path, control: Path, repository: int) -> None:
        """The file is the segment."""
        del control, repository
        self._program.command(
            "barman-cloud-wal-restore", name, str(into), before=(f"--spool-dir={self._program.folder / 'spool'}",)
        )

    def run(self, *argv: str) -> shell.Completed:
        """Return how a program has ended that was run by barman-cloud's user."""
        return self._program.as_its_user(*argv)

    def _listed(self, of: Range | None) -> dict[str, Stored]:
        # Barman's folders: timeline and the middle of the name. A range seldom has more than one.
        one = of is not None and of.start[:16] == of.stop[:16]
        return dict(self._bucket.list(f"{self._prefix}{of.start[:16]}/" if of and one else self._prefix))
