"""Processes that pause themselves in the middle of a call, as a frozen machine would. Run by `paused_in`."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.common.errors import SlipwayError
from tests.support.processes import running, stands_still, wait_until

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Paused:
    """A process that has stopped itself."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def woken(self) -> str:
        """Let it go on, and return how its call ended: 'done', or the name of the error."""
        os.kill(self.pid, signal.SIGCONT)
        self.process.wait(60.0)
        return self.log.read_text()

    def kill(self) -> None:
        """It is gone, without a chance to clear anything up."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def paused_in(call: Callable[[], object], folder: Path) -> Iterator[Paused]:
    """Another process makes the call, and has stopped itself in the middle of it; it is gone after the `with`.

    The call is pickled, and something that it calls stops the process: `grants.sleeping`, or `stop_here`.
    """
    argv, log = calling(call, folder)
    with running(argv, log=log, cwd=_ROOT) as process:
        wait_until(lambda: stands_still(process.pid) or process.poll() is not None, what="the pause")
        assert process.poll() is None, f"it did not pause: {log.read_text()}"
        try:
            yield Paused(process, log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def calling(call: Callable[[], object], folder: Path) -> tuple[Sequence[str], Path]:
    """Return the command of a process that makes the call, to be run at the repository's root, and its log."""
    file = folder / f"{uuid.uuid4().hex}.call"
    file.write_bytes(pickle.dumps(call))
    return [sys.executable, "-m", "tests.support.paused", str(file)], file.with_suffix(".log")


def stop_here() -> None:
    """This process is stopped until somebody wakes it up."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _main(file: Path) -> None:
    call: Callable[[], object] = pickle.loads(file.read_bytes())
    try:
        call()
    except SlipwayError as error:
        sys.stdout.write(type(error).__name__)
    else:
        sys.stdout.write("done")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
