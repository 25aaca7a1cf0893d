"""Every builder keeps these promises. What only one that runs a command can promise is in tests/integration."""

import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.builders.archive import ArchiveBuilder
from blocks.builders.globs import matcher
from blocks.context import Context
from blocks.files import digest_of_file
from blocks.memory.builder import MemoryBuilder
from tasks.common.errors import Refused
from tasks.common.service import Build
from tasks.release.model import Artifact, Commit
from tasks.release.ports import Builder

COMMIT = Commit(sha="c" * 40, subject="s", author="a", committed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
FILES = {"run.py": "print(1)\n", "app/main.py": "x = 1\n", "app/static/a b.css": "", "tests/test_main.py": "pass\n"}


@pytest.fixture(params=[MemoryBuilder, ArchiveBuilder])
def builder(request: pytest.FixtureRequest, tmp_path: Path) -> Builder:
    return request.param(request.param.Settings(), Context(base=tmp_path))


def make_tree(tree: Path, names: list[str] | None = None) -> Path:
    for name in names or list(FILES):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(FILES[name])
    (tree / "run.py").chmod(0o755)
    return tree


def built(builder: Builder, tree: Path, commit: Commit = COMMIT, **spec: object) -> tuple[Artifact, Path]:
    out = tree.with_name(f"{tree.name}.tar.gz")
    artifact = builder.build(tree, Build.model_validate(spec), commit, out, env={}, on_line=lambda line: None)
    return artifact, out


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


def test_the_artifact_is_described_as_it_is(builder: Builder, tmp_path: Path) -> None:
    artifact, out = built(builder, make_tree(tmp_path / "tree"))
    assert artifact == Artifact(digest_of_file(out), out.stat().st_size, len(FILES))


def test_the_archive_holds_the_files_sorted_and_without_their_owners(builder: Builder, tmp_path: Path) -> None:
    _, out = built(builder, make_tree(tmp_path / "tree"))
    with tarfile.open(out) as archive:
        entries = archive.getmembers()
        assert [entry.name for entry in entries] == sorted(FILES)
        assert {entry.mtime for entry in entries} == {COMMIT.committed_at.timestamp()}
        assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, "", "")}
        assert {entry.name: entry.mode for entry in entries if entry.mode != 0o644} == {"run.py": 0o755}
        archive.extractall(tmp_path / "unpacked")
    assert {name: (tmp_path / "unpacked" / name).read_text() for name in FILES} == FILES


def test_the_head_of_the_archive_names_no_file_and_no_time(builder: Builder, tmp_path: Path) -> None:
    _, out = built(builder, make_tree(tmp_path / "tree"))
    assert out.read_bytes()[:8] == b"\x1f\x8b\x08\x00" + bytes(4)


def test_another_folder_order_clock_and_umask_give_the_same_digest(builder: Builder, tmp_path: Path) -> None:
    first, _ = built(builder, make_tree(tmp_path / "tree"))
    before = os.umask(0o077)
    try:
        tree = make_tree(tmp_path / "elsewhere" / "checkout", names=list(reversed(FILES)))
        for path in tree.rglob("*"):
            os.utime(path, (1, 1))
        second, _ = built(builder, tree)
    finally:
        os.umask(before)
    assert first == second


