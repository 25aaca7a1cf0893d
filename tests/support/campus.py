"""Instances of campus, the example application, started from a tree and ended by their process id."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from deployments.lab.campus_versions import CAMPUS
from tests.support.needs import need
from tests.support.processes import free_port, running, wait_until

PYTHON_FOLDER = str(Path(sys.executable).parent)


@dataclass(frozen=True)
class Instance:
    """A running instance."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        """Return a client of it."""
        return httpx.Client(base_url=self.url, timeout=15)

    def answers(self, path: str) -> int:
        """Return the status of a path; 0 while it does not answer."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.url + path, timeout=5).status_code
        return 0


def tree_of(folder: Path) -> Path:
    """Return a copy of examples/campus, which a test may write to."""
    return Path(shutil.copytree(CAMPUS, folder, ignore=shutil.ignore_patterns("__pycache__", "coverage.json")))


def checked_out(repository: Path, commit: str, tree: Path) -> Path:
    """Return a fresh check-out of a commit. No git: a skip, in CI a failure."""
    git = str(need("git"))
    subprocess.run([git, "clone", "-q", "--no-checkout", str(repository), str(tree)], check=True)
    subprocess.run([git, "checkout", "-q", commit], cwd=tree, check=True)
    return tree


@contextlib.contextmanager
def running_campus(tree: Path, database_url: str, *, folder: Path, release: str = "r1") -> Iterator[Instance]:
    """An instance runs for the length of a `with`, ready or not."""
    port = free_port()
    log = folder / f"campus-{port}.log"
    env = {
        "PORT": str(port),
        "CAMPUS_DATABASE_URL": database_url,
        "CAMPUS_TOKEN_SECRET": "only for this test",
        "SLIPWAY_RELEASE": release,
    }
    with running([sys.executable, "-m", "campus"], log=log, env=env, cwd=tree) as process:
        yield Instance(port, process, log)


@contextlib.contextmanager
def ready_campus(tree: Path, database_url: str, *, folder: Path, release: str = "r1") -> Iterator[Instance]:
    """A ready instance runs for the length of a `with`."""
    with running_campus(tree, database_url, folder=folder, release=release) as instance:
        wait_until(lambda: instance.answers("/health/ready") == 200, what=f"campus ready, see {instance.log}")
        yield instance
