import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.sources.git import GitSource
from tasks.common.errors import Refused, Retryable
from tests.support.needs import missing
from tests.support.processes import free_port, listens, running, wait_until
from tests.support.repositories import Repo

UNKNOWN = "f" * 40


def source(repository: str | Path, base: Path, **settings: str) -> GitSource:
    return GitSource(GitSource.Settings.model_validate({"repository": str(repository), **settings}), Context(base=base))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "repository")
    made.commit("Start", {"a.txt": "one\n"})
    return made


def test_a_missing_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the repository is missing") as raised:
        source("nowhere", tmp_path).resolve("main")
    assert raised.value.on == str(tmp_path / "nowhere")


def test_settings_without_a_repository_are_refused_when_used(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the repository is missing"):
        source("", tmp_path).resolve("main")


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not a git repository"):
        source(tmp_path, tmp_path).resolve("main")


def test_a_folder_within_another_repository_is_not_taken_for_it(repo: Repo) -> None:
    (repo.path / "examples").mkdir()
    with pytest.raises(Refused, match="not a git repository"):
        source("examples", repo.path).resolve("main")


def test_an_unknown_revision_is_refused_with_the_names_there_are(repo: Repo, tmp_path: Path) -> None:
    repo.git("tag", "v1.0")
    with pytest.raises(Refused, match="no such revision") as raised:
        source("repository", tmp_path).resolve("mian")
    assert set(str(raised.value.facts["latest branches and tags"]).split()) == {"main", "v1.0"}


def test_an_empty_repository_is_refused(tmp_path: Path) -> None:
    Repo(tmp_path / "repository")
    with pytest.raises(Refused, match="the repository is empty"):
        source("repository", tmp_path).resolve("main")


def twins(tree: str) -> tuple[bytes, bytes, str]:
    """Return two commits, as git keeps them, whose hashes begin with the same four digits."""
    seen: dict[str, bytes] = {}
    for n in range(100_000):
        body = f"tree {tree}\nauthor A <a@b> {n} +0000\ncommitter A <a@b> {n} +0000\n\nsubject\n".encode()
        head = hashlib.sha1(b"commit %d\0%s" % (len(body), body), usedforsecurity=False).hexdigest()[:4]
        if head in seen:
            return seen[head], body, head
        seen[head] = body
    raise AssertionError("no two of them begin alike")


def test_an_ambiguous_short_hash_is_refused(repo: Repo, tmp_path: Path) -> None:
    first, second, head = twins(repo.git("rev-parse", "HEAD^{tree}"))
    shas = [repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=body) for body in (first, second)]
    with pytest.raises(Refused, match="ambiguous") as raised:
        source("repository", tmp_path).resolve(head)
    assert all(sha[:7] in str(raised.value.facts["git says"]) for sha in shas)
    assert source("repository", tmp_path).resolve(shas[0]).sha == shas[0]


def test_a_branch_and_a_tag_of_one_name_are_ambiguous(repo: Repo, tmp_path: Path) -> None:
    first = repo.git("rev-parse", "HEAD")
    repo.git("tag", "v1")
    second = repo.commit("Second")
    repo.git("branch", "v1")
    with pytest.raises(Refused, match="ambiguous") as raised:
        source("repository", tmp_path).resolve("v1")
    assert "refs/tags/NAME" in raised.value.next_action
    assert source("repository", tmp_path).resolve("refs/tags/v1").sha == first
    assert source("repository", tmp_path).resolve("refs/heads/v1").sha == second


def test_an_annotated_tag_names_its_commit(repo: Repo, tmp_path: Path) -> None:
    repo.git("tag", "--annotate", "--message", "release", "v2")
    assert source("repository", tmp_path).resolve("v2").sha == repo.git("rev-parse", "HEAD")