def test_building_twice_gives_the_same_digest(builder: Builder, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    assert built(builder, tree) == built(builder, tree)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "run.py").write_text("print(2)\n"),
        lambda tree: (tree / "run.py").rename(tree / "ran.py"),
        lambda tree: (tree / "run.py").chmod(0o644),
        lambda tree: (tree / "new").touch(),
        lambda tree: (tree / "link").symlink_to("run.py"),
    ],
    ids=["content", "name", "executable", "new file", "new link"],
)
def test_every_change_of_the_tree_changes_the_digest(
    builder: Builder, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    tree = make_tree(tmp_path / "tree")
    first, _ = built(builder, tree)
    change(tree)
    assert built(builder, tree)[0].digest != first.digest


def test_another_commit_time_changes_the_digest(builder: Builder, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    later = replace(COMMIT, committed_at=COMMIT.committed_at + timedelta(seconds=1))
    assert built(builder, tree)[0].digest != built(builder, tree, later)[0].digest


def test_only_included_and_not_excluded_files_are_packed(builder: Builder, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    _, out = built(builder, tree, include=["app", "**/*.py"], exclude=["tests/", "**/*.css"])
    assert names_in(out) == ["app/main.py", "run.py"]


def test_bytecode_and_the_repository_are_never_packed(builder: Builder, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    for name in (".git/config", "app/.git", "app/__pycache__/main.cpython-311.pyc", "old.pyc", ".gitignore"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).touch()
    _, out = built(builder, tree)
    assert names_in(out) == sorted([*FILES, ".gitignore"])


def test_a_pattern_that_includes_nothing_is_refused(builder: Builder, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"'dist/\*\*' includes no file"):
        built(builder, make_tree(tmp_path / "tree"), include=["run.py", "dist/**"])


def test_an_archive_without_any_file_is_refused(builder: Builder, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="excluded again"):
        built(builder, make_tree(tmp_path / "tree"), exclude=["**"])


def test_a_malformed_pattern_is_refused(builder: Builder, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"\[z-a\]"):
        built(builder, make_tree(tmp_path / "tree"), include=["[z-a]"])


def test_a_missing_tree_is_refused(builder: Builder, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the tree cannot be read"):
        built(builder, tmp_path / "tree")


def test_links_within_the_tree_stay_links(builder: Builder, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    (tree / "current").symlink_to("app")
    (tree / "app" / "up").symlink_to("../run.py")
    _, out = built(builder, tree)
    with tarfile.open(out) as archive:
        links = {entry.name: entry.linkname for entry in archive if entry.issym()}
    assert links == {"current": "app", "app/up": "../run.py"}


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../outside", "..", "../tree/run.py", "app/out/outside", "{tree}/run.py"]
)
def test_links_that_lead_out_of_the_tree_are_refused_by_name(builder: Builder, tmp_path: Path, target: str) -> None:
    tree = make_tree(tmp_path / "tree")
    (tmp_path / "outside").write_text("not ours")
    (tree / "app" / "out").symlink_to("../..")
    (tree / "link").symlink_to(target.format(tree=tree))
    with pytest.raises(Refused, match="link -> ") as raised:
        built(builder, tree, exclude=["app/out"])
    assert "exclude them" in raised.value.next_action


def test_excluding_a_link_that_leads_out_helps(builder: Builder, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    (tree / "link").symlink_to("/etc")
    _, out = built(builder, tree, exclude=["link"])
    assert names_in(out) == sorted(FILES)


def test_what_is_neither_a_file_nor_a_link_is_refused(builder: Builder, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    os.mkfifo(tree / "pipe")
    with pytest.raises(Refused, match="neither a file nor a link"):
        built(builder, tree)


def test_a_refused_build_leaves_the_former_archive_alone(builder: Builder, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    artifact, out = built(builder, tree)
    os.mkfifo(tree / "pipe")
    with pytest.raises(Refused):
        built(builder, tree)
    assert digest_of_file(out) == artifact.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree", "tree.tar.gz"]


def test_names_that_are_no_text_are_packed(builder: Builder, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    (tree / os.fsdecode(b"caf\xe9")).touch()
    _, out = built(builder, tree)
    assert os.fsdecode(b"caf\xe9") in names_in(out)


@pytest.mark.parametrize(
    ("pattern", "matched", "not_matched"),
    [
        ("**", ["a", "a/b", ".hidden/x"], []),
        ("*", ["a", "a/b"], []),
        ("*.py", ["a.py"], ["a/b.py", "a.pyc"]),
        ("**/*.py", ["a.py", "a/b.py", "a/b/c.py"], ["a.pyc"]),
        ("app/**", ["app/a", "app/a/b"], ["app", "application/a", "x/app/a"]),
        ("app", ["app", "app/a/b"], ["application", "x/app"]),
        ("./app/", ["app/a"], ["application"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/bz"]),
        ("file?.txt", ["file1.txt"], ["file.txt", "file12.txt", "file/.txt"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "[a-c]x"]),
        ("[!a]x", ["bx"], ["ax", "/x"]),
        ("a.b+(c)$", ["a.b+(c)$"], ["aXb+(c)$"]),
        ("[unclosed", ["[unclosed"], ["u"]),
    ],
)
def test_patterns_mean_what_people_expect(pattern: str, matched: list[str], not_matched: list[str]) -> None:
    matches = matcher(pattern)
    assert [path for path in matched if not matches(path)] == []
    assert [path for path in not_matched if matches(path)] == []
