import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.builders.archive import ArchiveBuilder
from blocks.context import Context
from blocks.secrets import Secrets
from blocks.shell import TimedOut
from tasks.common.errors import Refused
from tasks.common.redaction import MASK
from tasks.common.service import Build
from tasks.release.model import Artifact, Commit
from tests.support.disks import small_disk
from tests.support.needs import missing
from tests.support.processes import pytest_folders

COMMIT = Commit(sha="c" * 40, subject="s", author="a", committed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
STAMP = "date -d @$SOURCE_DATE_EPOCH +%c > built; ls -A > listing; chmod +x built"


def build(
    tree: Path, command: list[str], *, context: Context | None = None, lines: list[str] | None = None, **more: object
) -> Artifact:
    spec = Build.model_validate({"command": command, **more})
    builder = ArchiveBuilder(ArchiveBuilder.Settings(), context or Context(base=tree))
    seen = [] if lines is None else lines
    return builder.build(tree, spec, COMMIT, tree.parent / "out", env={"KIND": "test"}, on_line=seen.append)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "source").write_text("x = 1")
    return tmp_path / "tree"


def test_what_the_command_makes_is_packed(tree: Path) -> None:
    assert build(tree, ["cp", "source", "copy"]).files == 2


def test_the_command_sees_the_time_of_the_commit_and_the_given_variables(tree: Path) -> None:
    lines: list[str] = []
    build(tree, ["bash", "-c", "echo $SOURCE_DATE_EPOCH $PYTHONHASHSEED $TZ $KIND"], lines=lines)
    assert lines == [f"{int(COMMIT.committed_at.timestamp())} 0 UTC test"]


def test_a_failed_command_is_refused_with_its_last_lines(tree: Path) -> None:
    with pytest.raises(Refused, match="exit code 3") as raised:
        build(tree, ["bash", "-c", "echo compiling; echo no such header >&2; exit 3"])
    assert "no such header" in str(raised.value.facts["last lines"])
    assert not (tree.parent / "out").exists()


def test_a_command_that_hangs_is_ended(tree: Path) -> None:
    with pytest.raises(TimedOut, match="waiting for a lock"):
        build(tree, ["bash", "-c", "echo waiting for a lock; sleep 600"], timeout="500ms")
    assert not (tree.parent / "out").exists()


def test_a_missing_compiler_is_refused_by_name(tree: Path) -> None:
    with pytest.raises(Refused, match="no-such-compiler"):
        build(tree, ["no-such-compiler"])


def test_programs_of_the_estate_come_first(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "make").write_text("#!/bin/sh\necho made > made\n")
    (tmp_path / "tools" / "make").chmod(0o755)
    assert build(tree, ["make"], context=Context(base=tree, path=(str(tmp_path / "tools"),))).files == 2


def test_secrets_do_not_reach_the_log_or_the_error(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_TOKEN", "correct-horse-battery")
    secrets = Secrets(tree)
    secrets.resolve("env:REGISTRY_TOKEN")
    lines: list[str] = []
    with pytest.raises(Refused) as raised:
        build(
            tree,
            ["bash", "-c", "echo token correct-horse-battery; exit 1"],
            context=Context(base=tree, secrets=secrets),
            lines=lines,
        )
    assert lines == [f"token {MASK}"]
    assert "correct-horse-battery" not in str(raised.value)


def test_a_full_disk_leaves_no_half_archive(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kib=512) as disk:
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "random").write_bytes(os.urandom(2**20))
        builder = ArchiveBuilder(ArchiveBuilder.Settings(), Context(base=tmp_path))
        with pytest.raises(Refused, match="No space left"):
            builder.build(tmp_path / "tree", Build(), COMMIT, disk / "out", env={}, on_line=print)
        assert list(disk.iterdir()) == []


def elsewhere(home: Path, *, zone: str, umask: int, user: int | None = None) -> str:
    """Return the digest of a build in another folder, time zone and, as root, by another user."""
    home.mkdir()
    # Forked, not started: another user may not be able to read this interpreter's files.
    child = os.fork()
    if child == 0:
        try:
            os.umask(umask)
            os.environ["TZ"] = zone
            time.tzset()
            if user is not None:
                os.chown(home, user, user)
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            (home / "tree").mkdir()
            (home / "tree" / "source").write_text("x = 1")
            (home / "digest").write_text(build(home / "tree", ["bash", "-c", STAMP]).digest)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return (home / "digest").read_text()


def test_another_folder_zone_and_umask_give_the_same_digest(tmp_path: Path) -> None:
    first = elsewhere(tmp_path / "a", zone="Asia/Tokyo", umask=0o022)
    assert elsewhere(tmp_path / "another", zone="America/New_York", umask=0o077) == first


def test_a_build_that_looks_at_the_clock_is_seen_in_the_digest(tree: Path) -> None:
    command = ["bash", "-c", "date +%N > built"]
    assert build(tree, command).digest != build(tree, command).digest


def test_another_user_gives_the_same_digest(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        missing("only root can build as another user")
    for folder in pytest_folders(tmp_path):
        folder.chmod(0o755)
    first = elsewhere(tmp_path / "root", zone="UTC", umask=0o022)
    assert elsewhere(tmp_path / "nobody", zone="UTC", umask=0o027, user=65534) == first
    assert (tmp_path / "nobody" / "out").stat().st_uid == 65534
