"""What only pgBackRest does, and the ways in which it fails, with real clusters."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blocks.backups.pgbackrest import PgBackRestEngine
from blocks.backups.pgbackrest_verify import problems_of
from tasks.common.backups import Ability, BackupKind, Progress, RestoreTo
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.wal import problems
from tests.support.backup_engines import Damage, Rigs, spoil
from tests.support.backup_engines.pgbackrest import KEY, STANZA, PgBackRestRig, archive, rigs
from tests.support.disks import small_disk
from tests.support.processes import wait_until
from tests.support.verifying import source

pytestmark = [pytest.mark.server, pytest.mark.long]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    with rigs(tmp_path_factory.mktemp("pgbackrest")) as found:
        yield found


@pytest.fixture
def rig(made: Rigs, tmp_path: Path) -> Iterator[PgBackRestRig]:
    with made(tmp_path) as found:
        assert isinstance(found, PgBackRestRig)
        yield found


def unseen(progress: Progress) -> None:
    del progress


def segments(rig: PgBackRestRig, repository: str = "one") -> list[Path]:
    """Return the WAL that lies in a repository, oldest first."""
    return sorted((rig.folder / repository / "archive" / STANZA).rglob("0000*-*"), key=lambda path: path.name)


def test_wal_that_was_dropped_is_never_passed_over(rig: PgBackRestRig, tmp_path: Path) -> None:
    engine = rig.open()
    rig.write("one")
    backup = engine.take(BackupKind.FULL, unseen)
    rig.after(backup.ended_at)
    for text in ("two", "three", "four"):
        rig.write(text)
        rig.settle()
    whole = engine.reaches()
    assert whole is not None
    *_, dropped, last = segments(rig)
    dropped.unlink()
    with pytest.raises(Unsafe) as raised:
        engine.restore(RestoreTo(), tmp_path / "copy", unseen)
    assert dropped.name[:24] in raised.value.facts["missing"]
    with pytest.raises(Refused, match="no backup reaches"):
        engine.restore(RestoreTo(at=whole), tmp_path / "copy", unseen)
    assert not (tmp_path / "copy").exists()
    reached = rig.open().reaches()
    assert reached is not None
    assert reached < whole
    engine.restore(RestoreTo(at=reached), tmp_path / "before", unseen)
    assert rig.read(tmp_path / "before") == ("one", "two")
    # What the backup itself needs is damaged, then gone.
    assert engine.verify(backup.label) == ()
    start = next(path for path in segments(rig) if last.name > path.name >= _first_needed(rig, backup.label))
    spoil(start, Damage.FLIPPED)
    assert start.name[:24] in " ".join(engine.verify(backup.label))
    start.unlink()
    assert f"WAL segment {start.name[:24]} is missing" in engine.verify(backup.label)
    with pytest.raises(Unsafe, match="missing"):
        engine.restore(RestoreTo(backup_only=True), tmp_path / "copy", unseen)


def _first_needed(rig: PgBackRestRig, label: str) -> str:
    info = rig.open()._info(1)
    return str(next(each["archive"]["start"] for each in info["backup"] if each["label"] == label))


def test_a_restored_copy_archives_nothing_and_reaches_nobody(rig: PgBackRestRig, tmp_path: Path) -> None:
    rig.execute(
        "alter system set primary_conninfo = 'host=production'", "alter system set synchronous_standby_names = 'x'"
    )
    try:
        engine = rig.open()
        engine.take(BackupKind.FULL, unseen)
        engine.restore(RestoreTo(), tmp_path / "copy", unseen)
    finally:
        rig.execute("alter system reset all")
    settings = dict(
        line.split(" = ", 1)
        for line in (tmp_path / "copy" / "postgresql.auto.conf").read_text().splitlines()
        if " = " in line
    )
    assert settings["archive_mode"] == "'off'"
    for name in ("archive_command", "primary_conninfo", "synchronous_standby_names"):
        assert settings[name] == "''"
    text = (tmp_path / "copy" / "postgresql.auto.conf").read_text()
    assert KEY not in text
    assert "archive_mode" not in text.partition("# Of the restore:")[0], "without its end it archives again"
    assert rig.read(tmp_path / "copy") == ()


def test_archiving_that_stops_silently_is_refused_before_a_file_is_copied(rig: PgBackRestRig) -> None:
    engine = rig.with_settings(archive_timeout="1s")
    rig.open().check()
    (before,) = rig.execute("select archived_count, failed_count from pg_stat_archiver")
    with rig.archiving_nothing():
        engine.check(wal=False)
        for use in (engine.check, lambda: engine.take(BackupKind.FULL, unseen)):
            with pytest.raises(Refused, match="WAL does not arrive"):
                use()
    (after,) = rig.execute("select archived_count, failed_count from pg_stat_archiver")
    assert after > before
    assert after[1] == before[1]
    assert list((rig.folder / "one" / "backup").rglob("pg_data")) == []
    assert engine.stored() == ()


def test_wal_that_the_server_cannot_let_go_of_is_seen_in_its_own_files(rig: PgBackRestRig) -> None:
    database = source(rig.folder, rig.cluster, "postgres")
    archive(rig.cluster.folder, fails=True)
    try:
        rig.execute("select pg_create_physical_replication_slot('forgotten', true)")
        for _ in range(2):
            rig.execute("create table filler as select 1 as n", "drop table filler", "select pg_switch_wal()")
        held = wait_until(lambda: found if (found := database.wal()).waiting >= 2 else None, what="WAL that waits")
        assert held.unseen == ""
        (slot,) = held.slots
        assert (slot.name, slot.active, slot.lost) == ("forgotten", False, False)
        assert slot.held_bytes >= 2**24
        said = problems(replace(held, usual_bytes=2**20), 3600.0)
        assert len(said) == 2 and "archiving does not keep up" in said[0] and "forgotten" in said[1]
    finally:
        archive(rig.cluster.folder)
        rig.execute("select pg_drop_replication_slot('forgotten')")
    rig.execute("create table filler as select 1 as n", "drop table filler")
    rig.open().check()
    wait_until(lambda: database.wal().waiting == 0, what="the end of the WAL that waits")


def test_a_full_disk_may_be_retried_and_leaves_no_backup(rig: PgBackRestRig, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 20 * 1024) as disk:
        disk.chmod(0o777)
        engine = rig.with_settings(repositories=[{"path": str(disk / "repository")}])
        rig.execute("create table big as select sha512(n::text::bytea) from generate_series(1, 200000) n")
        try:
            with pytest.raises(Retryable, match="disk is full"):
                engine.take(BackupKind.FULL, unseen)
        finally:
            rig.execute("drop table big")
        assert engine.stored() == ()


def test_where_the_source_is_lost_with_all_that_was_kept_the_repository_alone_is_enough(
    rig: PgBackRestRig, tmp_path: Path
) -> None:
    rig.write("one")
    backup = rig.open().take(BackupKind.FULL, unseen)
    at = rig.moment()
    rig.write("two")
    rig.settle()
    known = rig.open().reaches()
    elsewhere = rig.with_settings(folder="new-machine", data="lost", socket_dir="lost")
    reached = elsewhere.reaches()
    assert known is not None
    assert reached is not None
    assert reached >= known
    assert elsewhere.restore(RestoreTo(at=at), tmp_path / "copy", unseen) == backup
    assert rig.read(tmp_path / "copy") == ("one",)


def test_wal_goes_with_the_backups_that_needed_it_and_the_last_full_one_stays(rig: PgBackRestRig) -> None:
    engine = rig.open()
    first = engine.take(BackupKind.FULL, unseen)
    second = engine.take(BackupKind.FULL, unseen)
    before = segments(rig)
    engine.expire([first.label])
    assert {path.name for path in segments(rig)} < {path.name for path in before}
    assert engine.verify(second.label) == ()
    with pytest.raises(Refused, match="last full"):
        engine.expire([second.label])
    assert engine.stored() == (second,)


def test_a_take_that_is_resumed_is_whole(rig: PgBackRestRig, tmp_path: Path) -> None:
    rig.write("one")
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.done_bytes > progress.total_bytes // 2 and not killed:
            killed.extend(_pgbackrest_of(rig))
            for process in killed:
                os.kill(process, signal.SIGKILL)

    with pytest.raises(Retryable, match="signal 9"):
        rig.open().take(BackupKind.FULL, kill)
    assert killed
    backup = rig.open().take(BackupKind.FULL, unseen)
    assert rig.open().verify(backup.label) == ()
    rig.open().restore(RestoreTo(backup_only=True), tmp_path / "copy", unseen)
    assert rig.read(tmp_path / "copy") == ("one",)


def _pgbackrest_of(rig: PgBackRestRig) -> list[int]:
    """Return the processes that take this rig's backup, by the configuration file that they were given."""
    config = f"--config={rig.folder}/engine/pgbackrest.conf".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if config in arguments and (b"backup" in arguments or b"backup:local" in arguments):
                found.append(int(folder.name))
    return found