@pytest.mark.parametrize("revision", ["--output={0}", "--upload-pack=touch {0}", "-n1", "--end-of-options", "--all"])
def test_a_revision_is_never_taken_for_an_option(repo: Repo, tmp_path: Path, revision: str) -> None:
    with pytest.raises(Refused, match="not a revision"):
        source("repository", tmp_path).resolve(revision.format(tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_a_commit_of_many_words_is_read_in_full(repo: Repo, tmp_path: Path) -> None:
    sha = repo.commit("Größer, 'quoted' and \"double\" | %H\n\nBody\nof the message")
    commit = source("repository", tmp_path).resolve("main")
    assert (commit.sha, commit.subject) == (sha, "Größer, 'quoted' and \"double\" | %H")


def test_modes_and_links_are_kept(repo: Repo, tmp_path: Path) -> None:
    repo.write("run.sh", "#!/bin/sh\n")
    (repo.path / "run.sh").chmod(0o755)
    (repo.path / "link").symlink_to("a.txt")
    repo.commit("More")
    reader = source("repository", tmp_path)
    reader.check_out(reader.resolve("main"), tmp_path / "tree")
    assert os.access(tmp_path / "tree" / "run.sh", os.X_OK)
    assert (tmp_path / "tree" / "link").readlink() == Path("a.txt")
    assert not (tmp_path / "tree" / ".git").exists()


def test_attributes_for_exports_change_nothing(repo: Repo, tmp_path: Path) -> None:
    repo.commit(
        "Attributes", {".gitattributes": "tests/ export-ignore\nv export-subst\n", "tests/t": "t", "v": "$Format:%H$"}
    )
    reader = source("repository", tmp_path)
    reader.check_out(reader.resolve("main"), tmp_path / "tree")
    assert (tmp_path / "tree" / "tests" / "t").read_text() == "t"
    assert (tmp_path / "tree" / "v").read_text() == "$Format:%H$"


def test_nothing_that_a_repository_names_is_run(repo: Repo, tmp_path: Path) -> None:
    repo.commit("Filter", {".gitattributes": "* filter=evil\n"})
    mark = tmp_path / "ran"
    for key in ("filter.evil.smudge", "filter.evil.process", "core.fsmonitor", "core.pager", "alias.rev-parse"):
        repo.git("config", key, f"touch {mark}")
    hook = repo.path / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    reader = source("repository", tmp_path)
    commit = reader.resolve("main")
    reader.check_out(commit, tmp_path / "tree")
    reader.log(None, commit, 5)
    assert not mark.exists()
    assert (tmp_path / "tree" / "a.txt").read_text() == "one\n"
    # The trap works: a plain check-out steps on it.
    subprocess.run(["git", "-C", str(repo.path), "checkout", "-q", "-f", "main"], capture_output=True)
    assert mark.exists()


def test_submodules_are_refused_by_their_paths(repo: Repo, tmp_path: Path) -> None:
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{UNKNOWN},vendor/library")
    repo.git("commit", "--quiet", "--message", "Submodule")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "former").touch()
    reader = source("repository", tmp_path)
    with pytest.raises(Refused, match="submodules") as raised:
        reader.check_out(reader.resolve("main"), tmp_path / "tree")
    assert "vendor/library" in raised.value.on
    assert (tmp_path / "tree" / "former").exists()


def test_files_in_lfs_are_refused_by_their_paths(repo: Repo, tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    repo.commit("LFS", {".gitattributes": "*.bin filter=lfs diff=lfs\n", "model.bin": pointer})
    reader = source("repository", tmp_path)
    with pytest.raises(Refused, match="git LFS") as raised:
        reader.check_out(reader.resolve("main"), tmp_path / "tree")
    assert "model.bin" in raised.value.on
    assert not (tmp_path / "tree").exists()


def test_a_repository_of_another_user_is_read_without_touching_anybodys_settings(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        missing("only root can give a repository to another user")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for path in (repo.path, *repo.path.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    plain = subprocess.run(["git", "-C", str(repo.path), "rev-parse", "main"], capture_output=True, text=True)
    assert "dubious ownership" in plain.stderr
    reader = source("repository", tmp_path)
    commit = reader.resolve("main")
    reader.check_out(commit, tmp_path / "tree")
    assert reader.read_file(commit, "a.txt") == (tmp_path / "tree" / "a.txt").read_text()
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("kind", ["bare", "worktree", "scheme", "within"])
def test_every_kind_of_local_repository_is_read(repo: Repo, tmp_path: Path, kind: str) -> None:
    where: dict[str, str] = {
        "bare": "bare",
        "worktree": "worktree",
        "scheme": f"file://{repo.path}",
        "within": "repository/.git",
    }
    repo.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare"))
    repo.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "worktree"))
    reader = source(where[kind], tmp_path)
    reader.check_out(reader.resolve("main"), tmp_path / "tree")
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["a.txt"]


@contextlib.contextmanager
def serving(folder: Path, port: int, log: Path) -> Iterator[None]:
    """Serve the repositories of a folder with git's own server."""
    argv = ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", f"--base-path={folder}"]
    with running([*argv, str(folder)], log=log):
        wait_until(lambda: listens(port), what="git's server")
        yield


class AsksForPassword(BaseHTTPRequestHandler):
    """Lets nobody in."""

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="code"')
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.mark.server
class TestMirror:
    """Repositories that have an address: git's own server, and servers that fail."""

    @pytest.fixture
    def address(self, repo: Repo, tmp_path: Path) -> Iterator[str]:
        port = free_port()
        with serving(repo.path.parent, port, tmp_path / "daemon.log"):
            yield f"git://127.0.0.1:{port}/repository"

    def test_branches_and_tags_are_as_they_are_on_the_server(self, repo: Repo, address: str, tmp_path: Path) -> None:
        reader = source(address, tmp_path, mirror="mirrors")
        reader.resolve("main")
        second = repo.commit("Second", {"b.txt": "b\n"})
        repo.git("branch", "short-lived")
        assert reader.resolve("main").sha == reader.resolve("short-lived").sha == second
        reader.check_out(reader.resolve(second[:8]), tmp_path / "tree")
        assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == ["a.txt", "b.txt"]
        repo.git("branch", "-D", "short-lived")
        with pytest.raises(Refused, match="no such revision"):
            reader.resolve("short-lived")

    def test_history_that_was_rewritten_is_followed(self, repo: Repo, address: str, tmp_path: Path) -> None:
        reader = source(address, tmp_path, mirror="mirrors")
        former = reader.resolve("main")
        repo.git("commit", "--quiet", "--amend", "--message", "Rewritten")
        assert reader.resolve("main").subject == "Rewritten"
        assert reader.resolve(former.sha) == former

    def test_a_known_commit_needs_no_server(self, repo: Repo, tmp_path: Path) -> None:
        port = free_port()
        address = f"git://127.0.0.1:{port}/repository"
        reader = source(address, tmp_path, mirror="mirrors")
        with serving(repo.path.parent, port, tmp_path / "daemon.log"):
            commit = reader.resolve("main")
        wait_until(lambda: not listens(port))
        assert reader.resolve(commit.sha) == commit
        reader.check_out(commit, tmp_path / "tree")
        for use in (lambda: reader.resolve("main"), lambda: reader.resolve(UNKNOWN)):
            with pytest.raises(Retryable, match="Connection refused"):
                use()

    def test_another_worker_fetches_the_commit_that_it_is_asked_for(self, address: str, tmp_path: Path) -> None:
        commit = source(address, tmp_path, mirror="here").resolve("main")
        elsewhere = source(address, tmp_path, mirror="there")
        assert elsewhere.read_file(commit, "a.txt") == "one\n"
        assert elsewhere.log(None, commit, 5) == (commit,)

    def test_a_repository_that_the_server_does_not_have_is_refused(self, address: str, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="cannot be read"):
            source(f"{address}-of-nobody", tmp_path, mirror="mirrors").resolve("main")

    def test_a_server_that_never_answers_may_be_retried(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"git://127.0.0.1:{silent.getsockname()[1]}/repository"
            with pytest.raises(Retryable, match="took too long"):
                source(address, tmp_path, mirror="mirrors", fetch_timeout="500ms").resolve("main")

    def test_nobody_is_asked_for_a_password(self, tmp_path: Path) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), AsksForPassword)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_address[1]}/repository"
            with pytest.raises(Refused, match="terminal prompts disabled") as raised:
                source(address, tmp_path, mirror="mirrors").resolve("main")
            assert "credential helper" in raised.value.next_action
        finally:
            server.shutdown()
            server.server_close()

    def test_processes_that_fetch_at_once_do_not_disturb_each_other(
        self, repo: Repo, address: str, tmp_path: Path
    ) -> None:
        for n in range(20):
            repo.git("branch", f"branch-{n}")
        script = (
            "import sys; from pathlib import Path; from tests.integration.test_git_source import source\n"
            "reader = source(sys.argv[1], Path(sys.argv[2]), mirror='mirrors')\n"
            "for n in range(5): reader.resolve(f'branch-{n}')"
        )
        argv = [sys.executable, "-c", script, address, str(tmp_path)]
        started = [
            subprocess.Popen(argv, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True) for _ in range(3)
        ]
        errors = [process.communicate(timeout=60)[1] for process in started]
        assert [process.returncode for process in started] == [0, 0, 0], errors

    def test_locks_of_a_killed_fetch_are_no_hindrance(self, repo: Repo, address: str, tmp_path: Path) -> None:
        reader = source(address, tmp_path, mirror="mirrors")
        reader.resolve("main")
        [mirror] = (tmp_path / "mirrors").iterdir()
        (mirror / "refs" / "heads" / "main.lock").touch()
        second = repo.commit("Second")
        assert reader.resolve("main").sha == second


