"""The client of a drill, a process of its own: sends at its own pace, answered or not, and logs everything.

`python -m blocks.drills.client`, with its orders as JSON in the variable SLIPWAY_DRILL, as they hold addresses. It ends
on SIGTERM. As root it has more right to the processor than what it measures: a client that waits for its turn measures
itself.

*Source:* open-loop load, B. Schroeder et al., "Open Versus Closed: A Cautionary Tale" (2006).
"""

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit

from blocks.drills.ids import INSERT, READ, VARIABLE
from blocks.drills.nodes import ask_node
from blocks.drills.session import Declined, NoAnswer, NotSent, Session
from tasks.drill.log import end_line, late_line, operation_line, sample_line, start_line
from tasks.drill.measure import Kind, Operation, Result, Sample

LOOK_EVERY_S = 0.2
_LOOK_WITHIN_S = 1.0
_NICENESS = -10
_LATE_S = 0.1
AT_ONCE = 10
"""Connections of a kind, as an application's pool has: more would be a flood when what was stopped goes on. That all of
them have to log in anew takes time of the processor, just when it is measured whether service is back."""
_PAUSE_AT_MOST_S = 0.2
"""After a failure a sender waits for a random part of this: else all would ask at the same moment for ever."""
_NONE_FREE = "not sent: all others still wait for their answers"
_ORDER = "its variable says what it is to do; 'slipway drill start' sets it"


@dataclass(frozen=True)
class Orders:
    """What a client is to do.

    Args:
        run: beginning of every id.
        log: file that it writes to.
        address: of the database, as users reach it; '' for none.
        url: of the application, as users reach it; '' for none.
        nodes: the address of each server that is asked directly, by name.
        entrances: the address at which users come in to its site, by name; of those that have one.
        writes_per_s: rows written a second.
        reads_per_s: rows read a second.
        requests_per_s: requests sent a second.
        within_s: no answer counts after that.
    """

    run: str
    log: str
    address: str = ""
    url: str = ""
    nodes: Mapping[str, str] = field(default_factory=dict)
    entrances: Mapping[str, str] = field(default_factory=dict)
    writes_per_s: int = 0
    reads_per_s: int = 0
    requests_per_s: int = 0
    within_s: float = 2.0

    def text(self) -> str:
        """Return them as the client reads them."""
        return json.dumps(asdict(self))


Attempt = Callable[[str, float], tuple[Result, str]]
"""Sends an operation by its id, until a moment; returns how it went and why."""


class _Lanes:
    """Who sends operations of one kind: as many at once as have to wait, the newest operation first.

    Who comes while all are busy waits for a connection, as in an application, and gives up when its time is over. The
    newest goes first: after an outage the oldest have no time left, and would be tried in vain for ever.
    """

    def __init__(self, kind: Kind, make: Callable[[], Attempt], log: "_LogFile", within_s: float) -> None:
        self._kind, self._make, self._log, self._within_s = kind, make, log, within_s
        self._waiting = deque[tuple[str, float]]()
        self._idle = self._count = 0
        self._changed = threading.Condition()

    def send(self, name: str, due_s: float) -> None:
        with self._changed:
            self._waiting.append((name, due_s))
            if self._idle < len(self._waiting) and self._count < AT_ONCE:
                self._count += 1
                threading.Thread(target=self._work, args=(self._make(),), daemon=True).start()
            self._changed.notify()
        self.give_up(time.monotonic())

    def give_up(self, at_s: float) -> None:
        """Operations whose time is over by then are in the log as failed, if nobody has begun to send them."""
        late = []
        with self._changed:
            while self._waiting and self._waiting[0][1] + self._within_s <= at_s:
                late.append(self._waiting.popleft())
        for name, due_s in late:
            self._say(name, due_s, due_s + self._within_s, Result.FAIL, _NONE_FREE)

    def _work(self, attempt: Attempt) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._waiting)
                self._idle -= 1
                name, due_s = self._waiting.pop()
            if self._carry_out(attempt, name, due_s) is not Result.OK:
                time.sleep(random.uniform(0, _PAUSE_AT_MOST_S))  # noqa: S311 - no secret

    def _carry_out(self, attempt: Attempt, name: str, due_s: float) -> Result:
        by_s = due_s + self._within_s
        result, why = attempt(name, by_s)
        ended_s = time.monotonic()
        if result is Result.OK and ended_s > by_s:
            # It was done, and too late for whoever waited: no loss if it is there, and no service either.
            result, why = Result.UNKNOWN if self._kind is Kind.WRITE else Result.FAIL, "answered too late"
        self._say(name, due_s, ended_s, result, why)
        return result

    def _say(self, name: str, due_s: float, ended_s: float, result: Result, why: str) -> None:
        self._log.write(operation_line(Operation(name, self._kind, due_s, ended_s, result, why)))


