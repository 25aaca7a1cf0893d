"""Commits of a git repository: a folder of this machine, or an address that git can read."""

import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from blocks.context import Context
from blocks.files import PART_SUFFIX, system_errors
from blocks.sources.repository import Git, Repository
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.units import Duration
from tasks.release.model import Commit

_FORMAT = "%H%x00%ct%x00%an%x00%s"
_FULL_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHOWN_NAMES = 10
_BRANCH = "release"


class GitSource:
    """Reads commits, and never runs anything that a repository brings with it: no hooks, no filters of its config.

    Args:
        settings: which repository.
        context: whose commits they are, and what relative paths start from.
    """

    class Settings(StrictModel):
        """Settings of the driver `git`."""

        repository: str = Field(default="", description="path or address; taken from services.<name>.repository")
        mirror: str | None = Field(default=None, description="folder for copies of repositories that have an address")
        fetch_timeout_s: Duration = Field(default=300.0, alias="fetch_timeout", description="longest time of one fetch")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._repository = Repository(
            settings.repository,
            context,
            mirror=None if settings.mirror is None else context.resolve(settings.mirror),
            fetch_timeout_s=settings.fetch_timeout_s,
        )
        self._fetch_timeout_s = settings.fetch_timeout_s
        self._where = settings.repository

    def resolve(self, revision: str) -> Commit:
        """Return the commit that a hash, branch or tag names.

        Raises:
            Refused: the repository is missing or is no repository; the revision is unknown or ambiguous.
            Retryable: the repository's server did not answer.
        """
        if not revision or revision.startswith("-"):
            raise Refused(
                "not a revision",
                on=repr(revision),
                next_action="give a commit's hash, a branch or a tag",
            )
        git = self._repository.open()
        if not (_FULL_HASH.fullmatch(revision) and self._has(git, revision)):
            self._repository.renew()
        found = git.run("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        complaint = "\n".join(found.tail)
        if "is ambiguous" in complaint:
            raise Refused(
                "the revision is ambiguous",
                on=f"{revision} in {self._where}",
                next_action="give more digits of the hash, or refs/heads/NAME or refs/tags/NAME",
                facts={"git says": complaint},
            )
        if found.exit_code != 0:
            raise Refused(
                "no such revision",
                on=f"{revision} in {self._where}",
                next_action="check the spelling, and that the commit was pushed there",
                facts={"latest branches and tags": self._names(git) or "none: the repository is empty"},
            )
        return self._commits(git, ["-1", found.stdout.strip()])[0]

    def default(self) -> Commit:
        """Return the newest commit of the default branch.

        Raises:
            Refused: the repository is missing, or has no default branch.
            Retryable: the repository's server did not answer.
        """
        return self.resolve(self._repository.default_branch())

    def with_ref(self, ref: str, sha: str, into: Path) -> "GitSource":
        """Return a source that has this commit by way of a ref, such as that of a pull request.

        What has to be fetched for it is kept in `into` and nowhere else. *Idempotent:* yes.

        Raises:
            Refused: there is no such ref, or it does not lead to the commit.
            Retryable: the repository's server did not answer.
        """
        source = copy(self)
        source._repository, name = self._repository.beside(ref, into)
        git = source._repository.open()
        tip = git.run("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
        leads = _FULL_HASH.fullmatch(sha) and git.run("merge-base", "--is-ancestor", sha, name).exit_code == 0
        if tip.exit_code != 0 or not leads:
            raise Refused(
                f"{ref} does not lead to the commit" if tip.exit_code == 0 else f"there is no {ref}",
                on=f"{sha} in {self._where}",
                next_action="check that the pull request was not rewritten or closed since; its newest commit has a "
                "check of its own",
                facts={"it leads to": tip.stdout.strip()} if tip.exit_code == 0 else {},
            )
        return source

    def check_out(self, commit: Commit, into: Path) -> None:
        """`into` holds the commit's tree and nothing else (no .git).

        *Idempotent:* yes; what was there is replaced once the tree is whole.

        Raises:
            Refused: the commit is unknown, or has submodules or files of git LFS; the folder cannot be written.
            Retryable: the repository's server did not answer.
        """
        git = self._holding(commit.sha)
        self._check_submodules(git, commit)
        with _replaced(into) as part:
            self._fill(git, commit, part)

    def history(self, commit: Commit, into: Path) -> None:
        """`into` is a git repository with the commit checked out, whose only branch is the commit with its ancestors.

        It shares nothing with the repository that it was made from, and has none of its configuration, remotes and
        hooks. *Idempotent:* yes; what was there is replaced once it is whole.

        Raises:
            Refused: the commit is unknown, or has submodules or files of git LFS; ancestors of it are missing, as in a
                shallow clone; the folder cannot be written.
            Retryable: the repository's server did not answer.
        """
        git = self._holding(commit.sha)
        self._check_submodules(git, commit)
        if git.must("rev-parse", "--is-shallow-repository").strip() == "true":
            raise Refused(
                "the repository does not have the whole history: it is a shallow clone",
                on=self._where,
                next_action="run 'git fetch --unshallow' in it",
            )
        with _replaced(into) as part:
            self._fill(git, commit, part)
            (part / ".git").mkdir()
            own = git.private(part / ".git", part)
            own.must("config", "core.bare", "false")
            own.must("update-ref", f"refs/heads/{_BRANCH}", commit.sha)
            own.must("symbolic-ref", "HEAD", f"refs/heads/{_BRANCH}")
            own.must("read-tree", commit.sha)
            # Copies what the branch needs, borrowed objects included, and nothing else.
            own.must("repack", "-a", "-d", "-q", timeout_s=self._fetch_timeout_s)
            (part / ".git" / "objects" / "info" / "alternates").unlink()

    def read_file(self, commit: Commit, path: str) -> str:
        """Return one file of the commit, without a check-out.

        Raises:
            Refused: the commit has no such file.
            Retryable: the repository's server did not answer.
        """
        found = self._holding(commit.sha).run("cat-file", "blob", f"{commit.sha}:{path}")
        if found.exit_code != 0:
            raise Refused(
                "the commit has no such file",
                on=f"{path} in commit {commit.short} of {self._where}",
                next_action="check the path from the repository's root, and that the file is committed",
            )
        return found.stdout

    def log(self, after: str | None, until: Commit, limit: int) -> tuple[Commit, ...]:
        """Return the commits after `after` (a hash; none: from the beginning) up to `until`, newest first.

        Raises:
            Refused: one of the two is unknown.
            Retryable: the repository's server did not answer.
        """
        git = self._holding(until.sha)
        selection = [f"--max-count={limit}", "--date-order", until.sha]
        if after is not None:
            self._holding(after)
            selection.append(f"^{after}")
        return self._commits(git, selection)

    def _holding(self, sha: str) -> Git:
        """Return the repository's git, having made sure that the commit is there."""
        git = self._repository.open()
        known = _FULL_HASH.fullmatch(sha) is not None
        if known and not self._has(git, sha):
            self._repository.renew()
            known = self._has(git, sha)
        if not known:
            raise Refused(
                "no such commit",
                on=f"{sha} in {self._where}",
                next_action="check that its branch was not rewritten or deleted since",
            )
        return git

    def _has(self, git: Git, sha: str) -> bool:
        return git.run("cat-file", "-e", f"{sha}^{{commit}}").exit_code == 0

    def _names(self, git: Git) -> str:
        listed = ["--sort=-creatordate", f"--count={_SHOWN_NAMES}", "--format=%(refname:lstrip=2)"]
        return git.must("for-each-ref", *listed, "refs/heads", "refs/tags").strip()

    def _commits(self, git: Git, selection: list[str]) -> tuple[Commit, ...]:
        text = git.must("rev-list", "--no-commit-header", f"--format={_FORMAT}", *selection, "--")
        return tuple(map(_commit, text.removesuffix("\n").split("\n"))) if text else ()

    def _check_submodules(self, git: Git, commit: Commit) -> None:
        entries = git.must("ls-tree", "-r", "-z", "--full-tree", commit.sha).split("\0")
        submodules = [entry.partition("\t")[2] for entry in entries if entry.startswith("160000 ")]
        if submodules:
            raise Refused(
                "the commit has submodules, which are not supported",
                on=f"{', '.join(submodules)} in commit {commit.short} of {self._where}",
                next_action="commit their files, or install them as packages in the build command",
            )

    def _fill(self, git: Git, commit: Commit, tree: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="slipway-git-") as private:
            reader = git.private(Path(private), tree)
            reader.must("read-tree", "--reset", "-u", commit.sha)
            stored_elsewhere = reader.must("ls-files", "-z", "--", ":(top,attr:filter=lfs)").split("\0")[:-1]
        if stored_elsewhere:
            raise Refused(
                "the commit has files in git LFS, which is not supported",
                on=f"{', '.join(stored_elsewhere[:_SHOWN_NAMES])} in commit {commit.short} of {self._where}",
                next_action="commit the files themselves, or have the build command fetch them",
            )


@contextmanager
def _replaced(into: Path) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of `into` once it is filled."""
    into = into.absolute()
    part = into.with_name(f".{uuid.uuid4().hex}{PART_SUFFIX}")
    try:
        with system_errors("the tree cannot be written", into):
            part.mkdir(parents=True)
            yield part
            if into.is_dir() and not into.is_symlink():
                shutil.rmtree(into)
            else:
                into.unlink(missing_ok=True)
            part.rename(into)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _commit(line: str) -> Commit:
    sha, seconds, author, subject = line.split("\0")
    return Commit(sha=sha, subject=subject, author=author, committed_at=datetime.fromtimestamp(int(seconds), UTC))
