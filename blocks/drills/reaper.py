"""The reaper undoes faults that have outlived their drill, whoever else is dead: a process of its own, no Prefect.

`python -m blocks.drills.reaper FOLDER` runs until nothing is left in the journal; each drill starts one before it
injects anything. `slipway reap` does the same once, or for as long as it is left to run.
"""

import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blocks import shell
from blocks.drills.undo_journal import Reaped, UndoJournal
from tasks.common.errors import Refused, SlipwayError

LOOK_EVERY_S = 0.5
_FILE = "reaper.pid"
_STARTS_WITHIN_S = 20.0
_ENDS_AFTER_LOOKS = 20
"""So often nothing was left: a drill that is about to add its next fault still finds it."""


@contextmanager
def on_duty(folder: Path) -> Iterator[bool]:
    """This process is the folder's reaper within the block; False where another one is."""
    with (folder / _FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield True


def is_on_duty(folder: Path) -> bool:
    """Return whether a process is the folder's reaper now: a dead one holds no lock."""
    with suppress(FileNotFoundError), (folder / _FILE).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def ensure(folder: Path) -> None:
    """A reaper looks after the folder, in a session of its own. *Idempotent:* yes.

    Raises:
        Refused: none has come up.
    """
    if is_on_duty(folder):
        return
    log = folder / "reaper.log"
    root = Path(__file__).parents[2]
    shell.detach([sys.executable, "-m", "blocks.drills.reaper", str(folder.absolute())], cwd=root, log=log)
    waited = threading.Event()
    for _ in range(int(_STARTS_WITHIN_S / 0.05)):
        if is_on_duty(folder):
            return
        waited.wait(0.05)
    raise Refused(
        "no reaper has come up: without one nobody would undo the fault if this run died",
        on=str(folder),
        next_action=f"read {log}; 'slipway reap --watch' in a terminal of its own does it by hand",
    )


def watch(journal: UndoJournal, say: Callable[[str], None], *, until_empty: bool, stop: threading.Event) -> None:
    """Whatever has expired was undone, time and again, until `stop` was set.

    Args:
        journal: looked at.
        say: is told each thing that was done, and each problem once.
        until_empty: end as soon as nothing is left for a while.
        stop: ends it.
    """
    told: set[str] = set()
    quiet = 0
    while not stop.is_set():
        done, problems = journal.reap()
        for line in [line_of(each) for each in done] + [str(each) for each in problems]:
            if line not in told:
                say(line)
                told.add(line)
        left, damaged = journal.entries()
        quiet = 0 if left or damaged else quiet + 1
        if until_empty and quiet >= _ENDS_AFTER_LOOKS:
            return
        stop.wait(LOOK_EVERY_S)


def line_of(reaped: Reaped) -> str:
    """Return what became of an entry, in words."""
    if reaped.undone is None:
        return f"{reaped.entry}: NOT UNDONE\n{reaped.problem}"
    by_hand = f"; A PERSON MUST ACT: {reaped.undone.by_hand}" if reaped.undone.by_hand else ""
    return f"{reaped.entry}: {reaped.undone.said}{by_hand}"


def main() -> None:
    """The folder's faults are undone, and nothing is left in it; or another process sees to that."""
    folder = Path(sys.argv[1])
    journal = UndoJournal(folder)
    try:
        journal.prepare()
    except SlipwayError as error:
        raise SystemExit(str(error)) from None
    with on_duty(folder) as mine:
        if mine:
            watch(journal, lambda text: print(text, flush=True), until_empty=True, stop=threading.Event())  # noqa: T201


if __name__ == "__main__":
    main()
