"""The only module that starts processes: argument lists, a minimal environment, bounded output, no leftovers."""

import contextlib
import errno
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from blocks.guest import Guest
from tasks.common.errors import Refused, Retryable, Unsafe

_USUAL_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_TAIL_LINES = 40
_SHOWN_CHARACTERS = 500
_CHUNK_BYTES = 65536
_LINE_BYTES = 16384
# Kept beyond a line's limit while redacting and then dropped: a secret that the cut would halve is never half shown.
_MARGIN_BYTES = 8192
_CAPTURE_BYTES = 64 * 2**20
# After the leader's exit at most this much is still read: the largest pipe that Linux grants, in chunks.
_LEFT_IN_PIPE_CHUNKS = 16
# Prefect's timeouts raise in a thread only between two bytecodes, so no wait in the kernel may be long.
_TICK_S = 0.25
_GRACE_S = 5.0
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""Stands in front of a command, behind a change of user, that must not go on when whoever has started it is killed.

*Source:* setpriv(1); prctl(2), PR_SET_PDEATHSIG: a change of user clears it, and what the command forks has none.
"""
_MAY_PASS = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}


class TimedOut(Refused):
    """A command took longer than it may; it and everything that it started was ended."""


@dataclass(frozen=True)
class Completed:
    """How a command ended.

    Args:
        exit_code: 0 to 255, or minus the number of the signal that ended it.
        stdout: what it printed, not redacted, and only when captured: data to parse, never to show.
        tail: the last 40 lines of both streams, redacted.
        duration_s: from start to exit.
    """

    exit_code: int
    stdout: str
    tail: tuple[str, ...]
    duration_s: float


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    timeout_s: float,
    redact: Callable[[str], str],
    env: Mapping[str, str] | None = None,
    path: Sequence[str] = (),
    on_line: Callable[[str], None] | None = None,
    capture_stdout: bool = False,
    stop: threading.Event | None = None,
    guest: Guest | None = None,
) -> Completed:
    """The command has ended, and nothing of its process group is left. A non-zero exit code is returned, not raised.

    On a timeout, on a cancellation (any exception, KeyboardInterrupt and SystemExit too) and when the command leaves
    children behind, the process group is asked to end and killed after five seconds.

    Args:
        argv: program and arguments; no shell reads them, and no secret may be in them.
        cwd: folder that it runs in; a program with a slash in its name is looked for from here.
        timeout_s: seconds from start to exit.
        redact: takes the secrets out of a line; applied before a line goes anywhere.
        env: added to PATH, HOME, LANG and TMPDIR; nothing else of Slipway's own environment is passed on.
        path: folders in front of the usual PATH.
        on_line: receives each line as it comes; of captured output only the lines of stderr. Lines over 16 KiB are cut.
        capture_stdout: return what it prints (64 MiB at most).
        stop: the command is ended as soon as this is set: an interrupt reaches the main thread only.
        guest: who runs it, if it is trusted with nothing; its `env` may hold no secret then.

    Raises:
        Refused: no such program or folder, it cannot be started, the captured output is too long, or `stop` was set.
        TimedOut: it took longer than timeout_s.
        Retryable: the machine is out of processes, memory or file handles.
        Unsafe: it could not be ended, and may still be running.

    *Idempotent:* as the command is.
    """
    started = time.monotonic()
    if guest is not None:
        env, on_line = {**guest.environment, **(env or {})}, guest.bounded(on_line)
        timeout_s = min(timeout_s, max(0.0, guest.ends_at_s - started))
    output = _Output(redact, on_line, capture=capture_stdout)
    shown = _shown(redact(shlex.join(argv)))
    with _process(argv, shown, cwd, _environment(path, env), guest) as process:
        in_time = output.pump(process, started + timeout_s, stop)
        output.finish()
        if stop is not None and stop.is_set():
            raise _stopped(shown)
        if not in_time:
            raise _timed_out(shown, timeout_s, output)
        if output.too_long:
            raise _too_long(shown)
    return Completed(process.returncode, output.stdout, tuple(output.tail), time.monotonic() - started)


def detach(argv: Sequence[str], *, cwd: Path, log: Path) -> int:
    """A server has been started that outlives this process, in a session of its own; returns its process id.

    Its environment is the minimal one of `run`, its output goes to the end of the file `log`. *Idempotent:* no.

    Raises:
        Refused: the program is missing.
    """
    shown = _shown(argv[0])
    environment = _environment((), None)
    program = _find(argv[0], shown, cwd, environment["PATH"])
    with log.open("ab") as output:
        started = subprocess.Popen(
            [program, *argv[1:]],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return started.pid


def _shown(command: str) -> str:
    return command if len(command) <= _SHOWN_CHARACTERS else command[:_SHOWN_CHARACTERS] + " ..."


def _timed_out(shown: str, timeout_s: float, output: "_Output") -> TimedOut:
    return TimedOut(
        f"a command did not end within {timeout_s:g} s",
        on=shown,
        state="it and everything that it started was ended",
        next_action="read the last lines for what it waited for; then mend the command, or give it a longer timeout",
        facts={"last lines": "\n".join(output.tail) or "(it printed nothing)"},
    )


def _stopped(shown: str) -> Refused:
    return Refused(
        "a command was stopped, as the run was interrupted",
        on=shown,
        state="it and everything that it started was ended",
        next_action="see what interrupted the run, then run it again",
    )


def _too_long(shown: str) -> Refused:
    return Refused(
        f"a command printed more than {_CAPTURE_BYTES >> 20} MiB",
        on=shown,
        state="it was ended, and its output thrown away",
        next_action="make it print less, or write to a file",
    )


def _environment(path: Sequence[str], env: Mapping[str, str] | None) -> dict[str, str]:
    folders = [str(Path(folder).absolute()) for folder in path]
    return {
        "PATH": os.pathsep.join([*folders, *_USUAL_PATH]),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "TMPDIR": tempfile.gettempdir(),
        **(env or {}),
    }


@contextlib.contextmanager
def _process(
    argv: Sequence[str], shown: str, cwd: Path, env: dict[str, str], guest: Guest | None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Yield the started command; afterwards nothing of its process group is left."""
    program = _find(argv[0], shown, cwd, env["PATH"])
    command = [program, *argv[1:]]
    if guest is not None:
        usual = os.pathsep.join(_USUAL_PATH)
        command = guest.argv(_find("setpriv", shown, cwd, usual), _find("env", shown, cwd, usual), command, env)
        env = {}
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        may_pass = isinstance(error, OSError) and error.errno in _MAY_PASS
        raise (Retryable if may_pass else Refused)(
            f"{argv[0]} cannot be started: {getattr(error, 'strerror', None) or error}",
            on=shown,
            next_action="look at the machine's load"
            if may_pass
            else f"check {program}: its permissions, its first line",
        ) from error
    assert process.stdout is not None and process.stderr is not None
    with process.stdout, process.stderr:
        try:
            yield process
        finally:
            try:
                _end(process, shown)
            finally:
                if guest is not None and guest.alone:
                    guest.end_all()


