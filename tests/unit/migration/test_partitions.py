"""Which partitions are made ahead, and which leave."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.partitioning import PartitionSpec
from tasks.migration.model import Table
from tasks.migration.partition_model import (
    Create,
    Detach,
    Detached,
    Drop,
    KeyType,
    Mark,
    Note,
    Partition,
    Plan,
    Ranged,
    bounds_of,
    read_mark,
)
from tasks.migration.partitions import MOST_AT_ONCE, clocks_apart, plan, without

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PAYMENT = Table(name="payment")


def spec(**changes: object) -> PartitionSpec:
    return PartitionSpec.model_validate(
        {"table": "payment", "every": "month", "ahead": 1, "keep": "2 months", **changes}
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def part(name: str, lower: str = "", upper: str = "", **more: object) -> Partition:
    bounds = (at(lower) if lower else None, at(upper) if upper else None)
    return Partition(Table(name=name), *bounds, **more)  # type: ignore[arg-type]


def ranged(*partitions: Partition, **more: object) -> Ranged:
    taken = frozenset(each.table.name for each in partitions)
    found = Ranged("payment", PAYMENT, key="at", partitions=partitions, taken=taken)
    return replace(found, **more)  # type: ignore[arg-type]


def planned(wanted: PartitionSpec, seen: Ranged, now: datetime = NOW) -> Plan:
    return plan(wanted, seen, now, 150_000)


def made(found: Plan) -> list[tuple[str, str, str]]:
    return [(each.partition.name, each.lower, each.upper) for each in found.steps if isinstance(each, Create)]


def test_empty_table_gets_the_present_range_and_those_ahead() -> None:
    assert made(planned(spec(ahead=2), ranged())) == [
        ("payment_p2026_11", "2026-11-01 00:00:00+00", "2026-12-01 00:00:00+00"),
        ("payment_p2026_12", "2026-12-01 00:00:00+00", "2027-01-01 00:00:00+00"),
        ("payment_p2027_01", "2027-01-01 00:00:00+00", "2027-02-01 00:00:00+00"),
    ]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (
            "quarter",
            [("payment_p2026_q4", "2026-10-01", "2027-01-01"), ("payment_p2027_q1", "2027-01-01", "2027-04-01")],
        ),
        ("year", [("payment_p2026", "2026-01-01", "2027-01-01"), ("payment_p2027", "2027-01-01", "2028-01-01")]),
    ],
)
def test_quarters_and_years_begin_where_those_of_the_calendar_do(
    unit: str, expected: list[tuple[str, str, str]]
) -> None:
    found = planned(spec(every=unit, keep="5 years"), ranged(type=KeyType.DAY))
    assert made(found) == expected


def test_ranges_begin_at_midnight_of_the_time_zone_and_are_written_in_utc() -> None:
    berlin = spec(time_zone="Europe/Berlin", ahead=5)
    bounds = [each[1] for each in made(planned(berlin, ranged()))]
    assert (bounds[0], bounds[-1]) == ("2026-10-31 23:00:00+00", "2027-03-31 22:00:00+00")
    late = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert made(planned(berlin, ranged(), late))[0][0] == "payment_p2026_12"
    assert made(planned(spec(), ranged(), late))[0][0] == "payment_p2026_11"


def test_columns_without_a_time_zone_have_the_bounds_of_the_wall_clock() -> None:
    found = planned(spec(time_zone="Asia/Tokyo"), ranged(type=KeyType.CLOCK), datetime(2026, 11, 30, 16, tzinfo=UTC))
    assert made(found)[0] == ("payment_p2026_12", "2026-12-01 00:00:00", "2027-01-01 00:00:00")


def test_what_is_there_is_left_alone_and_nothing_is_planned_twice() -> None:
    seen = ranged(part("a", "2026-11-01", "2026-12-01"), part("b", "2026-12-01", "2027-01-01"))
    assert planned(spec(), seen) == Plan()


def test_gap_since_the_first_partition_that_is_kept_is_filled() -> None:
    seen = ranged(part("a", "2026-09-01", "2026-10-01"), part("b", "2026-12-01", "2027-01-01"))
    assert [each[0] for each in made(planned(spec(), seen))] == ["payment_p2026_10", "payment_p2026_11"]
    older = ranged(part("a", "2026-01-01", "2026-02-01"))
    names = [each[0] for each in made(planned(spec(), older))]
    assert names == ["payment_p2026_09", "payment_p2026_10", "payment_p2026_11", "payment_p2026_12"]


def test_range_that_is_taken_in_part_gets_what_is_missing_of_it() -> None:
    seen = ranged(part("a", "2026-10-01", "2026-11-16"), part("year", "2026-12-01", "2027-12-01"))
    assert made(planned(spec(), seen)) == [
        ("payment_p20261116_20261201", "2026-11-16 00:00:00+00", "2026-12-01 00:00:00+00")
    ]


def test_months_that_are_there_are_kept_when_quarters_are_wanted_from_now_on() -> None:
    seen = ranged(part("a", "2026-10-01", "2026-11-01"), part("b", "2026-11-01", "2026-12-01"))
    assert [each[0] for each in made(planned(spec(every="quarter", keep="36 months"), seen))] == [
        "payment_p20261201_20270101",
        "payment_p2027_q1",
    ]


def test_partition_without_an_upper_bound_is_told_of() -> None:
    found = planned(spec(), ranged(part("rest", "2026-11-01")))
    assert found.steps == () and "without an upper bound" in found.notes[0]


def test_name_that_something_else_has_is_a_problem_and_the_other_ranges_are_made() -> None:
    found = planned(spec(), ranged(taken=frozenset({"payment_p2026_11"})))
    assert [each[0] for each in made(found)] == ["payment_p2026_12"]
    assert "is no partition" in found.problems[0].what and "ATTACH PARTITION" in found.problems[0].next_action


def test_long_names_keep_their_end() -> None:
    found = planned(spec(), ranged(table=Table(name="é" * 31)))
    name = made(found)[0][0]
    assert name == "é" * 27 + "_p2026_11" and len(name.encode()) == 63


def test_too_many_at_once_are_a_problem() -> None:
    found = planned(spec(keep="forever"), ranged(part("a", "1990-01-01", "1990-02-01")))
    assert found.steps == () and f"more than {MOST_AT_ONCE}" in found.problems[0].what


def test_partition_that_is_wholly_older_is_noted_detached_and_noted_again() -> None:
    old, edge = part("old", "2026-08-01", "2026-09-01", comment="mine"), part("edge", "2026-09-01", "2026-10-01")
    rest = part("rest", "2026-10-01", "2027-01-01")
    leaves, detach, left = planned(spec(), ranged(old, edge, rest)).steps
    assert isinstance(leaves, Note) and isinstance(detach, Detach) and isinstance(left, Note)
    assert (leaves.mark.detached_at, left.mark.detached_at) == (None, NOW)
    assert leaves.mark.rest == "mine" and detach.concurrently
    assert {each.partition.name for each in (leaves, detach, left)} == {"old"}


def test_partition_without_a_lower_bound_leaves_when_it_is_old_and_the_default_never() -> None:
    seen = ranged(
        part("first", "", "2026-01-01"), part("other", default=True), part("rest", "2026-01-01", "2027-01-01")
    )
    gone = [each for each in planned(spec(), seen).steps if isinstance(each, Detach)]
    assert [(each.partition.name, each.concurrently) for each in gone] == [("first", False)]


def test_nothing_leaves_where_all_is_kept() -> None:
    seen = ranged(part("old", "1990-01-01", "2027-01-01"))
    assert planned(spec(keep="forever"), seen) == Plan()


def test_servers_that_cannot_detach_concurrently_do_it_in_a_transaction() -> None:
    seen = ranged(part("old", "2020-01-01", "2020-02-01"), part("rest", "2020-02-01", "2027-01-01"))
    found = plan(spec(), seen, NOW, 130_000)
    assert [each.concurrently for each in found.steps if isinstance(each, Detach)] == [False]


def _gone(at_: datetime | None, **more: object) -> Ranged:
    mark = Mark(str(PAYMENT), "2020-01-01", "2020-02-01", at_)
    return ranged(part("a", "2026-11-01", "2027-01-01"), detached=(Detached(Table(name="old"), mark),), **more)


def test_detached_table_is_dropped_when_its_time_has_come_and_not_before() -> None:
    week = spec(drop_after="7d")
    assert planned(week, _gone(NOW - timedelta(days=6))) == Plan()
    (drop,) = planned(week, _gone(NOW - timedelta(days=7))).steps
    assert isinstance(drop, Drop) and drop.partition.name == "old"
    assert planned(spec(), _gone(NOW - timedelta(days=700))) == Plan()


def test_time_until_the_drop_counts_from_when_it_was_seen_to_be_detached() -> None:
    (note,) = planned(spec(drop_after="7d"), _gone(None)).steps
    assert isinstance(note, Note) and note.mark.detached_at == NOW
    assert [type(each) for each in planned(spec(drop_after="0s"), _gone(None)).steps] == [Note, Drop]


def test_interrupted_detach_of_ours_is_finished_and_one_of_somebody_else_is_left_alone() -> None:
    mark = str(Mark(str(PAYMENT), "2020-01-01", "2020-02-01"))
    rest = part("rest", "2020-02-01", "2027-01-01")
    ours = ranged(part("old", "2020-01-01", "2020-02-01", pending=True, comment=mark), rest)
    assert [type(each) for each in planned(spec(keep="forever"), ours).steps] == [Detach, Note]
    theirs = planned(spec(), ranged(part("old", "2020-01-01", "2020-02-01", pending=True), rest))
    assert theirs.steps == () and "somebody else" in theirs.notes[0]


def test_partition_that_was_attached_again_is_noted_anew() -> None:
    mark = str(Mark(str(PAYMENT), "2020-01-01", "2020-02-01", NOW - timedelta(days=100), "mine"))
    seen = ranged(part("old", "2020-01-01", "2020-02-01", comment=mark), part("rest", "2020-02-01", "2027-01-01"))
    leaves, _, left = planned(spec(drop_after="7d"), seen).steps
    assert isinstance(leaves, Note) and leaves.mark.detached_at is None and leaves.mark.rest == "mine"
    assert isinstance(left, Note) and left.mark.detached_at == NOW


def test_rows_in_the_default_partition_stop_their_range_alone_and_it_is_said_how_to_move_them() -> None:
    seen = ranged(part("other", default=True))
    found = planned(spec(), seen)
    first = found.steps[0]
    assert isinstance(first, Create) and first.beside_default
    left = without(found, seen, [(first, 3)])
    assert made(left) == made(found)[1:]
    assert "has 3 rows" in left.problems[0].what
    assert 'DELETE FROM "public"."other"' in left.problems[0].next_action


def test_what_cannot_be_looked_after_is_a_problem() -> None:
    found = planned(spec(), Ranged("payment", PAYMENT, "there is no table payment", "make it"))
    assert found.steps == () and str(found.problems[0]) == "there is no table payment; make it"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FOR VALUES FROM ('2022-04-01 00:00:00+00') TO ('2022-05-01 00:00:00+00')", ("2022-04-01", "2022-05-01")),
        ("FOR VALUES FROM ('2022-04-01') TO ('2022-05-01')", ("2022-04-01", "2022-05-01")),
        ("FOR VALUES FROM (MINVALUE) TO ('2022-05-01 00:00:00')", ("", "2022-05-01")),
        ("FOR VALUES FROM ('2022-04-01') TO ('infinity')", ("2022-04-01", "")),
    ],
)
def test_bounds_are_read_as_the_server_writes_them(text: str, expected: tuple[str, str]) -> None:
    lower, upper = expected
    assert bounds_of(text) == (at(lower) if lower else None, at(upper) if upper else None)


@pytest.mark.parametrize(
    "text", ["DEFAULT", "FOR VALUES IN ('a')", "FOR VALUES FROM ('0044-03-15 BC') TO ('2022-05-01')", ""]
)
def test_bounds_that_are_none_are_not_guessed(text: str) -> None:
    assert bounds_of(text) is None


@pytest.mark.parametrize("when", [None, NOW])
@pytest.mark.parametrize("rest", ["", "two\nlines, 'quoted'"])
def test_mark_is_read_as_it_was_written_and_nothing_else_is_one(when: datetime | None, rest: str) -> None:
    mark = Mark('"public"."pay, ment"', "2022-01-01 00:00:00+00", "2022-02-01 00:00:00+00", when, rest)
    assert read_mark(str(mark)) == mark
    assert read_mark(f"x{mark}") is None and read_mark("") is None and read_mark("of payment") is None


def test_clocks_that_differ_are_told() -> None:
    assert clocks_apart(NOW, NOW + timedelta(minutes=9)) == ""
    assert "700 s apart" in clocks_apart(NOW, NOW - timedelta(seconds=700))
