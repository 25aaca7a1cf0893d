"""`slipway heartbeat` against a real server: it writes, goes on through an outage, and never shows a password."""

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from blocks import open_driver
from blocks.context import Context
from blocks.databases.heartbeat import keep_beating
from blocks.memory.database import MemoryDatabase
from tasks.common.model import DriverSpec
from tasks.common.wal import WalHeld
from tests.support.docs import ROOT
from tests.support.postgresql import Cluster
from tests.support.processes import free_port, wait_until

pytestmark = pytest.mark.server


def count(url: str) -> int:
    with psycopg.connect(url) as session:
        if session.execute("select to_regclass('public.slipway_heartbeat')").fetchone() == (None,):
            return 0
        row = session.execute("select count(*) from slipway_heartbeat").fetchone()
    assert row is not None
    return int(row[0])


def test_heartbeats_arrive_until_it_is_ended_though_another_database_is_away(
    postgresql_cluster: Cluster, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "here").write_text(database_url)
    away = f"postgresql://app:planted-password@127.0.0.1:{free_port()}/gone"
    (tmp_path / "away").write_text(away)
    argv = [sys.executable, "-m", "deployments.cli", "heartbeat", "file:here", "file:away"]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "SLIPWAY_VAR": str(tmp_path / "var")}
    with subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=-1, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_until(lambda: count(database_url) >= 3, what="three heartbeats", within_s=60)
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=30)[0]
    assert process.returncode == 0
    assert "file:here: heartbeats arrive" in said
    assert said.count("file:away: Failed (may be retried): the database does not answer") == 1
    assert "planted-password" not in said and postgresql_cluster.role_password not in said


def test_database_that_comes_back_gets_heartbeats_again_and_each_change_is_said_once(tmp_path: Path) -> None:
    database = open_driver("database", DriverSpec(driver="memory"), Context(base=tmp_path))
    assert isinstance(database, MemoryDatabase)
    stop, said = threading.Event(), list[str]()
    database.down = True

    def say(name: str, text: str) -> None:
        said.append(f"{name}: {text.splitlines()[0]}")

    keeping = threading.Thread(target=keep_beating, args=({"db": database}, stop, say, 0.01))
    keeping.start()
    try:
        wait_until(lambda: said)
        database.down = False
        wait_until(lambda: len(database.beats) > 3)
    finally:
        stop.set()
        keeping.join()
    assert said == ["db: Failed (may be retried): the database does not answer", "db: heartbeats arrive"]


def test_wal_that_piles_up_is_told_once_and_again_when_it_is_let_go(tmp_path: Path) -> None:
    database = open_driver("database", DriverSpec(driver="memory"), Context(base=tmp_path))
    assert isinstance(database, MemoryDatabase)
    stop, said, told = threading.Event(), list[str](), list[Sequence[str]]()
    well, held = database.held, WalHeld(2**30, waiting=7, waiting_bytes=7 * 2**24, oldest_s=901.0)

    def alarm(name: str, found: Sequence[str]) -> None:
        assert name == "db"
        told.append(found)

    arguments = ({"db": database}, stop, lambda name, text: said.append(text), 0.01, alarm, 0.01)
    keeping = threading.Thread(target=keep_beating, args=arguments)
    database.held = held
    keeping.start()
    try:
        wait_until(lambda: told)
        beats = len(database.beats)
        wait_until(lambda: len(database.beats) > beats + 3)
        database.down = True
        wait_until(lambda: any("does not answer" in each for each in said))
        database.down, database.held = False, well
        wait_until(lambda: len(told) > 1)
    finally:
        stop.set()
        keeping.join()
    (piled,), let_go = told
    assert "7 pieces of WAL" in piled and let_go == ()
    assert said.count(piled) == said.count("WAL is archived and read again") == 1


def test_address_in_place_of_a_reference_is_refused_and_not_shown(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "deployments.cli", "heartbeat", "postgresql://u:planted-password@h/d"]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "planted-password" not in done.stdout + done.stderr
