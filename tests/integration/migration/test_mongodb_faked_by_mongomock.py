"""MongoDB as mongomock, a fake, plays it: what has no transaction comes out right all the same.

No real server was there when this was written. The contract suite runs against one where SLIPWAY_TEST_MONGODB_URL is
set.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mongomock
import pymongo
import pymongo.errors
import pytest
import yaml
from bson import ObjectId
from typer.testing import CliRunner

from blocks.migrations.mongodb_filling import Filling
from blocks.migrations.mongodb_history import COLLECTION, UNDONE, VERSION, History
from blocks.migrations.mongodb_lease import Lease, holder
from blocks.migrations.mongodb_meaning import meaning
from deployments.migration_command import app
from flows.migrate import migrate
from flows.undo_migration import undo_migration
from tasks.common.errors import Refused, Retryable
from tasks.common.migrations import Phase
from tasks.migration.files import load_migrations
from tasks.migration.model import Backfill, BuildIndex, Ddl, Limits, Table
from tasks.migration.ports import Contended, Engine, MutexLost, Spot
from tasks.migration.request import MigrateRequest, UndoRequest
from tests.support.docs import ROOT
from tests.support.migrating import NAMES, RUN, Way
from tests.support.mongodb import FILES, Server, fake
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port

_AT = Spot("0001_full_name", Phase.EXECUTE, 0)
_LIMITS = Limits(lock_timeout_ms=20_000)
_EXAMPLE = ROOT / "docs/reference/examples/mongodb/0001_full_name/migration.yaml"


@pytest.fixture
def server() -> Server:
    made = fake()
    made.fill(30)
    return made


@pytest.fixture
def engine(server: Server, tmp_path: Path) -> Iterator[Engine]:
    """Yield an engine that has begun the migration and done its prepare."""
    work = _way(server, tmp_path)
    work.apply(Phase.PREPARE)
    with work.target.locked(RUN, 1.0) as found:
        yield found


def _way(server: Server, folder: Path, **settings: Any) -> Way:
    return Way(server.target(folder, **settings), load_migrations(FILES, "migrations"))


def _fill(set_: dict[str, Any], where: Any = None) -> Backfill:
    texts = {name: json.dumps(each) for name, each in set_.items()}
    return Backfill(table=Table(name="customer"), set_=texts, where=json.dumps(where) if where else "")


def test_a_fake_database_is_migrated_and_what_the_migration_made_is_right(server: Server, tmp_path: Path) -> None:
    server.database.old.insert_one({"_id": 1})
    work = _way(server, tmp_path)
    work.apply(Phase.VALIDATE)
    assert [each["full_name"] for each in server.database.customer.find()] == [
        f"first{n} last{n}" for n in range(1, 31)
    ]
    work.apply(Phase.CLEANUP)
    assert "old" not in server.database.list_collection_names()
    assert {name for _, name in work.target.observe().catalogue.relations} == {"customer", "people"}
    assert work.target.observe().identity.engine == "mongodb"


def test_the_documented_example_runs_but_for_its_validators_which_the_fake_only_notes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(mongomock.database.Database, "command", lambda self, each: said.append(each))
    text = _EXAMPLE.read_text().replace("engine: mongodb\n", "engine: mongodb\nsettle: 0s\n")
    work = Way(server.target(tmp_path), load_migrations({"0001_full_name/migration.yaml": text}, "migrations"))
    work.apply(Phase.CLEANUP)
    assert [next(iter(each.items())) for each in said] == [("collMod", "customer")] * 2
    assert [each["validationAction"] for each in said] == ["warn", "error"]
    assert said[1]["validator"]["$jsonSchema"]["required"] == ["full_name"]
    index = server.database.customer.index_information()["customer_full_name"]
    assert index["key"] == [("full_name", 1), ("since", -1)]


def test_undo_on_the_fake_drops_what_was_made_and_leaves_the_documents(server: Server, tmp_path: Path) -> None:
    work = _way(server, tmp_path)
    work.apply(Phase.VALIDATE)
    work.undo()
    assert "people" not in server.database.list_collection_names()
    assert server.database.customer.count_documents({"full_name": {"$ne": None}}) == 30
    work.apply(Phase.PREPARE)
    assert [each["attempt"] for each in server.database[COLLECTION].find()] == [2]
    assert [(each["_id"], each["state"]) for each in server.database[UNDONE].find()] == [("0001_full_name 1", "undone")]


# A batch whose cursor was never written


def test_a_batch_of_the_fake_that_was_done_before_a_crash_is_done_again_and_counts_once(
    server: Server, engine: Engine
) -> None:
    step = _fill({"visits": {"$add": [{"$ifNull": ["$visits", 0]}, 1]}, "counted": True}, {"counted": None})
    engine.open_backfill(_AT, step)
    planned = {"bound": [30], "rows": 30, "guarded": True}
    page = Filling(server.database, step, "here").next_page(planned, None, 12)
    assert (page.upto, page.changed) == (12, 12)
    done = [engine.batch(_AT, step, 12, _LIMITS) for _ in range(3)]
    assert [(each.over, each.changed, each.finished) for each in done] == [
        (12, 0, False),
        (12, 12, False),
        (6, 6, True),
    ]
    assert {each["visits"] for each in server.database.customer.find()} == {1}
    assert engine.batch(_AT, step, 12, _LIMITS).over == 0


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (_fill({"visits": {"$add": ["$visits", 1]}}), "made from visits"),
        (_fill({"at": "$$NOW"}), r"\$\$NOW"),
        (_fill({"x": 1}, {"$expr": {"$lt": ["$at", "$$NOW"]}}), "'where' has another value"),
        (_fill({"x": 1}).model_copy(update={"key": ("first",)}), "batches by first"),
        (_fill({"x": 1}).model_copy(update={"table": Table(name="nobody")}), "no collection nobody"),
        (_fill({"_id": 1}), "a value for _id"),
        (_fill({"x": 1}).model_copy(update={"set_": {"x": "upper(y)"}}), "the value of x"),
    ],
)
def test_backfill_that_could_not_be_done_twice_is_refused_before_the_fake_is_changed(
    server: Server, engine: Engine, step: Backfill, told: str
) -> None:
    before = list(server.database.customer.find())
    with pytest.raises(Refused, match=told):
        engine.open_backfill(_AT, step)
    assert list(server.database.customer.find()) == before


def test_guard_that_does_not_guard_is_found_before_a_document_of_the_fake_is_changed(
    server: Server, engine: Engine
) -> None:
    step = _fill({"visits": {"$add": [{"$ifNull": ["$visits", 0]}, 1]}}, {"first": {"$ne": None}})
    engine.open_backfill(_AT, step)
    with pytest.raises(Refused, match="still meet"):
        engine.batch(_AT, step, 10, _LIMITS)
    assert server.database.customer.count_documents({"visits": {"$exists": True}}) == 0


# _ids


def test_backfill_of_the_fake_goes_by_object_ids_and_leaves_what_came_later(server: Server, engine: Engine) -> None:
    server.database.customer.delete_many({})
    server.database.customer.insert_many([{"first": "a", "last": "b"} for _ in range(25)])
    step = _fill({"full_name": {"$concat": ["$first", "$last"]}})
    assert engine.open_backfill(_AT, step).rows == 25
    last = max(each["_id"] for each in server.database.customer.find())
    later = ObjectId(f"{int(str(last), 16) + 1:024x}")
    server.database.customer.insert_one({"_id": later, "first": "c", "last": "d"})
    while not engine.batch(_AT, step, 10, _LIMITS).finished:
        pass
    assert [each["_id"] for each in server.database.customer.find({"full_name": None})] == [later]


@pytest.mark.parametrize("other", ["text", True, {"a": 1}])
def test_ids_of_more_than_one_kind_in_the_fake_are_refused_as_a_range_would_leave_some_out(
    server: Server, engine: Engine, other: Any
) -> None:
    step = _fill({"x": 1})
    filling = Filling(server.database, step, "here")
    # The fake does not sort kinds as the server does: its ends are given.
    ends = iter([{"_id": 1}, {"_id": other}])
    filling._end = lambda direction: next(ends)  # type: ignore[method-assign]
    with pytest.raises(Refused, match="leaves documents out"):
        filling.plan()


def test_backfill_of_an_empty_collection_of_the_fake_is_done(server: Server, engine: Engine) -> None:
    # Which prepare has made.
    step = _fill({"x": 1}).model_copy(update={"table": Table(name="people")})
    assert engine.open_backfill(_AT, step).finished
    assert engine.batch(_AT, step, 10, _LIMITS).finished


# Indexes and collections


_INDEX = BuildIndex(statement='{"key": {"first": 1}, "unique": true}', index="by_first", table=Table(name="customer"))


def _prepared(server: Server, folder: Path, step: Any) -> tuple[Way, Spot]:
    work = _way(server, folder)
    compiled = work.written[0].compiled()
    phases = {**compiled.phases, Phase.PREPARE: (step,)}
    with work.target.locked(RUN, 1.0) as found:
        found.begin(compiled.model_copy(update={"phases": phases}), "", RUN)
    return work, Spot(compiled.name, Phase.PREPARE, 0)


def test_unique_index_over_alike_documents_of_the_fake_is_refused_and_shows_none(
    server: Server, tmp_path: Path
) -> None:
    server.database.customer.insert_one({"_id": 99, "first": "first1"})
    work, at = _prepared(server, tmp_path, _INDEX)
    with work.target.locked(RUN, 1.0) as found, pytest.raises(Refused, match="alike") as caught:
        found.run(at, _INDEX, _LIMITS, 60.0)
    assert "first1" not in str(caught.value)
    assert "by_first" not in server.database.customer.index_information()


@pytest.mark.parametrize("step", [_INDEX, Ddl(statements=('{"create": "customer"}',))], ids=["index", "collection"])
def test_what_somebody_else_made_in_the_fake_is_not_taken_for_ours(server: Server, tmp_path: Path, step: Any) -> None:
    server.database.customer.create_index("first", name="by_first")
    work, at = _prepared(server, tmp_path, step)
    with work.target.locked(RUN, 1.0) as found, pytest.raises(Refused, match="is there already"):
        found.run(at, step, _LIMITS, 60.0)


@pytest.mark.parametrize("step", [_INDEX, Ddl(statements=('{"create": "people"}',))], ids=["index", "collection"])
def test_what_a_killed_try_of_ours_has_made_in_the_fake_is_left_and_done(
    server: Server, tmp_path: Path, step: Any
) -> None:
    work, at = _prepared(server, tmp_path, step)
    with work.target.locked(RUN, 1.0) as found:
        found._history.note_begun(at, step, RUN)  # type: ignore[attr-defined]
        server.database.create_collection("people")
        server.database.customer.create_index("first", name="by_first", unique=True)
        found.run(at, step, _LIMITS, 60.0)
        found.run(at, step, _LIMITS, 60.0)
    attempt = work.attempt()
    assert attempt is not None and [each.state for each in attempt.steps] == ["done"]


def test_sql_has_no_meaning_for_the_fake_and_changes_nothing(server: Server, tmp_path: Path) -> None:
    step = Ddl(statements=("drop table customer",))
    work, at = _prepared(server, tmp_path, step)
    with work.target.locked(RUN, 1.0) as found, pytest.raises(Refused, match="MongoDB cannot do this"):
        found.run(at, step, _LIMITS, 60.0)
    assert server.database.customer.count_documents({}) == 30


# The lease


@pytest.fixture
def lease(server: Server) -> Iterator[Callable[..., Lease]]:
    made: list[Lease] = []

    def take(run_id: str, expiry_s: float = 30.0, within_s: float = 0.0) -> Lease:
        made.append(Lease(server.database, run_id, "fake", expiry_s))
        return made[-1].take(within_s)

    yield take
    for each in made:
        each.close()


def test_lease_that_beats_on_the_fake_is_kept_for_longer_than_it_lasts(lease: Callable[..., Lease]) -> None:
    mine = lease("first", 0.3)
    with pytest.raises(Refused, match="another engine") as caught:
        lease("second", 0.3, within_s=1.0)
    assert caught.value.facts["at work"] == "first"
    mine.require()


def test_lease_of_an_engine_that_is_dead_is_taken_over_on_the_fake_and_the_dead_one_can_note_nothing(
    server: Server, lease: Callable[..., Lease], engine: Engine
) -> None:
    engine_lease = engine._lease  # type: ignore[attr-defined]
    engine_lease._end.set()
    other = lease("other", 0.3, within_s=30.0)
    assert other.token == engine_lease.token + 1 and holder(server.database) == "other"
    History(server.database, other, "fake")
    # It was frozen, say, and takes the lease for its own still.
    engine_lease.require()
    with pytest.raises(MutexLost, match="another engine"):
        engine.end_phase("0001_full_name", Phase.VALIDATE)
    engine_lease.beat()
    with pytest.raises(MutexLost, match="hold"):
        engine_lease.require()


def test_engine_that_could_not_beat_in_time_stops_by_itself_on_the_fake(lease: Callable[..., Lease]) -> None:
    mine = lease("first")
    mine._beaten_s = time.monotonic() - 25.0
    with pytest.raises(MutexLost):
        mine.require()


def test_lease_that_is_given_back_on_the_fake_is_free_at_once(lease: Callable[..., Lease], server: Server) -> None:
    first = lease("first")
    first.close()
    with pytest.raises(MutexLost):
        first.require()
    second = lease("second")
    first.close()
    assert (second.token, holder(server.database)) == (first.token + 1, "second")


def test_history_of_the_fake_that_a_newer_slipway_wrote_is_left_alone(server: Server, tmp_path: Path) -> None:
    work = _way(server, tmp_path)
    work.apply(Phase.PREPARE)
    server.database[COLLECTION].update_one({}, {"$set": {"store": VERSION + 1}})
    with pytest.raises(Refused, match="newer Slipway"):
        work.target.observe()
    with pytest.raises(Refused, match="newer Slipway"), work.target.locked(RUN, 1.0):
        pass
    assert server.database["slipway_migration_mutex"].find_one()["holder"] == ""


# Errors


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (pymongo.errors.AutoReconnect("secret-host"), Retryable, "does not answer"),
        (pymongo.errors.ServerSelectionTimeoutError("secret-host"), Retryable, "does not answer"),
        (pymongo.errors.OperationFailure("secret", 112), Contended, "lock"),
        (pymongo.errors.ExecutionTimeout("secret", 50), Retryable, "longer than it may"),
        (pymongo.errors.DuplicateKeyError("secret", 11000), Refused, "alike"),
        (pymongo.errors.WriteError("secret", 121), Refused, "validator"),
        (pymongo.errors.OperationFailure("secret", 13), Refused, "lacks a right"),
        (pymongo.errors.OperationFailure("secret", 85), Refused, "there already"),
        (pymongo.errors.OperationFailure("secret", 2), Refused, "does not do it"),
    ],
)
def test_errors_of_mongodb_have_a_meaning_and_their_texts_are_not_shown(
    error: pymongo.errors.PyMongoError, kind: type, told: str
) -> None:
    found = meaning(error, "here")
    assert type(found) is kind and told in found.what and found.next_action
    assert "secret" not in str(found)


@pytest.mark.parametrize("address", ["mongodb://host", "postgresql://host/x", "not an address"])
def test_address_without_a_database_is_refused_and_not_shown(tmp_path: Path, address: str) -> None:
    from blocks.migrations.mongodb import connect

    with pytest.raises(Refused, match="address") as caught:
        Server(connect, address).target(tmp_path).observe()
    assert address not in str(caught.value)


def test_database_that_does_not_answer_may_be_asked_again_and_the_engine_that_lost_it_stops(tmp_path: Path) -> None:
    def client(address: str) -> Any:
        return pymongo.MongoClient(address, timeoutMS=300)

    server = Server(client, f"mongodb://127.0.0.1:{free_port()}/app")
    target = server.target(tmp_path)
    with pytest.raises(Retryable, match="does not answer"):
        target.observe()
    with pytest.raises(Retryable, match="does not answer"), target.locked(RUN, 1.0):
        pass
    database = server.database
    mine = Lease(database, RUN, "nowhere")
    mine.beat()
    with pytest.raises(MutexLost):
        mine.require()
    mine.close()
    database.client.close()


# The whole way, from the command line's side


@pytest.mark.server
@pytest.mark.slow
def test_flows_and_commands_migrate_a_fake_database_as_they_do_any_other(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_api: str
) -> None:
    store = server.database.client._store
    monkeypatch.setattr(
        "blocks.migrations.mongodb.MongoClient", lambda address, **_: mongomock.MongoClient(address, _store=store)
    )
    estate = yaml.safe_load((ROOT / "docs/reference/examples/estate.yaml").read_text())
    estate["ledger"] = {"driver": "memory"}
    connection = {"driver": "mongodb", "address": "file:mongodb"}
    estate["environments"]["staging"]["databases"] = {"campus": {"connection": connection, "database": "app"}}
    # Whoever undoes holds the environment: its router and its runtime are told of the newest lease.
    (tmp_path / "haproxy").mkdir()
    (tmp_path / "mongodb").write_text("mongodb://fake/app")
    (tmp_path / "estate.yaml").write_text(yaml.safe_dump(estate))
    for path, text in FILES.items():
        (tmp_path / "migrations" / path).parent.mkdir(parents=True)
        (tmp_path / "migrations" / path).write_text(text)
    monkeypatch.setenv("SLIPWAY_ESTATE", str(tmp_path / "estate.yaml"))
    given = {"service": "campus", "environment": "staging", "folder": str(tmp_path / "migrations")}

    def say(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "campus", "--in", "staging", "--folder", given["folder"]])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    assert "fill full_name of customer" in say("plan")
    assert "pending" in say("status")
    with flows_of(prefect_api):
        assert migrate(MigrateRequest(**given), return_state=True).is_completed()
    assert server.database.customer.count_documents({"full_name": None}) == 0
    assert "under way validate" in say("status")
    with flows_of(prefect_api):
        # No HAProxy runs here that would say what is released.
        asked = UndoRequest(name="0001_full_name", accept_contract="nothing is released here", **given)
        undone = undo_migration(asked, return_state=True)
    assert undone.is_completed() and "people" not in server.database.list_collection_names()
    lint = CliRunner().invoke(app, ["lint", given["folder"]])
    assert (lint.exit_code, lint.output) == (0, "1 migrations: nothing to say\n")
    (tmp_path / "migrations" / "0001_full_name" / "migration.yaml").write_text(NAMES["0001_full_name/migration.yaml"])
    for path, text in NAMES.items():
        (tmp_path / "migrations" / path).write_text(text)
    with flows_of(prefect_api), pytest.raises(Refused, match="another kind of database"):
        migrate(MigrateRequest(**given))
