"""Indexes that are built and dropped, and SQL by hand, while clients of both versions are at work."""

from pathlib import Path

import pytest

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tests.support.postgresql import Cluster
from tests.support.two_versions import Scenario, Sides, check, prepared, refused, rows, run_all

pytestmark = [pytest.mark.server, pytest.mark.long]

FRUITS = (
    "CREATE TABLE fruits (id bigint PRIMARY KEY, name text CONSTRAINT fruits_name_key UNIQUE, price int);"
    "CREATE INDEX by_price ON fruits (price);"
    "INSERT INTO fruits SELECT n, 'f' || n, n FROM generate_series(1, 20) n"
)
OLD = ["INSERT INTO fruits VALUES ({n}, 'o{n}', 1)"]
NEW = ["INSERT INTO fruits VALUES ({n}, 'n{n}', 1)", "DELETE FROM fruits WHERE id = {n}"]


def _built(sides: Sides, name: str, *parts: str) -> None:
    ((definition, valid),) = rows(
        sides.root,
        f"SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index WHERE indexrelid = '{name}'::regclass",
    )
    assert valid
    assert all(each in definition for each in parts), definition


PLAIN = Scenario(
    "plain_index",
    FRUITS,
    "[{operation: add index, table: fruits, name: by_name, columns: [name]}]",
    OLD,
    NEW,
    during=lambda sides: _built(sides, "by_name", "btree (name)"),
    after=lambda sides: _built(sides, "by_name", "btree (name)"),
)
HASH = Scenario(
    "index_of_another_method_under_a_name_that_is_dropped",
    FRUITS,
    """
    - {operation: drop index, table: fruits, name: by_price}
    - {operation: add index, table: fruits, name: by_price, columns: [name], method: hash, storage: {fillfactor: '70'}}
    """,
    OLD,
    NEW,
    during=lambda sides: _built(sides, "by_price", "btree (price)"),
    after=lambda sides: _built(sides, "by_price", "hash (name)", "fillfactor='70'"),
)


def _both(sides: Sides) -> None:
    _built(sides, "again", "UNIQUE", "WHERE")
    _built(sides, "classed", "int8_minmax_multi_ops")


UNIQUE = Scenario(
    "second_unique_index_and_one_with_an_operator_class",
    FRUITS,
    """
    - {operation: add index, table: fruits, name: again, columns: [name], unique: true, where: name <> ''}
    - {operation: add index, table: fruits, name: classed, columns: {id: int8_minmax_multi_ops}, method: brin}
    """,
    OLD,
    NEW,
    during=_both,
)


def _late(sides: Sides) -> None:
    assert refused(sides.old, "SELECT colour FROM fruits") == "42703"
    assert refused(sides.new, "SELECT colour FROM fruits") == "42703"


def _late_after(sides: Sides) -> None:
    run_all(sides.new, ["UPDATE fruits SET colour = 'red' WHERE id = 1"])
    assert rows(sides.new, "SELECT colour FROM fruits WHERE id = 1") == [("red",)]


LATE = Scenario(
    "sql_by_hand_at_the_end_only",
    FRUITS,
    "[{operation: raw sql, run: 'ALTER TABLE fruits ADD COLUMN colour text; DROP INDEX by_price', when: cleanup}]",
    OLD,
    ["INSERT INTO fruits (id, name) VALUES ({n}, 'n{n}')"],
    during=_late,
    after=_late_after,
)


def _sized(sides: Sides) -> None:
    run_all(sides.new, ["UPDATE fruits SET size = 'large' WHERE id = 1"])
    assert rows(sides.new, "SELECT size::text FROM fruits WHERE id IN (1, 2) ORDER BY id") == [("large",), ("small",)]


ENUM = Scenario(
    "enum_and_a_column_of_it",
    FRUITS,
    """
    - {operation: create enum, name: fruit_size, values: [small, medium, large]}
    - operation: add column
      table: fruits
      column: {name: size, type: fruit_size, not_null: true}
      up: CASE WHEN price > 10 THEN 'large'::fruit_size ELSE 'small'::fruit_size END
    - {operation: raw sql, run: CREATE TABLE beside (id int PRIMARY KEY), undo: DROP TABLE beside}
    """,
    OLD,
    ["INSERT INTO fruits (id, name, size) VALUES ({n}, 'n{n}', 'medium')"],
    during=_sized,
    path="v2, public",
)

SCENARIOS = [PLAIN, HASH, UNIQUE, LATE, ENUM]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
def test_both_versions_read_and_write_and_every_step_can_be_taken_back(
    scenario: Scenario, postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    check(scenario, postgresql_cluster.database, tmp_path)


def test_sql_without_undo_is_announced_and_stays_when_the_migration_is_taken_back(
    postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    operations = "[{operation: raw sql, run: \"CREATE TYPE fruit_size AS ENUM ('s', 'm', 'l')\"}]"
    place = prepared(Scenario("x", FRUITS, operations), postgresql_cluster.database(), tmp_path)
    compiled = place.compiled(operations)
    assert [step for _, step in compiled.not_undoable()]
    assert any("has no undo" in each for each in place.notes)
    place.apply(compiled, Phase.VALIDATE)
    with place.engine() as engine, place.client() as root:
        place.undo(compiled, engine)
        assert rows(root, "SELECT 'm'::fruit_size::text") == [("m",)]


def test_duplicates_that_arise_during_a_unique_build_leave_no_invalid_index(
    postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    before = FRUITS + "; INSERT INTO fruits VALUES (90, 'twin', 5), (91, 'other', 5)"
    operations = "[{operation: add index, table: fruits, name: one_price, columns: [price], unique: true}]"
    place = prepared(Scenario("x", before, operations), postgresql_cluster.database(), tmp_path)
    shape = place.shape()
    compiled = place.compiled(operations)
    with pytest.raises(Refused) as refusal:
        place.apply(compiled)
    assert "5, 3" in str(refusal.value)
    assert place.shape() == shape


@pytest.mark.parametrize(
    ("operations", "version", "said"),
    [
        ("[{operation: drop table, table: fruit}]", "v2", "no table 'fruit'"),
        ("[{operation: drop column, table: fruits, column: nam}]", "v2", "no column 'nam' in fruits"),
        ("[{operation: drop column, table: fruits, column: id}]", "v2", "never NULL and has no default"),
        ("[{operation: drop index, table: fruits, name: fruits_name_key}]", "v2", "'drop constraint'"),
        ("[{operation: add index, table: fruits, name: by_price, columns: [id]}]", "v2", "something of the name"),
        ("[{operation: rename table, table: fruits, to: by_price}]", "v2", "a view or an index"),
        (
            "[{operation: add column, table: fruits, column: {name: a, type: int, not_null: true}}]",
            "v2",
            "nothing to fill",
        ),
        ("[{operation: drop table, table: fruits}]", "public", "there is a schema public already"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_change(
    operations: str, version: str, said: str, postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    place = prepared(Scenario("x", FRUITS, operations, version=version), postgresql_cluster.database(), tmp_path)
    with pytest.raises(Refused) as refusal:
        place.compiled(operations)
    assert said in str(refusal.value)
