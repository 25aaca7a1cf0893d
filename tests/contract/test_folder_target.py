"""The target `folder` alone: who works in it, what becomes of owners, and what a kill -9 at each moment leaves."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from blocks.backups.redis_snapshot import SNAPSHOT
from blocks.context import Context
from blocks.targets.folder import FolderTarget
from tasks.common.backups import Form
from tasks.common.errors import Refused, Unsafe
from tasks.restore.decide import must_ask, settle
from tasks.restore.model import Journal, Phase, Settlement
from tests.support.grants import holding
from tests.support.processes import die, require_killed, wait_until
from tests.support.redis import EMPTY_SNAPSHOT
from tests.unit.restore.test_decide import SPARE

RUN = "0123456789abcdef"


@dataclass
class Rig:
    """A folder with a former state, and a backup of another one."""

    base: Path
    tokens: "count[int]" = field(default_factory=lambda: count(1))

    @property
    def main(self) -> Path:
        return self.base / "main"

    def open(self, kind: type[FolderTarget] = FolderTarget, **settings: object) -> FolderTarget:
        """Return the driver with a newer lease than anybody before."""
        checked = FolderTarget.Settings.model_validate({"folder": "main", **settings})
        return kind(checked, Context(base=self.base, grant=holding(next(self.tokens))))

    def fetch(self, driver: FolderTarget, form: Form = Form.FILES) -> None:
        into = driver.fetches_into(form)
        (into / "srv/uploads").mkdir(parents=True)
        (into / "srv/uploads/text").write_text("the backup")
        if form is Form.RDB:
            (into / SNAPSHOT).write_bytes(EMPTY_SNAPSHOT)

    def restore(self, driver: FolderTarget, form: Form = Form.FILES) -> None:
        driver.put_aside(begun())
        self.fetch(driver, form)
        driver.recover(form, "")
        driver.open(str)
        driver.finish()

    def settle(self) -> Settlement:
        """Do what the next run does first."""
        driver = self.open()
        found = settle(driver.observe(), driver.where)
        if found is Settlement.CARRY_ON:
            driver.carry_on()
        elif found is not Settlement.NOTHING:
            driver.bring_back()
        return found

    def beside(self) -> set[str]:
        return {path.name for path in self.base.iterdir()} - {"main", "main.slipway"}


def begun() -> Journal:
    return Journal(RUN, "files", "files/1/x", "files/1/x", datetime.now(UTC), Phase.FILLING)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    found = Rig(tmp_path)
    found.main.mkdir()
    (found.main / "text").write_text("former")
    return found


def killed(rig: Rig, moment: str, act: Callable[[FolderTarget], None]) -> None:
    """A process that did it has killed itself with -9 at the moment."""

    class Dying(FolderTarget):
        def _note(self, journal: Journal | None) -> None:
            super()._note(journal)
            die(journal is not None and moment == f"noted {journal.phase}")

        def _rename(self, source: Path, to: Path) -> None:
            super()._rename(source, to)
            die(moment == f"renamed {source.name} to {to.name}")

    driver = rig.open(Dying)
    require_killed(lambda: act(driver), moment)


ASIDE = "main.aside-01234567"
IN_ITS_PLACE = ("noted stopping", "noted aside", f"renamed {ASIDE} to main")
HALF = (f"renamed main to {ASIDE}", "noted filling", "in the fetch", "noted recovering", "read", "noted returning")
WHOLE = ("noted opening", "renamed main.fetched to main", "opened")


@pytest.mark.parametrize("moment", [*IN_ITS_PLACE, *HALF])
def test_former_state_is_back_whole_after_a_kill(rig: Rig, moment: str) -> None:
    def act(driver: FolderTarget) -> None:
        driver.put_aside(begun())
        rig.fetch(driver)
        die(moment == "in the fetch")
        driver.recover(Form.FILES, "")
        die(moment == "read")
        driver.bring_back()

    killed(rig, moment, act)
    assert rig.settle() is (Settlement.START if moment in IN_ITS_PLACE else Settlement.BRING_BACK)
    assert (rig.main / "text").read_text() == "former"
    assert rig.beside() == set(), "nothing half restored is left"
    assert rig.settle() is Settlement.NOTHING


@pytest.mark.parametrize("moment", WHOLE)
def test_what_was_whole_is_in_its_place_after_a_kill_and_the_former_state_is_aside(rig: Rig, moment: str) -> None:
    def act(driver: FolderTarget) -> None:
        driver.put_aside(begun())
        rig.fetch(driver)
        driver.recover(Form.FILES, "")
        driver.open(str)
        die(moment == "opened")

    killed(rig, moment, act)
    assert rig.settle() is Settlement.CARRY_ON
    assert (rig.main / "srv/uploads/text").read_text() == "the backup"
    assert (rig.base / ASIDE / "text").read_text() == "former" and rig.beside() == {ASIDE}
    assert rig.settle() is Settlement.NOTHING


def test_whole_state_that_somebody_has_taken_away_is_said_and_nothing_is_changed(rig: Rig) -> None:
    def act(driver: FolderTarget) -> None:
        driver.put_aside(begun())
        rig.fetch(driver)
        driver.recover(Form.FILES, "")
        driver.open(str)

    killed(rig, "noted opening", act)
    (rig.base / "main.fetched").rename(rig.base / "elsewhere")
    with pytest.raises(Unsafe, match="is not there any more") as caught:
        rig.settle()
    assert caught.value.facts["put aside"] == str(rig.base / ASIDE)


def test_folder_that_somebody_works_in_does_not_give_way(rig: Rig) -> None:
    argv = ["sleep", "600"]
    with (rig.main / "log").open("w") as log, subprocess.Popen(argv, stdout=log) as process:
        log.close()
        try:
            driver = rig.open()
            wait_until(lambda: "sleep (" in driver.observe().problem, what="the process is seen")
            with pytest.raises(Refused, match=rf"sleep \({process.pid}\) works in the folder"):
                must_ask(driver.observe(), SPARE, driver.where, driver.address)
            with pytest.raises(Refused, match="works in the folder"):
                driver.put_aside(begun())
            assert driver.bring_back() == "the former state is in its place again"
        finally:
            process.kill()
    assert (rig.main / "text").read_text() == "former" and rig.beside() == set()


def test_process_that_stands_in_the_folder_is_seen_and_one_beside_it_is_not(rig: Rig) -> None:
    (rig.base / "main-of-others").mkdir()
    folders = (rig.main, rig.base / "main-of-others")
    inside, beside = (subprocess.Popen(["sleep", "600"], cwd=folder) for folder in folders)
    try:
        wait_until(lambda: f"sleep ({inside.pid}) works" in rig.open().observe().problem, what="it is seen")
        assert str(beside.pid) not in rig.open().observe().problem
    finally:
        for process in (inside, beside):
            process.kill()
            process.wait()


def test_part_comes_back_without_the_folders_above_it_and_with_its_own_rights(rig: Rig) -> None:
    driver = rig.open(part="/srv/uploads")
    driver.put_aside(begun())
    rig.fetch(driver)
    (driver.fetches_into(Form.FILES) / "srv/uploads").chmod(0o751)
    assert driver.recover(Form.FILES, "").what == "1 file, 10 B"
    assert not rig.main.exists(), "nobody sees it before it is opened"
    driver.open(str)
    driver.finish()
    assert (rig.main / "text").read_text() == "the backup" and rig.main.stat().st_mode & 0o777 == 0o751
    assert rig.beside() == {ASIDE}


@pytest.mark.parametrize("part", ["/srv/elsewhere", "/srv/uploads/text", "/srv/link"])
def test_part_that_is_no_folder_of_the_backup_is_refused_and_those_that_are_there_are_named(
    rig: Rig, part: str
) -> None:
    driver = rig.open(part=part)
    driver.put_aside(begun())
    rig.fetch(driver)
    (driver.fetches_into(Form.FILES) / "srv/link").symlink_to("/etc")
    with pytest.raises(Refused, match=f"has no folder {part}") as caught:
        driver.recover(Form.FILES, "")
    assert "/srv/uploads" in str(caught.value.facts["the backup has"])
    assert driver.bring_back() == "the former state is in its place again"
    assert (rig.main / "text").read_text() == "former" and rig.beside() == set()


@pytest.mark.parametrize("part", ["srv", "/srv/../etc", "/srv/", "/", "/./srv"])
def test_part_that_is_no_whole_path_is_no_setting(part: str) -> None:
    with pytest.raises(ValueError, match="part"):
        FolderTarget.Settings.model_validate({"folder": "main", "part": part})


@pytest.mark.server
def test_snapshot_is_read_to_its_end_and_belongs_to_whoever_the_former_one_belonged_to(rig: Rig) -> None:
    rig.main.chmod(0o750)
    if os.getuid() == 0:
        os.chown(rig.main, 65534, 65534)
    driver = rig.open()
    driver.put_aside(begun())
    rig.fetch(driver, Form.RDB)
    found = driver.recover(Form.RDB, "")
    assert found.what.startswith("a snapshot of Redis") and "0 keys" in found.what
    assert any("appendonly no" in each for each in found.remarks)
    driver.open(str)
    former = (rig.base / ASIDE).stat()
    for path in (rig.main, rig.main / SNAPSHOT):
        assert (path.stat().st_uid, path.stat().st_gid) == (former.st_uid, former.st_gid)
    assert rig.main.stat().st_mode & 0o777 == 0o750


@pytest.mark.server
@pytest.mark.parametrize("content", [b"", EMPTY_SNAPSHOT[:6], b"REDIS0009\xfa"])
def test_snapshot_that_is_not_whole_is_not_put_into_its_place(rig: Rig, content: bytes) -> None:
    driver = rig.open()
    driver.put_aside(begun())
    rig.fetch(driver, Form.RDB)
    (driver.fetches_into(Form.RDB) / SNAPSHOT).write_bytes(content)
    with pytest.raises(Unsafe, match="is not whole"):
        driver.recover(Form.RDB, "")
    driver.bring_back()
    assert (rig.main / "text").read_text() == "former" and rig.beside() == set()


@pytest.mark.server
def test_owner_who_does_not_exist_and_part_of_a_snapshot_are_refused_before_anything_is_touched(rig: Rig) -> None:
    with pytest.raises(Refused, match="no user 'nobody-at-all'"):
        rig.open(owner="nobody-at-all").check(Form.FILES, "")
    with pytest.raises(Refused, match="a Redis snapshot is one file"):
        rig.open(part="/srv").check(Form.RDB, "")
    with pytest.raises(Refused, match="is no files and no Redis snapshot"):
        rig.open().check(Form.DUMP, "")
