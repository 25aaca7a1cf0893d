"""A process that has everything imported, and forks each run of a flow. Run as `python -m`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.docs import ROOT

_ENDED_AFTER_S = 900
"""A run that hangs is ended, and that is a fault."""


class Stage:
    """Runs flows, one after the other.

    Args:
        process: `main`, running.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def play(self, job: dict[str, Any]) -> int:
        """Return how a run has ended: its exit code, or minus the signal that has ended it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that forks the runs has ended"
        return int(answer)


@contextmanager
def running_stage(log: Path) -> Iterator[Stage]:
    """Yield a stage, whose runs write to the file."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "tests.support.kills.stage", str(log)]
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdin=-1, stdout=-1, text=True) as process:
        try:
            yield Stage(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.kill()


def main() -> None:
    """Fork a run for each job that the standard input has; how it has ended goes to the standard output."""
    from tests.support.kills.played import play

    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for line in sys.stdin:
        job = json.loads(line)
        run = os.fork()
        if run == 0:
            _become(log)
            os._exit(play(job))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(run, 0)[1])}\n")
        sys.stdout.flush()


def _become(log: int) -> None:
    """This process is the leader of a session of its own, and its output goes to the log."""
    os.setsid()
    signal.alarm(_ENDED_AFTER_S)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


if __name__ == "__main__":
    main()
