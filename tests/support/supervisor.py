"""A private supervisord for tests, ended by process id with all its children."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import running, short_folder, wait_until

_CONFIGURATION = """\
[unix_http_server]
file={folder}/s.sock
chmod=0700
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files={folder}/programs/*.conf
"""


@dataclass(frozen=True)
class RunningSupervisor:
    """Where a supervisord listens, which folder it includes, and its process id."""

    folder: Path
    pid: int

    @property
    def socket(self) -> Path:
        return self.folder / "s.sock"

    @property
    def programs(self) -> Path:
        return self.folder / "programs"

    @property
    def log(self) -> Path:
        return self.folder / "supervisord.log"


@contextlib.contextmanager
def supervisor_folder() -> Iterator[Path]:
    """A folder for one supervisord, which other users may enter."""
    with short_folder() as folder:
        folder.chmod(0o755)
        (folder / "programs").mkdir()
        (folder / "supervisord.conf").write_text(_CONFIGURATION.format(folder=folder))
        yield folder


@contextlib.contextmanager
def supervisord_in(folder: Path, env: dict[str, str] | None = None) -> Iterator[RunningSupervisor]:
    """Run supervisord in a folder that `supervisor_folder` made. At the end nothing that it started is left."""
    argv = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(folder / "supervisord.conf")]
    with running(argv, log=folder / "output.log", env=env, cwd=folder) as process:
        supervisor = RunningSupervisor(folder, process.pid)
        try:
            wait_until(lambda: _accepts(supervisor.socket), what=f"the socket of supervisord, see {folder}/output.log,")
            yield supervisor
        finally:
            _end_with_children(process.pid)


@contextlib.contextmanager
def running_supervisord(env: dict[str, str] | None = None) -> Iterator[RunningSupervisor]:
    """Run a supervisord in a folder of its own."""
    with supervisor_folder() as folder, supervisord_in(folder, env) as supervisor:
        yield supervisor


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def children_of(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    children = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [child for child in children if _state_and_parent(child)[1] == pid]


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        # The second field, the name in brackets, may hold blanks.
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return "X", 0
    return state, int(parent)


def _end_with_children(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        # Stopped, it starts no more children while those that there are get listed.
        os.kill(pid, signal.SIGSTOP)
        children = children_of(pid)
        os.kill(pid, signal.SIGKILL)
        for child in children:
            # A child that has only just been forked leads no group yet.
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError):
                    kill(child, signal.SIGKILL)
        wait_until(lambda: all(_state_and_parent(child)[0] in "XZ" for child in children), what="the children's end")
