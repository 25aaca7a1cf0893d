"""How far barman-cloud has come, which does not say so itself."""

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from blocks.backups.barman_record import LABEL
from tasks.common.backups import OnProgress, Progress

_BEGUN = re.compile(rf"Starting backup '({LABEL})'")
_FILE = re.compile(r"DEBUG: Uploading (.+)$")
_LOOK_EVERY_S = 0.5


class Counter:
    """Makes progress of Barman's lines, one a file, and finds the label among them.

    Args:
        data: the folder that is backed up.
        on_progress: is told after each file.
    """

    def __init__(self, data: Path, on_progress: OnProgress) -> None:
        self._roots = (data, *data.glob("pg_tblspc/*"))
        self._on_progress = on_progress
        self._total_bytes = sum(map(size_of, self._roots))
        self.label = ""
        self.done_bytes = 0

    def __call__(self, line: str) -> None:
        """One more line has come."""
        begun, file = _BEGUN.search(line), _FILE.search(line)
        if begun:
            self.label = begun[1]
        if file:
            self.done_bytes += next(_sizes_of(file[1], self._roots), 0)
            self._on_progress(Progress(self.done_bytes, max(self.done_bytes, self._total_bytes)))

    def finish(self) -> None:
        """All is done."""
        self._on_progress(Progress(self.done_bytes, self.done_bytes))


def watched(work: Callable[[threading.Event], None], look: Callable[[], None]) -> None:
    """The work is done; meanwhile it was looked at. Where that raises, the work is stopped."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work, stop)
        try:
            while True:
                look()
                if wait([done], _LOOK_EVERY_S).done:
                    return done.result()
        except BaseException:
            stop.set()
            raise


def _sizes_of(name: str, roots: Sequence[Path]) -> Iterator[int]:
    """Yield the size of a file of this name, as Barman gives it, in each place that may be meant."""
    for root in roots:
        with contextlib.suppress(OSError):
            yield (root / name).stat().st_size


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder that changes meanwhile; WAL, which is no part of a backup, left out."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for place, folders, files in os.walk(folder):
        if "pg_wal" in folders:
            folders.remove("pg_wal")
        for name in files:
            with contextlib.suppress(OSError):
                yield Path(place, name).stat().st_size
