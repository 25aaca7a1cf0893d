"""restic, where a file, the disk, the lock, the repository or the run fails."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.common.backups import FIRST, SECOND, BackupKind, Progress, RestoreTo, StoredBackup
from tasks.common.errors import Refused, Retryable
from tests.support.backup_engines.restic import PASSWORD, ResticRig
from tests.support.disks import small_disk
from tests.support.needs import need
from tests.support.processes import end, wait_until
from tests.support.restic import make_cheap_repository
from tests.support.s3 import BUCKET, running_moto

pytestmark = [pytest.mark.server, pytest.mark.long]
VERIFY = """
import sys
from pathlib import Path
from blocks.backups.restic import ResticEngine
from blocks.context import Context
settings = {"repositories": ["repository-1"], "paths": ["source"], "password": "file:password"}
engine = ResticEngine(ResticEngine.Settings.model_validate(settings), Context(base=Path(sys.argv[1])))
engine.verify(sys.argv[2])
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("restic")
    folder = tmp_path_factory.mktemp("restic") / "empty"
    make_cheap_repository(folder, PASSWORD)
    return folder


@pytest.fixture
def rig(tmp_path: Path, empty: Path) -> ResticRig:
    rig = ResticRig(tmp_path, empty)
    rig.bulk.unlink()
    rig.write("one")
    return rig


class Cancelled(BaseException):
    pass


def unseen(progress: Progress) -> None:
    del progress


def take(rig: ResticRig, **settings: object) -> StoredBackup:
    return rig.with_settings(**settings).take(BackupKind.FULL, unseen)


def restored(rig: ResticRig, into: Path, repository: int = FIRST, **settings: object) -> tuple[str, ...]:
    rig.with_settings(**settings).restore(RestoreTo(), into, unseen, repository)
    return tuple((into / rig.source.relative_to("/") / "lines").read_text().splitlines())


