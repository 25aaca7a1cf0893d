"""A fork server without Prefect: what it forks runs the `flow.py` in the run's folder. Run as `python -m`.

What a launcher becomes where it gets no warm process is a stand-in as well: a `prefect/engine.py` in that folder.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from deployments.worker import forkserver, launch
from deployments.worker.warm import why_cold
from tests.support.processes import running, wait_until

ROOT = Path(__file__).resolve().parents[2]
_FAKE_COLD = "print('cold', flush=True)\n"


def main() -> int:
    """Serve until the code changes, of which the file `code` beside the socket is all."""
    path = Path(sys.argv[1])
    code, imported_with = _code(path), dict(os.environ)

    def decide(request: forkserver.Request) -> str | None:
        return forkserver.CHANGED if _code(path) != code else why_cold(imported_with, request.environment)

    request = forkserver.serve(forkserver.listen(path), decide)
    if request is None:
        return 0
    forkserver.become(request)
    return forkserver.run(request, "flow")


def _code(path: Path) -> str:
    return path.with_name("code").read_text()


class Place:
    """A folder with a fork server's socket, and what its runs run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "socket"
        self._runs = 0
        (folder / "code").write_text("1")

    @contextmanager
    def server(self, **env: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A fork server is there, with variables of its own."""
        argv = [sys.executable, "-m", "tests.support.forking", str(self.socket)]
        with running(argv, log=self.folder / "server.log", env=self._env(env), cwd=ROOT) as process:
            wait_until(self.socket.exists, what="the fork server")
            yield process

    @contextmanager
    def launched(self, flow: str, **env: str) -> Iterator["Launched"]:
        """A run of the flow is launched as a worker does it."""
        self._runs += 1
        folder = self.folder / f"run-{self._runs}"
        (folder / "prefect").mkdir(parents=True)
        (folder / "flow.py").write_text(flow)
        (folder / "prefect/__init__.py").touch()
        (folder / "prefect/engine.py").write_text(_FAKE_COLD)
        argv = [sys.executable, "-I", "-S", str(Path(launch.__file__)), str(self.socket)]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(argv, cwd=folder, env=self._env(env), stdout=out, stderr=err)
        try:
            yield Launched(process, folder)
        finally:
            end_alone(process)

    def _env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), **(more or {})}


class Launched:
    """A launcher, and what its flow has written."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.process, self.folder = process, folder

    @property
    def out(self) -> str:
        """Return what stands on standard output."""
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        """Return what stands on standard error."""
        return (self.folder / "err").read_text()

    def end(self) -> int:
        """Wait for the launcher's end; returns its exit code, or minus the signal that has ended it."""
        return self.process.wait(30)

    def flow(self) -> int:
        """Wait until the flow has written its process id to the file `pid`, and return that."""
        wait_until((self.folder / "pid").exists, what="the flow's process")
        return int((self.folder / "pid").read_text())


def end_alone(process: "subprocess.Popen[bytes]") -> None:
    """The process has ended."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    process.wait()


def gone(pid: int) -> Callable[[], bool]:
    """Return whether a process is no more; one that nobody has waited for yet is no more."""

    def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith(("Z", "X"))
        except OSError:
            return True

    return ended


if __name__ == "__main__":
    sys.exit(main())
