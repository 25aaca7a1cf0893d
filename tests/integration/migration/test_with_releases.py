"""Migrations and releases on real servers: code gets users while its database is ready, not before and not after."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from prefect.client.schemas.objects import State
from typer.testing import CliRunner

from deployments.migration_command import app
from flows.migrate import migrate
from flows.undo_migration import undo_migration
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.gates import MIGRATED
from tasks.common.migrations import Phase
from tasks.migration.request import MigrateRequest, UndoRequest
from tasks.release.checklist import checklist
from tasks.release.model import Outcome
from tests.support.migrating import CUSTOMERS, NAMES, fill, rows
from tests.support.postgresql import Cluster
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port
from tests.support.prometheus import prometheus
from tests.support.small import RUN_SECRET, TEST_SECRET, Ended, Small, small_estate
from tests.support.small_checks import RUN_VALUE, TEST_VALUE

pytestmark = [pytest.mark.server, pytest.mark.slow]

_IMPATIENT = NAMES["0001_full_name/migration.yaml"] + "lock_tries: 2\n"
_FILES = {f"migrations/{path}": text for path, text in NAMES.items()}


class Shop:
    """The small estate, whose service has a database in production.

    Args:
        small: the estate.
        address: of the database.
    """

    def __init__(self, small: Small, address: str) -> None:
        self.small, self.address = small, address
        (small.folder / "address").write_text(address)
        self.describe()

    def describe(self, where: str = "production", **spec: Any) -> None:
        estate = yaml.safe_load(self.small.file.read_text())
        connection = {"driver": "postgresql", "address": "file:address"}
        described = {"connection": connection, "health": {"autovacuum": False}, **spec}
        for name, environment in estate["environments"].items():
            environment["databases"] = {"campus": described} if name == where else {}
        self.small.file.write_text(yaml.safe_dump(estate))

    def migrate(self, commit: str, through: Phase = Phase.VALIDATE, where: str = "production") -> SlipwayError | None:
        given = {"service": "campus", "environment": where, "estate": str(self.small.file), "commit": commit}
        state: State[Any] = migrate(MigrateRequest(through=through, **given), return_state=True)
        found = state.result(raise_on_failure=False)
        assert found is None or isinstance(found, SlipwayError), found
        return found

    def undo(self) -> SlipwayError | None:
        about = {"service": "campus", "environment": "production", "estate": str(self.small.file)}
        found = undo_migration(UndoRequest(name="0001_full_name", **about), return_state=True)
        return found.result(raise_on_failure=False)

    def plan(self, commit: str) -> str:
        words = ["plan", "campus", "--through", "cleanup", "--commit", commit, "--estate", str(self.small.file)]
        done = CliRunner().invoke(app, words)
        return f"{done.output}\n{done.exception}"


@pytest.fixture
def shop(
    tmp_path: Path, postgresql_cluster: Cluster, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    monkeypatch.setenv(RUN_SECRET, RUN_VALUE)
    monkeypatch.setenv(TEST_SECRET, TEST_VALUE)
    folder = tmp_path / "prometheus"
    folder.mkdir()
    address = postgresql_cluster.database()
    fill(address, CUSTOMERS.format(rows=100))
    with (
        flows_of(prefect_api),
        prometheus(folder) as metrics,
        small_estate(tmp_path, postgresql_cluster.database(), metrics) as small,
    ):
        yield Shop(small, address)


def refused(error: BaseException | None) -> dict[str, str]:
    assert isinstance(error, Refused), error
    return {name: str(value) for name, value in error.facts.items()}


def name_of(commit: str) -> str:
    return commit[:12]


def succeeded(ended: Ended) -> None:
    assert ended.error is None, ended.error


def test_code_waits_for_its_database_and_the_old_shape_for_its_code(shop: Shop) -> None:
    small = shop.small
    old = small.commit()
    shop.describe(database="another")
    found = refused(small.release(old).error)
    assert list(found) == ["production: the database fits"] and "and not another" in str(found)
    shop.describe()
    succeeded(small.release(old))
    new = small.commit(answers={"says": ["new"]}, files=_FILES, migrations="migrations")
    _users_come_when_the_database_is_ready(shop, old, new)
    _old_shape_goes_when_nobody_can_go_back(shop, old, new)
    _nobody_goes_back_behind_it(shop, old, new)
    _database_that_is_away_keeps_nobody_from_what_is_known_to_fit(shop, old, new)


def _users_come_when_the_database_is_ready(shop: Shop, old: str, new: str) -> None:
    small = shop.small
    waits = small.release(new)
    closed = refused(waits.error)
    assert list(closed) == [MIGRATED]
    assert "0001_full_name: nothing of it is done" in closed[MIGRATED]
    assert f"do: slipway migration apply campus --in production --commit {new[:7]}" in closed[MIGRATED]
    assert small.served() == {name_of(old)} and waits.visitors.met == {name_of(old)}
    kept = small.ledger.evidence(waits.run_id)
    lists = {item.text: item for section in checklist(small.record(waits), kept) for item in section.items}
    assert lists["migrations"].fact == "production: 0001_full_name: nothing of it is done"
    assert shop.migrate(new) is None
    assert "0001_full_name, cleanup" in shop.plan(new) and "the newest release has 0001_full_name" in shop.plan(new)
    assert list(refused(shop.migrate(new, Phase.CLEANUP))) == ["the newest release has 0001_full_name"]
    after = small.release(new)
    succeeded(after)
    looked = small.evidence(after, "migration")[-1]
    assert (looked.name, looked.facts["carries"], looked.facts["blocking"]) == ("production", ["0001_full_name"], 0)
    used = refused(shop.undo())
    assert f"{new[:7]} has it" in used["no code that serves has 0001_full_name"]


def _old_shape_goes_when_nobody_can_go_back(shop: Shop, old: str, new: str) -> None:
    window = refused(shop.migrate(new, Phase.CLEANUP))
    assert list(window) == ["nobody needs to go back behind 0001_full_name (24 h)"]
    assert f"{old[:7]}, which does not have it, served until" in next(iter(window.values()))
    assert rows(shop.address, "select done, past_return from slipway.migrations") == [("validate", False)]
    shop.describe(rollback_window="1ms")
    with psycopg.connect(shop.address) as holder:
        holder.execute("select from customer limit 1")
        impatient = {"migrations/0001_full_name/migration.yaml": _IMPATIENT}
        hurried = shop.small.commit(files=impatient, migrations="migrations")
        assert isinstance(shop.migrate(hurried, Phase.CLEANUP), Retryable)
    # Its locks were not to be had: nobody undoes it any more, and whoever has to go back still may.
    assert rows(shop.address, "select done, past_return from slipway.migrations") == [("validate", True)]
    back = shop.small.rollback(to=name_of(old))
    succeeded(back)
    succeeded(shop.small.rollback(to=name_of(new)))
    assert shop.migrate(new, Phase.CLEANUP) is None
    assert rows(shop.address, "select state, accepted from slipway.migrations") == [("applied", "")]


def _nobody_goes_back_behind_it(shop: Shop, old: str, new: str) -> None:
    small = shop.small
    back = small.rollback(to=name_of(old))
    assert "does not have 0001_full_name" in str(back.error) and "release forward" in str(back.error)
    assert small.record(back).outcome is Outcome.FAILED
    assert not small.evidence(back, "lease") and not small.evidence(back, "step")
    found = refused(small.release(old).error)
    assert "0001_full_name: its old shape is gone" in found["production: the database fits"]
    assert small.served() == {name_of(new)}
    answered = small.rollback(to=name_of(old), accept_contract="it reads no names")
    succeeded(answered)
    assert small.served() == {name_of(old)}
    assert small.evidence(answered, "accepted")[0].facts["reason"] == "it reads no names"


def _database_that_is_away_keeps_nobody_from_what_is_known_to_fit(shop: Shop, old: str, new: str) -> None:
    small = shop.small
    (small.folder / "address").write_text(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    succeeded(small.rollback(to=name_of(new)))
    assert small.served() == {name_of(new)}
    unknown = small.rollback(to=name_of(old))
    assert isinstance(unknown.error, Retryable) and "--accept-contract" in str(unknown.error)
    assert small.served() == {name_of(new)}


def test_environment_on_the_way_waits_for_its_own_database_and_its_old_shape_goes_by_what_was_rehearsed_there(
    shop: Shop,
) -> None:
    small = shop.small
    shop.describe("staging", rollback_window="1ms")
    commit = small.commit(files=_FILES, migrations="migrations")
    early = small.release(commit)
    assert refused(early.error) == {"0001_full_name": "nothing of it is done"}
    assert "slipway migration apply campus --in staging --commit" in str(early.error)
    assert small.processes() == set() and not small.evidence(early, "step")
    assert shop.migrate(commit, where="staging") is None
    assert "the newest release has 0001_full_name" in refused(shop.migrate(commit, Phase.CLEANUP, "staging"))
    succeeded(small.release(commit))
    assert shop.migrate(commit, Phase.CLEANUP, "staging") is None
    assert rows(shop.address, "select state, accepted from slipway.migrations") == [("applied", "")]
