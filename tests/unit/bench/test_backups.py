from datetime import UTC, datetime, timedelta

import pytest

from tests.bench import backup, engines, memory, verified
from tests.bench.arithmetic import FlowTimes, Task
from tests.bench.plans import ENGINES

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
GB = 10**9
READING = "db: repository 1 and the catalogue"


def flow(*tasks: Task, between_s: float = 0.0) -> FlowTimes:
    ended_at = BEGAN + timedelta(seconds=1 + between_s + sum(each.took_s for each in tasks))
    return FlowTimes(BEGAN, BEGAN + timedelta(seconds=1), ended_at, tasks)


def compared(take_s: float, reading_s: float) -> dict[str, backup.Compared]:
    """Two runs of each engine, whose bare command takes 10 s and the bare reading 2 s."""
    once = flow(Task(READING, 0.1), Task("db: take a backup", take_s), Task(READING, reading_s))
    return {name: backup.Compared([once, once], [10.0, 10.0], [2.0, 2.0]) for name in ENGINES}


def test_backup_over_the_bare_command_is_told_with_its_reading_and_without() -> None:
    found = compared(10.0, 2.9)[ENGINES[0]]
    assert found.whole.median == pytest.approx(1.3)
    assert found.without_reading.median == pytest.approx(1.01)
    assert found.both.median == pytest.approx(13 / 12)
    assert found.asked.median == pytest.approx(1.4)
    assert found.taking.median == pytest.approx(1.0)
    assert found.fixed_s.median == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("take_s", "reading_s", "size", "met"),
    [(9.9, 1.0, GB, True), (9.9, 1.2, GB, False), (10.85, 0.0, GB, True), (9.9, 1.0, GB - 1, False)],
)
def test_backup_counts_with_its_reading_and_a_small_database_never(
    take_s: float, reading_s: float, size: int, met: bool
) -> None:
    section = backup.section(compared(take_s, reading_s), size)
    assert section.met is met
    assert {len(row) for row in section.grids[0].rows} == {len(section.grids[0].head)}


@pytest.mark.parametrize(("between_s", "size", "met"), [(1.4, GB, True), (1.6, GB, False), (0.0, GB - 1, False)])
def test_verified_restore_counts_with_all_that_is_between_its_tasks(between_s: float, size: int, met: bool) -> None:
    steps = [[("pgbackrest restore", 6.0), ("pg_amcheck", 4.0)]] * 2
    section = verified.section([flow(Task("restore", 10.0), between_s=between_s)] * 2, steps, size)
    assert section.met is met


def test_memory_that_nobody_looked_at_is_never_met() -> None:
    small, large = memory.Peak(200 * 10**6, 1, 1, 9), memory.Peak(399 * 10**6, 1, 1, 9)
    met = {
        name: memory.section({"backup": {"20 MB": small, "1 GB": each}}, ["20 MB", "1 GB"], GB).met
        for name, each in (("low", large), ("high", memory.Peak(400 * 10**6, 1, 1, 9)), ("unseen", memory.Peak()))
    }
    assert met == {"low": True, "high": False, "unseen": False}


def test_engine_that_is_not_there_is_named_and_the_figure_is_not_called_measured() -> None:
    *there, absent = engines.NAMES
    section = engines.section({name: engines.Row([1.0], [2.0], 5 * 10**7) for name in there}, GB)
    assert section.met is None
    assert (absent, "not installed", "-", "-") in section.grids[0].rows
    assert any(fact.startswith(f"{absent}: ") and "not measured" in fact for fact in section.facts)