def _find(program: str, shown: str, cwd: Path, path: str) -> str:
    if not cwd.is_dir():
        raise Refused("the folder to run in does not exist", on=str(cwd), next_action=f"create it, then run {shown}")
    found = shutil.which(str(cwd.absolute() / program)) if os.sep in program else shutil.which(program, path=path)
    if found is None:
        place = str(cwd.absolute()) if os.sep in program else path
        raise Refused(
            f"no program {program!r}",
            on=shown,
            next_action=f"install {program}, or add its folder to 'tools' in the estate file",
            facts={"looked in": place},
        )
    return found


def _end(process: "subprocess.Popen[bytes]", shown: str) -> None:
    """Nothing of the process group is left; asks first while the leader still runs."""
    pid_file = os.pidfd_open(process.pid)
    try:
        if not _wait(pid_file, 0):
            _signal_group(process.pid, signal.SIGTERM)
            _wait(pid_file, _GRACE_S)
    finally:
        # The leader has not been reaped yet, so that its number cannot have gone to a stranger.
        _signal_group(process.pid, signal.SIGKILL)
        ended = _wait(pid_file, _GRACE_S)
        os.close(pid_file)
        if ended:
            process.wait()
    if not ended:
        raise Unsafe(
            "a process could not be ended",
            on=shown,
            state=f"process {process.pid} may still be running",
            next_action=f"end it as root: kill -KILL -- -{process.pid}",
        )


