"""Tables that are made, dropped and renamed, while clients of both versions are at work."""

from pathlib import Path

import pytest

from tests.support.postgresql import Cluster
from tests.support.two_versions import Scenario, Sides, check, refused, rows, run_all

pytestmark = [pytest.mark.server, pytest.mark.long]

EMPTY = "CREATE TABLE other (id int PRIMARY KEY)"


def _names(sides: Sides, table: str) -> list[str]:
    query = f"SELECT conname FROM pg_constraint WHERE conrelid = '{table}'::regclass ORDER BY 1"
    return [each[0] for each in rows(sides.root, query)]


# --- 02, 08, 12, 14, 20, 34: tables that old clients cannot see


def _products(sides: Sides) -> None:
    assert refused(sides.old, "SELECT * FROM products") == "42P01"
    run_all(sides.new, ["INSERT INTO products (name, price) VALUES ('tea', 1.25)"])
    assert rows(sides.new, "SELECT id > 0, price::text FROM products WHERE name = 'tea'") == [(True, "1.25")]
    assert refused(sides.new, "INSERT INTO products (name, price) VALUES ('tea', 2)") == "23505"


def _products_after(sides: Sides) -> None:
    assert _names(sides, "products") == ["products_name_key", "products_pkey"]
    assert rows(sides.root, "SELECT pg_get_serial_sequence('products', 'id')") == [("public.products_id_seq",)]
    run_all(sides.root, ["INSERT INTO products (name, price) VALUES ('more', 1)"])


PRODUCTS = Scenario(
    "table_with_serial_key",
    EMPTY,
    """
    - operation: create table
      table: products
      columns:
        - {name: id, type: serial, primary_key: true}
        - {name: name, type: varchar(255), not_null: true, unique: products_name_key}
        - {name: price, type: "decimal(10,2)", not_null: true}
    """,
    old=["INSERT INTO other VALUES ({n})"],
    new=["INSERT INTO products (name, price) VALUES ('p{n}', 1) ON CONFLICT (name) DO NOTHING"],
    during=_products,
    after=_products_after,
)


def _fruits(sides: Sides) -> None:
    run_all(sides.new, ["INSERT INTO fruits (id, name, price) VALUES (900, 'a', 1)"])
    run_all(sides.new, ["INSERT INTO fruits (name, price) VALUES ('b', 1)"])
    assert rows(sides.new, "SELECT count(*) FROM fruits WHERE name IN ('a', 'b')") == [(2,)]


FRUITS = Scenario(
    "table_with_identity",
    EMPTY,
    """
    - operation: create table
      table: fruits
      columns:
        - {name: id, type: bigint, primary_key: true, identity: by default}
        - {name: name, type: varchar(255), not_null: true, unique: fruits_name_key}
        - {name: price, type: "decimal(10,2)"}
    """,
    new=["INSERT INTO fruits (name, price) VALUES ('f{n}', 1)"],
    during=_fruits,
)


def _comments(sides: Sides) -> None:
    query = "SELECT obj_description(c.oid), col_description(c.oid, 2) FROM pg_class c"
    query += " WHERE c.oid = 'v2.employees'::regclass"
    assert rows(sides.root, query) == [("who works here", "what it's for")]


def _comments_after(sides: Sides) -> None:
    query = (
        "SELECT obj_description(c.oid), col_description(c.oid, 2) FROM pg_class c WHERE c.oid = 'employees'::regclass"
    )
    assert rows(sides.root, query) == [("who works here", "what it's for")]


COMMENTS = Scenario(
    "table_with_comments",
    EMPTY,
    """
    - operation: create table
      table: employees
      comment: who works here
      columns:
        - {name: id, type: serial, primary_key: true}
        - {name: role, type: varchar(255), not_null: true, comment: "what it's for"}
    """,
    new=["INSERT INTO employees (role) VALUES ('r')"],
    during=_comments,
    after=_comments_after,
)


# --- 28: defaults


def _defaults(sides: Sides) -> None:
    run_all(sides.new, ["DELETE FROM items", "INSERT INTO items DEFAULT VALUES", "INSERT INTO items DEFAULT VALUES"])
    assert rows(sides.new, "SELECT DISTINCT name, count, note FROM items") == [("it's new", 0, None)]
    assert rows(sides.new, "SELECT count(DISTINCT made_at) FROM items") == [(2,)]


DEFAULTS = Scenario(
    "table_with_defaults",
    EMPTY,
    """
    - operation: create table
      table: items
      columns:
        - {name: id, type: serial, primary_key: true}
        - {name: name, type: text, default: "'it''s new'"}
        - {name: count, type: integer, default: '0'}
        - {name: made_at, type: timestamptz, default: now()}
        - {name: note, type: text, comment: for notes}
    """,
    new=["SELECT count(*) FROM items"],
    during=_defaults,
    after=_defaults,
)


# --- 50, 52: table constraints, under exactly their names


def _providers(sides: Sides) -> None:
    run_all(sides.new, ["INSERT INTO telephone_providers VALUES (-1, 't', 'n')"])
    for values, name in (
        ("(-1, 'u', 'n')", "provider_id_pk"),
        ("(-2, 't', 'n')", "provider_tax_uq"),
        ("(-3, 'v', '')", "named"),
    ):
        with pytest.raises(Exception, match=name):
            run_all(sides.new, [f"INSERT INTO telephone_providers VALUES {values}"])


