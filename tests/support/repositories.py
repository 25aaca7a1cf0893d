"""Git repositories that tests make, apart from the settings of whoever runs the tests."""

import os
import subprocess
from pathlib import Path

_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann Author",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann Author",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
}


class Repo:
    """A repository with a work tree, on branch main; each commit is a minute later than the one before."""

    def __init__(self, path: Path, *, now: int = 1_767_225_600) -> None:
        self.path = path
        self._now = now
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Return what a git command printed; a failure fails the test."""
        date = f"{self._now} +0100"
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env={**_ENV, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
            input=stdin,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def write(self, name: str, content: str) -> None:
        """The file has the content, in the work tree only."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(content)

    def commit(self, subject: str, files: dict[str, str] | None = None, remove: tuple[str, ...] = ()) -> str:
        """Commit the work tree, after writing and removing files, and return the hash."""
        for name, content in (files or {}).items():
            self.write(name, content)
        for name in remove:
            (self.path / name).unlink()
        self._now += 60
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")
