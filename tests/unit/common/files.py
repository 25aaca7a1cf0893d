"""The documented examples, wrong copies of them, and what the loader says about a text."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, model_validator

from tasks.common.errors import Refused
from tasks.common.load import load_estate, load_service
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import Size

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
EXAMPLES = REFERENCE / "examples"
SERVICE_EXAMPLES = ("slipway.yaml", "blue-green.yaml", "rolling.yaml")


def example(name: str, *changes: tuple[str, str]) -> str:
    """Return a documented example, each change made exactly once."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        text = text.replace(old, new)
    return text


def line_of(text: str, part: str) -> int:
    """Return the number of the only line that has the part in it."""
    (line,) = [number for number, each in enumerate(text.splitlines(), start=1) if part in each]
    return line


class Folder(StrictModel):
    folder: str = Field(min_length=1)


class Bucket(StrictModel):
    bucket: str
    part_size_bytes: Size = Field(default=16 * 2**20, alias="part_size", ge=5 * 2**20)
    access_key: SecretRef | None = None


class Share(StrictModel):
    address: SecretRef


class Database(StrictModel):
    dsn: SecretRef


class Supervisord(StrictModel):
    socket: str
    programs: str
    releases: str
    logs: str
    ports: dict[str, dict[str, list[int]]]

    @model_validator(mode="after")
    def _differ(self) -> "Supervisord":
        ports = [port for slots in self.ports.values() for slot in slots.values() for port in slot]
        if len(ports) != len(set(ports)):
            raise ValueError("expected every port once")
        return self


class Anything(BaseModel):
    """Settings of a driver that these tests are not about."""


DRIVERS: dict[str, dict[str, type[BaseModel]]] = {
    "ledger": {"postgresql": Database},
    "store": {"folder": Folder, "s3": Bucket, "share": Share},
    "runtime": {"supervisord": Supervisord},
    "router": {"haproxy": Anything},
    "metrics": {"prometheus": Anything},
    "source": {"git": Anything},
    "builder": {"archive": Anything},
    "backup": {"pgbackrest": Anything},
    "database": {"postgresql": Anything},
    "scratch": {"postgresql": Anything},
    "cluster": {"patroni": Anything, "rds": Anything},
    "door": {"haproxy": Anything},
    "dns": {"powerdns": Anything},
    "visitor": {"http": Anything},
    "migrations": {"postgresql": Anything, "mongodb": Anything},
}


def settings_models(port: str, driver: str) -> type[BaseModel] | None:
    return DRIVERS[port].get(driver)


def load_example_estate(text: str) -> Any:
    return load_estate(text, "lab.yaml", settings_models, DRIVERS)


def mistakes_in(text: str, load: Callable[[str], Any]) -> list[str]:
    """Return the mistakes that the loader finds, 'LINE: PLACE: found ...; expected ...' each; none if it accepts."""
    try:
        load(text)
    except Refused as error:
        lines = str(error.facts["mistakes"]).splitlines()
        assert error.what.endswith("1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes")
        assert all(re.fullmatch(r"[\w.]+:\d+: .+: found .+; expected .+", line) for line in lines), lines
        return [line.partition(":")[2] for line in lines]
    return []


def service_mistakes(text: str) -> list[str]:
    return mistakes_in(text, lambda text: load_service(text, "slipway.yaml"))


def estate_mistakes(text: str) -> list[str]:
    return mistakes_in(text, load_example_estate)


def only(found: Sequence[str]) -> str:
    """Return the one mistake that was found."""
    if len(found) != 1:
        pytest.fail(f"expected one mistake, found {len(found)}:\n" + "\n".join(found))
    return found[0]