class _LogFile:
    """Lines that are written whole, in their order, by a thread of its own: who sends does not wait for a disk."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._lines = SimpleQueue[str | None]()
        self._writer = threading.Thread(target=self._work, daemon=True)
        self._writer.start()

    def write(self, line: str) -> None:
        self._lines.put(line)

    def close(self, line: str) -> None:
        """The line is the last one, and all are on the disk; what others say afterwards is not written."""
        self._lines.put(line)
        self._lines.put(None)
        self._writer.join()

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            os.write(self._file, line.encode())
        os.fsync(self._file)


def serve(orders: Orders, stop: threading.Event) -> None:
    """Everything was sent as ordered until `stop` was set, and all answers are in the log."""
    log = _LogFile(Path(orders.log))
    began_s = time.monotonic()
    log.write(start_line(orders.run, datetime.now(UTC), began_s))
    last = _Last()
    kinds: list[tuple[Kind, int, Callable[[], Attempt]]] = [
        (Kind.WRITE, orders.writes_per_s, lambda: _writer(orders.address, last)),
        (Kind.READ, orders.reads_per_s, lambda: _reader(orders.address, last)),
        (Kind.REQUEST, orders.requests_per_s, lambda: _requester(orders.url)),
    ]
    threads, sending = [], []
    for kind, rate, make in kinds:
        if rate:
            lanes = _Lanes(kind, make, log, orders.within_s)
            sending.append(lanes)
            threads.append(threading.Thread(target=_send_at_pace, args=(orders.run, kind, rate, lanes, log, stop)))
    for name, address in orders.nodes.items():
        entrance = orders.entrances.get(name, "")
        threads.append(threading.Thread(target=_watch, args=(name, address, entrance, log, stop), daemon=True))
    for thread in threads:
        thread.start()
    stop.wait()
    # Who was asked last has that long for an answer.
    threading.Event().wait(orders.within_s + 0.1)
    for lanes in sending:
        lanes.give_up(time.monotonic())
    log.close(end_line(time.monotonic()))


class _Last:
    """The id of a write that was acknowledged, for readers to ask for."""

    id = ""


def _send_at_pace(run: str, kind: Kind, rate: int, lanes: _Lanes, log: _LogFile, stop: threading.Event) -> None:
    began_s, number = time.monotonic(), 0
    while not stop.is_set():
        due_s = began_s + number / rate
        wait_s = due_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        elif -wait_s > _LATE_S:
            log.write(late_line(due_s, -wait_s))
        lanes.send(f"{run}-{kind.value[:2]}{number:07}", due_s)
        number += 1


def _writer(address: str, last: _Last) -> Attempt:
    session = Session(address)

    def write(name: str, by_s: float) -> tuple[Result, str]:
        try:
            session.ask(INSERT, [name], by_s)
        except NotSent as error:
            return Result.FAIL, f"not sent: {error}"
        except Declined as error:
            return Result.FAIL, str(error)
        except NoAnswer as error:
            return Result.UNKNOWN, str(error)
        last.id = name
        return Result.OK, ""

    return write


def _reader(address: str, last: _Last) -> Attempt:
    session = Session(address)

    def read(name: str, by_s: float) -> tuple[Result, str]:
        del name
        wanted = last.id
        try:
            rows = session.ask(READ, [wanted], by_s)
        except (NotSent, Declined, NoAnswer) as error:
            return Result.FAIL, str(error)
        return (Result.OK, "") if rows or not wanted else (Result.FAIL, "an acknowledged row is not there")

    return read


def _requester(url: str) -> Attempt:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def request(name: str, by_s: float) -> tuple[Result, str]:
        del name
        connection = kind(str(parts.hostname), parts.port, timeout=max(by_s - time.monotonic(), 0.001))
        try:
            connection.request("GET", path, headers={"User-Agent": "slipway-drill", "Connection": "close"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            return Result.FAIL, type(error).__name__
        finally:
            connection.close()
        return (Result.OK, "") if answer.status < 400 else (Result.FAIL, f"HTTP {answer.status}")

    return request


def _watch(name: str, address: str, entrance: str, log: _LogFile, stop: threading.Event) -> None:
    """The node was asked directly whether it takes writes, at every look, on a connection that stays open."""
    session, door = Session(address), Session(entrance) if entrance else None
    due_s = time.monotonic()
    while not stop.is_set():
        asked_s = time.monotonic()
        seen = ask_node(name, session, asked_s + _LOOK_WITHIN_S, door)
        log.write(sample_line(Sample(name, asked_s, time.monotonic(), seen.state), seen.why))
        due_s = max(due_s + LOOK_EVERY_S, time.monotonic())
        stop.wait(due_s - time.monotonic())


def main() -> None:
    """The client has done as it was ordered, until SIGTERM."""
    text = os.environ.pop(VARIABLE, "")
    if not text:
        raise SystemExit(_ORDER)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
        # Niceness counts within a session only where the kernel groups processes by session. *Source:* sched(7).
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    serve(Orders(**json.loads(text)), stop)


if __name__ == "__main__":
    main()
