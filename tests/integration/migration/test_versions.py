"""Version schemas: whose rights they have, names that need quotes, and a version that follows another."""

from pathlib import Path

import pytest

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tests.support.postgresql import Cluster
from tests.support.two_versions import Place, Scenario, check, prepared, refused, rows, run_all

pytestmark = pytest.mark.server

QUOTED = Scenario(
    "names_that_need_quotes",
    """
    CREATE TABLE "Order ""L"" x" ("Id" int PRIMARY KEY, "from" text, "new" text, "old%s" text CHECK ("old%s" <> ''));
    CREATE INDEX "By From" ON "Order ""L"" x" ("from");
    INSERT INTO "Order ""L"" x" VALUES (1, 'a', 'b', 'c')
    """,
    """
    - {operation: set not null, table: 'Order "L" x', column: from, up: 'coalesce("from", "new", ''%'')'}
    - {operation: change type, table: 'Order "L" x', column: old%s, type: varchar(9)}
    - {operation: rename column, table: 'Order "L" x', column: new, to: select}
    """,
    old=['INSERT INTO "Order ""L"" x" VALUES ({n}, NULL, NULL, \'o\')'],
    new=['INSERT INTO "Order ""L"" x" ("Id", "from", "select") VALUES ({n}, \'n\', \'s\')'],
)


def test_names_that_need_quotes_are_kept(postgresql_cluster: Cluster, tmp_path: Path) -> None:
    check(QUOTED, postgresql_cluster.database, tmp_path)


def test_clients_of_a_version_have_the_rights_that_they_have_on_its_tables(
    postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    before = "CREATE TABLE seen (id int PRIMARY KEY, a text); CREATE TABLE hidden (id int); CREATE TABLE plain (id int)"
    operations = "[{operation: rename column, table: seen, column: a, to: b}]"
    address = postgresql_cluster.database()
    place = prepared(Scenario("x", before, operations), address, tmp_path)
    with postgresql_cluster.as_superuser(address) as root:
        root.execute("CREATE ROLE slipway_reader")
        root.execute("GRANT SELECT, INSERT ON seen TO slipway_reader")
        root.execute("GRANT SELECT ON plain TO PUBLIC")
        place.apply(place.compiled(operations), Phase.VALIDATE)
        root.execute("SET ROLE slipway_reader")
        root.execute("SET search_path = v2")
        run_all(root, ["INSERT INTO seen (id, b) VALUES (1, 'x')", "SELECT * FROM plain"])
        assert rows(root, "SELECT b FROM seen") == [("x",)]
        assert refused(root, "DELETE FROM seen") == "42501"
        assert refused(root, "SELECT * FROM hidden") == "42501"


def test_clients_of_the_version_before_are_the_old_ones_and_its_schema_goes_with_their_shape(
    postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    before = "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a')"
    first = "[{operation: rename column, table: users, column: name, to: label}]"
    second = "[{operation: set not null, table: users, column: label, up: \"coalesce(label, 'none')\"}]"
    address = postgresql_cluster.database()
    one = prepared(Scenario("x", before, first), address, tmp_path)
    one.apply(one.compiled(first))
    two = Place(address, tmp_path, name="0003_more", version="v3", older=("v2",))
    compiled = two.compiled(second)
    two.apply(compiled, Phase.VALIDATE)
    with two.client("v2") as old, two.client("v3") as new:
        run_all(old, ["INSERT INTO users (id, label) VALUES (2, NULL)"])
        assert rows(new, "SELECT label FROM users WHERE id = 2") == [("none",)]
        run_all(new, ["INSERT INTO users (id, label) VALUES (3, 'n')"])
        assert rows(old, "SELECT label FROM users WHERE id = 3") == [("n",)]
        two.apply(compiled)
        assert refused(old, "SELECT * FROM users") == "42P01"
        assert rows(new, "SELECT count(*) FROM users") == [(3,)]


def test_a_migration_is_refused_while_another_still_has_two_versions(
    postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    before = "CREATE TABLE users (id int PRIMARY KEY, name text)"
    operations = "[{operation: set not null, table: users, column: name, up: \"coalesce(name, '')\"}]"
    address = postgresql_cluster.database()
    one = prepared(Scenario("x", before, operations), address, tmp_path)
    one.apply(one.compiled(operations), Phase.PREPARE)
    with pytest.raises(Refused, match="still has two versions"):
        Place(address, tmp_path, name="0003_more", version="v3").compiled(operations)
