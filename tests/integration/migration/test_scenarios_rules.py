"""NOT NULL, defaults, comments and constraints that change, while clients of both versions are at work."""

from pathlib import Path

import pytest

from tasks.common.errors import Refused
from tests.support.postgresql import Cluster
from tests.support.two_versions import Place, Scenario, Sides, check, prepared, refused, rows, run_all

pytestmark = [pytest.mark.server, pytest.mark.long]


def _constraints(sides: Sides, table: str) -> dict[str, bool]:
    query = f"SELECT conname, convalidated FROM pg_constraint WHERE conrelid = '{table}'::regclass"
    return dict(rows(sides.root, query))


# --- 16: NOT NULL on a column that is unique


def _reviewed(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO reviews VALUES (50, 'pen', NULL)"])
    assert rows(sides.old, "SELECT review FROM reviews WHERE id = 50") == [(None,)]
    assert rows(sides.new, "SELECT review FROM reviews WHERE id = 50") == [("pen50 is good",)]
    assert rows(sides.new, "SELECT count(*) FROM reviews WHERE review IS NULL") == [(0,)]
    run_all(sides.new, ["UPDATE reviews SET id = id WHERE id = 50"])
    assert rows(sides.old, "SELECT review FROM reviews WHERE id = 50") == [(None,)]
    assert refused(sides.new, "INSERT INTO reviews VALUES (51, 'x', NULL)") == "23514"
    run_all(sides.new, ["INSERT INTO reviews VALUES (52, 'x', 'fine')"])
    assert rows(sides.old, "SELECT review FROM reviews WHERE id = 52") == [("fine",)]
    assert refused(sides.new, "INSERT INTO reviews VALUES (53, 'x', 'fine')") == "23505"
    assert refused(sides.old, "INSERT INTO reviews VALUES (53, 'x', 'fine')") == "23505"


def _reviewed_after(sides: Sides) -> None:
    assert refused(sides.root, "INSERT INTO reviews VALUES (54, 'x', NULL)") == "23502"
    assert refused(sides.root, "INSERT INTO reviews VALUES (54, 'x', 'fine')") == "23505"
    assert _constraints(sides, "reviews") == {"reviews_pkey": True, "one_review": True}


NOT_NULL = Scenario(
    "not_null_on_a_unique_column",
    "CREATE TABLE reviews (id int PRIMARY KEY, product text, review text CONSTRAINT one_review UNIQUE);"
    "INSERT INTO reviews SELECT n, 'p', CASE WHEN n % 2 = 0 THEN 'r' || n END FROM generate_series(1, 10) n",
    """
    - operation: set not null
      table: reviews
      column: review
      up: coalesce(review, product || id || ' is good')
    """,
    old=["INSERT INTO reviews VALUES ({n}, 'o', NULL)"],
    new=["INSERT INTO reviews VALUES ({n}, 'n', 'n{n}')"],
    during=_reviewed,
    after=_reviewed_after,
)


# --- 22: a check


def _titled(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO posts VALUES (50, 'ab')"])
    assert rows(sides.old, "SELECT title FROM posts WHERE id IN (1, 50) ORDER BY id") == [("a",), ("ab",)]
    assert rows(sides.new, "SELECT title FROM posts WHERE id IN (1, 50) ORDER BY id") == [("---a",), ("--ab",)]
    assert refused(sides.new, "INSERT INTO posts VALUES (51, 'abc')") == "23514"
    run_all(sides.new, ["INSERT INTO posts VALUES (51, 'abcd')"])
    assert rows(sides.old, "SELECT title FROM posts WHERE id = 51") == [("abcd",)]


CHECK = Scenario(
    "check_with_conversion",
    "CREATE TABLE posts (id int PRIMARY KEY, title text NOT NULL DEFAULT 'none', CONSTRAINT proper CHECK "
    "(title <> 'x'));"
    "INSERT INTO posts VALUES (1, 'a'), (2, 'long enough')",
    """
    - operation: add check
      table: posts
      name: long_title
      condition: length(title) > 3
      up: {title: "lpad(title, greatest(length(title), 4), '-')"}
    """,
    old=["INSERT INTO posts VALUES ({n}, 'o')"],
    new=["INSERT INTO posts VALUES ({n}, 'new one')", "INSERT INTO posts (id) VALUES (-{n})"],
    during=_titled,
    after=lambda sides: _named(sides, "posts", {"posts_pkey": True, "proper": True, "long_title": True}),
)


def _named(sides: Sides, table: str, names: dict[str, bool]) -> None:
    assert _constraints(sides, table) == names


# --- 24: a foreign key is dropped


def _free(sides: Sides) -> None:
    run_all(sides.new, ["INSERT INTO posts VALUES (50, 999)"])
    assert rows(sides.old, "SELECT user_id FROM posts WHERE id = 50") == [(None,)]
    assert rows(sides.new, "SELECT user_id FROM posts WHERE id = 50") == [(999,)]
    assert refused(sides.old, "INSERT INTO posts VALUES (51, 999)") == "23503"
    run_all(sides.new, ["INSERT INTO posts VALUES (52, 2)"])
    run_all(sides.old, ["INSERT INTO posts VALUES (53, 2)"])
    # The row is one for both: what old clients see refer to the user goes with the user, also for new ones.
    run_all(sides.old, ["DELETE FROM users WHERE id = 2"])
    assert rows(sides.new, "SELECT id FROM posts WHERE id IN (50, 52, 53)") == [(50,)]


FREE = Scenario(
    "foreign_key_dropped",
    "CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1), (2);"
    "CREATE TABLE posts (id int PRIMARY KEY, user_id int CONSTRAINT by REFERENCES users (id) ON DELETE CASCADE);"
    "INSERT INTO posts VALUES (1, 1), (2, NULL)",
    """
    - operation: drop constraint
      table: posts
      name: by
      down: {user_id: (SELECT u.id FROM users u WHERE u.id = user_id)}
    """,
    old=["INSERT INTO posts VALUES ({n}, 1)"],
    new=["INSERT INTO posts VALUES ({n}, {n})"],
    during=_free,
    after=lambda sides: _named(sides, "posts", {"posts_pkey": True}),
)


# --- a foreign key is added, with and without a conversion


def _bound(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO posts VALUES (50, 999)"])
    assert rows(sides.old, "SELECT user_id FROM posts WHERE id = 50") == [(999,)]
    assert rows(sides.new, "SELECT user_id FROM posts WHERE id = 50") == [(None,)]
    assert refused(sides.new, "INSERT INTO posts VALUES (51, 999)") == "23503"


BOUND = Scenario(
    "foreign_key_with_conversion",
    "CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1), (2);"
    "CREATE TABLE posts (id int PRIMARY KEY, user_id int); INSERT INTO posts VALUES (1, 1), (2, 77)",
    """
    - operation: add foreign key
      table: posts
      name: by
      columns: [user_id]
      references: {table: users, columns: [id], on_delete: set null}
      up: {user_id: (SELECT u.id FROM users u WHERE u.id = user_id)}
    """,
    old=["INSERT INTO posts VALUES ({n}, {n})"],
    new=["INSERT INTO posts VALUES ({n}, 2)"],
    during=_bound,
    after=lambda sides: _named(sides, "posts", {"posts_pkey": True, "by": True}),
)

HELD = Scenario(
    "foreign_key_that_old_clients_are_held_to",
    "CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1), (2);"
    "CREATE TABLE posts (id int PRIMARY KEY, user_id int); INSERT INTO posts VALUES (1, 1)",
    """
    - operation: add foreign key
      table: posts
      name: by
      columns: [user_id]
      references: {table: users, columns: [id]}
    """,
    old=["INSERT INTO posts VALUES ({n}, 1)"],
    new=["INSERT INTO posts VALUES ({n}, 2)"],
    after=lambda sides: _named(sides, "posts", {"posts_pkey": True, "by": True}),
)


# --- 36: a comment goes


def _uncommented(sides: Sides) -> None:
    query = "SELECT col_description('{}'::regclass, 2)"
    assert rows(sides.root, query.format("public.events")) == [("a name",)]
    assert rows(sides.root, query.format("v2.events")) == [(None,)]
    assert refused(sides.new, "INSERT INTO events VALUES (50, '')") == "23514"


COMMENT = Scenario(
    "comment_removed",
    "CREATE TABLE events (id int PRIMARY KEY, name text NOT NULL DEFAULT 'x' UNIQUE CHECK (name <> ''));"
    "COMMENT ON COLUMN events.name IS 'a name'",
    "[{operation: set comment, table: events, column: name, comment: null}]",
    old=["INSERT INTO events VALUES ({n}, '{n}')"],
    new=["INSERT INTO events VALUES ({n}, '{n}')"],
    during=_uncommented,
    after=lambda sides: _equal(rows(sides.root, "SELECT col_description('events'::regclass, 2)"), [(None,)]),
)


def _equal(found: object, expected: object) -> None:
    assert found == expected


# --- 44: unique over two columns; 46: a default goes; 48: a check over two columns goes


def _unique(sides: Sides) -> None:
    assert refused(sides.new, "INSERT INTO tickets (id, seller, zip) VALUES (50, 'a', 1)") == "23505"
    run_all(
        sides.new, ["INSERT INTO tickets (id, seller, zip) VALUES (51, 'a', 1) ON CONFLICT (seller, zip) DO NOTHING"]
    )


UNIQUE = Scenario(
    "unique_over_two_columns",
    "CREATE TABLE tickets (id int PRIMARY KEY, seller text, zip int); INSERT INTO tickets VALUES (1, 'a', "
    "1), (2, 'a', NULL)",
    "[{operation: add unique, table: tickets, name: sells_once, columns: [seller, zip]}]",
    old=["INSERT INTO tickets VALUES ({n}, 'o', {n})"],
    new=["INSERT INTO tickets VALUES ({n}, 'n', {n})"],
    during=_unique,
    after=lambda sides: _named(sides, "tickets", {"tickets_pkey": True, "sells_once": True}),
)


def _undefaulted(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO tickets (id) VALUES (50)"])
    run_all(sides.new, ["INSERT INTO tickets (id) VALUES (51)"])
    query = "SELECT type, class FROM tickets WHERE id IN (50, 51) ORDER BY id"
    assert rows(sides.old, query) == rows(sides.new, query) == [("paper", None), (None, "second")]


def _undefaulted_after(sides: Sides) -> None:
    run_all(sides.root, ["INSERT INTO tickets (id) VALUES (53)"])
    assert rows(sides.root, "SELECT type, class FROM tickets WHERE id = 53") == [(None, "second")]


DEFAULT = Scenario(
    "defaults_dropped_and_set",
    "CREATE TABLE tickets (id int PRIMARY KEY, type varchar(20) DEFAULT 'paper', kind int NOT NULL DEFAULT "
    "3, class text)",
    """
    - {operation: drop default, table: tickets, column: type}
    - {operation: set default, table: tickets, column: class, default: "'second'"}
    """,
    old=["INSERT INTO tickets (id) VALUES ({n})"],
    new=["INSERT INTO tickets (id) VALUES ({n})"],
    during=_undefaulted,
    after=_undefaulted_after,
)


def _unchecked(sides: Sides) -> None:
    assert refused(sides.old, "INSERT INTO tickets VALUES (50, 'bob', -1)") == "23514"
    run_all(sides.new, ["INSERT INTO tickets VALUES (50, 'bob', -1)"])
    assert rows(sides.new, "SELECT seller, zip FROM tickets WHERE id = 50") == [("bob", -1)]
    assert rows(sides.old, "SELECT seller, zip FROM tickets WHERE id = 50") == [("bob", 1)]
    run_all(sides.new, ["UPDATE tickets SET zip = -5 WHERE id = 1"])
    assert rows(sides.old, "SELECT seller, zip FROM tickets WHERE id = 1") == [("carl", 5)]


UNCHECKED = Scenario(
    "check_over_two_columns_dropped",
    "CREATE TABLE tickets (id int PRIMARY KEY, seller text, zip int, CONSTRAINT ok CHECK (seller = 'alice' "
    "OR zip > 0));"
    "INSERT INTO tickets VALUES (1, 'carl', 7), (2, 'alice', -2)",
    """
    - operation: drop constraint
      table: tickets
      name: ok
      down:
        seller: seller
        zip: CASE WHEN seller = 'alice' THEN zip ELSE greatest(abs(zip), 1) END
    """,
    old=["INSERT INTO tickets VALUES ({n}, 'o', {n})"],
    new=["INSERT INTO tickets VALUES ({n}, 'n', -{n})"],
    during=_unchecked,
    after=lambda sides: _named(sides, "tickets", {"tickets_pkey": True}),
)


# --- NOT NULL goes; the primary key changes; a constraint is renamed; rules that old clients are held to


def _loose(sides: Sides) -> None:
    run_all(sides.new, ["INSERT INTO users VALUES (50, NULL)"])
    assert rows(sides.old, "SELECT name FROM users WHERE id = 50") == [("unknown",)]
    assert rows(sides.new, "SELECT name FROM users WHERE id = 50") == [(None,)]
    assert refused(sides.old, "INSERT INTO users VALUES (51, NULL)") == "23502"


LOOSE = Scenario(
    "not_null_dropped",
    "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); INSERT INTO users VALUES (1, 'a')",
    "[{operation: drop not null, table: users, column: name, down: \"coalesce(name, 'unknown')\"}]",
    old=["INSERT INTO users VALUES ({n}, 'o')"],
    new=["INSERT INTO users VALUES ({n}, NULL)"],
    during=_loose,
    after=lambda sides: run_all(sides.root, ["INSERT INTO users VALUES (60, NULL)"]),
)


def _keyed(sides: Sides) -> None:
    assert _constraints(sides, "t") == {"t_pkey": True, "has_note": True, "positive": True}
    run_all(sides.new, ["INSERT INTO t VALUES (1, 9, 'n')"])


KEY = Scenario(
    "primary_key_changed",
    "CREATE TABLE t (id int CONSTRAINT t_pkey PRIMARY KEY, tenant int NOT NULL, note text CONSTRAINT noted "
    "CHECK (note <> ''));"
    "INSERT INTO t SELECT n, 1 FROM generate_series(1, 5) n",
    """
    - {operation: change primary key, table: t, columns: [tenant, id]}
    - {operation: rename constraint, table: t, name: noted, to: has_note}
    - {operation: add check, table: t, name: positive, condition: tenant > 0}
    - {operation: set not null, table: t, column: note, up: "coalesce(note, 'n')"}
    """,
    old=["INSERT INTO t VALUES ({n}, 1)"],
    new=["INSERT INTO t VALUES ({n}, 2, 'n')"],
    after=_keyed,
)


SCENARIOS = [NOT_NULL, CHECK, FREE, BOUND, HELD, COMMENT, UNIQUE, DEFAULT, UNCHECKED, LOOSE, KEY]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
def test_both_versions_read_and_write_and_every_step_can_be_taken_back(
    scenario: Scenario, postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    check(scenario, postgresql_cluster.database, tmp_path)


@pytest.mark.parametrize(
    ("before", "operations", "shown"),
    [
        (
            "CREATE TABLE t (id int PRIMARY KEY, a text, b int); INSERT INTO t VALUES (1, 'x', 7), (2, 'x', "
            "7), (3, 'y', 7)",
            "[{operation: add unique, table: t, name: u, columns: [a, b]}]",
            "x, 7, 2",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 5), (2, -5)",
            "[{operation: add check, table: t, name: c, condition: a > 0}]",
            "2",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 5), (2, NULL)",
            "[{operation: set not null, table: t, column: a}]",
            "2, None",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 77)",
            "[{operation: add foreign key, table: t, name: f, columns: [a], references: {table: t, columns: [id]}}]",
            "77",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int); CREATE VIEW w AS SELECT a FROM t",
            "[{operation: drop column, table: t, column: a}]",
            "view w",
        ),
    ],
    ids=["duplicates", "check", "not null", "foreign key", "a view that needs it"],
)
def test_what_breaks_the_new_rule_is_named_before_old_clients_are_held_to_it(
    before: str, operations: str, shown: str, postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    place: Place = prepared(Scenario("x", before, operations), postgresql_cluster.database(), tmp_path)
    shape = place.shape()
    compiled = place.compiled(operations)
    with pytest.raises(Refused) as refusal:
        place.apply(compiled)
    assert shown in str(refusal.value)
    with place.engine() as engine:
        place.undo(compiled, engine)
    assert place.shape() == shape
