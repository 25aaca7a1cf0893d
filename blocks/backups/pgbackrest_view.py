"""One backup of a pgBackRest repository by itself, so that it is verified without reading all the others.

pgBackRest before 2.55 verifies a whole repository or nothing, and all of its WAL in any version: every backup that is
kept would make the reading of the next one dearer.
*Source:* github.com/pgbackrest/pgbackrest, issues 2419 and 2828.
"""

import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.backups.wal import Range, number_of
from blocks.files import system_errors

_WAL = re.compile(r"[0-9A-F]{24}-[0-9a-f]{40}(?:\.[a-z0-9]+)?")


@contextmanager
def alone(repository: Path, view: Path, stanza: str, labels: Collection[str], wal: Range) -> Iterator[Path]:
    """The folder is a repository that has these backups and no others for the length of a `with`; yields it.

    It holds links: nothing is copied, and every byte is read where it lies. What a killed process has left of it is
    replaced.

    Args:
        repository: the folder of the whole one.
        view: the folder; not there yet.
        stanza: the stanza's name.
        labels: the backup, and those that it needs.
        wal: what they need of WAL.

    Raises:
        Refused: the repository cannot be read, or the folder not be made.
        Retryable: the system was short of something for a moment.
    """
    try:
        with system_errors("a view of the repository cannot be made", view):
            shutil.rmtree(view, ignore_errors=True)
            for kind in ("backup", "archive"):
                _link(repository, view, *(f"{kind}/{stanza}/{kind}.info{copy}" for copy in ("", ".copy")))
            _link(repository, view, *(f"backup/{stanza}/{label}" for label in labels))
            _link(repository, view, *_wal(repository, f"archive/{stanza}/{wal.archive}", wal))
        yield view
    finally:
        shutil.rmtree(view, ignore_errors=True)


def _link(repository: Path, view: Path, *names: str) -> None:
    """What there is of these names is there, too."""
    for name in names:
        if (repository / name).exists():
            (view / name).parent.mkdir(parents=True, exist_ok=True)
            (view / name).symlink_to(repository / name)


def _wal(repository: Path, folder: str, wal: Range) -> Iterator[str]:
    """Yield the segments of a range that there are, of each timeline."""
    numbers = range(number_of(wal.start), number_of(wal.stop) + 1)
    for path in (repository / folder).glob("*/*-*"):
        if _WAL.fullmatch(path.name) and number_of(path.name) in numbers:
            yield f"{folder}/{path.parent.name}/{path.name}"
