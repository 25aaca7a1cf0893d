"""A git repository that can be read: where it is, what protects from it, and how a copy of a remote one is kept."""

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

from blocks.context import Context
from blocks.files import system_errors
from blocks.shell import Completed, TimedOut, run
from tasks.common.errors import Refused, Retryable

_READ_TIMEOUT_S = 120.0
_REMOTE = re.compile(r"^(?!file:)[a-z][a-z0-9+.-]*://|^[^/\s]+:(?!//)")
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")
_REFUSALS = re.compile(
    r"authentication failed|could not read (?:username|password)|permission denied|not found|not exported"
    r"|does not appear to be a git repository|host key verification failed|transport '.*' not allowed",
    re.IGNORECASE,
)
# What the user's own set-up needs for reaching a server.
_PASSED_ON = ("SSH_AUTH_SOCK", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_LOCK = "slipway.lock"
_ASKED_FOR = "refs/slipway/asked-for"
_NO_REF = re.compile(r"couldn't find remote ref", re.IGNORECASE)
_BRANCHES_AND_TAGS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


def _git_environment(config: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that carry settings for one call of git; nobody's configuration is written."""
    numbered = list(enumerate(config.items()))
    return {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "git:http:https:ssh",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10",
        "GIT_CONFIG_COUNT": str(len(numbered)),
        **{f"GIT_CONFIG_KEY_{n}": key for n, (key, _) in numbered},
        **{f"GIT_CONFIG_VALUE_{n}": value for n, (_, value) in numbered},
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
    }


_CONFIG = {
    # The repository may be another user's. Only commands that run nothing on its behalf are started in it.
    "safe.directory": "*",
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "core.warnAmbiguousRefs": "true",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
}


@dataclass(frozen=True)
class Git:
    """Runs git in one repository.

    Args:
        folder: where it runs.
        context: folders for PATH, and what to redact.
        env: variables of git, over those that every call gets.
    """

    folder: Path
    context: Context
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, timeout_s: float = _READ_TIMEOUT_S) -> Completed:
        """Return how a git command ended, with what it printed.

        Raises:
            Refused: git is not installed, or took too long.
        """
        return run(
            ["git", *arguments],
            cwd=self.folder,
            timeout_s=timeout_s,
            redact=self.context.secrets.redact,
            env={**_git_environment(_CONFIG), **self.env},
            path=self.context.path,
            capture_stdout=True,
        )

    def must(self, *arguments: str, timeout_s: float = _READ_TIMEOUT_S) -> str:
        """Return what a git command printed that has no reason to fail.

        Raises:
            Refused: it failed nevertheless.
        """
        done = self.run(*arguments, timeout_s=timeout_s)
        if done.exit_code != 0:
            raise Refused(
                f"git {arguments[0]} ended with exit code {done.exit_code}",
                on=str(self.folder),
                next_action="check the repository with 'git fsck'",
                facts={"git says": "\n".join(done.tail)},
            )
        return done.stdout

    def private(self, home: Path, tree: Path) -> "Git":
        """Return git for the same objects but with an empty configuration, an index of its own and another work tree.

        So the filters that the repository's configuration may name cannot run, and nothing is written to it.

        Raises:
            Refused: `home` cannot be made a repository.
        """
        objects = self.must("rev-parse", "--path-format=absolute", "--git-path", "objects").rstrip("\n")
        env = {**self.env, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": str(home)}
        replace(self, folder=home, env=env).must("init", "--quiet", "--bare", "--template=")
        (home / "objects" / "info" / "alternates").write_text(f"{objects}\n", encoding="utf-8")
        return replace(self, folder=tree, env={**env, "GIT_WORK_TREE": str(tree)})


class Repository:
    """A repository by path, read where it is; or by address, read from a bare mirror.

    Args:
        address: path, or address with a scheme or in the form host:path.
        context: what relative paths start from, folders for PATH, what to redact.
        mirror: folder that mirrors are kept in; None where only paths are used.
        fetch_timeout_s: longest time of one fetch.
    """

    def __init__(self, address: str, context: Context, *, mirror: Path | None, fetch_timeout_s: float) -> None:
        self._address = address
        self._context = context
        self._mirror = mirror
        self._fetch_timeout_s = fetch_timeout_s
        self._remote = _REMOTE.match(address) is not None
        self._copy: Git | None = None

    def open(self) -> Git:
        """Return git in the repository, or in its mirror, which exists from then on.

        Raises:
            Refused: there is no such folder, it is no repository, or there is no place for a mirror.
        """
        if self._copy is not None:
            return self._copy
        return self._open_mirror() if self._remote else self._open_path()

    def renew(self) -> None:
        """The mirror has the branches and tags of its repository. A repository on this machine has no mirror.

        Raises:
            Refused: the repository is missing there, or access to it is denied.
            Retryable: the server did not answer, or another process has been fetching for too long.

        *Idempotent:* yes.
        """
        if not self._remote or self._copy is not None:
            return
        git = self._open_mirror()
        with self._locked(git.folder):
            for lock in git.folder.rglob("*.lock"):
                if lock.name != _LOCK:
                    # Left by a fetch that was killed: nobody else writes here.
                    lock.unlink(missing_ok=True)
            self._ask(git, ["fetch", "--quiet", "--prune", "--no-write-fetch-head"], *_BRANCHES_AND_TAGS)

    def default_branch(self) -> str:
        """Return the branch that is meant where none is named, as 'refs/heads/main'.

        Raises:
            Refused: there is none, or the repository is missing there, or access to it is denied.
            Retryable: the server did not answer.
        """
        git = self.open()
        if self._remote:
            lines = self._ask(git, ["ls-remote", "--symref"], "HEAD").stdout.splitlines()
            found = [line.removeprefix("ref: ").partition("\t")[0] for line in lines if line.startswith("ref: ")]
        else:
            found = git.run("symbolic-ref", "--quiet", "HEAD").stdout.splitlines()
        if not found:
            raise Refused(
                "the repository has no default branch",
                on=self._address,
                next_action="set one at the forge; in a clone on this machine, check a branch out",
            )
        return found[0]

    def beside(self, ref: str, into: Path) -> tuple["Repository", str]:
        """Return a repository that has what the ref leads to as well, and what the ref is called there.

        Nothing of it gets into the mirror: it is kept in `into`, and borrows the rest. *Idempotent:* yes.

        Raises:
            Refused: there is no such ref, or the repository cannot be read.
            Retryable: the server did not answer.
        """
        if not self._remote:
            return self, ref
        mirror = self._open_mirror()
        objects = mirror.must("rev-parse", "--path-format=absolute", "--git-path", "objects").rstrip("\n")
        with system_errors("the copy of the ref cannot be made", into):
            into.mkdir(parents=True, exist_ok=True)
        git = Git(into, self._context, {"GIT_DIR": str(into)})
        git.must("init", "--quiet", "--bare", "--template=")
        (into / "objects" / "info" / "alternates").write_text(f"{objects}\n", encoding="utf-8")
        self._ask(git, ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"], f"+{ref}:{_ASKED_FOR}")
        beside = copy(self)
        beside._copy = git
        return beside, _ASKED_FOR

    def _ask(self, git: Git, command: Sequence[str], *refs: str) -> Completed:
        """Return what the repository's server has answered.

        Raises:
            Refused: access is denied, or there is no such ref.
            Retryable: the server did not answer.
        """
        try:
            done = git.run(*command, "--end-of-options", self._address, *refs, timeout_s=self._fetch_timeout_s)
        except TimedOut as error:
            raise self._unanswered("it took too long", error.facts) from error
        if done.exit_code == 0:
            return done
        said = "\n".join(done.tail)
        if _NO_REF.search(said):
            raise Refused(
                "the repository has no such ref",
                on=self._address,
                next_action="check that the pull request is still there",
                facts={"git says": said},
            )
        if _REFUSALS.search(said):
            raise Refused(
                "the repository cannot be read",
                on=self._address,
                next_action="check the address, and that this user's ssh key or credential helper may read it",
                facts={"git says": said},
            )
        raise self._unanswered("git failed", {"git says": said})

    def _unanswered(self, why: str, facts: Mapping[str, object]) -> Retryable:
        return Retryable(
            f"the repository could not be fetched: {why}",
            on=self._address,
            next_action="check that its server is reachable from here; "
            f"the mirror under {self._mirror} is only a copy, and may be deleted",
            facts=facts,
        )

    def _open_path(self) -> Git:
        path = self._context.resolve(self._address.removeprefix("file://"))
        if not self._address or not path.is_dir():
            raise Refused(
                "the repository is missing",
                on=str(path) if self._address else "the source's settings",
                next_action="correct 'repository' of the service in the estate file, or clone it there",
            )
        # Else git would look for a repository in the folders above, and find somebody else's.
        git = Git(path, self._context, {"GIT_CEILING_DIRECTORIES": os.path.realpath(path.parent)})
        found = git.run("rev-parse", "--git-dir")
        if found.exit_code != 0:
            raise Refused(
                "not a git repository",
                on=str(path),
                next_action="give the folder that contains .git, or a bare repository",
                facts={"git says": "\n".join(found.tail)},
            )
        return git

    def _open_mirror(self) -> Git:
        if self._mirror is None:
            raise Refused(
                "there is no place for a copy of the repository",
                on=self._address,
                next_action="set 'mirror' of the source in the estate file to a folder on this machine",
            )
        if _PASSWORD.search(self._address):
            raise Refused(
                "the repository's address contains a password",
                on=_PASSWORD.sub("://[redacted]@", self._address),
                next_action="take it out of the estate file, and give it to git's credential helper on this machine",
            )
        folder = self._mirror / hashlib.sha256(self._address.encode()).hexdigest()[:32]
        git = Git(folder, self._context, {"GIT_DIR": str(folder)})
        if not (folder / "HEAD").exists():
            with system_errors("the mirror cannot be made", folder):
                folder.mkdir(parents=True, exist_ok=True)
            with self._locked(folder):
                git.must("init", "--quiet", "--bare")
        return git

    @contextlib.contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        """Only one process fetches into the mirror: git's own locks make the second one fail."""
        deadline = time.monotonic() + self._fetch_timeout_s
        with system_errors("the mirror cannot be used", folder), (folder / _LOCK).open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise self._unanswered("another process has been fetching for too long", {}) from error
                    time.sleep(0.1)
            yield