def _wait(pid_file: int, within_s: float) -> bool:
    """Return whether the process has ended; it is not reaped."""
    with selectors.DefaultSelector() as selector:
        selector.register(pid_file, selectors.EVENT_READ)
        return bool(selector.select(within_s))


def _signal_group(group: int, number: signal.Signals) -> None:
    # Not permitted: a member became another user. Whether that matters is seen from whether the leader ends.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class _Lines:
    """Cuts a stream into lines of bounded length."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._length = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[str, bool]]:
        """Yield each line that is complete now, and whether it was cut."""
        # Progress bars end their lines with a carriage return.
        *whole, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for part in whole:
            self._keep(part)
            yield self._take()
        self._keep(rest)

    def finish(self) -> Iterator[tuple[str, bool]]:
        """Yield the last line if it had no end."""
        if self._length:
            yield self._take()

    def _keep(self, part: bytes) -> None:
        self._length += len(part)
        self._kept += part[: _LINE_BYTES + _MARGIN_BYTES - len(self._kept)]

    def _take(self) -> tuple[str, bool]:
        # A NUL is text that PostgreSQL cannot keep, and these lines end up in the ledger.
        text = self._kept.decode("utf-8", errors="replace").replace("\0", "\ufffd")
        cut = self._length > len(self._kept)
        self._kept, self._length = bytearray(), 0
        return text, cut


class _Output:
    """What a command prints: handed on line by line, its last lines kept."""

    def __init__(self, redact: Callable[[str], str], on_line: Callable[[str], None] | None, *, capture: bool) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.too_long = False
        self._redact = redact
        self._on_line = on_line
        self._capture = capture
        self._captured = bytearray()
        self._streams = {"stdout": _Lines(), "stderr": _Lines()}

    @property
    def stdout(self) -> str:
        """Return what was captured."""
        return self._captured.decode("utf-8", errors="replace")

    def pump(self, process: "subprocess.Popen[bytes]", deadline: float, stop: threading.Event | None) -> bool:
        """Hand on the output until the leader has exited or has to stop; return False if the deadline came first."""
        pipes = {"stdout": process.stdout, "stderr": process.stderr}
        pid_file = os.pidfd_open(process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(pid_file, selectors.EVENT_READ)
                for name, pipe in pipes.items():
                    assert pipe is not None
                    os.set_blocking(pipe.fileno(), False)
                    selector.register(pipe, selectors.EVENT_READ, name)
                exited = False
                while not exited and not self.too_long and not (stop is not None and stop.is_set()):
                    left_s = deadline - time.monotonic()
                    if left_s <= 0:
                        return False
                    for key, _ in selector.select(min(left_s, _TICK_S)):
                        if key.data is None:
                            exited = True
                        elif not self._read(key.data, key.fd):
                            selector.unregister(key.fileobj)
        finally:
            os.close(pid_file)
        for name, pipe in pipes.items():
            self._read_rest(name, pipe)
        return True

    def finish(self) -> None:
        """Hand on the last lines that had no end."""
        for name, lines in self._streams.items():
            self._hand_on(name, lines.finish())

    def _read_rest(self, name: str, pipe: IO[bytes] | None) -> None:
        # Not to the end of file: whoever moved to a session of its own may hold the pipe open for ever.
        assert pipe is not None
        for _ in range(_LEFT_IN_PIPE_CHUNKS):
            with contextlib.suppress(BlockingIOError):
                if self._read(name, pipe.fileno()):
                    continue
            return

    def _read(self, name: str, descriptor: int) -> bool:
        """Return whether there was something to read."""
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if self._capture and name == "stdout":
            self._captured += chunk
            self.too_long = len(self._captured) > _CAPTURE_BYTES
        self._hand_on(name, self._streams[name].feed(chunk))
        return bool(chunk)

    def _hand_on(self, name: str, lines: Iterator[tuple[str, bool]]) -> None:
        for text, cut in lines:
            line = self._redact(text)
            if cut:
                line = f"{line[:-_MARGIN_BYTES]} [the rest of this line was cut]"
            self.tail.append(line)
            if self._on_line is not None and not (self._capture and name == "stdout"):
                self._on_line(line)
