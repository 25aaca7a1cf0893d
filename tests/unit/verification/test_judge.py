"""What was observed, and what it means."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.backups import RungOutcome
from tasks.verification.judge import (
    judge_checked,
    judge_counts,
    judge_foreign_keys,
    judge_freshness,
    judge_heartbeat,
    judge_repository,
    judge_schema,
    judge_sequences,
)
from tasks.verification.model import Checked, DatabaseFacts, Moment, Orphans, SequenceState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HELD, BROKEN, LEFT_OUT = RungOutcome.HELD, RungOutcome.BROKEN, RungOutcome.LEFT_OUT


def ago(**of: float) -> datetime:
    return NOW - timedelta(**of)


def facts(rows: dict[str, int | None] | None = None, objects: dict[str, str] | None = None) -> DatabaseFacts:
    return DatabaseFacts("db", "15.18", 1, True, {}, objects or {}, rows or {})


@pytest.mark.parametrize(
    ("reaches", "outcome"),
    [
        (NOW, HELD),
        (ago(seconds=300), HELD),
        (ago(seconds=-30), HELD),
        (ago(seconds=301), BROKEN),
        (ago(days=3), BROKEN),
        (None, BROKEN),
        (ago(seconds=-61), BROKEN),
    ],
)
def test_repository_must_reach_near_enough(reaches: datetime | None, outcome: RungOutcome) -> None:
    assert judge_freshness(reaches, Moment(NOW, "0/1"), 300).outcome is outcome


@pytest.mark.parametrize("hours", [5, -5])
def test_clock_of_the_worker_that_is_wrong_is_told_and_fools_nobody(hours: int) -> None:
    # By the worker's clock, which is ahead, a backup of five hours ago was complete just now.
    found = judge_freshness(NOW, Moment(NOW, "0/1"), 300, ahead_s=hours * 3600.0)
    assert found.outcome is BROKEN
    assert f"the worker's clock is 5 h {'ahead of' if hours > 0 else 'behind'} the source's" in found.said


def test_archiver_that_claims_more_than_has_arrived_is_quoted_and_not_believed() -> None:
    found = judge_freshness(ago(hours=2), Moment(NOW, "0/1", archived_at=ago(seconds=1)), 300)
    assert found.outcome is BROKEN
    assert "claims more than has arrived" in found.said


def test_archiver_that_has_stored_nothing_for_long_does_not_break_what_has_arrived() -> None:
    assert judge_freshness(ago(seconds=9), Moment(NOW, "0/1", archived_at=ago(days=9)), 300).outcome is HELD


def test_problems_in_the_repository_break_it() -> None:
    assert judge_repository(()).outcome is HELD
    found = judge_repository(["a.gz is damaged", "b.gz is missing"])
    assert (found.outcome, found.said) == (BROKEN, "2 problems in the repository: a.gz is damaged")


def test_program_that_could_look_at_nothing_does_not_hold() -> None:
    assert judge_checked("pages", Checked(left_out="no checksums")).outcome is LEFT_OUT
    assert judge_checked("pages", Checked(("x",), 1)).outcome is BROKEN
    assert judge_checked("pages", Checked(looked_at={"blocks": 9})).outcome is HELD


def test_schema_differences_are_named_object_by_object() -> None:
    source = facts(objects={"table a": "1", "table b": "1", "view v": "1"})
    assert judge_schema(source, source).outcome is HELD
    found = judge_schema(source, facts(objects={"table a": "2", "view v": "1", "index i": "1"}))
    assert found.outcome is BROKEN
    assert found.said == "the schema of db differs: missing: table b; additional: index i; changed: table a"


def test_two_empty_databases_are_not_taken_for_a_proof() -> None:
    assert judge_schema(facts(), facts()).outcome is BROKEN


@pytest.mark.parametrize(
    ("expected", "found", "outcome"),
    [
        (1000, 1000, HELD),
        (1000, 900, HELD),
        (1000, 1100, HELD),
        (1000, 899, BROKEN),
        (1000, 1101, BROKEN),
        (20, 5, HELD),
        (20, 0, BROKEN),
        (0, 0, HELD),
        (0, 21, BROKEN),
        (1000, None, BROKEN),
    ],
)
def test_count_must_be_within_its_band_and_none_may_be_emptied(
    expected: int, found: int | None, outcome: RungOutcome
) -> None:
    copy = facts({"t": found} if found is not None else {})
    assert judge_counts({"t": expected}, copy, 10, 20).outcome is outcome


def test_tables_that_nobody_has_counted_are_told_and_never_hold() -> None:
    assert judge_counts({}, facts({"t": 1}), 10, 20).outcome is LEFT_OUT
    assert judge_counts({"t": None}, facts({"t": 1}), 10, 20).outcome is LEFT_OUT
    assert "1 table not counted" in judge_counts({"t": 1, "u": None}, facts({"t": 1}), 10, 20).said


@pytest.mark.parametrize(
    ("next_value", "furthest", "increment", "outcome"),
    [
        (11, 10, 1, HELD),
        (10, 10, 1, BROKEN),
        (1, 10, 1, BROKEN),
        (1, None, 1, HELD),
        (-11, -10, -1, HELD),
        (-10, -10, -1, BROKEN),
        (-1, -10, -1, BROKEN),
    ],
)
def test_sequence_must_be_ahead_of_its_column(
    next_value: int, furthest: int | None, increment: int, outcome: RungOutcome
) -> None:
    state = SequenceState("s", "t.id", next_value, furthest, increment)
    assert judge_sequences([state]).outcome is outcome


def test_row_without_a_parent_breaks_the_foreign_keys_and_its_key_is_named() -> None:
    assert judge_foreign_keys([Orphans("t fk", 0)]).outcome is HELD
    found = judge_foreign_keys([Orphans("t fk", 0), Orphans("u fk", 3, ("7", "9"))])
    assert (found.outcome, found.said) == (BROKEN, "3 rows without a parent: u fk")
    assert found.facts["orphans"] == {"u fk": {"rows": 3, "keys": ["7", "9"]}}


@pytest.mark.parametrize(
    ("newest", "outcome", "rpo_s"),
    [
        (ago(seconds=2), HELD, 2.0),
        (ago(seconds=300), HELD, 300.0),
        (ago(seconds=301), BROKEN, 301.0),
        (ago(seconds=-1), HELD, 0.0),
        (None, LEFT_OUT, None),
    ],
)
def test_heartbeat_gives_the_measured_rpo(newest: datetime | None, outcome: RungOutcome, rpo_s: float | None) -> None:
    found = judge_heartbeat(NOW, newest, 300)
    assert (found.outcome, found.facts.get("rpo_s")) == (outcome, rpo_s)
