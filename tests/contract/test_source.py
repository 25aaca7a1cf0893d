"""Every source keeps these promises."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.source import MemorySource
from blocks.sources.git import GitSource
from tasks.common.errors import Refused
from tasks.common.model import Target
from tasks.release.model import Commit
from tasks.release.ports import Source
from tests.support.repositories import Repo

TREES: list[dict[str, str]] = [
    {"a.txt": "one\n"},
    {"a.txt": "two\n", "folder/b.txt": "b\n"},
    {"folder/b.txt": "b\n", "slipway.yaml": "service: campus\n# größer\n"},
]
SUBJECTS = ["Start", "Say two", "Describe the service"]
PLAIN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
NAMES = {"main": 2, "feature/two": 1, "v1.0": 0}
PULL = "refs/pull/7/head"


@dataclass
class Case:
    """A source, and its commits from the oldest to the newest."""

    source: Source
    shas: list[str]


def _memory(tmp_path: Path) -> Case:
    shas = [hashlib.sha1(subject.encode(), usedforsecurity=False).hexdigest() for subject in SUBJECTS]
    commits = [
        {
            "sha": sha,
            "subject": SUBJECTS[n],
            "author": "Ann Author",
            "committed_at": datetime(2026, 1, 1, 0, n + 1, tzinfo=UTC),
            "files": TREES[n],
        }
        for n, sha in enumerate(shas)
    ]
    settings = MemorySource.Settings.model_validate(
        {"commits": commits, "names": {name: shas[n] for name, n in {**NAMES, PULL: 1}.items()}}
    )
    return Case(MemorySource(settings, _context(tmp_path)), shas)


def _git(tmp_path: Path) -> Case:
    repo = Repo(tmp_path / "repository")
    shas = []
    for n, tree in enumerate(TREES):
        gone = tuple(set(TREES[n - 1]) - set(tree)) if n else ()
        shas.append(repo.commit(SUBJECTS[n], tree, remove=gone))
    repo.git("branch", "feature/two", shas[1])
    repo.git("tag", "v1.0", shas[0])
    repo.git("update-ref", PULL, shas[1])
    return Case(GitSource(GitSource.Settings(repository="repository"), _context(tmp_path)), shas)


def _context(tmp_path: Path) -> Context:
    return Context(base=tmp_path, target=Target("campus", "", "lab"))


@pytest.fixture(params=[_memory, _git])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    make: Callable[[Path], Case] = request.param
    return make(tmp_path)


def tree_in(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and folder / ".git" not in path.parents]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.mark.parametrize(("name", "n"), NAMES.items())
def test_branches_and_tags_name_their_commits(case: Case, name: str, n: int) -> None:
    commit = case.source.resolve(name)
    assert commit == Commit(case.shas[n], SUBJECTS[n], "Ann Author", datetime(2026, 1, 1, 0, n + 1, tzinfo=UTC))


@pytest.mark.parametrize("digits", [7, 12, 40])
def test_a_hash_or_its_beginning_names_its_commit(case: Case, digits: int) -> None:
    for sha in case.shas:
        assert case.source.resolve(sha[:digits]).sha == sha


@pytest.mark.parametrize(
    "revision", ["", "nothing", "f" * 40, "v1.1", "-", "--upload-pack=touch /tmp/x", "main\n", "\0"]
)
def test_what_names_no_commit_is_refused(case: Case, revision: str) -> None:
    with pytest.raises(Refused) as raised:
        case.source.resolve(revision)
    assert raised.value.next_action


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_check_out_holds_the_tree_and_nothing_else(case: Case, tmp_path: Path, n: int) -> None:
    into = tmp_path / "new" / "tree"
    case.source.check_out(case.source.resolve(case.shas[n]), into)
    assert tree_in(into) == TREES[n]
    assert [path.name for path in into.parent.iterdir()] == ["tree"]


def test_a_check_out_replaces_what_was_there(case: Case, tmp_path: Path) -> None:
    into = tmp_path / "tree"
    case.source.check_out(case.source.resolve("v1.0"), into)
    (into / "rubbish").write_text("of a build")
    for _ in range(2):
        case.source.check_out(case.source.resolve("main"), into)
        assert tree_in(into) == TREES[2]


def test_a_file_is_read_as_it_was_in_the_commit(case: Case) -> None:
    assert case.source.read_file(case.source.resolve("v1.0"), "a.txt") == "one\n"
    assert case.source.read_file(case.source.resolve("feature/two"), "a.txt") == "two\n"
    assert case.source.read_file(case.source.resolve("main"), "slipway.yaml") == TREES[2]["slipway.yaml"]


@pytest.mark.parametrize("path", ["a.txt", "folder", "nothing", "../repository/folder/b.txt", "/etc/passwd", ""])
def test_a_file_that_the_commit_does_not_have_is_refused(case: Case, path: str) -> None:
    with pytest.raises(Refused, match="no such file"):
        case.source.read_file(case.source.resolve("main"), path)


def test_the_log_is_newest_first_without_the_commit_it_starts_after(case: Case) -> None:
    first, second, third = case.shas
    main = case.source.resolve("main")
    assert [commit.sha for commit in case.source.log(None, main, 10)] == [third, second, first]
    assert [commit.sha for commit in case.source.log(first, main, 10)] == [third, second]
    assert [commit.sha for commit in case.source.log(first, main, 1)] == [third]
    assert case.source.log(third, main, 10) == ()
    assert case.source.log(second, main, 10) == (main,)


def test_unknown_commits_are_refused(case: Case, tmp_path: Path) -> None:
    main = case.source.resolve("main")
    unknown = Commit("e" * 40, "", "", main.committed_at)
    for use in (
        lambda: case.source.log("e" * 40, main, 10),
        lambda: case.source.log("--all", main, 10),
        lambda: case.source.log(None, unknown, 10),
        lambda: case.source.read_file(unknown, "a.txt"),
        lambda: case.source.check_out(unknown, tmp_path / "tree"),
        lambda: case.source.history(unknown, tmp_path / "tree"),
    ):
        with pytest.raises(Refused, match="no such commit"):
            use()
    assert not (tmp_path / "tree").exists()


def in_history(folder: Path, *command: str) -> list[str]:
    done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, env=PLAIN, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_history_is_a_repository_with_the_commit_its_ancestors_and_nothing_newer(
    case: Case, tmp_path: Path, n: int
) -> None:
    into = tmp_path / "new" / "history"
    case.source.history(case.source.resolve(case.shas[n]), into)
    assert in_history(into, "log", "--all", "--reverse", "--format=%s %an %ct") == [
        f"{subject} Ann Author {1_767_225_660 + 60 * position}" for position, subject in enumerate(SUBJECTS[: n + 1])
    ]
    commits = {line.split()[0] for line in in_history(into, "cat-file", "--batch-all-objects", "--batch-check")}
    reachable = {line.split()[0] for line in in_history(into, "rev-list", "--all", "--objects")}
    assert commits == reachable
    assert [path.name for path in into.parent.iterdir()] == ["history"]


def test_what_was_deleted_later_is_in_the_history(case: Case, tmp_path: Path) -> None:
    into = tmp_path / "history"
    case.source.history(case.source.resolve("main"), into)
    assert not (into / "a.txt").exists()
    assert in_history(into, "show", "HEAD~1:a.txt") == ["two"]
    assert in_history(into, "show", "HEAD~2:a.txt") == ["one"]


def test_a_history_has_one_branch_the_files_of_the_commit_no_remote_and_no_hook(case: Case, tmp_path: Path) -> None:
    into = tmp_path / "history"
    case.source.history(case.source.resolve("main"), into)
    assert len(in_history(into, "for-each-ref")) == 1
    assert in_history(into, "status", "--porcelain") == []
    assert in_history(into, "remote") == []
    assert not (into / ".git" / "hooks").exists()
    assert tree_in(into) == TREES[2]


def test_a_history_replaces_what_was_there(case: Case, tmp_path: Path) -> None:
    into = tmp_path / "history"
    case.source.history(case.source.resolve("main"), into)
    (into / "rubbish").touch()
    for _ in range(2):
        case.source.history(case.source.resolve("v1.0"), into)
        assert in_history(into, "log", "--all", "--format=%s") == [SUBJECTS[0]]
        assert not (into / "rubbish").exists()


def test_default_branch_leads_to_its_newest_commit(case: Case) -> None:
    assert case.source.default().sha == case.shas[2]


def test_commit_of_a_ref_and_those_before_it_can_be_read_by_way_of_it(case: Case, tmp_path: Path) -> None:
    for sha in case.shas[:2]:
        for _ in range(2):
            source = case.source.with_ref(PULL, sha, tmp_path / "ref")
            assert source.resolve(sha).sha == sha
    source.check_out(source.resolve(case.shas[1]), tmp_path / "tree")
    assert tree_in(tmp_path / "tree") == TREES[1]


@pytest.mark.parametrize(("ref", "said"), [(PULL, "does not lead to the commit"), ("refs/pull/8/head", "there is no")])
def test_ref_that_is_missing_or_leads_elsewhere_is_refused(case: Case, tmp_path: Path, ref: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        case.source.with_ref(ref, case.shas[2], tmp_path / "ref")
