"""Columns that are added, dropped, renamed, re-typed, split and merged, while clients of both versions are "
"at work."""

from pathlib import Path

import pytest

from tests.support.postgresql import Cluster
from tests.support.two_versions import Scenario, Sides, check, refused, rows, run_all

pytestmark = [pytest.mark.server, pytest.mark.long]


# --- 06: a nullable column, filled by an expression, in a table that was made by hand


def _described(sides: Sides) -> None:
    assert ("ANN",) in rows(sides.new, "SELECT description FROM users WHERE name = 'ann'")
    run_all(sides.old, ["INSERT INTO users (id, name) VALUES (7, 'gil')"])
    assert rows(sides.new, "SELECT description FROM users WHERE id = 7") == [("GIL",)]
    run_all(sides.new, ["INSERT INTO users (id, name, description) VALUES (8, 'hal', NULL)"])
    run_all(sides.new, ["UPDATE users SET description = 'own' WHERE id = 7"])
    run_all(sides.old, ["UPDATE users SET id = id WHERE id IN (7, 8)"])
    assert rows(sides.new, "SELECT id, description FROM users WHERE id IN (7, 8) ORDER BY id") == [
        (7, "own"),
        (8, None),
    ]
    run_all(sides.old, ["UPDATE users SET name = 'gill' WHERE id = 7"])
    assert rows(sides.new, "SELECT description FROM users WHERE id = 7") == [("GILL",)]


def _described_after(sides: Sides) -> None:
    run_all(sides.root, ["INSERT INTO users (id, name) VALUES (9, 'ida')"])
    assert rows(sides.new, "SELECT description FROM users WHERE id IN (8, 9)") == [(None,), (None,)]
    assert rows(sides.root, "SELECT description FROM users WHERE id = 1") == [("ANN",)]


NULLABLE = Scenario(
    "nullable_column_with_filling",
    "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, 'u' || n FROM "
    "generate_series(20, 30) n;"
    "INSERT INTO users VALUES (1, 'ann'), (2, NULL)",
    """
    - operation: add column
      table: users
      column: {name: description, type: text}
      up: upper(name)
    """,
    old=["INSERT INTO users (id, name) VALUES ({n}, 'o')", "UPDATE users SET name = name || '.' WHERE id = 20"],
    new=[
        "INSERT INTO users (id, name, description) VALUES ({n}, 'n', 'd') ON CONFLICT (id) DO UPDATE SET "
        "name = 'again'",
        "UPDATE users SET description = '{n}' WHERE id = 21",
        "SELECT * FROM users LIMIT 5",
    ],
    during=_described,
    after=_described_after,
)


# --- 18: another type; what does not convert


