"""The documented estate, judged by the drivers that ship."""

from typing import Any

import pytest
from pydantic import BaseModel

from blocks import DRIVERS, driver_class
from tasks.common.load import load_estate
from tests.unit.common.files import example, line_of, mistakes_in, only


def settings_model(port: str, driver: str) -> type[BaseModel] | None:
    return driver_class(port, driver).Settings if driver in DRIVERS[port] else None


def load(text: str) -> Any:
    return load_estate(text, "lab.yaml", settings_model, DRIVERS)


def test_documented_estate_is_accepted_by_the_drivers_that_ship() -> None:
    assert mistakes_in(example("estate.yaml"), load) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fetch_timeout: 2m", "fetch_timeout: 2", "source.fetch_timeout: found the number 2; expected a duration"),
        (
            "mirror: mirrors",
            "mirrors: mirrors",
            "source.mirrors: found an unknown key (did you mean 'mirror'?); expected",
        ),
        ("folder: artifacts", "folder: ''", "store.folder: found empty text; expected text that is not empty"),
        (
            "green: [21002]",
            "green: [21001]",
            "environments.staging.runtime: found values that do not fit together; exp",
        ),
        ("dsn: env:SLIPWAY_LEDGER", "dsn: SLIPWAY_LEDGER", "ledger.dsn: found a value that is not shown, as it may be"),
        ("  driver: postgresql", "  driver: mysql", "ledger.driver: found the text 'mysql'"),
    ],
)
def test_mistake_in_a_shipped_driver_s_settings_is_told_alone(old: str, new: str, said: str) -> None:
    assert said in only(mistakes_in(example("estate.yaml", (old, new)), load))


def test_settings_that_two_environments_share_are_judged_in_both() -> None:
    text = example("estate.yaml", ("socket: run/haproxy.sock", "sokcet: run/haproxy.sock"))
    found = mistakes_in(text, load)
    assert [each.partition(": found")[0].split(": ") for each in found] == [
        [str(line_of(text, "router: &router")), "environments.staging.router.socket"],
        [str(line_of(text, "sokcet")), "environments.production.router.sokcet"],
        [str(line_of(text, "sokcet")), "environments.staging.router.sokcet"],
        [str(line_of(text, "router: *router")), "environments.production.router.socket"],
    ]
