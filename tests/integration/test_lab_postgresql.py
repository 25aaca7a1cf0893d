"""The lab's PostgreSQL helper against the real programs."""

import os
import secrets
import signal
from pathlib import Path

import psycopg
import pytest

from blocks.postgresql import find_binaries
from blocks.runtimes.supervisor_rpc import Supervisor
from deployments.lab import files, postgresql
from deployments.lab.programs import database_program
from tasks.common.errors import Refused, Retryable
from tests.support.postgresql import ROLE, SUPERUSER, Cluster, running_cluster
from tests.support.processes import free_port, short_folder, wait_until
from tests.support.supervisor import supervisord_in

pytestmark = pytest.mark.server


def test_cluster_runs_as_another_user_below_a_folder_that_only_root_can_enter(postgresql_cluster: Cluster) -> None:
    if os.getuid() != 0:
        pytest.skip("only root has to become somebody else")
    parents = postgresql_cluster.data.parents
    assert any(parent.stat().st_uid == 0 and parent.stat().st_mode & 0o077 == 0 for parent in parents)
    server = Path(f"/proc/{postgresql_cluster.process.pid}")
    assert server.stat().st_uid == postgresql_cluster.data.stat().st_uid != 0


def test_cluster_asks_for_passwords_speaks_utf8_and_listens_on_this_machine_only(
    postgresql_cluster: Cluster, database_url: str
) -> None:
    with postgresql_cluster.as_superuser(database_url) as connection:
        settings = dict[str, str](connection.execute("select name, setting from pg_settings").fetchall())
        collation = connection.execute("select datcollate from pg_database where datname = 'template1'").fetchone()
    assert settings["server_encoding"] == "UTF8"
    assert settings["password_encryption"] == "scram-sha-256"
    assert settings["listen_addresses"] == "127.0.0.1"
    assert collation == ("C.UTF-8",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(database_url, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(database_url, host=str(postgresql_cluster.folder / "sockets"), password="wrong")


def test_database_and_role_created_twice_stay_and_the_second_password_counts(postgresql_cluster: Cluster) -> None:
    def create(password: str) -> None:
        postgresql.create_database(
            postgresql_cluster.port,
            superuser=SUPERUSER,
            superuser_password=postgresql_cluster.password,
            role="twice",
            password=password,
            database="twice",
        )

    address = f"host=127.0.0.1 port={postgresql_cluster.port} user=twice dbname=twice"
    create("the first one")
    with psycopg.connect(address, password="the first one") as connection:
        connection.execute("create table kept (id int)")
    create("it's the second")
    with psycopg.connect(address, password="it's the second") as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(address, password="the first one")


def test_no_password_is_in_the_servers_log_or_argument_list(postgresql_cluster: Cluster, database_url: str) -> None:
    with pytest.raises(Refused):
        postgresql.create_database(
            postgresql_cluster.port,
            superuser=SUPERUSER,
            superuser_password=postgresql_cluster.password,
            role="pg_reserved",
            password="a-password-in-a-failing-statement",
            database="never",
        )
    assert "pg_reserved" in postgresql_cluster.log.read_text(), "the statement that failed is in the log"
    seen = postgresql_cluster.log.read_text() + " ".join(map(str, postgresql_cluster.process.args))  # type: ignore[arg-type]
    assert "a-password-in-a-failing-statement" not in seen
    assert postgresql_cluster.password not in seen


def test_wrong_superuser_password_is_refused(postgresql_cluster: Cluster) -> None:
    with pytest.raises(Refused, match="the password of the role") as caught:
        postgresql.create_database(
            postgresql_cluster.port,
            superuser=SUPERUSER,
            superuser_password="a-wrong-password",
            role="r",
            password="p",
            database="d",
        )
    assert "a-wrong-password" not in str(caught.value)


def test_cluster_is_initialised_once_and_survives_a_restart(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        url = cluster.database()
        with psycopg.connect(url) as connection:
            connection.execute("create table kept as select 42 as answer")
        cluster.stop()
        postgresql.initialise(cluster.data, SUPERUSER, tmp_path / "superuser-password")
        cluster.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("select answer from kept").fetchone() == (42,)


def test_half_initialised_cluster_of_an_interrupted_call_is_replaced(tmp_path: Path) -> None:
    half = tmp_path / "data.initialising"
    half.mkdir()
    (half / "PG_VERSION").write_text("15\n")
    (tmp_path / "data").mkdir()
    with running_cluster(tmp_path) as cluster:
        assert cluster.database()
    assert not half.exists()


def test_failed_initdb_names_its_reason_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        postgresql.initialise(tmp_path / "data", SUPERUSER, tmp_path / "no-such-file")
    assert "no-such-file" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_folder_with_something_else_in_it_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").write_text("years of work")
    with pytest.raises(Refused, match="not empty"):
        postgresql.initialise(tmp_path / "data", SUPERUSER, tmp_path / "password")
    assert (tmp_path / "data" / "thesis.tex").read_text() == "years of work"


def test_cluster_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(Refused, match=r"is of PostgreSQL 9[.]6"):
        postgresql.initialise(tmp_path / "data", SUPERUSER, tmp_path / "password")


def test_cluster_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text(find_binaries().parent.name + "\n")
    os.chown(data, 12345, 12345)
    with pytest.raises(Refused, match="belongs to another user"):
        postgresql.initialise(data, SUPERUSER, tmp_path / "password")


def test_folder_too_deep_for_a_socket_gets_none(tmp_path: Path) -> None:
    argv = postgresql.server_command(tmp_path / "data", 5432, tmp_path / ("deep" * 30))
    assert "unix_socket_directories=" in argv
    assert f"unix_socket_directories={tmp_path / 'near'}" in postgresql.server_command(
        tmp_path / "data", 5432, tmp_path / "near"
    )


def test_waiting_for_a_server_that_is_not_there_ends_with_the_place_to_look() -> None:
    port = free_port()
    with pytest.raises(Retryable, match="does not accept connections") as caught:
        postgresql.wait_ready(port, within_s=0.2)
    assert caught.value.on == f"127.0.0.1:{port}"


def test_fresh_database_belongs_to_its_role_and_is_empty(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select current_user").fetchone() == (ROLE,)
        assert connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone() == (0,)


def test_postgresql_whose_postmaster_was_killed_comes_back_under_the_labs_supervisord() -> None:
    with short_folder() as folder:
        folder.chmod(0o755)
        (folder / "logs").mkdir()
        (folder / "password").write_text(secrets.token_urlsafe(16))
        postgresql.initialise(folder / "data", SUPERUSER, folder / "password")
        port = free_port()
        address = f"host=127.0.0.1 port={port} user={SUPERUSER} dbname=postgres"
        program = database_program(folder / "data", port, folder / "sockets")
        configuration = files.supervisord(folder, folder, [program])
        (folder / "supervisord.conf").write_text(configuration.replace("supervisord.sock", "s.sock"))
        with supervisord_in(folder) as supervisor:
            rpc = Supervisor(supervisor.socket)
            rpc.add("postgresql")
            postgresql.wait_ready(port)
            password = (folder / "password").read_text()
            with psycopg.connect(address, password=password, autocommit=True) as connection:
                connection.execute("select 1")
                postmaster = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
                assert Path(f"/proc/{postmaster}/fd/0").readlink() == Path("/dev/null")
                os.kill(postmaster, signal.SIGKILL)

                def another() -> bool:
                    lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
                    return bool(lines) and int(lines[0]) != postmaster

                wait_until(another, within_s=60, what="another postmaster")
                postgresql.wait_ready(port, within_s=60)
            with psycopg.connect(address, password=password) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
