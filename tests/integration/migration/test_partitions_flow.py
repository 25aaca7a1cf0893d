"""The flow `partitions` and its command on real servers: every database of the estate, and what goes wrong in one."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.schemas.objects import State
from typer.testing import CliRunner

from deployments.cli import app
from flows.partitions import partitions
from tasks.common.errors import Refused, SlipwayError
from tasks.migration.request import PartitionsRequest
from tests.support import pagila
from tests.support.docs import ROOT
from tests.support.migrating import fill, rows
from tests.support.postgresql import Cluster
from tests.support.prefect_server import flows_of

pytestmark = [pytest.mark.server, pytest.mark.slow]

PAYMENT = {"table": "payment", "every": "month", "ahead": 2, "keep": "24 months"}
COUNT = "select count(*) from pg_inherits where inhparent = 'payment'::regclass"


class Place:
    """An estate with a database of its service in staging and another one in production.

    Args:
        folder: holds the estate file.
        api: of the Prefect server.
        addresses: of the databases, by environment.
    """

    def __init__(self, folder: Path, api: str, addresses: dict[str, str]) -> None:
        self.folder, self.api, self.addresses = folder, api, addresses
        self.estate = folder / "estate.yaml"
        self.describe(PAYMENT)

    def describe(self, *specs: dict[str, Any], **more: Any) -> None:
        estate = yaml.safe_load((ROOT / "docs/reference/examples/estate.yaml").read_text())
        for environment, address in self.addresses.items():
            (self.folder / environment).write_text(address)
            spec = {"connection": {"driver": "postgresql", "address": f"file:{environment}"}, "partitions": [*specs]}
            estate["environments"][environment]["databases"] = {"campus": {**spec, **more}}
        self.estate.write_text(yaml.safe_dump(estate))

    def run(self, **asked: str) -> State[Any]:
        with flows_of(self.api):
            return partitions(PartitionsRequest(estate=str(self.estate), **asked), return_state=True)

    def say(self, *words: str) -> str:
        argv = ["migration", "partitions", "campus", *words, "--estate", str(self.estate)]
        done = CliRunner().invoke(app, argv)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return f"{done.exit_code} {done.output}"


@pytest.fixture
def place(tmp_path: Path, pagila_cluster: Cluster, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    # What the command sets is put back.
    monkeypatch.setenv("SLIPWAY_ESTATE", str(tmp_path / "estate.yaml"))
    names = {"staging": f"staging_{tmp_path.name}", "production": f"production_{tmp_path.name}"}
    addresses = {environment: pagila.copy(pagila_cluster, name) for environment, name in names.items()}
    return Place(tmp_path, prefect_api, addresses)


def error_of(state: State[Any]) -> SlipwayError:
    found = state.result(raise_on_failure=False)
    assert isinstance(found, SlipwayError), found
    return found


def test_pagila_gets_its_partitions_and_its_old_ones_leave_with_all_their_rows(place: Place) -> None:
    before = {name: rows(address, "table payment order by 1") for name, address in place.addresses.items()}
    assert place.run().is_completed()
    for name, address in place.addresses.items():
        assert rows(address, COUNT) == [(27,)]
        left = "union all".join(f" table payment_p2022_0{month} " for month in range(1, 8))
        assert rows(address, f"select * from ({left}) as left_ order by 1") == before[name]
        told = "select count(*) from pg_class where obj_description(oid) like 'slipway: was a partition of%'"
        assert rows(address, told) == [(7,)]
        fill(address, "insert into payment select 1, customer_id, 1, rental_id, 5, now() from rental limit 1")
        assert rows(address, "select sum(total_sales) from sales_by_store") == [(5,)]
    assert place.run().is_completed()
    assert "nothing is to be done" in place.say("--in", "staging", "--plan")


def test_plan_shows_every_statement_and_changes_nothing(place: Place) -> None:
    told = place.say("--in", "staging", "--plan")
    assert told.startswith("0 1. payment: make payment_p")
    assert told.count("ATTACH PARTITION") == 27 and told.count("DETACH PARTITION") == 7
    assert "detach payment_p2022_01" in told and "CONCURRENTLY" in told
    assert rows(place.addresses["staging"], COUNT) == [(7,)]


def test_what_goes_wrong_in_one_database_keeps_no_other_from_its_partitions(place: Place) -> None:
    fill(place.addresses["production"], "alter table payment rename to payments")
    error = error_of(place.run())
    assert isinstance(error, Refused)
    assert error.on == "campus in production" and "there is no table payment" in str(error.facts["problems"])
    assert rows(place.addresses["staging"], COUNT) == [(27,)]
    assert "not done: payment: there is no table payment" in place.say("--plan")


def test_one_database_may_be_asked_for_and_one_without_partitions_is_refused(place: Place) -> None:
    assert place.run(service="campus", environment="staging").is_completed()
    assert rows(place.addresses["production"], COUNT) == [(7,)]
    nowhere = error_of(place.run(service="campus", environment="nowhere"))
    assert "describes no partitions of campus in nowhere" in nowhere.what
    place.describe()
    with pytest.raises(Refused, match="describes no partitions"):
        place.say("--plan")
    assert place.run().is_completed()


def test_other_database_than_the_estate_names_is_told_of_and_not_touched(place: Place) -> None:
    place.describe(PAYMENT, database="shop")
    assert "and not shop" in str(error_of(place.run()).facts["problems"])
    assert rows(place.addresses["staging"], COUNT) == [(7,)]
