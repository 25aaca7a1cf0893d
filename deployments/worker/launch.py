"""What a worker starts for a run: it has the fork server beside it run the flow, and ends as that process ends.

It uses the standard library alone and is started with `python -I -S`, so that it costs milliseconds. Where it gets no
process that is warm, it becomes the cold one: `python -m prefect.engine`, as a Prefect worker would start it.

What is sent: one byte with the standard streams and the lifeline beside it, then the length, the folder and the
environment. What comes back: 'cold WHY', or 'forked' with a handle of the process beside it; later 'exit CODE' by the
process itself, or 'signal NUMBER' by the fork server.
"""

import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

ASKED, FORKED, GO = b"?", b"forked", b"!"
COLD, EXIT, SIGNAL = "cold", "exit", "signal"
LENGTH_BYTES = 8
_ANSWERS_WITHIN_S = 5.0
_MESSAGE_BYTES = 4096
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Cold(Exception):
    """There is no process that is warm; says why."""


class _Signals:
    """Passes signals on to the flow's process; those that come before there is one are kept for it."""

    def __init__(self) -> None:
        self._process: int | None = None
        self._kept: list[int] = []
        for number in _PASSED_ON:
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if self._process is None:
            self._kept.append(number)
            return
        with suppress(ProcessLookupError):
            # By its handle: the number of a process that has ended may be another one's by now.
            signal.pidfd_send_signal(self._process, number)

    def pass_on_to(self, process: int) -> None:
        self._process = process
        for kept in self._kept:
            self._take(kept, None)

    def let_go(self) -> None:
        """They do as they do to any process, those that have come already, too."""
        for number in _PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
        for kept in self._kept:
            os.kill(os.getpid(), kept)


def main(address: str) -> NoReturn:
    """The flow of this process's environment has run; ends as it has ended."""
    signals = _Signals()
    try:
        end_as(_await_end(*_ask(address), signals))
    except Cold as why:
        print(f"slipway-run: a cold start: {why}", file=sys.stderr, flush=True)
        signals.let_go()
        os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])  # noqa: S606


def _ask(address: str) -> tuple[socket.socket, int, int]:
    """Return the connection, a handle of the process that waits for its start, and the lifeline.

    Whoever holds the lifeline keeps that process alive: it dies as soon as nobody does. Nothing was started where this
    raises, or will be: without a word on its lifeline the process ends.

    Raises:
        Cold: there is no such process.
    """
    theirs, lifeline = os.pipe()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_ANSWERS_WITHIN_S)
    try:
        connection.connect(address)
        # No pathlib here: to import it takes as long as all the rest.
        asked = request(os.getcwdb(), dict(os.environb))  # noqa: PTH109
        socket.send_fds(connection, [ASKED], [0, 1, 2, theirs])
        connection.sendall(asked)
        answer, handles, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        os.close(lifeline)
        raise Cold(f"the fork server does not answer: {error}") from error
    finally:
        os.close(theirs)
    if answer != FORKED or not handles:
        os.close(lifeline)
        raise Cold(answer.decode(errors="replace").removeprefix(f"{COLD} ") or "the fork server has hung up")
    connection.settimeout(None)
    return connection, handles[0], lifeline


def request(folder: bytes, environment: dict[bytes, bytes]) -> bytes:
    """Return what is asked for: the folder and the environment, with their length before them."""
    text = b"\0".join([folder, *(b"%b=%b" % item for item in environment.items())])
    return len(text).to_bytes(LENGTH_BYTES, "big") + text


def _await_end(connection: socket.socket, process: int, lifeline: int, signals: _Signals) -> str:
    """The process has run to its end; returns the last word about it, '' where there was none."""
    signals.pass_on_to(process)
    with suppress(BrokenPipeError):
        os.write(lifeline, GO)
    said = b"".join(iter(lambda: connection.recv(_MESSAGE_BYTES), b""))
    return said.decode().rpartition("\n")[0].rpartition("\n")[2]


def end_as(word: str) -> NoReturn:
    """This process has ended in the same way; one that has gone without a word was killed."""
    kind, _, number = word.partition(" ")
    if kind == EXIT:
        os._exit(int(number))
    fatal = int(number) if kind == SIGNAL else signal.SIGKILL
    with suppress(OSError):
        signal.signal(fatal, signal.SIG_DFL)
    os.kill(os.getpid(), fatal)
    os._exit(128 + fatal)


if __name__ == "__main__":
    main(sys.argv[1])