@contextlib.contextmanager
def restic(rig: ResticRig, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """restic runs beside the engine, as a person or another run would start it."""
    argv = [str(need("restic")), "--no-cache", "--repo", str(rig.folder / "repository-1"), *arguments]
    process = subprocess.Popen(
        argv, env={**os.environ, "RESTIC_PASSWORD": PASSWORD}, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_until(lambda: list((rig.folder / "repository-1" / "locks").iterdir()), what="the lock")
        yield process
    finally:
        end(process)


# --- files


def test_a_path_that_is_missing_is_refused_where_restic_would_pass_it_by(rig: ResticRig) -> None:
    engine = rig.with_settings(paths=["source", "not-mounted"])
    for use in (engine.check, lambda: engine.take(BackupKind.FULL, unseen)):
        with pytest.raises(Refused, match="not-mounted"):
            use()
    assert engine.stored() == ()


def test_a_file_that_cannot_be_read_makes_it_no_backup_and_is_named(rig: ResticRig) -> None:
    # The memory of a process has no byte at its beginning: to read it fails for everybody.
    with pytest.raises(Retryable, match="could not read 1 of the files") as raised:
        take(rig, paths=["source", f"/proc/{os.getpid()}/mem"])
    assert f"/proc/{os.getpid()}/mem" in str(raised.value)
    assert rig.open().stored() == ()
    backup = take(rig)
    assert rig.open().stored() == (backup,)
    assert rig.open().clean() == ()


def test_what_is_excluded_is_left_out(rig: ResticRig, tmp_path: Path) -> None:
    (rig.source / "left.tmp").write_text("not needed")
    take(rig, excludes=["*.tmp"])
    assert restored(rig, tmp_path / "copy") == ("one",)
    assert not (tmp_path / "copy" / rig.source.relative_to("/") / "left.tmp").exists()


# --- interruption and locks


def test_a_snapshot_counts_only_once_it_has_its_label(rig: ResticRig, tmp_path: Path) -> None:
    def cancel_when_restic_is_done(progress: Progress) -> None:
        if not list((tmp_path / "repository-1" / "locks").iterdir()) and progress.done_bytes == progress.total_bytes:
            raise Cancelled

    with pytest.raises(Cancelled):
        rig.open().take(BackupKind.FULL, cancel_when_restic_is_done)
    assert len(list((tmp_path / "repository-1" / "snapshots").iterdir())) == 1
    assert rig.open().stored() == ()
    assert rig.open().reaches() is None
    with pytest.raises(Refused, match="no backup"):
        rig.open().restore(RestoreTo(), tmp_path / "copy", unseen)
    (said,) = rig.open().clean()
    assert "unfinished snapshot" in said
    assert rig.open().clean() == ()


def test_the_lock_of_a_run_that_was_killed_is_removed(rig: ResticRig, tmp_path: Path) -> None:
    backup = take(rig)
    verifying = subprocess.Popen([sys.executable, "-c", VERIFY, str(tmp_path), backup.label], start_new_session=True)
    try:
        wait_until(lambda: list((tmp_path / "repository-1" / "locks").iterdir()), what="the lock", every_s=0.002)
        os.kill(verifying.pid, signal.SIGKILL)
        verifying.wait()
    finally:
        end(verifying)
    assert list((tmp_path / "repository-1" / "locks").iterdir())

    def expired() -> bool:
        # Until somebody has asked for the exit of the killed one, it counts as alive for restic.
        with contextlib.suppress(Retryable):
            rig.open().expire([backup.label])
        return rig.open().stored() == ()

    wait_until(expired, what="the end of the killed run's lock")
    assert list((tmp_path / "repository-1" / "locks").iterdir()) == []


def test_the_lock_of_a_run_that_lives_is_respected(rig: ResticRig) -> None:
    backup = take(rig)
    (rig.source / "more").write_bytes(os.urandom(2**20))
    with restic(rig, "--limit-upload", "16", "backup", str(rig.source)):
        with pytest.raises(Retryable, match="locked by another process"):
            rig.open().expire([backup.label])
        assert rig.open().stored() == (backup,)
    rig.open().expire([backup.label])
    assert rig.open().stored() == ()


def test_the_limit_on_bandwidth_reaches_restic(rig: ResticRig, tmp_path: Path) -> None:
    seen: list[str] = []

    def look(progress: Progress) -> None:
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                arguments = (process / "cmdline").read_text().split("\0")
                if str(tmp_path / "repository-1") in arguments and "--limit-upload" in arguments:
                    seen.append(arguments[arguments.index("--limit-upload") + 1])

    rig.with_settings(upload_per_s="2MiB").take(BackupKind.FULL, look)
    assert set(seen) == {"2048"}


# --- repositories


def test_a_repository_is_made_by_its_first_backup_and_the_second_by_its_first_copy(
    rig: ResticRig, tmp_path: Path
) -> None:
    new = {"repositories": ["new/first", "new/second"]}
    engine = rig.with_settings(**new)
    engine.check()
    assert engine.stored() == ()
    backup = take(rig, **new)
    assert engine.copy(backup.label, unseen) == backup
    assert restored(rig, tmp_path / "copy", SECOND, **new) == ("one",)


def test_a_full_disk_is_told_of(rig: ResticRig, tmp_path: Path, empty: Path) -> None:
    (rig.source / "more").write_bytes(os.urandom(8 * 2**20))
    with small_disk(tmp_path / "small", 6 * 1024):
        subprocess.run(["cp", "-r", str(empty), str(tmp_path / "small" / "repository")], check=True)
        with pytest.raises(Retryable, match="a disk is full"):
            take(rig, repositories=["small/repository"])
        assert rig.with_settings(repositories=["small/repository"]).stored() == ()
    take(rig)
    with small_disk(tmp_path / "tiny", 4 * 1024):
        with pytest.raises(Retryable, match="a disk is full"):
            rig.open().restore(RestoreTo(), tmp_path / "tiny" / "copy", unseen)
        assert list((tmp_path / "tiny").iterdir()) == []


def test_a_snapshot_that_is_damaged_is_listed_where_restic_leaves_it_out(rig: ResticRig, tmp_path: Path) -> None:
    sound = take(rig)
    known = set((tmp_path / "repository-1" / "snapshots").iterdir())
    take(rig)
    (file,) = set((tmp_path / "repository-1" / "snapshots").iterdir()) - known
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    damaged, kept = rig.open().stored()
    assert damaged.label == f"snapshot-{file.name[:8]}"
    assert "cannot read" in damaged.error
    assert kept == sound
    assert any(file.name[:8] in said for said in rig.open().verify(sound.label))
    assert rig.open().restore(RestoreTo(), tmp_path / "copy", unseen) == sound


def test_a_repository_in_s3_is_used_with_keys_by_reference(rig: ResticRig, tmp_path: Path) -> None:
    (tmp_path / "moto").mkdir()
    (tmp_path / "key").write_text("AKIAEXAMPLEOFNOTHING")
    (tmp_path / "secret").write_text("the-secret-key-of-the-test")
    with running_moto(tmp_path / "moto") as moto:
        remote = {
            "repositories": [f"s3:{moto.endpoint}/{BUCKET}/restic"],
            "env": {"AWS_ACCESS_KEY_ID": "file:key", "AWS_SECRET_ACCESS_KEY": "file:secret"},
        }
        backup = take(rig, **remote)
        assert rig.with_settings(**remote).stored() == (backup,)
        assert restored(rig, tmp_path / "copy", **remote) == ("one",)
