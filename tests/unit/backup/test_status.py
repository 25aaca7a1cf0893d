"""What people are told about their backups."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from blocks.memory.catalogue import MemoryCatalogue
from tasks.backup.report import HEAD, cells, plan_cells, report
from tasks.backup.retention import plan_retention
from tasks.backup.status import PlanStatus, look, status_of
from tasks.common.backup_plans import BackupPlan, Objectives, Retention
from tasks.common.backups import Entry, RungOutcome, Verification
from tasks.common.model import DriverSpec
from tests.support.catalogue import NOW, PLAN, entry, rung, verification
from tests.support.server import estate

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WANTED = BackupPlan(engine=DriverSpec(driver="memory"), objectives=Objectives(rto="15m", rpo="5m"))
GOOD = entry(NOW - HOUR, verified_at=NOW - HOUR / 2)
FINE = (verification(GOOD, ended_at=NOW - HOUR / 2),)


def status(
    entries: Sequence[Entry], verifications: Sequence[Verification] = FINE, plan: BackupPlan = WANTED
) -> PlanStatus:
    return status_of(PLAN, plan, entries, verifications, NOW)


def sized(made: Entry, size_bytes: int) -> Entry:
    return replace(made, stored=replace(made.stored, size_bytes=size_bytes))


def test_plan_that_is_well_has_its_figures_and_no_problem() -> None:
    newer = entry(NOW - HOUR / 4)
    found = status([entry(NOW - HOUR / 8, repository=2), newer, GOOD])
    assert found.problems == ()
    assert (found.backups, found.newest, found.newest_verified) == (3, newer, GOOD)
    assert (found.verified_at, found.last) == (NOW - HOUR / 2, FINE[0])
    assert (found.rpo_s, found.rto_s, found.rpo_objective_s, found.rto_objective_s) == (4, 90, 300, 900)


def test_plan_without_a_backup_says_so_and_nothing_else() -> None:
    found = status([], ())
    assert found.problems == ("there is no backup",)
    assert (found.newest, found.verified_at, found.rpo_s, found.rto_s, found.growth_bytes_a_day) == (None,) * 5


@pytest.mark.parametrize(
    ("entries", "verifications", "problem"),
    [
        (
            [entry(NOW - 27 * HOUR, verified_at=NOW - HOUR)],
            FINE,
            "stale: the newest backup is 27 h old, and may be 26 h",
        ),
        (
            [GOOD, entry(NOW - 80 * HOUR, repository=2)],
            FINE,
            "stale: the newest backup in repository 2 is 3 d 8 h old, and may be 26 h",
        ),
        ([entry(NOW - HOUR)], (), "no backup was ever verified"),
        (
            [entry(NOW - HOUR, verified_at=NOW - 60 * HOUR)],
            FINE,
            "unproven: a backup was last verified 2 d 12 h ago, and must be within 2 d 2 h",
        ),
        (
            [entry(NOW - HOUR / 2, label="bad", unsound_at=NOW), GOOD, entry(NOW - 2 * HOUR, unsound_at=NOW)],
            FINE,
            "unsound: bad; no newer backup is proven",
        ),
        (
            [GOOD],
            (verification(GOOD, rto_s=901.0),),
            "RTO 15 min 1 s, and may be 15 min",
        ),
        ([GOOD], (verification(GOOD, rpo_s=360.0),), "RPO 6 min, and may be 5 min"),
        ([GOOD], (verification(GOOD, rto_s=None),), "the last verification has not measured the RTO"),
        (
            [GOOD],
            (verification(GOOD, RungOutcome.BROKEN, rto_s=None), *FINE),
            f"the last verification, of {GOOD.id}, found row counts broken: the row counts were looked at",
        ),
        ([GOOD, entry(NOW + DAY)], FINE, "a clock is wrong: 20261121-143000 comes from the future"),
        (
            [sized(GOOD, 499), sized(entry(NOW - DAY), 1000)],
            FINE,
            "shrunk: the newest backup holds 499 B, the one before 1000 B",
        ),
    ],
    ids=["stale", "stale-copy", "never", "unproven", "unsound", "rto", "rpo", "no-rto", "broken", "clock", "shrunk"],
)
def test_one_thing_that_is_wrong_is_told_alone(
    entries: list[Entry], verifications: tuple[Verification, ...], problem: str
) -> None:
    found = status(sorted(entries, key=lambda each: each.stored.ended_at, reverse=True), verifications)
    assert found.problems == (problem,)


def test_bounds_themselves_are_kept() -> None:
    at_bounds = entry(NOW - 26 * HOUR, verified_at=NOW - 50 * HOUR)
    assert status([at_bounds], (verification(at_bounds, rpo_s=300.0, rto_s=900.0),)).problems == ()
    assert status([sized(GOOD, 500), sized(entry(NOW - DAY), 1000)]).problems == ()


def test_several_unsound_ones_are_counted_and_lost_proof_is_told() -> None:
    bad = [entry(NOW - n * HOUR, unsound_at=NOW, verified_at=NOW - DAY) for n in (1, 2, 3)]
    assert status(bad).problems == (
        "no backup that was verified is still sound",
        "unsound: 20261120-133000 and 2 more; no newer backup is proven",
    )


def test_backup_from_the_future_is_neither_the_newest_nor_proof() -> None:
    found = status([entry(NOW + DAY, verified_at=NOW), entry(NOW - 30 * HOUR)])
    assert found.newest == entry(NOW - 30 * HOUR)
    assert [each.partition(":")[0] for each in found.problems] == [
        "stale",
        "a clock is wrong",
        "no backup was ever verified",
    ]


def test_verification_that_has_found_nothing_does_not_hide_the_one_before() -> None:
    nothing = verification(GOOD, RungOutcome.LEFT_OUT, rto_s=None, rpo_s=None)
    broken = verification(GOOD, RungOutcome.BROKEN)
    assert status([GOOD], (nothing, broken)).last == broken
    assert status([GOOD], (nothing,)).last is None


def test_stalled_archive_is_told_though_it_says_nothing_against_the_backup() -> None:
    late = replace(verification(GOOD), rungs=(rung(), rung(RungOutcome.BROKEN, "freshness")))
    assert not late.unsound
    assert status([GOOD], (late, *FINE)).problems == (
        f"the last verification, of {GOOD.id}, found freshness broken: the freshness were looked at",
    )


def test_growth_is_that_of_the_last_thirty_days_and_needs_one_between() -> None:
    sizes = [sized(entry(NOW - days * DAY), size) for days, size in ((0, 60_000), (10, 59_999), (30, 30_000))]
    older = sized(entry(NOW - 31 * DAY), 10**9)
    assert status([*sizes, older]).growth_bytes_a_day == 1000
    assert status([sizes[0], sized(entry(NOW - HOUR), 5)]).growth_bytes_a_day is None
    of_copies = sized(entry(NOW - 5 * DAY, repository=2), 0)
    assert status([sizes[0], of_copies, *sizes[1:]]).growth_bytes_a_day == 1000


def test_every_plan_is_looked_up_in_the_catalogue_in_the_order_of_the_file() -> None:
    catalogue = MemoryCatalogue()
    for made in (entry(NOW - HOUR), entry(NOW - 2 * HOUR), entry(NOW - HOUR, plan="uploads")):
        catalogue.add(made)
    catalogue.note(verification(entry(NOW - HOUR), ended_at=NOW))
    catalogue.expired(entry(NOW - 2 * HOUR).id, "nothing asks for it", "r", NOW)
    plan = {"engine": {"driver": "memory"}, "objectives": {"rto": "15m", "rpo": "5m"}}
    found = look(estate(backups={"uploads": plan, PLAN: plan, "settings": plan}), catalogue, NOW)
    assert [(each.plan, each.backups, len(each.problems)) for each in found] == [
        ("uploads", 1, 1),
        (PLAN, 1, 0),
        ("settings", 0, 1),
    ]


def test_next_runs_are_those_of_the_plans_own_schedules_that_are_switched_on() -> None:
    def started(flow: str, plan: str, **when: object) -> dict[str, object]:
        return {"start": flow, "parameters": {"plan": plan}, **when}

    schedules = {
        "nightly": started("backup", PLAN, cron="0 2 * * *"),
        "at-noon": started("backup", PLAN, cron="0 12 * * *"),
        "soon-and-off": started("backup", PLAN, every="1m", enabled=False),
        "of-another": started("backup", "uploads", every="1h"),
        "proof": started("verify-backup", PLAN, cron="30 3 * * *", time_zone="Europe/Berlin"),
    }
    plan = {"engine": {"driver": "memory"}, "objectives": {"rto": "15m", "rpo": "5m"}}
    wanted = estate(backups=dict.fromkeys((PLAN, "uploads", "settings"), plan), schedules=schedules)
    mine, uploads, settings = look(wanted, MemoryCatalogue(), NOW)
    assert mine.next_backup_at == datetime(2026, 11, 21, 2, tzinfo=UTC)
    assert mine.next_verification_at == datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
    assert (uploads.next_backup_at, uploads.next_verification_at) == (NOW + HOUR, None)
    assert (settings.next_backup_at, settings.next_verification_at) == (None, None)
    assert cells(mine, NOW)[1:3] == ("none; next in 11 h 30 min", "none; next in 12 h")
    assert cells(settings, NOW)[1:3] == ("none; next by hand", "none; next by hand")


# --- as people read it


def test_row_of_a_plan_shows_ages_and_figures_against_objectives() -> None:
    grown = [sized(GOOD, 3 * 2**20), sized(entry(NOW - 2 * DAY - HOUR), 2**20)]
    assert dict(zip(HEAD, cells(status(grown), NOW), strict=True)) == {
        "plan": PLAN,
        "newest": "1 h old; next by hand",
        "newest verified": "1 h old; proven 30 min ago; next by hand",
        "RPO": "4 s of 5 min",
        "RTO": "1 min 30 s of 15 min",
        "size": "3 MiB; +1 MiB a day",
    }
    assert cells(status([], ()), NOW)[1:] == (
        "none; next by hand",
        "none; next by hand",
        "not measured; wanted 5 min",
        "not measured; wanted 15 min",
        "",
    )


def test_artifact_tells_first_what_is_wrong() -> None:
    text = report([status([GOOD]), replace(status([], ()), plan="uploads")], NOW)
    assert text.startswith(
        "# Backups\n\nAt 2026-11-20 14:30 UTC **1 of 2 plans need somebody**.\n\n- **uploads**: there is no"
    )
    assert text.index("there is no backup") < text.index("| plan |")
    assert "the estate names no plan" in report([], NOW)
    assert "all 1 plans are well.\n\n| plan |" in report([status([GOOD])], NOW)


def test_nothing_that_a_verification_has_found_is_markup() -> None:
    nasty = replace(verification(GOOD), rungs=(rung(RungOutcome.BROKEN, "<b>|[x](http://evil.example)"),))
    text = report([status([GOOD], (nasty,))], NOW)
    assert "<b>" not in text
    assert "[x](" not in text


def test_row_of_a_backup_shows_what_becomes_of_it() -> None:
    entries = [GOOD, entry(NOW - 2 * HOUR)]
    rows = [plan_cells(each) for each in plan_retention(entries, Retention(hourly=0, minimum=1, **NO_PERIODS), NOW)]
    why = "among the 1 newest; the last one that was verified"
    assert rows == [
        (GOOD.id, "2026-11-20 13:30", "full", "977 KiB", "2026-11-20", "keep", why),
        (entries[1].id, "2026-11-20 12:30", "full", "977 KiB", "", "drop", "nothing asks for it"),
    ]


NO_PERIODS = {"daily": 0, "weekly": 0, "monthly": 0}
