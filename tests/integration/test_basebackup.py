"""The ways in which pg_basebackup's backups fail, with real clusters."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.backups.basebackup_program import require_no_tablespaces
from blocks.postgresql import USERS
from blocks.users import find_user, own
from tasks.common.backups import SECOND, BackupKind, Progress, RestoreTo
from tasks.common.errors import Refused, Retryable, Unsafe
from tests.support.backup_engines import Damage, Rigs, largest, spoil
from tests.support.backup_engines.pg_basebackup import BaseBackupRig, rigs
from tests.support.disks import small_disk
from tests.support.processes import wait_until

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    with rigs(tmp_path_factory.mktemp("pg_basebackup")) as found:
        yield found


@pytest.fixture
def rig(made: Rigs, tmp_path: Path) -> Iterator[BaseBackupRig]:
    with made(tmp_path) as found:
        assert isinstance(found, BaseBackupRig)
        yield found


def unseen(progress: Progress) -> None:
    del progress


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("backup.json", "description"),
        ("data/backup_manifest", "backup_manifest"),
        ("data/postgresql.auto.conf", "postgresql.auto.conf"),
        ("data/pg_wal/0*", "pg_wal"),
    ],
)
@pytest.mark.parametrize("how", [Damage.TRUNCATED, Damage.MISSING], ids=lambda how: how.name.lower())
def test_damage_beside_the_data_is_found_too(
    rig: BaseBackupRig, tmp_path: Path, pattern: str, said: str, how: Damage
) -> None:
    engine = rig.open()
    label = engine.take(BackupKind.FULL, unseen).label
    assert engine.verify(label) == ()
    spoil(next((rig.folder / "one" / label).glob(pattern)), how)
    assert said in " ".join(engine.verify(label))
    with pytest.raises((Unsafe, Refused)):
        engine.restore(RestoreTo(label=label), tmp_path / "copy", unseen)
    assert not (tmp_path / "copy").exists()


def test_a_full_disk_may_be_retried_and_leaves_nothing(rig: BaseBackupRig, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 8 * 1024) as disk:
        engine = rig.with_settings(repositories=[str(disk / "one")])
        with pytest.raises(Retryable, match="disk is full"):
            engine.take(BackupKind.FULL, unseen)
        assert list((disk / "one").iterdir()) == []


def test_a_server_with_tablespaces_is_refused_and_its_files_are_left_alone(rig: BaseBackupRig) -> None:
    place = rig.cluster.folder / "fast"
    own(place, find_user(USERS))
    rig.execute(f"create tablespace fast location '{place}'", "create table quick tablespace fast as select 1 as n")
    before = sorted(place.rglob("*"))
    try:
        with pytest.raises(Refused, match="has tablespaces") as raised:
            rig.open().take(BackupKind.FULL, unseen)
        assert sorted(place.rglob("*")) == before
    finally:
        rig.execute("drop table quick", "drop tablespace fast")
    assert "pgbackrest" in raised.value.next_action
    assert rig.open().stored() == ()


def test_a_copy_with_files_outside_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "pg_tblspc").mkdir(parents=True)
    require_no_tablespaces(tmp_path / "data", "a server")
    (tmp_path / "data" / "pg_tblspc" / "16384").symlink_to(tmp_path / "fast")
    with pytest.raises(Refused, match="has tablespaces") as raised:
        require_no_tablespaces(tmp_path / "data", "a server")
    assert str(tmp_path / "fast") in str(raised.value.facts)


def test_a_server_without_a_free_slot_is_told_of_with_what_to_do(rig: BaseBackupRig) -> None:
    rig.execute("select pg_create_physical_replication_slot('full_' || n) from generate_series(1, 10) n")
    try:
        with pytest.raises(Retryable, match="no replication slot is free") as raised:
            rig.open().take(BackupKind.FULL, unseen)
    finally:
        rig.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots")
    assert "max_replication_slots" in raised.value.next_action
    assert rig.open().stored() == ()
    rig.open().take(BackupKind.FULL, unseen)


def test_a_slot_that_loses_its_wal_ends_the_backup_and_is_told(rig: BaseBackupRig) -> None:
    rig.execute("alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()")
    fallen_behind: list[int] = []

    def fall_behind(progress: Progress) -> None:
        if progress.done_bytes and not fallen_behind:
            fallen_behind.extend(_receivers(rig.folder))
            for process in fallen_behind:
                os.kill(process, signal.SIGSTOP)
            for _ in range(4):
                rig.execute("create table filler as select 1 as n", "drop table filler", "select pg_switch_wal()")
            # It ends when the one that is stopped has taken the server's last word.
            checkpoint = threading.Thread(target=rig.execute, args=("checkpoint",))
            checkpoint.start()
            try:
                wait_until(
                    lambda: "to release replication slot" in rig.cluster.log.read_text(), what="the end of the slot"
                )
            finally:
                for process in fallen_behind:
                    os.kill(process, signal.SIGCONT)
                checkpoint.join()

    try:
        with pytest.raises(Retryable, match="the server has ended its WAL stream") as raised:
            rig.with_settings(max_rate="1MiB").take(BackupKind.FULL, fall_behind)
    finally:
        rig.execute("alter system reset all", "select pg_reload_conf()")
    assert fallen_behind
    assert "max_slot_wal_keep_size" in raised.value.next_action
    assert rig.open().stored() == () and rig.open().clean() == ()


def _receivers(folder: Path) -> list[int]:
    """Return the processes that receive WAL for a backup into the folder: those that another one has forked."""
    parents = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                name, _, rest = (process / "stat").read_text().partition("(")[2].rpartition(")")
                if name == "pg_basebackup" and os.fsencode(folder) in (process / "cmdline").read_bytes():
                    parents[int(process.name)] = int(rest.split()[1])
    return [process for process, parent in parents.items() if parent in parents]


def test_a_damaged_backup_is_not_copied(rig: BaseBackupRig) -> None:
    engine = rig.open()
    label = engine.take(BackupKind.FULL, unseen).label
    spoil(largest(rig.folder / "one" / label / "data" / "base", "*"), Damage.FLIPPED)
    with pytest.raises(Unsafe, match="damaged"):
        engine.copy(label, unseen)
    assert engine.stored(SECOND) == ()


def test_what_a_killed_worker_has_left_is_no_backup_and_is_removed(rig: BaseBackupRig) -> None:
    engine = rig.open()
    kept = engine.take(BackupKind.FULL, unseen)
    for left in ("20260101-000000-000000.partial", "20260101-000000-000000.gone"):
        (rig.folder / "one" / left / "data").mkdir(parents=True)
    assert engine.stored() == (kept,)
    assert len(engine.clean()) == 2
    assert engine.clean() == ()
    assert [path.name for path in (rig.folder / "one").iterdir()] == [kept.label]
