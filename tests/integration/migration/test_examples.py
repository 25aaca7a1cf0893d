"""Every documented migration of declared operations goes through a real database, there and back and there."""

from pathlib import Path

import pytest

from blocks.migrations.folder import read_folder
from tasks.common.migrations import Phase
from tasks.migration.declared import for_database
from tasks.migration.files import load_migrations
from tasks.migration.plan import plan_apply, plan_undo
from tests.support.postgresql import Cluster
from tests.support.two_versions import Scenario, act, prepared, rows, run_all

pytestmark = pytest.mark.server

FOLDER = Path("docs/reference/examples/operations")
BEFORE = """
CREATE TABLE users (id int PRIMARY KEY, name text, role text);
CREATE TABLE reviews (id int PRIMARY KEY, user_id int, product text, review text, rating text, stars int);
CREATE TABLE drafts (id int PRIMARY KEY);
INSERT INTO users VALUES (1, 'Ann Lee', 'admin'), (2, NULL, NULL);
INSERT INTO reviews VALUES (1, 1, 'pen', NULL, '5', 1), (2, 1, 'ink', 'ok', 'bad', 2),
    (3, 9, 'cup', 'a fine cup', '3', 3)
"""


def test_every_documented_migration_can_be_taken_back_and_finished_and_builds_on_those_before(
    postgresql_cluster: Cluster, tmp_path: Path
) -> None:
    place = prepared(Scenario("x", BEFORE, ""), postgresql_cluster.database(), tmp_path)
    written = load_migrations(read_folder(FOLDER), str(FOLDER))
    assert len(written) == 10
    for each in written:
        shape = place.shape()
        compiled = for_database(each, place.target.observe()).compiled
        with place.engine() as engine:
            for action in plan_apply(None, compiled, Phase.VALIDATE):
                act(engine, action)
            with place.client(each.version) as new:
                assert rows(new, "SELECT current_schema()") == [(each.version,)]
            for action in plan_undo(place.target.observe().attempt(each.name)):
                act(engine, action)
            left = place.shape()
            assert left == shape, each.name
            for action in plan_apply(None, for_database(each, place.target.observe()).compiled, Phase.CLEANUP):
                act(engine, action)
        with place.client(each.version) as new:
            run_all(new, ["SELECT * FROM reviews"])
    with place.client(f"v{written[-1].name}, public") as new:
        found = rows(new, "SELECT nickname, first_name, last_name, roles, born FROM members ORDER BY id")
        assert found == [("Ann Lee", "Ann", "Lee", ["admin"], None), ("user 2", None, None, None, None)]
        query = "SELECT id, user_id, review, rating FROM reviews ORDER BY id"
        assert rows(new, query) == [(1, 1, "no words", 5), (2, 1, "ok...", 0), (3, None, "a fine cup", 3)]
    versions = [each for each in place.catalogue().schemas if each.startswith("v")]
    assert versions == [written[-1].version]
