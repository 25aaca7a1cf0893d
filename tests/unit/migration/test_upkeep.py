"""The upkeep of a database in memory: what is refused before anything is touched, and what people are shown."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.partitions import MemoryPartitions
from tasks.common.errors import Refused
from tasks.common.partitioning import PartitionSpec
from tasks.migration.catalogue import LongTransaction
from tasks.migration.model import Limits, Table
from tasks.migration.partition_model import Partition, Seen, Step
from tasks.migration.partition_ports import Keeper
from tasks.migration.partition_report import outcome_report, plan_report
from tasks.migration.ports import Contended
from tasks.migration.require import Wanted
from tasks.migration.upkeep import Outcome, Upkeep, plans

MONTHS = PartitionSpec.model_validate({"table": "payment", "every": "month", "ahead": 1, "keep": "2 months"})
OTHERS = MONTHS.model_copy(update={"table": "visit"})


class Late(MemoryPartitions):
    """A database whose clock is an hour slow."""

    def ranged(self, tables: Sequence[str]) -> Seen:
        seen = super().ranged(tables)
        return replace(seen, now=seen.now - timedelta(hours=1))


class Busy(MemoryPartitions):
    """A database in which no lock is to be had, because of somebody who is named."""

    def ranged(self, tables: Sequence[str]) -> Seen:
        return replace(super().ranged(tables), long=(LongTransaction(7, "clerk", 90.0, "idle in transaction"),))

    @contextmanager
    def keeping(self, run_id: str, within_s: float) -> Iterator[Keeper]:
        with super().keeping(run_id, within_s):
            yield Waits()


class Waits:
    def carry_out(self, step: Step, limits: Limits) -> None:
        raise Contended("a lock was not to be had in time", on=str(step), next_action="look who has it")


def database(kind: type[MemoryPartitions] = MemoryPartitions) -> MemoryPartitions:
    return kind(kind.Settings(rows={"payment": 0, "visit": 0}), Context(base=Path()))


def run(target: MemoryPartitions, *specs: PartitionSpec, wanted: Wanted | None = None) -> Outcome:
    said: list[str] = []
    return Upkeep(target, specs, wanted or Wanted(), "shop", 1.0, "run", said.append, lambda _: None, lambda: 0.5).run()


def test_other_database_is_refused_before_anything_is_touched() -> None:
    target = database()
    with pytest.raises(Refused, match="and not shop"):
        run(target, MONTHS, wanted=Wanted("shop"))
    assert target.world.log == []


def test_clock_that_is_wrong_is_refused_before_anything_is_touched() -> None:
    target = database(Late)
    with pytest.raises(Refused, match="clocks"):
        run(target, MONTHS)
    assert target.world.log == []


def test_lock_that_is_not_to_be_had_is_told_with_whoever_may_have_it() -> None:
    problems = run(database(Busy), MONTHS, OTHERS).problems
    assert [each.table for each in problems] == ["payment", "visit"]
    for each in problems:
        assert "not to be had in 30 tries" in each.what
        assert "open for long: clerk, process 7, idle in transaction for 90 s" in each.what


def test_all_that_is_made_comes_before_all_that_leaves() -> None:
    target = database()
    old = Partition(Table(name="old"), datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC))
    target.tables["payment"] = replace(target.tables["payment"], partitions=(old,))
    done = run(target, MONTHS, OTHERS).done
    assert [each.split()[1] for each in done] == ["make"] * 6 + ["note", "detach", "note"]


def test_plan_and_outcome_are_shown_with_what_stands_in_the_way() -> None:
    target = database()
    target.tables["payment"] = replace(target.tables["payment"], problem="it is a view", next_action="make it a table")
    here = datetime.now(UTC)
    told = plan_report(plans(target, [MONTHS, OTHERS], Wanted(), "shop", here))
    assert told.startswith("1. visit: make visit_p") and '   CREATE TABLE "public"."visit_p' in told
    assert told.endswith("not done: payment: it is a view; make it a table")
    shown = outcome_report(run(target, MONTHS, OTHERS))
    assert shown.startswith("- visit: make visit_p") and "**not done**: payment: it is a view" in shown
    assert plan_report(plans(target, [OTHERS], Wanted(), "shop", here)) == "nothing is to be done"
    assert outcome_report(run(target, OTHERS)) == "Nothing was to be done."