def test_the_configuration_is_for_its_user_alone(rig: PgBackRestRig) -> None:
    rig.open().check()
    config = rig.folder / "engine" / "pgbackrest.conf"
    assert config.stat().st_mode & 0o777 == 0o600
    assert config.stat().st_uid == rig.cluster.data.stat().st_uid


def test_abilities_are_those_of_the_settings(rig: PgBackRestRig) -> None:
    engine: PgBackRestEngine = rig.with_settings(repositories=[{"path": "one"}])
    abilities = engine.abilities()
    assert set(abilities.missing) == {Ability.BANDWIDTH, Ability.SECOND_REPOSITORY, Ability.ENCRYPTION}
    version = tuple(int(part) for part in abilities.versions["pgbackrest"].split("."))
    assert len(abilities.remarks) == (version < (2, 46))


def test_a_verification_reads_no_other_backup_of_the_repository(
    rig: PgBackRestRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = rig.open()
    older, newer = (engine.take(BackupKind.FULL, unseen).label for _ in range(2))
    said: list[str] = []

    def keep(lines: list[str], *others: Any) -> list[str]:
        said.extend(lines)
        return problems_of(lines, *others)

    monkeypatch.setattr("blocks.backups.pgbackrest.problems_of", keep)
    assert engine.verify(newer) == ()
    assert any(newer in line for line in said)
    assert not any(older in line for line in said)
