"""What every ledger answers when it is asked for one number, and what it never does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.ledger import MemoryLedger
from tasks.common.errors import Refused
from tasks.release.ports import Ledger
from tests.support.ledger import open_ledger, record

NAMES = {"service": "campus", "environment": "production", "release": "v1", "window": "300s"}


@dataclass(frozen=True)
class Bench:
    """A ledger, and SQL that returns these rows from it."""

    ledger: Ledger
    sql: Callable[..., str]


def select(*rows: float | None) -> str:
    """Return SQL for the rows."""
    values = ", ".join("(null::float8)" if row is None else f"('{row}'::float8)" for row in rows)
    return f"select n from (values {values}) as row(n)" if rows else "select 1 where false"


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    if request.param == "postgresql":
        ledger = open_ledger(tmp_path, request.getfixturevalue("database_url"))
        ledger.prepare()
        return Bench(ledger, select)
    memory = MemoryLedger(MemoryLedger.Settings(), Context(base=tmp_path))

    def sql(*rows: float | None) -> str:
        memory.answer(select(*rows), *rows)
        return select(*rows)

    return Bench(memory, sql)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e-9, 1e300])
def test_one_row_is_its_value(bench: Bench, value: float) -> None:
    assert bench.ledger.figure(bench.sql(value), NAMES) == value


@pytest.mark.parametrize("rows", [(), (None,), (float("nan"),), (float("inf"),), (float("-inf"),)])
def test_no_row_null_nan_and_infinite_are_no_figure(bench: Bench, rows: tuple[float | None, ...]) -> None:
    assert bench.ledger.figure(bench.sql(*rows), NAMES) is None


def test_several_rows_are_refused(bench: Bench) -> None:
    with pytest.raises(Refused, match="several rows") as caught:
        bench.ledger.figure(bench.sql(1.0, 2.0), NAMES)
    assert caught.value.on == select(1.0, 2.0)


def test_what_is_no_question_to_it_is_refused(bench: Bench) -> None:
    with pytest.raises(Refused):
        bench.ledger.figure("select nonsense from nowhere", NAMES)


def test_being_asked_leaves_the_records_as_they_were(bench: Bench) -> None:
    bench.ledger.begin(record())
    bench.ledger.figure(bench.sql(1.0), NAMES)
    assert bench.ledger.records(None, None, 10) == (record(),)
