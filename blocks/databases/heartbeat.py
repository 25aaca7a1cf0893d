"""Writes heartbeats into databases, and looks whether their servers get rid of their WAL."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from tasks.common.errors import SlipwayError
from tasks.common.wal import problems
from tasks.verification.ports import Database

EVERY_S, LOOK_EVERY_S = 1.0, 60.0
WAITS_AT_MOST_S = 900.0
"""WAL that waits longer to be archived is told of. *Source:* requirement DR-1: at most 15 minutes are lost."""
_WELL, _LET_GO = "heartbeats arrive", "WAL is archived and read again"
Alarm = Callable[[str, Sequence[str]], None]


def keep_beating(
    databases: Mapping[str, Database],
    stop: threading.Event,
    say: Callable[[str, str], None],
    every_s: float = EVERY_S,
    alarm: Alarm = lambda name, found: None,
    look_every_s: float = LOOK_EVERY_S,
) -> None:
    """Heartbeats were written into each database until `stop` was set, whatever happened to the others.

    A database that does not take them is tried again, and that is said once, as is that it takes them again. Where a
    server cannot get rid of its WAL, so that its disk fills, people are told once; and when it can again.

    Args:
        databases: by name.
        stop: ends it.
        say: is told a database's name and what has changed; from several threads.
        every_s: time from one heartbeat to the next.
        alarm: is told a database's name and what is wrong with its WAL, or nothing when all is well again.
        look_every_s: time from one look at the WAL to the next.
    """
    threads = [
        threading.Thread(target=work, args=(name, database, stop, tell, after_s), name=f"heartbeat {name}")
        for name, database in databases.items()
        for work, tell, after_s in ((_beat, say, every_s), (_watch, _both(say, alarm), look_every_s))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _beat(
    name: str, database: Database, stop: threading.Event, say: Callable[[str, str], None], every_s: float
) -> None:
    said, due = "", time.monotonic()
    while not stop.is_set():
        try:
            database.beat()
            told = _WELL
        except SlipwayError as error:
            told = str(error)
        if told != said:
            say(name, told)
            said = told
        due = max(due + every_s, time.monotonic())
        stop.wait(due - time.monotonic())


def _watch(name: str, database: Database, stop: threading.Event, tell: Alarm, every_s: float) -> None:
    wrong = False
    while not stop.is_set():
        # A database that does not answer is told of by who writes its heartbeats, and is not well again by that.
        with suppress(SlipwayError):
            found = problems(database.wal(), WAITS_AT_MOST_S)
            if bool(found) != wrong:
                wrong = bool(found)
                tell(name, found)
        stop.wait(every_s)


def _both(say: Callable[[str, str], None], alarm: Alarm) -> Alarm:
    def tell(name: str, found: Sequence[str]) -> None:
        say(name, "; ".join(found) or _LET_GO)
        alarm(name, found)

    return tell
