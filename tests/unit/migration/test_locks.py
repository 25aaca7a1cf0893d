"""Locks are waited for shortly, and asked for again."""

import pytest

from tasks.migration.locks import LONGEST_PAUSE_S, lock_timeout_ms, pause_s, statement_timeout_ms
from tasks.migration.model import BuildIndex, Ddl, DropIndex, Limits, Table

_BUILD = BuildIndex(statement="create index concurrently i on t (a)", index="i", table=Table(name="t"))
_DDL = Ddl(statements=("alter table t add a int",))


def test_ddl_waits_shortly_and_concurrent_builds_as_long_as_it_takes() -> None:
    limits = Limits(lock_timeout_ms=300)
    assert lock_timeout_ms(_DDL, limits) == 300
    assert lock_timeout_ms(_BUILD, limits) == 0
    assert lock_timeout_ms(DropIndex(index="i"), limits) == 0


def test_statements_end_with_the_limit_of_their_phase() -> None:
    assert statement_timeout_ms(_BUILD, 600) == 600_000
    assert statement_timeout_ms(_DDL, 600) == 300_000
    assert statement_timeout_ms(_DDL, -5) == 1000


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_pauses_grow_to_a_bound_and_differ_by_chance(chance: float) -> None:
    pauses = [pause_s(tries, chance) for tries in range(1, 40)]
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(0.1 * (1 - 0.5 * chance))
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S * (1 - 0.5 * chance))
