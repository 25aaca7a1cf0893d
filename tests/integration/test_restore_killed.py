"""A restore that is killed with -9 at each moment: the next process finds out what is there, and puts it right."""

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.postgresql import USERS, find_binaries
from blocks.targets.postgresql import PostgresqlTarget
from blocks.targets.records import beside, read_journal
from blocks.targets.servers import servers_of
from blocks.users import as_user, find_user
from tasks.common.backups import Form, RestoreTo
from tasks.common.errors import Unsafe
from tasks.common.lease import LeaseLost
from tasks.restore.decide import settle
from tasks.restore.model import Journal, Phase, Settlement
from tests.support.grants import holding
from tests.support.postgresql import running_cluster
from tests.support.processes import die, listens, quick_folder, require_killed, running, wait_until
from tests.support.restoring import QUICK, Target
from tests.support.verifying import CopyingEngine, base_backup

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]

RUN = "0123456789abcdef"
_STARTED = "former started"


@dataclass
class Rig:
    """A target that serves a former state, and a backup of another one."""

    target: Target
    backup: Path
    tokens: Iterator[int]

    def open(self, kind: type[PostgresqlTarget] = PostgresqlTarget, **settings: object) -> PostgresqlTarget:
        """Return the driver with a newer lease than anybody before."""
        given = {name: value for name, value in self.target.spec["server"].items() if name != "driver"}
        checked = PostgresqlTarget.Settings.model_validate({**given, **settings})
        return kind(checked, Context(base=self.target.data.parent, grant=holding(next(self.tokens))))

    def fetch(self, driver: PostgresqlTarget) -> None:
        CopyingEngine(self.backup).restore(RestoreTo(), driver.folder, lambda _: None)

    def restore(self, driver: PostgresqlTarget) -> None:
        """All of it, as the flow does it."""
        driver.put_aside(begun())
        self.fetch(driver)
        driver.recover(Form.CLUSTER, "")
        driver.open(lambda _: None)
        driver.finish()

    def serve(self, text: str) -> None:
        """What is there now is told by this text from everything before."""
        self.target.execute(
            "create table if not exists serving (text text)",
            "truncate serving",
            f"insert into serving values ('{text}')",
        )

    def serving(self) -> str:
        """Return the text; 'the backup' where what serves has none."""
        there = self.target.rows("select to_regclass('public.serving') is not null") == [(True,)]
        return str(self.target.rows("select text from serving")[0][0]) if there else "the backup"

    def settle(self) -> Settlement:
        """Do what the next run does first."""
        driver = self.open()
        seen = driver.observe()
        found = settle(seen, driver.where)
        if found is Settlement.CARRY_ON:
            driver.carry_on()
        elif found is not Settlement.NOTHING:
            driver.bring_back()
        return found


def begun() -> Journal:
    return Journal(RUN, "db", "db/1/x", "db/1/x", datetime.now(UTC), Phase.FILLING)


@pytest.fixture(scope="module")
def backup() -> Iterator[Path]:
    """A base backup of a source whose database is called as the targets' is."""
    with quick_folder() as folder, running_cluster(folder) as cluster:
        with cluster.as_superuser(cluster.database()) as session:
            session.execute("create database shop")
        (folder / "password").write_text(cluster.password)
        yield base_backup(cluster, folder / "backup")


@pytest.fixture(scope="module")
def rig(backup: Path) -> Iterator[Rig]:
    with quick_folder() as folder:
        target = Target(folder, "main", (backup.parent / "password").read_text())
        found = Rig(target, backup, iter(range(1, 10_000)))
        try:
            found.restore(found.open())
            yield found
        finally:
            target.end()


def dying(moment: str) -> type[PostgresqlTarget]:
    """Return a driver whose process kills itself with -9 at the moment."""

    class Dying(PostgresqlTarget):
        def _note(self, journal: Journal | None) -> None:
            if journal is not None and journal.phase is Phase.DONE:
                die(moment == _STARTED)
            super()._note(journal)
            die(journal is not None and moment == f"noted {journal.phase}")

        def _stop(self) -> None:
            super()._stop()
            die(moment == "stopped")

        def _rename(self, source: Path, to: Path) -> None:
            super()._rename(source, to)
            die(to.name.startswith(f"main.{moment.removeprefix('renamed ')}") or moment == f"renamed {to.name}")

    return Dying


def killed(rig: Rig, moment: str, act: Callable[[PostgresqlTarget], None]) -> None:
    """A process that did it was killed at the moment."""
    driver = rig.open(dying(moment))
    require_killed(lambda: act(driver), moment)


def restore_and_die(rig: Rig, moment: str) -> Callable[[PostgresqlTarget], None]:
    def act(driver: PostgresqlTarget) -> None:
        driver.put_aside(begun())
        if moment == "in the fetch":
            shutil.copytree(rig.backup / "base", driver.folder / "base")
            die(True)
        rig.fetch(driver)
        driver.recover(Form.CLUSTER, "")
        die(moment == "recovered")
        driver.open(lambda _: None)
        die(moment == "opened")

    return act


def fail_and_die(rig: Rig) -> Callable[[PostgresqlTarget], None]:
    def act(driver: PostgresqlTarget) -> None:
        driver.put_aside(begun())
        rig.fetch(driver)
        driver.bring_back()

    return act


BEFORE_THE_RENAME = ("noted stopping", "stopped", "noted aside")
HALF_RESTORED = ("renamed aside", "noted filling", "in the fetch", "noted recovering", "recovered")
ON_THE_WAY_BACK = ("noted returning", "renamed discarded", "renamed main", _STARTED)


