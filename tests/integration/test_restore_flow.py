"""The flow `restore` on real servers: what came back, what was put aside, and what is true after each failure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.common.backups import Rung, RungOutcome, Verification
from tasks.common.errors import Refused
from tasks.common.restores import ANSWERED, ASKED, ENDED, RestoreNote
from tests.integration.test_verify_flow import PLAN, shop
from tests.support.backup_engines import Damage, largest, pgbackrest, spoil
from tests.support.disks import small_disk
from tests.support.events import names_of
from tests.support.postgresql import SUPERUSER, Cluster
from tests.support.processes import wait_until
from tests.support.restoring import RestorePlace, Target, restore_place

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with shop() as cluster:
        yield cluster


@pytest.fixture
def place(cluster: Cluster, database_url: str, prefect_api: str) -> Iterator[RestorePlace]:
    with restore_place(cluster, database_url, prefect_api) as place:
        yield place


@pytest.fixture
def basebackup(cluster: Cluster) -> dict[str, Any]:
    engine = {"driver": "pg_basebackup", "port": cluster.port, "role": SUPERUSER, "password": "file:password"}
    return {**engine, "repositories": ["one"]}


def told(place: RestorePlace, run_id: str, last: str) -> list[str]:
    """Return the events of a run, when the Prefect server has that one."""
    return wait_until(lambda: found if last in (found := names_of(place.api, run_id)) else [], what=last, every_s=0.2)


def test_backup_is_restored_into_a_new_server_and_it_is_said_what_came_back(
    place: RestorePlace, basebackup: dict[str, Any]
) -> None:
    spare = place.target("spare")
    place.describe(basebackup)
    entry = place.take()
    ran = place.restore("spare")
    ran.require_up()
    assert spare.rows("select count(*) from customer") == [(300,)]
    assert spare.rows("select pg_is_in_recovery(), current_setting('archive_mode')") == [(False, "off")]
    assert spare.beside() == []
    text = ran.artifact
    assert text.partition("\n\n")[2].startswith("**It is up**: the newest heartbeat that came back is of ")
    assert entry.id in text and "RTO " in text and "the objective is 1 h" in text
    assert "never restored before" in text and "| fetch the backup |" in text
    assert told(place, str(ran.id), "slipway.restore.finished") == ["slipway.restore.finished"]
    (note,) = place.open().ledger.restores.notes(str(ran.id))
    assert (note.plan, note.target, note.kind, note.facts["error"]) == (PLAN, "spare", "ended", "")


@pytest.mark.long
def test_unsound_backup_stranger_and_unreachable_moment_are_refused_and_nothing_is_touched(
    place: RestorePlace, basebackup: dict[str, Any], cluster: Cluster
) -> None:
    spare, stranger = place.target("spare"), place.target("stranger")
    stranger.spec["server"]["data"] = str(cluster.data)
    place.describe(basebackup)
    entry = place.take()
    assert "no restore has put up" in place.restore("stranger").error.what
    assert "keeps no WAL" in place.restore("spare", at=datetime.now(UTC)).error.what
    now = datetime.now(UTC)
    rung = Rung("page checksums", RungOutcome.BROKEN, "a page is wrong", 1.0)
    place.open().ledger.catalogue.note(Verification(entry.id, "by-hand", now, now, (rung,), None, None))
    ran = place.restore("spare", backup=entry.id)
    assert "on record as unsound" in ran.error.what
    assert "**It failed**" in ran.artifact and "now: nothing was changed" in ran.artifact
    assert told(place, str(ran.id), "slipway.restore.failed") == ["slipway.restore.failed"]
    assert not spare.data.exists() and spare.beside() == []
    assert cluster.data.exists() and not list(cluster.data.parent.glob("data.aside-*"))


class TestOverAServerThatIsThere:
    """One target, which serves what an earlier restore has put up; each test leaves it serving."""

    @pytest.fixture(scope="class")
    def place(self, cluster: Cluster, postgresql_cluster: Cluster, prefect_api: str) -> Iterator[RestorePlace]:
        with restore_place(cluster, postgresql_cluster.database(), prefect_api) as place:
            place.target("main", source=True)
            engine = {"driver": "pg_basebackup", "port": cluster.port, "role": SUPERUSER, "password": "file:password"}
            place.describe({**engine, "repositories": ["one"]}, lease="5s")
            place.take()
            place.restore("main").require_up()
            place.targets["main"].execute("create table later (id int)", "alter system set work_mem = '7MB'")
            yield place

    @pytest.fixture
    def main(self, place: RestorePlace) -> Target:
        return place.targets["main"]

    def test_rejection_changes_nothing_and_nobody_else_restores_there_meanwhile(
        self, place: RestorePlace, main: Target
    ) -> None:
        run_id = place.begin("main")
        (verified,) = place.open().ledger.catalogue.verifications(PLAN, 1)
        assert verified.run_id == run_id and verified.sound, "it was proven before anybody was asked"
        other = place.restore("main")
        assert other.error.what == f"the run {run_id} restores into this target, or waits for an answer before it does"
        place.answer_on_the_command_line(run_id, "reject")
        ran = place.go_on(run_id, "main")
        assert "ann has rejected it: it is well" in ran.said
        assert main.rows("select count(*) from later") == [(0,)]
        assert main.beside() == []
        kinds = [each.kind for each in place.open().ledger.restores.notes(run_id)]
        assert kinds == ["asked", "answered", "ended"]
        with pytest.raises(Refused, match="does not wait for an answer"):
            place.answer(run_id, "approve")

    def test_answer_in_the_form_of_the_prefect_ui_counts(self, place: RestorePlace, main: Target) -> None:
        run_id = place.begin("main")
        place.answer_in_the_form(run_id, "reject")
        assert "ann has rejected it: it is well" in place.go_on(run_id, "main").said
        assert main.rows("select count(*) from later") == [(0,)] and main.beside() == []

    def test_run_that_has_ended_is_not_done_again_by_its_old_approval(self, place: RestorePlace, main: Target) -> None:
        run_id, restores = place.schedule("main"), place.open().ledger.restores
        for kind, facts in ((ASKED, {"expires_at": "x"}), (ANSWERED, {"decision": "approve"}), (ENDED, {})):
            restores.note(RestoreNote(run_id, PLAN, "main", kind, datetime.now(UTC), facts))
        assert "this run has ended before" in place.go_on(run_id, "main").said
        assert main.beside() == [] and main.serves

    def test_damage_that_is_found_on_the_way_brings_the_former_state_back(
        self, place: RestorePlace, main: Target
    ) -> None:
        run_id = place.begin("main")
        place.answer(run_id, "approve")
        file = largest(place.folder / "one", "data/base/*/*")
        sound = file.read_bytes()
        spoil(file, Damage.FLIPPED)
        ran = place.go_on(run_id, "main")
        file.write_bytes(sound)
        assert ran.said.startswith("Flow run encountered an exception: BroughtBack: Failed (brought back): the backup ")
        assert f"the former state is in its place again, and its server answers on 127.0.0.1:{main.port}" in ran.said
        assert main.rows("select count(*) from later") == [(0,)]
        assert main.beside() == []
        assert "now: the former state is in its place again" in ran.artifact
        assert "slipway.restore.approval-wanted" in told(place, run_id, "slipway.restore.failed")

    def test_approval_puts_the_present_state_aside_and_it_can_be_put_back_by_hand(
        self, place: RestorePlace, main: Target
    ) -> None:
        run_id = place.begin("main")
        place.answer(run_id, "approve")
        ran = place.go_on(run_id, "main")
        ran.require_up()
        assert main.rows("select to_regclass('later') is null, count(*) from customer") == [(True, 300)]
        assert main.rows("show work_mem") == [("7MB",)], "its configuration is that of the former state"
        (aside,) = main.asides
        assert aside.name == f"main.aside-{run_id[:8]}" and str(aside) in ran.artifact
        assert f"'mv {aside} {main.data}'" in ran.artifact and "ann has approved it" in ran.artifact
        assert f"'slipway backup {PLAN}' now" in ran.artifact
        assert "slipway.restore.approval-wanted" in told(place, run_id, "slipway.restore.finished")

    def test_question_that_nobody_answers_changes_nothing_and_keeps_nobody_from_the_target_for_long(
        self, place: RestorePlace, main: Target, basebackup: dict[str, Any]
    ) -> None:
        main.spec["approval_within"] = "1s"
        place.describe(basebackup, lease="5s")
        run_id = place.begin("main")
        wait_until(lambda: place.state_of(run_id).is_failed(), what="the end of the run", every_s=0.2)
        with pytest.raises(Refused, match="the time for an answer is over"):
            place.answer(run_id, "approve")
        assert main.serves and len(main.asides) == 1
        error = place.restore("main").error
        assert run_id in error.what
        assert "it in time, the target is kept for 9 min " in error.next_action


def test_disk_that_is_too_small_is_refused_before_anything_is_written(
    place: RestorePlace, basebackup: dict[str, Any]
) -> None:
    with small_disk(place.folder / "small", 16 * 1024) as disk:
        tight = place.target("tight")
        tight.spec["server"]["data"] = str(disk / "tight")
        place.describe(basebackup)
        place.take()
        error = place.restore("tight").error
        assert error.what.startswith("there is no room: ") and "free space" in error.next_action
        assert list(disk.iterdir()) == []


@pytest.mark.long
def test_point_in_time_of_pgbackrest_has_what_was_before_it_and_nothing_after(
    database_url: str, prefect_api: str, tmp_path: Path
) -> None:
    with pgbackrest.rigs(tmp_path) as rigs, rigs(tmp_path) as rig:
        assert isinstance(rig, pgbackrest.PgBackRestRig)
        with restore_place(rig.cluster, database_url, prefect_api, "postgres") as place:
            place.secrets += rig.secrets
            (place.folder / "key").write_text(pgbackrest.KEY)
            keys = [{"path": str(rig.folder / name), "cipher_pass": "file:key"} for name in ("one", "two")]
            engine = {"driver": "pgbackrest", **rig.settings(), "repositories": keys}
            spare = place.target("spare")
            place.describe({**engine, "folder": str(rig.folder / "engine")}, name="postgres")
            place.take()
            rig.write("before")
            at = rig.moment()
            rig.write("after")
            rig.settle()
            error = place.restore("spare", at=at + timedelta(days=1)).error
            assert error.what.startswith("no backup reaches") and "repository 1" in error.facts
            assert not spare.data.exists()
            ran = place.restore("spare", at=at)
            ran.require_up()
            assert spare.rows("select line from lines", "postgres") == [("before",)]
            assert spare.rows("select pg_is_in_recovery()", "postgres") == [(False,)]
            assert "**It is up**: the last transaction that came back is of " in ran.artifact
