"""Drills of what no failover helps against: a dropped table, and a wrong UPDATE.

Each is restored to the moment before it, and what was written since is carried over from the drill's evidence.
"""

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.drills.ids import TABLE
from tasks.common.drill_notes import ROUND
from tasks.drill.measure import Kind, Result
from tests.support.backup_engines import pgbackrest
from tests.support.drill_place import PROBES, RunPlace, experiment
from tests.support.drilling import read_log
from tests.support.restoring import RestorePlace, restore_place
from tests.support.verifying import superuser_address, within

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
_AT = re.compile(r"moment before, (\S+) \(LSN ([0-9A-F]+/[0-9A-F]+)\)")
MISTAKES = {
    "dropped-table": ("course", "drop table course", "select to_regclass('course') is null"),
    "wrong-update": ("grade", "update grade set points = 0", "select not exists (select from grade where points > 0)"),
}
NEVER = [{"name": "never", "figure": "writes", "at_least": "0%", "for": "5s"}]


class Ground:
    """A server whose WAL pgBackRest keeps, what it may be restored to, and drills on it."""

    def __init__(self, rig: pgbackrest.PgBackRestRig, place: RestorePlace) -> None:
        self.rig, self.place = rig, place
        self.drills = RunPlace(place.folder, place.api, place.secrets)
        self.address = superuser_address(rig.cluster, "postgres")
        (place.folder / "key").write_text(pgbackrest.KEY)
        (place.folder / "users").write_text(self.address)
        with within(self.address) as session:
            (found,) = session.execute("select system_identifier::text from pg_control_system()").fetchone() or ("",)
            for table in ("course", "grade"):
                session.execute(f"create table {table} as select n as id, n as points from generate_series(1, 500) n")
        self.system_id = str(found)

    def describe(self) -> None:
        """The estate file has the plan, its targets, and the cluster."""
        keys = [{"path": str(self.rig.folder / name), "cipher_pass": "file:key"} for name in ("one", "two")]
        engine = {"driver": "pgbackrest", **self.rig.settings(), "repositories": keys}
        self.place.describe({**engine, "folder": str(self.rig.folder / "engine")}, name="postgres")
        node = {"address": "file:users", "facts": {"data": str(self.rig.cluster.data)}}
        cluster = {"id": self.system_id, "address": "file:users", "nodes": {"a1": node}, "objectives": {"rto": "20s"}}
        with (self.place.folder / "estate.yaml").open("a") as file:
            file.write(yaml.safe_dump({"drills": {"clusters": {"copy": cluster}}}))


@pytest.fixture(scope="module")
def ground(
    request: pytest.FixtureRequest, prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    ledger, folder = request.getfixturevalue("postgresql_cluster").database(), tmp_path_factory.mktemp("rig")
    with pgbackrest.rigs(folder) as rigs, rigs(folder) as rig:
        assert isinstance(rig, pgbackrest.PgBackRestRig)
        with restore_place(rig.cluster, ledger, prefect_api, "postgres") as place:
            place.secrets += rig.secrets
            yield Ground(rig, place)


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_mistake_is_restored_to_the_moment_before_and_what_was_written_since_is_carried_over(
    ground: Ground, name: str
) -> None:
    table, statement, seen_by = MISTAKES[name]
    spare = ground.place.target(f"spare-{table}")
    ground.describe()
    ground.place.take()
    action = {"driver": "mistake", "address": "file:users", "statement": statement, "seen_by": seen_by}
    how = {"by": "person", "how": "restore to the moment before, beside the server; carry over what was written since"}
    wanted = experiment(name, action, longest="8s", abort=NEVER, undo=how, expect="a-person-must-act")
    ground.drills.write({**wanted, "hypothesis": {"says": "it is found in the evidence", "probes": PROBES}})
    ran = ground.drills.practise(name)
    ran.require_passed()
    notes = ground.place.open().ledger.drills.notes(ran.id)
    facts: Any = next(each.facts for each in notes if each.kind == ROUND)
    assert facts["outcome"] == "a-person-must-act" and facts["lost"] == []
    found = _AT.search(facts["by_hand"][0])
    assert found is not None, facts["by_hand"]
    assert "carry over what was acknowledged since" in ran.artifact or len(facts["by_hand"]) == 2
    folder = Path(str(notes[-1].facts["evidence"]))
    since = (folder / "round-01.repair").read_text().split()
    ground.rig.settle()
    restored = ground.place.restore(spare.name, at=datetime.fromisoformat(found[1]))
    restored.require_up()
    assert spare.rows(f"select count(*), min(points), sum(points) from {table}", "postgres") == [(500, 1, 125250)]
    there = {row[0] for row in spare.rows(f"select id from {TABLE}", "postgres")}
    writes = read_log(folder / "round-01.jsonl").of(Kind.WRITE)
    acknowledged = {each.id for each in writes if each.result is Result.OK}
    _log.info("%s: %d of %d writes were made since", name, len(acknowledged - there), len(acknowledged))
    assert acknowledged - there, "nothing was written since: the test shows nothing"
    assert acknowledged - there <= set(since) <= acknowledged
    assert spare.rows(f"select pg_lsn '{found[2]}' >= '0/0'", "postgres") == [(True,)]
