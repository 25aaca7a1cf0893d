"""What every database whose partitions are looked after does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.context import Context
from blocks.memory.partitions import MemoryPartitions
from tasks.common.errors import Refused
from tasks.common.partitioning import PartitionSpec
from tasks.migration.model import Limits, Table
from tasks.migration.partition_model import Create, Detach, Drop, Mark, Note, Ranged, Step
from tasks.migration.partition_ports import PartitionTarget
from tasks.migration.partitions import plan
from tasks.migration.require import Wanted
from tasks.migration.upkeep import Upkeep
from tests.support.migrating import RUN, fill, target_of

_TABLE = "create table payment (id bigint, at timestamptz not null) partition by range (at);"
_OLD = [Create(Table(name="payment"), Table(name="old"), "2020-01-01 00:00:00+00", "2020-02-01 00:00:00+00")]
_LIMITS = Limits(lock_timeout_ms=5000)


def spec(**changes: object) -> PartitionSpec:
    return PartitionSpec.model_validate(
        {"table": "payment", "every": "month", "ahead": 2, "keep": "2 months", "drop_after": "0s", **changes}
    )


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> PartitionTarget:
    """Return a database with a table of ranges that has no partitions."""
    if request.param == "memory":
        settings = MemoryPartitions.Settings(rows={"payment": 0})
        return MemoryPartitions(settings, Context(base=tmp_path))
    address = request.getfixturevalue("database_url")
    fill(address, _TABLE)
    return target_of(address, tmp_path)


def seen_of(target: PartitionTarget) -> Ranged:
    return target.ranged(["payment"]).tables[0]


def steps_of(target: PartitionTarget, wanted: PartitionSpec) -> tuple[Step, ...]:
    seen = target.ranged(["payment"])
    return plan(wanted, seen.tables[0], seen.now, seen.server_version).steps


def carry_out(target: PartitionTarget, steps: Any) -> None:
    with target.keeping(RUN, 1.0) as keeper:
        for each in steps:
            keeper.carry_out(each, _LIMITS)


def run(target: PartitionTarget, wanted: PartitionSpec, **more: Any) -> Any:
    nothing: Callable[[Any], None] = lambda _: None  # noqa: E731
    wait = more.get("wait_s", 1.0)
    return Upkeep(target, [wanted], Wanted(), "here", wait, RUN, nothing, nothing, lambda: 0.5).run()


def test_partitions_are_made_ahead_and_a_second_run_has_nothing_to_do(target: PartitionTarget) -> None:
    done = run(target, spec())
    assert len(done.done) == 3 and done.problems == ()
    seen = seen_of(target)
    assert len(seen.partitions) == 3 and all(each.lower and each.upper for each in seen.partitions)
    assert run(target, spec()).done == ()


def test_old_partition_leaves_and_is_gone(target: PartitionTarget) -> None:
    carry_out(target, _OLD)
    done = run(target, spec())
    assert [each.partition("payment: ")[2].split()[0] for each in done.done] == [
        *["make"] * 5,
        "note",
        "detach",
        "note",
        "drop",
    ]
    seen = seen_of(target)
    assert "old" not in {each.table.name for each in seen.partitions} and seen.detached == ()
    assert run(target, spec()).done == ()


def test_detached_table_stays_where_nothing_says_that_it_is_dropped(target: PartitionTarget) -> None:
    carry_out(target, _OLD)
    run(target, spec(drop_after=None))
    (gone,) = seen_of(target).detached
    assert gone.table.name == "old" and gone.mark.detached_at is not None
    assert run(target, spec(drop_after="7d")).done == ()
    assert [type(each) for each in steps_of(target, spec(drop_after="0s"))] == [Drop]


@pytest.mark.parametrize("count", range(10))
def test_plan_that_is_interrupted_after_any_step_is_finished_by_the_next(target: PartitionTarget, count: int) -> None:
    carry_out(target, _OLD)
    steps = steps_of(target, spec())
    assert len(steps) == 9
    carry_out(target, steps[:count])
    assert run(target, spec()).problems == ()
    seen = seen_of(target)
    assert len(seen.partitions) == 5 and seen.detached == ()


def test_steps_may_be_asked_for_twice(target: PartitionTarget) -> None:
    carry_out(target, _OLD)
    steps = steps_of(target, spec())
    carry_out(target, [each for each in steps for _ in range(2)])
    assert steps_of(target, spec()) == ()


def test_nothing_is_dropped_whose_comment_does_not_say_that_it_left(target: PartitionTarget) -> None:
    carry_out(target, _OLD)
    drop = Drop(Table(name="payment"), Table(name="old"))
    with pytest.raises(Refused, match="not what it was"):
        carry_out(target, [drop])
    mark = Mark(str(Table(name="payment")), "a", "b", datetime.now(UTC) - timedelta(days=9))
    with pytest.raises(Refused, match="it is a partition"):
        carry_out(target, [Note(Table(name="payment"), Table(name="old"), mark)])
    assert [each.table.name for each in seen_of(target).partitions] == ["old"]


def test_partition_that_is_not_there_cannot_be_detached(target: PartitionTarget) -> None:
    with pytest.raises(Refused, match="it is not there"):
        carry_out(target, [Detach(Table(name="payment"), Table(name="nobody"), True)])


def test_table_that_is_not_there_is_said_and_keeps_no_other_from_its_partitions(target: PartitionTarget) -> None:
    nothing: Callable[[Any], None] = lambda _: None  # noqa: E731
    both = [spec(table="nobody"), spec()]
    done = Upkeep(target, both, Wanted(), "here", 1.0, RUN, nothing, nothing, lambda: 0.5).run()
    assert len(done.done) == 3
    assert [(each.table, each.what) for each in done.problems] == [("nobody", "there is no table nobody")]


def test_only_one_engine_works(target: PartitionTarget) -> None:
    with target.keeping("another", 1.0), pytest.raises(Refused, match="another engine"):
        run(target, spec(), wait_s=0.1)
