"""Backup plans in the estate file, and the engines that are opened for them."""

from pathlib import Path

import pytest

from blocks import DRIVERS
from blocks.backups.pgbackrest import PgBackRestEngine
from blocks.estate import OpenEstate, settings_model
from blocks.memory.backups import MemoryEngine
from tasks.common.backup_plans import BackupPlan, Objectives, Retention
from tasks.common.errors import Refused
from tasks.common.load import load_estate
from tasks.common.model import DriverSpec
from tests.unit.common.files import example, line_of, mistakes_in

SECRET = "hunter2-hunter2"
PLANS = """
backups:
  campus-db:
    engine: {driver: memory, world: test-plans}
    retention: {daily: 7}
    objectives: {rto: 15m, rpo: 5m}
  uploads:
    engine: {driver: memory, world: test-plans-uploads}
    objectives: {rto: 1h, rpo: 1h}
"""
MEMORY = """
estate: lab
workspace: work
ledger: {driver: memory}
store: {driver: memory}
environments:
  production:
    url: http://127.0.0.1:1
    replicas: 1
    runtime: {driver: memory}
    router: {driver: memory}
    metrics: {driver: memory}
services:
  campus: {repository: nowhere}
"""


def opened(folder: Path, plans: str = PLANS) -> OpenEstate:
    return OpenEstate(load_estate(MEMORY + plans, "estate.yaml", settings_model), folder)


def mistakes(text: str) -> list[str]:
    return mistakes_in(text, lambda text: load_estate(text, "lab.yaml", settings_model, DRIVERS))


def test_plan_without_more_has_the_documented_defaults(tmp_path: Path) -> None:
    found = opened(tmp_path).file.backups["uploads"]
    assert found == BackupPlan(
        engine=DriverSpec(driver="memory", world="test-plans-uploads"),
        retention=Retention(hourly=24, daily=30, weekly=12, monthly=12, minimum=2),
        objectives=Objectives(rto="1h", rpo="1h"),
        backup_within="26h",
        verified_within="50h",
        lease="1m",
    )
    assert opened(tmp_path).file.backups["campus-db"].retention == Retention(daily=7)


def test_each_plan_has_an_engine_of_its_own(tmp_path: Path) -> None:
    estate = opened(tmp_path)
    database, uploads = estate.backup("campus-db"), estate.backup("uploads")
    assert isinstance(database, MemoryEngine)
    database.abilities()
    assert uploads is not database


@pytest.mark.parametrize(
    ("plans", "next_action"), [(PLANS, "use one of: campus-db, uploads"), ("", "describe it under")]
)
def test_unknown_plan_is_refused_with_the_known_ones(tmp_path: Path, plans: str, next_action: str) -> None:
    with pytest.raises(Refused, match="no backup plan 'campus'") as caught:
        opened(tmp_path, plans).backup("campus")
    assert caught.value.next_action.startswith(next_action)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "driver: pgbackrest",
            "driver: pgbackest",
            "engine.driver: found the text 'pgbackest' (did you mean 'pgbackrest'",
        ),
        ("driver: pgbackrest", "driver: smtp", "engine.driver: found the text 'smtp'; expected one of: "),
        ("stanza: campus", "stanza: Campus", "engine.stanza: found the text 'Campus'; expected a name"),
        ("socket_dir: /var", "socket: /var", "engine.socket: found an unknown key"),
        (
            "access_key: env:BACKUP_ACCESS_KEY",
            f"access_key: {SECRET}",
            "engine.repositories[1].s3.access_key: found a value",
        ),
        ("rto: 15m", "rto: 15", "objectives.rto: found the number 15; expected a duration above zero"),
        ("minimum: 2", "minimum: 0", "retention.minimum: found the number 0; expected at least 1"),
    ],
)
def test_mistake_in_a_plan_is_told_at_its_line(old: str, new: str, said: str) -> None:
    text = example("estate.yaml", (old, new))
    found = mistakes(text)
    assert any(each.startswith(f"{line_of(text, new)}: backups.campus-db.{said}") for each in found), found
    assert SECRET not in "".join(found)


def test_mistakes_of_a_plan_and_of_its_engine_are_told_at_once() -> None:
    changes = (("stanza: campus", "stanza: 7"), ("rpo: 5m", "rpo: soon"), ("backup_within: 7h", "keep: 7"))
    assert [each.split(": ")[1] for each in mistakes(example("estate.yaml", *changes))] == [
        "backups.campus-db.engine.stanza",
        "backups.campus-db.objectives.rpo",
        "backups.campus-db.keep",
    ]


def test_documented_plan_is_opened_as_the_engine_that_it_names(tmp_path: Path) -> None:
    estate = OpenEstate(load_estate(example("estate.yaml"), "estate.yaml", settings_model), tmp_path)
    assert isinstance(estate.backup("campus-db"), PgBackRestEngine)
    assert estate.file.backups["campus-db"].objectives == Objectives(rto="15m", rpo="5m")


TARGETS = """
backups:
  campus-db:
    engine: {driver: memory, world: test-plans}
    objectives: {rto: 15m, rpo: 5m}
    targets:
      spare:
        server: {driver: postgresql, data: spare, port: 5433}
"""


def test_target_is_opened_with_its_folder_beside_the_estate_file(tmp_path: Path) -> None:
    target = opened(tmp_path, TARGETS).target("campus-db", "spare")
    assert (target.folder, target.address) == (tmp_path / "spare", "127.0.0.1:5433")
    assert target.where.startswith(f"{tmp_path}/spare on ")


@pytest.mark.parametrize(
    ("plans", "next_action"), [(TARGETS, "use one of: spare"), (PLANS, "describe it under backups.campus-db.targets")]
)
def test_unknown_target_is_refused_with_the_known_ones(tmp_path: Path, plans: str, next_action: str) -> None:
    with pytest.raises(Refused, match="no target 'sapre'") as caught:
        opened(tmp_path, plans).target("campus-db", "sapre")
    assert caught.value.next_action.startswith(next_action)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "server: {",
            "source: true\n        masking: m.yaml\n        server: {",
            "masking: found rules for the plan's",
        ),
        ("port: 5433", "prt: 5433", "server.prt: found an unknown key (did you mean 'port'?)"),
        ("driver: postgresql", "driver: postgres", "server.driver: found the text 'postgres' (did you mean"),
        ("port: 5433", "start: [up]", "server.stop: found nothing; expected a command"),
        ("port: 5433", "options: {port: '1'}", "server.options.port: found a key of its own"),
        (
            "port: 5433",
            "start: [up], stop: [down], options: {fsync: 'off'}",
            "server.options: found settings; expected none",
        ),
    ],
)
def test_mistake_in_a_target_is_told_at_its_place(old: str, new: str, said: str) -> None:
    found = mistakes(MEMORY + TARGETS.replace(old, new))
    assert any(f"backups.campus-db.targets.spare.{said}" in each for each in found), found
