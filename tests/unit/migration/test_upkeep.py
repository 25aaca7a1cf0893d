"""The upkeep of a database in memory: what is refused before anything is touched, and what people are shown."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.partitions import MemoryPartitions
from tasks.common.errors import Refused
from tasks.common.partitioning import PartitionSpec
from tasks.migration.model import Table
from tasks.migration.partition_model import Partition, Seen
from tasks.migration.partition_report import outcome_report, plan_report
from tasks.migration.require import Wanted
from tasks.migration.upkeep import Outcome, Upkeep, plans

MONTHS = PartitionSpec.model_validate({"table": "payment", "every": "month", "ahead": 1, "keep": "2 months"})
OTHERS = MONTHS.model_copy(update={"table": "visit"})


class Late(MemoryPartitions):
    """A database whose clock is an hour slow."""

    def ranged(self, tables: Sequence[str]) -> Seen:
        seen = super().ranged(tables)
        return replace(seen, now=seen.now - timedelta(hours=1))


def database(kind: type[MemoryPartitions] = MemoryPartitions) -> MemoryPartitions:
    return kind(kind.Settings(rows={"payment": 0, "visit": 0}), Context(base=Path()))


def run(target: MemoryPartitions, *specs: PartitionSpec, wanted: Wanted | None = None) -> Outcome:
    said: list[str] = []
    return Upkeep(target, specs, wanted or Wanted(), "shop", 1.0, "run", said.append, print, lambda: 0.5).run()


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
