"""The scratch server of PostgreSQL: what it cannot reach, what it leaves alone, and what is left of a killed one."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from blocks.context import Context
from blocks.postgresql import USERS
from blocks.scratch.postgresql import PostgresqlScratch
from blocks.scratch.rooms import PID_FILE, processes_of
from blocks.users import as_user, find_user
from tasks.common.backups import Form, RestoreTo
from tasks.common.errors import Refused, Unsafe
from tests.support.docs import ROOT
from tests.support.postgresql import SUPERUSER, Cluster
from tests.support.processes import short_folder, wait_until
from tests.support.verifying import NAME, CopyingEngine, program, scratch_in, superuser_address, within

pytestmark = pytest.mark.server


def restored(scratch: PostgresqlScratch, backup: Path) -> Path:
    folder = scratch.open()
    CopyingEngine(backup).restore(RestoreTo(), folder, lambda _: None)
    return folder


def served(scratch: PostgresqlScratch, backup: Path) -> psycopg.Connection:
    restored(scratch, backup)
    scratch.replay(Form.CLUSTER)
    scratch.serve()
    return psycopg.connect(scratch.address(NAME), autocommit=True)


@contextmanager
def killed_verification(place: Path, backup: Path) -> Iterator[Path]:
    """Yield the folder that a verification has left which served a copy, and was killed then."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, str(ROOT / "tests/integration/verification/killed.py"), str(place), str(backup)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT)
    assert process.stdout is not None
    try:
        folder = Path(process.stdout.readline().strip()).parent
        assert processes_of(folder)
        process.send_signal(signal.SIGKILL)
        process.wait()
        yield folder
    finally:
        process.kill()
        process.wait()
        scratch_in(place).clean()


def test_copy_reaches_no_network_not_even_its_source(pagila: Cluster, backup: Path, scratch: PostgresqlScratch) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give it a network of its own")
    with within(superuser_address(pagila)) as outside, served(scratch, backup) as inside:
        outside.execute("create extension if not exists dblink")
        inside.execute("create extension if not exists dblink")
        connect = "select dblink_connect(%s)"
        address = f"host=127.0.0.1 port={pagila.port} user={SUPERUSER} password={pagila.password} dbname={NAME}"
        # The same words connect from the source, so that nothing but the fence keeps the copy from it.
        assert outside.execute(connect, [address]).fetchone() == ("OK",)
        with pytest.raises(psycopg.OperationalError, match="could not establish connection"):
            inside.execute(connect, [address])
        outside.execute("drop extension dblink")
        row = inside.execute("select pg_read_file('/proc/self/net/dev')").fetchone()
    assert row is not None
    devices = [line.split(":")[0].strip() for line in row[0].splitlines() if ":" in line]
    assert devices == ["lo"]
    assert scratch.serve() == "in a network namespace of its own, which leads nowhere"


def test_copy_does_no_work_of_its_own_whatever_its_configuration_says(
    backup: Path, tmp_path: Path, scratch: PostgresqlScratch
) -> None:
    mark = tmp_path / "archived"
    busy = tmp_path / "busy"
    shutil.copytree(backup, busy, symlinks=True)
    with (busy / "postgresql.auto.conf").open("a") as file:
        file.write(
            f"archive_mode = on\narchive_command = 'touch {mark}'\nlisten_addresses = '*'\n"
            "primary_conninfo = 'host=source.example'\nshared_preload_libraries = 'no_such_library'\n"
            "synchronous_standby_names = '*'\nautovacuum = on\nshared_buffers = '900GB'\n"
        )
    with served(scratch, busy) as session:
        session.execute("create table written ()")
        session.execute("select pg_switch_wal()")
        settings = dict[str, str](session.execute("select name, setting from pg_settings").fetchall())
        kinds = {kind for (kind,) in session.execute("select backend_type from pg_stat_activity").fetchall()}
    assert settings["listen_addresses"] == settings["primary_conninfo"] == settings["shared_preload_libraries"] == ""
    assert settings["archive_mode"] == settings["autovacuum"] == "off"
    assert kinds <= {"client backend", "background writer", "checkpointer", "walwriter"}
    assert not mark.exists()