@pytest.mark.parametrize("moment", (*BEFORE_THE_RENAME, *HALF_RESTORED, *ON_THE_WAY_BACK))
def test_former_state_is_back_and_answers_after_a_kill(rig: Rig, moment: str) -> None:
    rig.serve(moment)
    before = set(rig.target.beside())
    act = fail_and_die(rig) if moment in ON_THE_WAY_BACK else restore_and_die(rig, moment)
    killed(rig, moment, act)
    found = rig.settle()
    in_its_place = moment in (*BEFORE_THE_RENAME, "renamed main", _STARTED)
    assert found is (Settlement.START if in_its_place else Settlement.BRING_BACK)
    assert rig.serving() == moment
    assert set(rig.target.beside()) == before, "nothing half restored is left, and what was put aside before is there"
    seen = rig.open().observe()
    assert seen.ours and seen.running, "it is known again as what a restore had put up"
    assert rig.settle() is Settlement.NOTHING


@pytest.mark.parametrize("moment", ["noted opening", "opened"])
def test_what_was_whole_is_up_after_a_kill_and_the_former_state_is_aside(rig: Rig, moment: str) -> None:
    rig.serve(moment)
    before = set(rig.target.asides)
    killed(rig, moment, restore_and_die(rig, moment))
    assert rig.settle() is Settlement.CARRY_ON
    assert rig.serving() == "the backup"
    (aside,) = set(rig.target.asides) - before
    journal = read_journal(rig.target.data)
    assert journal is not None and (journal.phase, journal.aside) == (Phase.DONE, str(aside))
    assert rig.settle() is Settlement.NOTHING


def test_program_of_a_killed_run_that_works_on_is_ended_before_anything_else_is_restored(rig: Rig) -> None:
    rig.serve("former")
    killed(rig, "in the fetch", restore_and_die(rig, "in the fetch"))
    left = rig.target.data.with_name("main.restoring")
    (left / "base").mkdir(parents=True)
    argv = ["python3", "-c", "import time; time.sleep(600)", "restore", f"--pg1-path={left}"]
    with running(argv, log=rig.target.data.parent / "left.log") as process:
        assert rig.settle() is Settlement.BRING_BACK
        assert process.wait(10) == -signal.SIGKILL
    assert not left.exists() and rig.serving() == "former"


def test_restore_that_has_ended_well_is_never_taken_back(rig: Rig) -> None:
    """A later run that fails before its first change must not bring back what an earlier one had put aside."""
    rig.serve("long ago")
    rig.restore(rig.open())
    rig.serve("the present")
    before = rig.target.beside()
    assert rig.open().bring_back() == "nothing was changed"
    assert (rig.serving(), rig.target.beside()) == ("the present", before)


def test_holder_of_an_older_lease_changes_nothing(rig: Rig) -> None:
    rig.serve("of the newer one")
    older, newer = rig.open(), rig.open()
    newer.finish()
    before = set(rig.target.beside())
    for act in (lambda: older.put_aside(begun()), lambda: older.open(str), older.bring_back, older.carry_on):
        with pytest.raises(LeaseLost):
            act()
    assert (rig.serving(), set(rig.target.beside())) == ("of the newer one", before)


def test_address_that_somebody_else_has_brings_the_former_state_back_and_keeps_what_was_opened(rig: Rig) -> None:
    rig.serve("former")
    driver = rig.open(start_within="3s")
    driver.put_aside(begun())
    rig.fetch(driver)
    driver.recover(Form.CLUSTER, "")
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {rig.target.port})); time.sleep(600)"
    with running(["python3", "-c", code], log=rig.target.data.parent / "squatter.log"):
        wait_until(lambda: listens(rig.target.port), what="somebody else on the address")
        with pytest.raises(Unsafe, match="exit code 1") as caught:
            driver.open(lambda _: None)
        assert "could not bind" in caught.value.what or "not create any TCP" in caught.value.what, caught.value
    said = driver.bring_back()
    assert rig.serving() == "former"
    (kept,) = rig.target.data.parent.glob("main.failed-*")
    assert said == f"the former state is in its place again, and its server answers on {driver.address}; {_kept(kept)}"
    shutil.rmtree(kept)


def _kept(folder: Path) -> str:
    return f"what had been open for a moment is kept in {folder}"


def test_commands_of_a_service_manager_start_and_stop_the_server(rig: Rig) -> None:
    data, flags = rig.target.data, " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in QUICK.items())
    program = [*as_user(find_user(USERS)), str(find_binaries() / "pg_ctl"), "--wait", "-D", str(data)]
    options = f"{flags} -c listen_addresses=127.0.0.1 -c port={rig.target.port}"
    start = [*program, "-l", str(beside(data) / "private/open.log"), "-o", options, "start"]
    rig.serve("former")
    driver = rig.open(start=start, stop=[*program, "stop"], options={})
    driver.put_aside(begun())
    assert servers_of(data) == []
    assert driver.bring_back().startswith("the former state is in its place again, and its server answers")
    assert rig.serving() == "former"


def test_cluster_without_a_folder_of_its_own_for_tablespaces_is_no_target(rig: Rig, tmp_path: Path) -> None:
    data = tmp_path / "elsewhere"
    (data / "pg_tblspc").mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    (data / "pg_tblspc/16400").symlink_to(tmp_path)
    assert "tablespace" in rig.open(data=str(data)).observe().problem
    (data / "PG_VERSION").unlink()
    assert "no PostgreSQL cluster" in rig.open(data=str(data)).observe().problem
