"""Nouns that more than one capability uses: the target of work, commands, probes, metric checks."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.common.units import Duration, Name, Size, parse_duration, parse_percent


class StrictModel(BaseModel):
    """Base of everything that is read from a file: unknown keys are refused and nothing can be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


@dataclass(frozen=True)
class Target:
    """What a piece of work is about: one service in one environment of one estate."""

    service: str
    environment: str
    estate: str

    def __str__(self) -> str:
        """Return 'campus in production of lab'."""
        return f"{self.service} in {self.environment} of {self.estate}"


class Command(StrictModel):
    """One command, started without a shell in the checked-out tree."""

    name: Name
    command: list[str] = Field(min_length=1, description="program and arguments, one list item each; no shell")
    timeout_s: Duration = Field(default=600.0, alias="timeout", description="ended, with its children, after this long")
    env: dict[str, str] = Field(default_factory=dict, description="additional environment variables (no secrets)")


class HttpCheck(StrictModel):
    """One HTTP request and what must come back (REL-9). Also says which requests must be refused."""

    name: str = Field(default="", description="what it shows; method and path if empty")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: str = Field(pattern=r"^/", description="path and query, from the service's root")
    expect: int = Field(ge=100, le=599, description="the status that must come back")
    json_body: dict[str, object] | None = Field(default=None, alias="json", description="body, sent as JSON")
    contains: str | None = Field(default=None, description="text that the answer's body must contain")
    within_s: Duration = Field(default=5.0, alias="within", description="longest time to the end of the answer")

    @property
    def label(self) -> str:
        """Return its name, or method and path."""
        return self.name or f"{self.method} {self.path}"


class Probe(StrictModel):
    """How an instance is asked for its health."""

    path: str = Field(pattern=r"^/")
    every_s: Duration = Field(default=10.0, alias="every", gt=0)
    timeout_s: Duration = Field(default=2.0, alias="timeout", gt=0)


class Probes(StrictModel):
    """Liveness (restart me), readiness (send me traffic) and how long to wait before asking (RUN-2)."""

    liveness: Probe
    readiness: Probe
    start_delay_s: Duration = Field(default=0.0, alias="start_delay", description="no probe before this time")
    ready_within_s: Duration = Field(default=300.0, alias="ready_within", description="else the start has failed")


class Resources(StrictModel):
    """Limits of one instance (RUN-2)."""

    memory_bytes: Size | None = Field(default=None, alias="memory", description="address space that it may take")
    open_files: int | None = Field(default=None, ge=64, description="files and sockets that it may have open")


class Unit(StrEnum):
    """Unit of a metric, which its query returns and its bounds are written in."""

    PERCENT = "percent"
    SECONDS = "seconds"
    COUNT = "count"


class Metric(StrictModel):
    """A figure about one release, as a PromQL expression that returns one number.

    In the expression `$release`, `$service`, `$environment`, `$slot` and `$window` are replaced.
    """

    query: str = Field(
        min_length=1, description="PromQL; $release, $slot, $service, $environment, $window are filled in"
    )
    unit: Unit
    description: str = ""


class Check(StrictModel):
    """A bound on a metric: absolute, or against the stable release measured at the same time.

    Exactly one bound is given. Absolute bounds carry the unit of the metric: '0.1%', '2s' or a plain count.
    """

    metric: str
    at_most: str | float | None = Field(
        default=None, description="candidate's value may be this much: '0.1%', '2s', 10"
    )
    at_least: str | float | None = Field(default=None, description="candidate's value must be this much")
    at_most_times_stable: float | None = Field(
        default=None, gt=0, description="candidate <= this x stable (REL-7: 1.1)"
    )
    at_least_times_stable: float | None = Field(default=None, gt=0, description="candidate >= this x stable")

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        given = [name for name in BOUNDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(BOUNDS)}; found {', '.join(given) or 'none'}")
        return self

    def bound(self, unit: Unit) -> float:
        """Return the bound as a number in the metric's unit (for relative bounds: the factor).

        Raises:
            ValueError: the bound is not written in the metric's unit.
        """
        relative = self.at_most_times_stable or self.at_least_times_stable
        if relative is not None:
            return relative
        return _quantity(self.at_most if self.at_most is not None else self.at_least, unit)


BOUNDS = ("at_most", "at_least", "at_most_times_stable", "at_least_times_stable")


def _quantity(value: str | float | None, unit: Unit) -> float:
    match unit:
        case Unit.PERCENT:
            return parse_percent(value)
        case Unit.SECONDS:
            return parse_duration(value)
        case Unit.COUNT if isinstance(value, int | float):
            return float(value)
    raise ValueError(f"expected a plain number, as the metric counts; found {value!r}")


class DriverSpec(BaseModel):
    """A driver by name, with its settings; which settings there are is the driver's own model (blocks.DRIVERS)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    driver: str = Field(description="name of the driver")

    @property
    def settings(self) -> dict[str, object]:
        """Return the settings without the driver's name."""
        return dict(self.model_extra or {})


Replicas = Annotated[int, Field(ge=1, le=1000)]