def _rated(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO reviews (id, rating) VALUES (50, '5')", "INSERT INTO reviews (id) VALUES (51)"])
    assert rows(sides.new, "SELECT rating FROM reviews WHERE id IN (50, 51) ORDER BY id") == [(5,), (0,)]
    run_all(sides.new, ["INSERT INTO reviews (id, rating) VALUES (52, 4)", "INSERT INTO reviews (id) VALUES (53)"])
    run_all(sides.new, ["UPDATE reviews SET rating = rating + 1 WHERE id = 50"])
    assert rows(sides.old, "SELECT rating FROM reviews WHERE id IN (50, 52, 53) ORDER BY id") == [
        ("6",),
        ("4",),
        ("0",),
    ]
    assert refused(sides.old, "INSERT INTO reviews (id, rating) VALUES (54, 'good')") == "22P02"
    assert rows(sides.root, "SELECT count(*) FROM reviews WHERE id = 54") == [(0,)]


def _rated_after(sides: Sides) -> None:
    run_all(sides.root, ["INSERT INTO reviews (id) VALUES (55)"])
    assert rows(sides.new, "SELECT rating, pg_typeof(rating)::text FROM reviews WHERE id = 55") == [(0, "integer")]


TYPE = Scenario(
    "another_type",
    "CREATE TABLE reviews (id int PRIMARY KEY, rating text DEFAULT '0', CONSTRAINT rated UNIQUE (id, rating));"
    "CREATE INDEX by_rating ON reviews (rating); INSERT INTO reviews VALUES (1, '3'), (2, '10'), (3, NULL)",
    """
    - operation: change type
      table: reviews
      column: rating
      type: integer
    """,
    old=["INSERT INTO reviews VALUES ({n}, '{n}')", "UPDATE reviews SET rating = '7' WHERE id = 1"],
    new=["INSERT INTO reviews VALUES ({n}, {n})", "UPDATE reviews SET rating = 8 WHERE id = 2", "TABLE reviews"],
    during=_rated,
    after=_rated_after,
)


def _rated_otherwise(sides: Sides) -> None:
    assert rows(sides.new, "SELECT rating FROM reviews WHERE id = 2") == [(-1,)]
    run_all(sides.old, ["INSERT INTO reviews (id, rating) VALUES (54, 'good')"])
    assert rows(sides.new, "SELECT rating FROM reviews WHERE id = 54") == [(-1,)]
    run_all(sides.new, ["UPDATE reviews SET id = id WHERE id = 54"])
    assert rows(sides.old, "SELECT rating FROM reviews WHERE id = 54") == [("good",)]


OTHERWISE = Scenario(
    "another_type_with_a_rule_for_what_does_not_convert",
    "CREATE TABLE reviews (id int PRIMARY KEY, rating text); INSERT INTO reviews VALUES (1, '3'), (2, 'bad')",
    """
    - {operation: change type, table: reviews, column: rating, type: integer, otherwise: '-1'}
    """,
    old=["INSERT INTO reviews VALUES ({n}, 'x{n}')"],
    new=["INSERT INTO reviews VALUES ({n}, {n})"],
    during=_rated_otherwise,
)


# --- 26: a column with a default and a check


def _aged(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO people (id) VALUES (50)"])
    run_all(sides.new, ["INSERT INTO people (id) VALUES (51)", "INSERT INTO people (id, age) VALUES (52, 20)"])
    assert rows(sides.new, "SELECT age FROM people WHERE id IN (1, 50, 51, 52) ORDER BY id") == [
        (18,),
        (18,),
        (18,),
        (20,),
    ]
    assert refused(sides.new, "INSERT INTO people (id, age) VALUES (53, 17)") == "23514"


def _aged_after(sides: Sides) -> None:
    assert refused(sides.new, "UPDATE people SET age = 17") == "23514"
    found = rows(sides.root, "SELECT convalidated FROM pg_constraint WHERE conname = 'adult'")
    assert found == [(True,)]


AGE = Scenario(
    "column_with_default_and_check",
    "CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people VALUES (1), (2)",
    """
    - operation: add column
      table: people
      column: {name: age, type: integer, default: '18', check: {name: adult, condition: age >= 18}}
    """,
    old=["INSERT INTO people VALUES ({n})"],
    new=["INSERT INTO people VALUES ({n}, 30)", "UPDATE people SET age = 40 WHERE id = 2"],
    during=_aged,
    after=_aged_after,
)


# --- 30: a required column


def _required(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO people (id) VALUES (50)"])
    assert rows(sides.new, "SELECT DISTINCT description FROM people WHERE id IN (1, 50)") == [("none yet",)]
    assert refused(sides.new, "INSERT INTO people (id) VALUES (51)") == "23514"
    assert refused(sides.new, "UPDATE people SET description = NULL") == "23514"
    comment = "SELECT col_description('v2.people'::regclass, 2)"
    assert rows(sides.root, comment) == [("who it is",)]


def _required_after(sides: Sides) -> None:
    assert refused(sides.root, "INSERT INTO people (id) VALUES (52)") == "23502"
    assert rows(
        sides.root,
        "SELECT col_description('people'::regclass, attnum) FROM pg_attribute WHERE attname = "
        "'description' AND attrelid = 'people'::regclass",
    ) == [("who it is",)]
    assert rows(sides.root, "SELECT conname FROM pg_constraint WHERE conrelid = 'people'::regclass") == [
        ("people_pkey",)
    ]


REQUIRED = Scenario(
    "required_column",
    "CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people SELECT generate_series(1, 10)",
    """
    - operation: add column
      table: people
      column: {name: description, type: text, not_null: true, comment: who it is}
      up: "'none yet'"
    """,
    old=["INSERT INTO people VALUES ({n})", "DELETE FROM people WHERE id = {n}"],
    new=["INSERT INTO people VALUES ({n}, 'x')"],
    during=_required,
    after=_required_after,
)


# --- columns that are dropped, renamed, split, merged


def _dropped(sides: Sides) -> None:
    run_all(sides.new, ["INSERT INTO users (id) VALUES (50)"])
    assert rows(sides.old, "SELECT name FROM users WHERE id = 50") == [("u50",)]
    assert refused(sides.new, "SELECT name FROM users") == "42703"
    run_all(sides.old, ["INSERT INTO users (id, name) VALUES (51, 'x')"])
    assert rows(sides.new, "SELECT * FROM users WHERE id = 51") == [(51,)]


DROPPED = Scenario(
    "column_dropped",
    "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, CHECK (name <> ''));"
    "CREATE INDEX named ON users (name); INSERT INTO users VALUES (1, 'a')",
    "[{operation: drop column, table: users, column: name, down: \"'u' || id\"}]",
    old=["INSERT INTO users VALUES ({n}, 'o')"],
    new=["INSERT INTO users VALUES ({n})"],
    during=_dropped,
)


def _renamed(sides: Sides) -> None:
    run_all(sides.new, ["INSERT INTO users (id, full_name) VALUES (50, 'n')"])
    run_all(sides.old, ["UPDATE users SET name = name || 'o' WHERE id = 50"])
    assert rows(sides.new, "SELECT full_name FROM users WHERE id = 50") == [("no",)]
    assert refused(sides.new, "INSERT INTO users (id, full_name) VALUES (51, '')") == "23514"


RENAMED = Scenario(
    "column_renamed",
    "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL CHECK (name <> ''), big text GENERATED ALWAYS AS "
    "(upper(name)) STORED); INSERT INTO users VALUES (1, 'a')",
    "[{operation: rename column, table: users, column: name, to: full_name}]",
    old=["INSERT INTO users VALUES ({n}, 'o')"],
    new=["INSERT INTO users (id, full_name) VALUES ({n}, 'n') ON CONFLICT (id) DO NOTHING"],
    during=_renamed,
)


def _split(sides: Sides) -> None:
    assert rows(sides.new, "SELECT first, last FROM users WHERE id = 1") == [("Ann", "Lee")]
    run_all(sides.old, ["INSERT INTO users VALUES (50, 'Bo Dee')"])
    assert rows(sides.new, "SELECT first, last FROM users WHERE id = 50") == [("Bo", "Dee")]
    run_all(
        sides.new,
        ["UPDATE users SET last = 'Day' WHERE id = 50", "INSERT INTO users (id, first, last) VALUES (51, 'C', 'F')"],
    )
    assert rows(sides.old, "SELECT name FROM users WHERE id IN (50, 51) ORDER BY id") == [("Bo Day",), ("C F",)]


SPLIT = Scenario(
    "column_split",
    "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); INSERT INTO users VALUES (1, 'Ann Lee'), (2, 'X Y')",
    """
    - operation: split column
      table: users
      column: name
      into:
        first: {type: text, up: "split_part(name, ' ', 1)", not_null: true}
        last: {type: text, up: "substr(name, strpos(name || ' ', ' ') + 1)"}
      down: first || ' ' || last
    """,
    old=["INSERT INTO users VALUES ({n}, 'O L')", "UPDATE users SET name = 'Q {n}' WHERE id = 2"],
    new=["INSERT INTO users (id, first, last) VALUES ({n}, 'N', 'W')", "UPDATE users SET first = 'R' WHERE id = 2"],
    during=_split,
)


def _merged(sides: Sides) -> None:
    run_all(sides.old, ["UPDATE users SET last = 'Loo' WHERE id = 1"])
    assert rows(sides.new, "SELECT name FROM users WHERE id = 1") == [("Ann Loo",)]
    run_all(sides.new, ["INSERT INTO users (id, name) VALUES (50, 'Bo Dee')"])
    assert rows(sides.old, "SELECT first, last FROM users WHERE id = 50") == [("Bo", "Dee")]


MERGED = Scenario(
    "columns_merged",
    "CREATE TABLE users (id int PRIMARY KEY, first text NOT NULL, last text NOT NULL); INSERT INTO users "
    "VALUES (1, 'Ann', 'Lee')",
    """
    - operation: merge columns
      table: users
      columns:
        first: split_part(name, ' ', 1)
        last: split_part(name, ' ', 2)
      into: name
      type: text
      not_null: true
      up: concat_ws(' ', first, last)
    """,
    old=["INSERT INTO users VALUES ({n}, 'O', 'L')"],
    new=["INSERT INTO users (id, name) VALUES ({n}, 'N W')"],
    during=_merged,
)


def _listed(sides: Sides) -> None:
    assert rows(sides.new, "SELECT roles FROM users WHERE id IN (1, 2) ORDER BY id") == [(["admin"],), (None,)]
    run_all(sides.new, ["UPDATE users SET roles = '{admin,staff}' WHERE id = 1"])
    assert rows(sides.old, "SELECT role FROM users WHERE id = 1") == [("admin",)]
    run_all(sides.old, ["UPDATE users SET id = 1 WHERE id = 1"])
    assert rows(sides.new, "SELECT roles FROM users WHERE id = 1") == [(["admin", "staff"],)]
    run_all(sides.old, ["UPDATE users SET role = 'guest' WHERE id = 1"])
    assert rows(sides.new, "SELECT roles FROM users WHERE id = 1") == [(["guest"],)]


ARRAY = Scenario(
    "string_to_array",
    "CREATE TABLE users (id int PRIMARY KEY, role text); INSERT INTO users VALUES (1, 'admin'), (2, NULL)",
    "[{operation: string to array, table: users, column: role, to: roles}]",
    old=["INSERT INTO users VALUES ({n}, 'o')"],
    new=["INSERT INTO users (id, roles) VALUES ({n}, '{{a,b}}'::text[])"],
    during=_listed,
)


# --- the primary key's type, with what refers to it and what counts for it


def _wide(sides: Sides) -> None:
    run_all(
        sides.new, ["INSERT INTO users (name) VALUES ('new')", "INSERT INTO posts (user_id) SELECT max(id) FROM users"]
    )
    run_all(
        sides.old, ["INSERT INTO users (name) VALUES ('old')", "INSERT INTO posts (user_id) SELECT max(id) FROM users"]
    )
    query = "SELECT FROM public.users o FULL JOIN v2.users n ON n.id = o.id WHERE o.id IS NULL OR n.id IS NULL"
    assert rows(sides.root, query) == []
    assert refused(sides.new, "INSERT INTO posts (user_id) VALUES (-1)") == "23503"
    assert refused(sides.new, "INSERT INTO users (id, name) SELECT id, 'x' FROM users LIMIT 1") == "23505"


def _wide_after(sides: Sides) -> None:
    run_all(
        sides.new,
        ["INSERT INTO users (name) VALUES ('more')", "INSERT INTO users (id, name) VALUES (5000000000, 'far')"],
    )
    assert refused(sides.new, "INSERT INTO posts (user_id) VALUES (-1)") == "23503"
    assert refused(sides.new, "DELETE FROM users WHERE id IN (SELECT user_id FROM posts)") == "23503"
    query = "SELECT conname FROM pg_constraint WHERE conrelid IN ('users'::regclass, 'posts'::regclass) ORDER BY 1"
    assert [each[0] for each in rows(sides.root, query)] == ["posts_pkey", "posts_user_id_fkey", "users_pkey"]
    assert rows(sides.root, "SELECT pg_get_serial_sequence('users', 'id') IS NOT NULL") == [(True,)]


_WIDE = """
    - {operation: change type, table: users, column: id, type: bigint}
    - {operation: change type, table: posts, column: user_id, type: bigint}
"""
_POSTS = (
    "CREATE TABLE posts (id serial PRIMARY KEY, user_id int REFERENCES users (id));"
    "INSERT INTO users (name) SELECT 'u' FROM generate_series(1, 5); INSERT INTO posts (user_id) SELECT id FROM users"
)
_WIDE_OLD = ["INSERT INTO users (name) VALUES ('o')", "INSERT INTO posts (user_id) VALUES (2)"]
WIDE_SERIAL = Scenario(
    "type_of_a_serial_primary_key_with_references",
    "CREATE TABLE users (id serial PRIMARY KEY, name text);" + _POSTS,
    _WIDE,
    old=_WIDE_OLD,
    new=_WIDE_OLD,
    during=_wide,
    after=_wide_after,
)
WIDE_IDENTITY = Scenario(
    "type_of_an_identity_primary_key_with_references",
    "CREATE TABLE users (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text);" + _POSTS,
    _WIDE,
    old=_WIDE_OLD,
    new=_WIDE_OLD,
    during=_wide,
    after=_wide_after,
)


# --- traps


def _again(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO users (id, name) VALUES (50, 'o')"])
    run_all(sides.new, ["INSERT INTO users (id, name) VALUES (51, 5)"])
    assert rows(sides.new, "SELECT name FROM users WHERE id IN (50, 51) ORDER BY id") == [(7,), (5,)]
    assert rows(sides.old, "SELECT name FROM users WHERE id IN (50, 51) ORDER BY id") == [("o",), (None,)]


AGAIN = Scenario(
    "name_dropped_and_made_again",
    "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a')",
    """
    - {operation: drop column, table: users, column: name}
    - {operation: add column, table: users, column: {name: name, type: integer, not_null: true}, up: '7'}
    """,
    old=["INSERT INTO users VALUES ({n}, 'o')"],
    new=["INSERT INTO users VALUES ({n}, 1)"],
    during=_again,
)


def _several(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO t (a, b, price, note) VALUES (50, 1, '12', NULL)"])
    query = "SELECT cost, remark, total FROM t WHERE a = 50"
    assert rows(sides.new, query) == [(12, "none", 24)]
    run_all(sides.new, ["UPDATE t SET cost = 20, remark = 'r' WHERE a = 50"])
    assert rows(sides.old, "SELECT price, note FROM t WHERE a = 50") == [("20", "r")]


SEVERAL = Scenario(
    "several_operations_on_one_table_and_one_column_with_a_composite_key",
    "CREATE TABLE t (a int, b int, price text DEFAULT '1', note text, PRIMARY KEY (b, a)); INSERT INTO t "
    "SELECT n, n % 3, n::text, "
    "NULL FROM generate_series(1, 20) n",
    """
    - {operation: change type, table: t, column: price, type: integer}
    - {operation: rename column, table: t, column: price, to: cost}
    - {operation: add check, table: t, name: positive, condition: cost > 0, up: {cost: 'greatest(cost, 1)'}}
    - {operation: set not null, table: t, column: note, up: "coalesce(note, 'none')"}
    - {operation: rename column, table: t, column: note, to: remark}
    - {operation: add column, table: t, column: {name: total, type: integer}, up: cost * 2}
    """,
    old=["INSERT INTO t VALUES ({n}, 1, '2', 'o')", "UPDATE t SET price = '3' WHERE a = 3"],
    new=["INSERT INTO t (a, b, cost, remark, total) VALUES ({n}, 1, 2, 'n', 3)", "UPDATE t SET cost = 4 WHERE a = 4"],
    during=_several,
)


def _triggered(sides: Sides) -> None:
    run_all(sides.new, ["INSERT INTO t (id, email, at) VALUES (50, 'A@B', '2000-01-01')"])
    assert rows(sides.new, "SELECT email, at = now() FROM t WHERE id = 50 AND at > now() - interval '1h'") != []
    assert rows(sides.old, "SELECT email FROM t WHERE id = 50") == [("a@b",)]
    run_all(sides.old, ["INSERT INTO t (id, email) VALUES (51, 'C@D')"])
    assert rows(sides.new, "SELECT email FROM t WHERE id IN (50, 51) ORDER BY id") == [("a@b",), ("c@d",)]


TRIGGERED = Scenario(
    "columns_that_triggers_of_others_write",
    "CREATE TABLE t (id int PRIMARY KEY, email text, at timestamp); INSERT INTO t VALUES (1, 'x', '2020-01-01');"
    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.at := now(); NEW.email := "
    "lower(NEW.email);"
    " RETURN NEW; END$$; CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t FOR EACH ROW "
    "WHEN (current_setting('slipway.migration', true) IS NULL OR current_setting('slipway.migration', true) = '')"
    "EXECUTE FUNCTION touch()",
    """
    - {operation: change type, table: t, column: at, type: timestamptz}
    - {operation: change type, table: t, column: email, type: varchar(200)}
    """,
    new=["INSERT INTO t (id, email) VALUES ({n}, 'N')"],
    during=_triggered,
)


def _generated(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO t (id, a) VALUES (50, 4)"])
    assert rows(sides.new, "SELECT twice, four FROM t WHERE id IN (1, 50) ORDER BY id") == [(2, "2x"), (8, "8x")]


GENERATED = Scenario(
    "filled_from_a_generated_column",
    "CREATE TABLE t (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO "
    "t VALUES (1, 1)",
    "[{operation: add column, table: t, column: {name: four, type: text}, up: \"twice || 'x'\"}]",
    old=["INSERT INTO t (id, a) VALUES ({n}, 4)"],
    during=_generated,
)


def _random(sides: Sides) -> None:
    before = rows(sides.new, "SELECT id, code FROM t ORDER BY id")
    assert len({each[1] for each in before}) == len(before)
    run_all(sides.old, ["UPDATE t SET id = id"])
    assert rows(sides.new, "SELECT id, code FROM t ORDER BY id") == before


RANDOM = Scenario(
    "random_default_and_random_filling",
    "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)",
    """
    - {operation: add column, table: t, column: {name: code, type: uuid, not_null: true, default: gen_random_uuid()}}
    - {operation: add column, table: t, column: {name: dice, type: float8}, up: random()}
    """,
    during=_random,
)

SCENARIOS = [
    NULLABLE,
    TYPE,
    OTHERWISE,
    AGE,
    REQUIRED,
    DROPPED,
    RENAMED,
    SPLIT,
    MERGED,
    ARRAY,
    WIDE_SERIAL,
    WIDE_IDENTITY,
    AGAIN,
    SEVERAL,
    TRIGGERED,
    GENERATED,
    RANDOM,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
def test_both_versions_read_and_write_and_every_step_can_be_taken_back(
    scenario: Scenario, postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    check(scenario, postgresql_cluster.database, tmp_path)
