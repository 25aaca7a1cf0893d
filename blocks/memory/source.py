"""Commits in memory, for tests and dry runs."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from blocks.context import Context
from blocks.sources.repository import Git
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.release.model import Commit


class MemoryCommit(StrictModel):
    """One commit and its whole tree."""

    sha: str = Field(pattern=r"^[0-9a-f]{40}$")
    subject: str
    author: str = "nobody"
    committed_at: AwareDatetime
    files: dict[str, str] = Field(description="content by path")


class MemorySource:
    """Serves a line of commits.

    Args:
        settings: the commits.
        context: folders for PATH.
    """

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        repository: str = Field(default="memory", description="only shown")
        commits: list[MemoryCommit] = Field(
            default_factory=list, description="oldest first, each the next one's parent"
        )
        names: dict[str, str] = Field(default_factory=dict, description="hash by branch or tag")

        @model_validator(mode="after")
        def _names_known(self) -> Self:
            unknown = set(self.names.values()) - {commit.sha for commit in self.commits}
            if unknown:
                raise ValueError(f"names: no commits {sorted(unknown)}")
            return self

    def __init__(self, settings: Settings, context: Context) -> None:
        self._context = context
        self._where = settings.repository
        self._names = settings.names
        self._commits = settings.commits

    def resolve(self, revision: str) -> Commit:
        """Return the commit that a hash, branch or tag names.

        Raises:
            Refused: the revision is unknown or ambiguous.
        """
        wanted = self._names.get(revision, revision)
        found = [commit for commit in self._commits if len(wanted) >= 4 and commit.sha.startswith(wanted)]
        if len(found) != 1:
            raise Refused(
                "the revision is ambiguous" if found else "no such revision",
                on=f"{revision!r} in {self._where}",
                next_action="give more digits of the hash" if found else "check the spelling",
                facts={"latest branches and tags": ", ".join(sorted(self._names))},
            )
        return _commit(found[0])

    def default(self) -> Commit:
        """Return the newest commit of the default branch.

        Raises:
            Refused: there is none.
        """
        if not self._commits:
            raise Refused("there is no commit", on=self._where, next_action="add one to the settings")
        return _commit(self._commits[-1])

    def with_ref(self, ref: str, sha: str, into: Path) -> "MemorySource":
        """Return a source that has this commit by way of a ref: it has all of them. *Idempotent:* yes.

        Raises:
            Refused: there is no such ref, or it does not lead to the commit.
        """
        del into
        shas = [commit.sha for commit in self._commits]
        if ref not in self._names:
            raise Refused(f"there is no {ref}", on=self._where, next_action="add it to the settings")
        if sha not in shas[: shas.index(self._names[ref]) + 1]:
            raise Refused(f"{ref} does not lead to the commit", on=sha, next_action="check the settings")
        return self

    def check_out(self, commit: Commit, into: Path) -> None:
        """`into` holds the commit's tree and nothing else. *Idempotent:* yes; what was there is replaced.

        Raises:
            Refused: no such commit.
        """
        files = self._found(commit.sha).files
        if into.exists():
            shutil.rmtree(into)
        _write(files, into)

    def history(self, commit: Commit, into: Path) -> None:
        """`into` is a git repository with the commit checked out, whose only branch is the commit with its ancestors.

        Subjects, authors, times and trees are those of the commits; the hashes are git's own. *Idempotent:* yes; what
        was there is replaced.

        Raises:
            Refused: no such commit, or git is not installed.
        """
        last = self._commits.index(self._found(commit.sha))
        if into.exists():
            shutil.rmtree(into)
        into.mkdir(parents=True)
        Git(into, self._context).must("init", "--quiet", "--template=", "--initial-branch=release")
        for found in self._commits[: last + 1]:
            for old in into.iterdir():
                if old.name != ".git":
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
            _write(found.files, into)
            git = Git(into, self._context, _identity(found))
            git.must("add", "--all", "--force")
            git.must("commit", "--quiet", "--allow-empty", f"--message={found.subject}")

    def read_file(self, commit: Commit, path: str) -> str:
        """Return one file of the commit.

        Raises:
            Refused: the commit has no such file.
        """
        files = self._found(commit.sha).files
        if path not in files:
            raise Refused(
                "the commit has no such file",
                on=f"{path} in commit {commit.short} of {self._where}",
                next_action="check the path from the repository's root, and that the file is committed",
            )
        return files[path]

    def log(self, after: str | None, until: Commit, limit: int) -> tuple[Commit, ...]:
        """Return the commits after `after` (a hash; none: from the beginning) up to `until`, newest first.

        Raises:
            Refused: one of the two is unknown.
        """
        first = 0 if after is None else self._commits.index(self._found(after)) + 1
        last = self._commits.index(self._found(until.sha))
        return tuple(_commit(found) for found in reversed(self._commits[first : last + 1]))[:limit]

    def _found(self, sha: str) -> MemoryCommit:
        for commit in self._commits:
            if commit.sha == sha:
                return commit
        raise Refused(
            "no such commit",
            on=f"{sha} in {self._where}",
            next_action="check that its branch was not rewritten or deleted since",
        )


def _commit(found: MemoryCommit) -> Commit:
    return Commit(sha=found.sha, subject=found.subject, author=found.author, committed_at=found.committed_at)


def _write(files: Mapping[str, str], into: Path) -> None:
    for name, content in files.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def _identity(found: MemoryCommit) -> dict[str, str]:
    date = found.committed_at.isoformat()
    return {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", found.author), ("EMAIL", "nobody@localhost"), ("DATE", date))
    }
