"""The flow `migrate` on real servers: applied, held and carried on, taken back where it fails."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.schemas.objects import State

from flows.migrate import migrate
from flows.undo_migration import undo_migration
from tasks.common.errors import Refused, SlipwayError
from tasks.common.lease import Lease
from tasks.common.migrations import Phase
from tasks.migration.request import MigrateRequest, UndoRequest
from tests.support.catalogue import entry, verification
from tests.support.docs import ROOT
from tests.support.ledger import open_ledger
from tests.support.migrating import CUSTOMERS, NAMES, changed, data_of, fill, rows, schema_of
from tests.support.postgresql import Cluster
from tests.support.prefect_server import flows_of

pytestmark = [pytest.mark.server, pytest.mark.slow]


class Place:
    """An estate whose only service has a database that is migrated.

    Args:
        folder: holds the estate file and the migrations.
        address: of the database.
        ledger: address of the ledger's database.
        api: of the Prefect server.
    """

    def __init__(self, folder: Path, address: str, ledger: str, api: str) -> None:
        self.folder, self.address, self.api = folder, address, api
        (folder / "address").write_text(address)
        self.ledger = open_ledger(folder, ledger)
        self.ledger.prepare()
        self.write(NAMES)
        self.describe()

    def write(self, files: dict[str, str]) -> None:
        for path, text in files.items():
            file = self.folder / "migrations" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def describe(self, **spec: Any) -> None:
        estate = yaml.safe_load((ROOT / "docs/reference/examples/estate.yaml").read_text())
        environment = estate["environments"]["staging"]
        memory = {"driver": "memory", "world": str(self.folder)}
        environment |= {"runtime": memory, "router": memory}
        estate["ledger"] = {"driver": "postgresql", "dsn": "file:dsn"}
        connection = {"driver": "postgresql", "address": "file:address"}
        environment["databases"] = {"campus": {"connection": connection, "health": {"autovacuum": False}, **spec}}
        (self.folder / "estate.yaml").write_text(yaml.safe_dump(estate))

    def apply(self, through: Phase = Phase.VALIDATE, **request: str) -> State[Any]:
        with flows_of(self.api):
            return migrate(MigrateRequest(through=through, **request, **self.where), return_state=True)

    def undo(self, name: str = "0001_full_name") -> State[Any]:
        with flows_of(self.api):
            return undo_migration(UndoRequest(name=name, **self.where), return_state=True)

    @property
    def where(self) -> dict[str, Any]:
        found = {"service": "campus", "environment": "staging", "estate": str(self.folder / "estate.yaml")}
        return {**found, "folder": str(self.folder / "migrations")}


def error_of(state: State[Any]) -> SlipwayError:
    found = state.result(raise_on_failure=False)
    assert isinstance(found, SlipwayError), found
    return found


@pytest.fixture
def place(tmp_path: Path, postgresql_cluster: Cluster, prefect_api: str) -> Place:
    address = postgresql_cluster.database()
    fill(address, CUSTOMERS.format(rows=1500))
    return Place(tmp_path, address, postgresql_cluster.database(), prefect_api)


def test_run_applies_another_changes_nothing_and_undo_brings_the_start_back(place: Place) -> None:
    before = schema_of(place.address), data_of(place.address)
    assert place.apply().is_completed()
    assert rows(place.address, "select state, done from slipway.migrations") == [("under way", "validate")]
    assert place.apply().is_completed()
    assert rows(place.address, "select count(*) from slipway.migration_batches") == [(2,)]
    assert place.undo().is_completed()
    assert (schema_of(place.address), data_of(place.address)) == before
    assert place.apply(Phase.CLEANUP, accept_contract="nobody uses it").is_completed()
    assert "point of no return" in error_of(place.undo()).what


def test_failure_takes_back_what_the_run_has_begun_and_nothing_before_it(place: Place) -> None:
    before = schema_of(place.address), data_of(place.address)
    place.write(changed(NAMES, validate__sql="-- customers at all\nselect id from customer order by id;"))
    error = error_of(place.apply())
    assert isinstance(error, Refused)
    assert "customers at all" in error.what
    assert "was undone" in error.state
    assert str(error.facts["rows found"]).splitlines() == ["1", "2", "3", "4", "5", "and more"]
    assert (schema_of(place.address), data_of(place.address)) == before
    assert place.apply(Phase.PREPARE).is_completed()
    expanded = schema_of(place.address)
    assert "execute, validate, cleanup of 0001_full_name were undone" in error_of(place.apply()).state
    assert schema_of(place.address) == expanded


def test_failure_stays_where_the_estate_says_so_and_goes_on_when_mended(place: Place) -> None:
    place.describe(on_failure="stay")
    fill(place.address, "create table bad as select 1 as id")
    place.write(changed(NAMES, validate__sql="-- bad ones\nselect id from bad;"))
    error_of(place.apply())
    assert rows(place.address, "select state, done, problem like '%bad ones%' from slipway.migrations") == [
        ("failed", "execute", True)
    ]
    fill(place.address, "truncate bad")
    assert place.apply().is_completed()
    assert rows(place.address, "select state, done, problem from slipway.migrations") == [("under way", "validate", "")]


def test_old_shape_does_not_go_while_somebody_is_at_work_there_and_who_answers_for_it_is_on_record(
    place: Place,
) -> None:
    assert place.apply().is_completed()
    error = error_of(place.apply(Phase.CLEANUP))
    assert list(error.facts) == ["the newest release has 0001_full_name"]
    lease = place.ledger.leases.acquire("campus/staging", "another-run", 60.0)
    assert isinstance(lease, Lease)
    busy = error_of(place.apply(Phase.CLEANUP, accept_contract="nobody uses it", requested_by="ann"))
    assert "another-run" in str(busy)
    standing = "select done, past_return, accepted from slipway.migrations"
    assert rows(place.address, standing) == [("validate", False, "")]
    place.ledger.leases.give_up(lease)
    assert place.apply(Phase.CLEANUP, accept_contract="nobody uses it", requested_by="ann").is_completed()
    ((done, passed, accepted),) = rows(place.address, standing)
    assert (done, passed) == ("cleanup", True)
    assert "ann (not authenticated): nobody uses it. Not met: the newest release has 0001_full_name" in str(accepted)
    assert place.ledger.leases.find("campus/staging") is None


def test_rows_are_not_filled_without_a_fresh_verified_backup_whose_id_is_on_record(place: Place) -> None:
    place.describe(backup="campus-db")
    assert place.apply(Phase.PREPARE).is_completed()
    for_rows = "select done, backup from slipway.migrations"
    lines = str(error_of(place.apply()))
    assert "slipway backup campus-db; slipway verify-backup campus-db" in lines
    assert "--accept-contract" not in lines
    assert rows(place.address, for_rows) == [("prepare", "")]
    now = datetime.now(UTC).replace(microsecond=0)
    taken = entry(now, plan="campus-db")
    place.ledger.catalogue.add(taken)
    assert "not verified" in str(error_of(place.apply(Phase.CLEANUP, accept_contract="nobody uses it")))
    place.ledger.catalogue.note(verification(taken))
    assert place.apply().is_completed()
    assert rows(place.address, for_rows) == [("validate", taken.id)]