def test_an_address_without_a_place_for_its_mirror_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no place for a copy") as raised:
        source("git@127.0.0.1:team/campus.git", tmp_path).resolve("main")
    assert "set 'mirror'" in raised.value.next_action


def test_a_password_in_the_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="contains a password") as raised:
        source("https://ann:correct-horse@127.0.0.1/x.git", tmp_path, mirror="mirrors").resolve("main")
    assert "correct-horse" not in str(raised.value)


def test_an_address_that_is_a_command_is_refused_and_not_run(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not allowed"):
        source(f"ext::touch {tmp_path}/ran", tmp_path, mirror="mirrors").resolve("main")
    assert not (tmp_path / "ran").exists()


def test_history_of_a_shallow_clone_is_refused(repo: Repo, tmp_path: Path) -> None:
    repo.commit("Second", {"a.txt": "2"})
    shallow = tmp_path / "shallow"
    repo.git("clone", "--quiet", "--depth=1", repo.path.as_uri(), str(shallow))
    found = source(shallow, tmp_path)
    with pytest.raises(Refused, match="shallow") as raised:
        found.history(found.resolve("main"), tmp_path / "history")
    assert "--unshallow" in raised.value.next_action
    assert not (tmp_path / "history").exists()


def test_history_with_a_missing_object_is_refused_and_leaves_nothing(repo: Repo, tmp_path: Path) -> None:
    repo.commit("Add a secret", {"secret.txt": "one that is gone"})
    blob = repo.git("rev-parse", "HEAD:secret.txt")
    repo.commit("Remove it", remove=("secret.txt",))
    (repo.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    found = source(repo.path, tmp_path)
    with pytest.raises(Refused, match="repack"):
        found.history(found.resolve("main"), tmp_path / "new" / "history")
    assert list((tmp_path / "new").iterdir()) == []


def test_history_shares_nothing_with_the_repository_that_it_was_made_from(repo: Repo, tmp_path: Path) -> None:
    repo.git("config", "core.fsmonitor", "touch was-run")
    repo.git("remote", "add", "origin", "https://example.org/x.git")
    repo.commit("Second", {"a.txt": "2"})
    found = source(repo.path, tmp_path)
    found.history(found.resolve("main"), tmp_path / "history")
    repo.path.rename(tmp_path / "gone")
    history = tmp_path / "history"
    done = subprocess.run(["git", "fsck", "--full", "--strict"], cwd=history, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    config = (history / ".git" / "config").read_text()
    assert "fsmonitor" not in config
    assert "remote" not in config


@pytest.mark.server
def test_pull_request_is_fetched_beside_the_mirror_and_never_into_it(repo: Repo, tmp_path: Path) -> None:
    base = repo.git("rev-parse", "HEAD")
    repo.git("checkout", "--quiet", "--detach")
    first, sha = (repo.commit(name, {"b.txt": name}) for name in ("Propose", "Propose more"))
    repo.git("update-ref", "refs/pull/7/head", sha)
    repo.git("checkout", "--quiet", "main")
    port = free_port()
    address = f"git://127.0.0.1:{port}/repository"
    reader = source(address, tmp_path, mirror="mirrors")
    with serving(repo.path.parent, port, tmp_path / "daemon.log"):
        assert reader.default().sha == base
        with pytest.raises(Refused, match="no such revision"):
            reader.resolve(sha)
        asked = reader.with_ref("refs/pull/7/head", first, tmp_path / "ref")
        asked.history(asked.resolve(first), tmp_path / "history")
        with pytest.raises(Refused, match="no such ref"):
            reader.with_ref("refs/pull/8/head", sha, tmp_path / "other")
        with pytest.raises(Refused, match="does not lead to the commit"):
            reader.with_ref("refs/heads/main", sha, tmp_path / "third")
        with pytest.raises(Refused, match="no such revision"):
            reader.resolve(sha)
    assert (tmp_path / "history" / "b.txt").read_text() == "Propose"
    # What was fetched needs the server no more.
    asked.check_out(asked.resolve(sha), tmp_path / "tree")
    assert (tmp_path / "tree" / "b.txt").read_text() == "Propose more"
