"""What must hold before a release into an environment begins (REL-3), as the estate file writes it."""

import re
from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.common.gates import Gate, asked_about, name_problems, named
from tasks.common.model import Place, Problem, StrictModel, refuse
from tasks.common.units import Duration, Expected, Percent

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_URL = re.compile(r"https?://[^\s]+")
_WORDS = "an address as host:port"
_KNOWN = ("service", "environment", "window")
"""What a check may be asked about: there is no candidate yet."""


def host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of text like 'db.example:5432' or '[::1]:443'.

    Raises:
        Expected: it is no such address.
    """
    match = _HOST_PORT.fullmatch(address)
    if match is None or not 1 <= int(match[2]) <= 65535:
        raise Expected(_WORDS, address)
    return match[1].strip("[]"), int(match[2])


def _host_port(address: str) -> str:
    host_and_port(address)
    return address


def _host_port_or_url(address: str) -> str:
    if not _URL.fullmatch(address):
        try:
            host_and_port(address)
        except Expected:
            raise Expected(f"{_WORDS}, or one that starts with http:// or https://", address) from None
    return address


class Reachable(StrictModel):
    """Something that the services of an environment need: a database, a cache, an external service."""

    name: str = Field(min_length=1, description="what it is called in reports")
    address: Annotated[str, AfterValidator(_host_port_or_url)] = Field(
        description="host:port that must take a connection, or an http(s) address that must answer below 500"
    )


class ServerCertificate(StrictModel):
    """A server whose TLS certificate must be valid for its name."""

    address: Annotated[str, AfterValidator(_host_port)] = Field(description="host:port")
    server_name: str | None = Field(
        default=None, min_length=1, description="name that the certificate must be for; the host if not given"
    )
    ca: str | None = Field(
        default=None, min_length=1, description="PEM file of the authorities to trust; the system's if not given"
    )


class Preflight(StrictModel):
    """What must hold before anything is built for an environment; all of it is looked at, and told together."""

    cpu_free_at_least: Percent = Field(default=30.0, description="share of the runtime's processors that must be idle")
    memory_free_at_least: Percent = Field(default=30.0, description="share of the runtime's memory that must be free")
    disk_free_at_least: Percent = Field(
        default=10.0, description="share of the file system with the workspace that must be free"
    )
    reachable: list[Reachable] = Field(default_factory=list, description="databases, caches, external services")
    certificates: list[ServerCertificate] = Field(
        default_factory=list, description="servers whose TLS certificates are checked"
    )
    certificate_valid_for_s: Duration = Field(
        default=14 * 86400.0, alias="certificate_valid_for", description="a certificate that ends earlier is a problem"
    )
    checks: list[Gate] = Field(
        default_factory=list, description="'no active incident', 'system healthy' and the like: promql, sql or http"
    )

    @model_validator(mode="after")
    def _nothing_is_released_yet(self) -> Self:
        placed = [(("checks", position), check) for position, check in enumerate(self.checks)]
        refuse("Preflight", name_problems(named("checks", self.checks)) + early_problems(placed))
        return self


def early_problems(checks: Iterable[tuple[Place, Gate]]) -> list[Problem]:
    """Return the checks that ask for what there is not before a release has begun.

    Args:
        checks: with the place of each.
    """
    found = []
    for place, check in checks:
        if check.recorded is not None:
            expected = "promql, sql or http: a run that begins has recorded nothing"
            found.append(Problem((*place, "recorded"), check.recorded, expected))
        query = "promql" if check.promql else "sql"
        for name in sorted(set(asked_about(check)) - set(_KNOWN)):
            found.append(Problem((*place, query), f"the name {name}", f"one of: {', '.join(_KNOWN)}"))
    return found