def test_standby_replays_with_its_restore_command_and_ends_its_recovery(
    backup: Path, tmp_path: Path, scratch: PostgresqlScratch
) -> None:
    archive = tmp_path / "archive"
    standby = tmp_path / "standby"
    shutil.copytree(backup, standby, symlinks=True)
    archive.mkdir()
    for segment in (standby / "pg_wal").glob("0*"):
        if segment.is_file():
            shutil.move(segment, archive / segment.name)
    for folder in (archive, tmp_path):
        folder.chmod(0o755)
    with (standby / "postgresql.auto.conf").open("a") as file:
        file.write(f"restore_command = 'cp {archive}/%f %p'\n")
    (standby / "standby.signal").touch()
    with served(scratch, standby) as session:
        assert session.execute("select pg_is_in_recovery(), current_setting('restore_command')").fetchone() == (
            False,
            "",
        )


def test_only_the_servers_user_enters_the_folder_of_a_copy(backup: Path, scratch: PostgresqlScratch) -> None:
    room = restored(scratch, backup).parent
    assert room.stat().st_mode & 0o077 == 0


def test_copy_that_leads_to_the_originals_files_is_not_started(
    backup: Path, tmp_path: Path, scratch: PostgresqlScratch
) -> None:
    folder = restored(scratch, backup)
    (tmp_path / "space").mkdir()
    (folder / "pg_tblspc/16400").symlink_to(tmp_path / "space")
    with pytest.raises(Unsafe, match="outside of its own") as caught:
        scratch.replay(Form.CLUSTER)
    assert str(tmp_path / "space") in caught.value.on


def test_copy_is_not_served_before_it_is_consistent(backup: Path, scratch: PostgresqlScratch) -> None:
    restored(scratch, backup)
    with pytest.raises(Unsafe, match="not consistent"):
        scratch.serve()


def test_source_without_page_checksums_leaves_them_out_and_says_so(backup: Path, scratch: PostgresqlScratch) -> None:
    folder = restored(scratch, backup)
    scratch.replay(Form.CLUSTER)
    disable = [*as_user(find_user(USERS)), program("pg_checksums"), "--disable", "-D", str(folder)]
    subprocess.run(disable, check=True, capture_output=True)
    assert "have no checksums" in scratch.check_pages().left_out


def test_rows_of_a_copy_are_counted_once_and_anew_in_the_next_copy(scratch: PostgresqlScratch) -> None:
    copy = scratch.database(NAME)
    assert scratch.database(NAME) is copy, "it keeps what was counted"
    assert scratch.database("another") is not copy
    scratch.remove()
    assert scratch.database(NAME) is not copy


def test_role_that_the_copy_does_not_have_is_said(backup: Path) -> None:
    with short_folder() as place:
        settings = PostgresqlScratch.Settings(folder=str(place), superuser="nobody-here")
        scratch = PostgresqlScratch(settings, Context(base=place))
        try:
            restored(scratch, backup)
            with pytest.raises(Unsafe, match="nobody-here") as caught:
                scratch.replay(Form.CLUSTER)
            assert "superuser" in caught.value.next_action
        finally:
            scratch.remove()


def test_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="too long"):
        scratch_in(tmp_path / ("deep" * 20)).open()


def test_next_verification_ends_and_removes_what_a_killed_one_has_left(backup: Path) -> None:
    with short_folder() as place, killed_verification(place, backup) as left:
        (server,) = processes_of(left)
        alive = scratch_in(place)
        kept = alive.open()
        (removed,) = scratch_in(place).clean()
        assert str(left) in removed and str(server) in removed
        assert not processes_of(left)
        wait_until(lambda: not Path(f"/proc/{server}").exists() or _is_zombie(server), what="the server's end")
        assert not left.exists()
        assert kept.exists(), "the living one's folder"
        assert scratch_in(place).clean() == ()
        alive.remove()
        assert list(place.iterdir()) == []


def test_server_that_is_stopped_in_its_tracks_is_removed_too(backup: Path) -> None:
    with short_folder() as place, killed_verification(place, backup) as left:
        (server,) = processes_of(left)
        os.kill(server, signal.SIGSTOP)
        assert scratch_in(place).clean()
        assert not processes_of(left) and not left.exists()


def test_process_that_has_the_number_of_a_dead_server_is_left_alone() -> None:
    with short_folder() as place:
        room = scratch_in(place).open().parent
        left = place / "room-000000000000"
        shutil.move(room, left)
        with subprocess.Popen(["sleep", "60"]) as stranger:
            try:
                (left / PID_FILE).write_text(f"{stranger.pid}\n")
                (left / "restored/postmaster.pid").write_text(f"{stranger.pid}\n{left}\n")
                assert any(str(left) in line for line in scratch_in(place).clean())
                assert stranger.poll() is None
            finally:
                stranger.kill()


def _is_zombie(number: int) -> bool:
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
