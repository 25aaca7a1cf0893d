"""Columns that are added, dropped, renamed, re-typed, split and merged, while clients of both versions are at work."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.postgresql import Cluster
from tests.support.two_versions import Scenario, Sides, check, refused, rows, run_all

pytestmark = pytest.mark.server


# --- 06: a nullable column, filled by an expression, in a table that was made by hand


def _described(sides: Sides) -> None:
    assert ("ANN",) in rows(sides.new, "SELECT description FROM users WHERE name = 'ann'")
    run_all(sides.old, ["INSERT INTO users (id, name) VALUES (7, 'gil')"])
    assert rows(sides.new, "SELECT description FROM users WHERE id = 7") == [("GIL",)]
    run_all(sides.new, ["INSERT INTO users (id, name, description) VALUES (8, 'hal', NULL)"])
    run_all(sides.new, ["UPDATE users SET description = 'own' WHERE id = 7"])
    run_all(sides.old, ["UPDATE users SET id = id WHERE id IN (7, 8)"])
    assert rows(sides.new, "SELECT id, description FROM users WHERE id IN (7, 8) ORDER BY id") == [(7, "own"), (8, None)]
    run_all(sides.old, ["UPDATE users SET name = 'gill' WHERE id = 7"])
    assert rows(sides.new, "SELECT description FROM users WHERE id = 7") == [("GILL",)]


def _described_after(sides: Sides) -> None:
    run_all(sides.root, ["INSERT INTO users (id, name) VALUES (9, 'ida')"])
    assert rows(sides.new, "SELECT description FROM users WHERE id IN (8, 9)") == [(None,), (None,)]
    assert rows(sides.root, "SELECT description FROM users WHERE id = 1") == [("ANN",)]


NULLABLE = Scenario(
    "nullable_column_with_filling",
    "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, 'u' || n FROM generate_series(20, 30) n;"
    "INSERT INTO users VALUES (1, 'ann'), (2, NULL)",
    """
    - operation: add column
      table: users
      column: {name: description, type: text}
      up: upper(name)
    """,
    old=["INSERT INTO users (id, name) VALUES ({n}, 'o')", "UPDATE users SET name = name || '.' WHERE id = 20"],
    new=[
        "INSERT INTO users (id, name, description) VALUES ({n}, 'n', 'd') ON CONFLICT (id) DO UPDATE SET name = 'again'",
        "UPDATE users SET description = '{n}' WHERE id = 21",
        "SELECT * FROM users LIMIT 5",
    ],
    during=_described,
    after=_described_after,
)

SCENARIOS = [NULLABLE]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
def test_both_versions_read_and_write_and_every_step_can_be_taken_back(
    scenario: Scenario, postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    check(scenario, postgresql_cluster.database, tmp_path)
