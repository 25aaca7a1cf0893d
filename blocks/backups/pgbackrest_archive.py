"""The WAL that lies in a pgBackRest repository."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blocks import shell
from blocks.backups.pgbackrest_program import Program
from blocks.backups.wal import WalArchive, number_of

_SEGMENT = re.compile(r"[0-9A-F]{16}/([0-9A-F]{24})-[0-9a-f]{40}(?:\.[a-z0-9]+)?")


class Archive(WalArchive):
    """The WAL of one stanza.

    Args:
        program: pgBackRest.
        stanza: the stanza's name.
        data: the source's data folder, which may be gone.
    """

    def __init__(self, program: Program, stanza: str, data: Path) -> None:
        super().__init__(program.folder, data, program.user)
        self._program = program
        self._stanza = stanza

    def segments(self, archive: str, repository: int) -> dict[int, tuple[str, datetime]]:
        """Return the segments that are there: by number, the name on the newest timeline and when it arrived."""
        listed = self._program.json("repo-ls", "--recurse", f"archive/{self._stanza}/{archive}", repository=repository)
        found: dict[int, tuple[str, datetime]] = {}
        for path, about in sorted((listed or {}).items()):
            match = _SEGMENT.fullmatch(path)
            if match:
                # Whole seconds, cut off.
                arrived = datetime.fromtimestamp(about["time"], UTC) + timedelta(seconds=1)
                found[number_of(match[1])] = (match[1], arrived)
        return found

    def fetch(self, name: str, into: Path, control: Path, repository: int) -> None:
        """The file is the segment."""
        self._program.command(f"--pg1-path={control}", "archive-get", name, str(into), repository=repository)

    def run(self, *argv: str) -> shell.Completed:
        """Return how a program has ended that was run by pgBackRest's user."""
        return self._program.as_its_user(*argv)