PROVIDERS = Scenario(
    "table_with_named_constraints",
    EMPTY,
    """
    - operation: create table
      table: telephone_providers
      columns:
        - {name: id, type: integer}
        - {name: tax_id, type: text}
        - {name: name, type: text}
        - {name: other_id, type: integer, references: {table: other, columns: [id], on_delete: cascade}}
      primary_key: {name: provider_id_pk, columns: [id]}
      unique: [{name: provider_tax_uq, columns: [tax_id]}]
      checks: [{name: named, condition: "name <> ''"}]
    """,
    new=["INSERT INTO telephone_providers VALUES ({n}, 't{n}', 'n')"],
    during=_providers,
)


def _library(sides: Sides) -> None:
    run_all(sides.new, ["INSERT INTO library (title) VALUES (NULL), (NULL), ('a')"])
    assert refused(sides.new, "INSERT INTO library (title) VALUES ('a')") == "23P01"


LIBRARY = Scenario(
    "table_with_exclusion",
    EMPTY,
    """
    - operation: create table
      table: library
      columns:
        - {name: id, type: serial, primary_key: true}
        - {name: title, type: text}
      exclude: [{name: no_twins, using: btree, elements: title WITH =}]
    """,
    new=["SELECT * FROM library"],
    during=_library,
)


# --- 56: the version has a name of its own, and the table's name was used before


def _named_version(sides: Sides) -> None:
    run_all(sides.new, ["INSERT INTO products (id, name) VALUES (-1, 'x')"])
    assert rows(sides.old, "SELECT count(*) FROM products WHERE kind = 'old'") == [(1,)]


NAMED = Scenario(
    "table_dropped_and_made_again_in_a_named_version",
    "CREATE TABLE products (id serial PRIMARY KEY, kind text); INSERT INTO products (kind) VALUES ('old')",
    """
    - {operation: drop table, table: products}
    - operation: create table
      table: products
      columns:
        - {name: id, type: serial, primary_key: true}
        - {name: name, type: text, not_null: true, unique: products_name_key}
    """,
    old=["INSERT INTO products (kind) VALUES ('o{n}')"],
    new=["INSERT INTO products (name) VALUES ('n{n}')"],
    during=_named_version,
    version="sales_v7",
)


# --- 04: renamed


def _clients(sides: Sides) -> None:
    run_all(sides.old, ["INSERT INTO customers (name) VALUES ('o')"])
    run_all(sides.new, ["UPDATE clients SET name = 'p' WHERE name = 'o'"])
    assert rows(sides.old, "SELECT count(*) FROM customers WHERE name = 'p'") == [(1,)]
    assert refused(sides.new, "INSERT INTO clients (name) VALUES ('p')") == "23505"
    assert refused(sides.old, "SELECT * FROM clients") == "42P01"
    assert refused(sides.new, "SELECT * FROM customers") == "42P01"


def _clients_after(sides: Sides) -> None:
    assert refused(sides.root, "SELECT * FROM customers") == "42P01"
    assert rows(sides.root, "SELECT count(*) FROM clients WHERE name = 'p'") == [(1,)]


RENAMED = Scenario(
    "table_renamed",
    "CREATE TABLE customers (id serial PRIMARY KEY, name text UNIQUE); INSERT INTO customers (name) VALUES ('a');"
    "CREATE TABLE orders (id serial PRIMARY KEY, customer_id int REFERENCES customers (id))",
    "[{operation: rename table, table: customers, to: clients}]",
    old=["INSERT INTO customers (name) VALUES ('o{n}')"],
    new=["INSERT INTO clients (name) VALUES ('n{n}') RETURNING id"],
    during=_clients,
    after=_clients_after,
)


def _gone(sides: Sides) -> None:
    assert refused(sides.new, "SELECT * FROM doomed") == "42P01"
    assert rows(sides.old, "SELECT id FROM doomed WHERE id = 1") == [(1,)]


def _gone_after(sides: Sides) -> None:
    assert refused(sides.root, "SELECT * FROM doomed") == "42P01"


DROPPED = Scenario(
    "table_dropped",
    "CREATE TABLE doomed (id int PRIMARY KEY); INSERT INTO doomed VALUES (1);"
    "CREATE TABLE users (id int PRIMARY KEY, doomed_id int CONSTRAINT refers REFERENCES doomed (id))",
    """
    - {operation: drop constraint, table: users, name: refers}
    - {operation: drop table, table: doomed}
    """,
    old=["INSERT INTO doomed VALUES ({n})", "INSERT INTO users VALUES ({n}, 1)"],
    new=["INSERT INTO users VALUES ({n}, NULL)"],
    during=_gone,
    after=_gone_after,
)

SCENARIOS = [PRODUCTS, FRUITS, COMMENTS, DEFAULTS, PROVIDERS, LIBRARY, NAMED, RENAMED, DROPPED]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
def test_both_versions_read_and_write_and_every_step_can_be_taken_back(
    scenario: Scenario, postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    check(scenario, postgresql_cluster.database, tmp_path)
