"""Nouns that more than one capability uses: the target of work, commands, probes, metric checks."""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tasks.common.units import (
    PATH_PATTERN,
    Duration,
    Expected,
    Name,
    PositiveDuration,
    Size,
    Variable,
    parse_duration,
    parse_percent,
)

Place = tuple[str | int, ...]
"""Where something stands in a file: the keys (and positions, from 0) on the way to it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong between several keys of a file: where, what was found, what is expected."""

    place: Place
    found: str
    expected: str


def refuse(title: str, problems: Sequence[Problem]) -> None:
    """There are no problems; for validators of models, so that each problem is reported at its own place.

    Raises:
        pydantic.ValidationError: one error a problem.
    """
    if problems:
        errors = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "problem", "found {found}; expected {expected}", {"found": each.found, "expected": each.expected}
                ),
                loc=each.place,
                input=None,
            )
            for each in problems
        ]
        raise ValidationError.from_exception_data(title, errors)


def near(word: str, known: Collection[str]) -> str:
    """Return " (did you mean 'build'?)" for a word that is much like a known one, else nothing."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""


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


@dataclass(frozen=True)
class Drift:
    """Something is not as the records have left it: where, what was found, what was expected, what to do."""

    where: Target
    found: str
    expected: str
    next_action: str


def _program(command: list[str]) -> list[str]:
    if not command[0].strip():
        raise Expected("the program's name as the first item", command[0])
    return command


Argv = Annotated[list[str], Field(min_length=1), AfterValidator(_program)]
"""A program and its arguments, one list item each; never given to a shell."""


class Command(StrictModel):
    """One command, started without a shell in the checked-out tree."""

    name: Name = Field(description="what it is called in logs and in the ledger")
    command: Argv = Field(description="program and arguments, one list item each; no shell")
    timeout_s: PositiveDuration = Field(
        default=600.0, alias="timeout", description="ended, with its children, after this long"
    )
    env: dict[Variable, str] = Field(default_factory=dict, description="additional environment variables (no secrets)")


class HttpCheck(StrictModel):
    """One HTTP request and what must come back (REL-9). Also says which requests must be refused."""

    name: str = Field(default="", description="what it shows; method and path if empty")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="GET", description="the request's method"
    )
    path: str = Field(pattern=PATH_PATTERN, description="path and query, from the service's root")
    expect: int = Field(ge=100, le=599, description="the status that must come back")
    json_body: dict[str, object] | None = Field(default=None, alias="json", description="body, sent as JSON")
    contains: str | None = Field(default=None, min_length=1, description="text that the answer's body must contain")
    within_s: PositiveDuration = Field(default=5.0, alias="within", description="longest time to the end of the answer")

    @property
    def label(self) -> str:
        """Return its name, or method and path."""
        return self.name or f"{self.method} {self.path}"


class Probe(StrictModel):
    """How an instance is asked for its health."""

    path: str = Field(pattern=PATH_PATTERN, description="path that answers 2xx while all is well")
    every_s: PositiveDuration = Field(default=10.0, alias="every", description="time from one probe to the next")
    timeout_s: PositiveDuration = Field(
        default=2.0, alias="timeout", description="no answer for this long is a failed probe"
    )


class Probes(StrictModel):
    """Liveness (restart me), readiness (send me traffic) and how long to wait before asking (RUN-2)."""

    liveness: Probe = Field(description="asks whether the instance is alive; restarted when not")
    readiness: Probe = Field(description="asks whether the instance may get traffic")
    start_delay_s: Duration = Field(default=0.0, alias="start_delay", description="no probe before this time")
    ready_within_s: PositiveDuration = Field(
        default=300.0, alias="ready_within", description="not ready for this long after the start: the start has failed"
    )


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
    unit: Unit = Field(description="unit of what the query returns, and of its bounds: 3 for 3 %, not 0.03")
    description: str = Field(default="", description="what it shows, for reports")


BOUNDS = ("at_most", "at_least", "at_most_times_stable", "at_least_times_stable")


def _exactly_one_bound(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in BOUNDS]


class Check(StrictModel):
    """A bound on a metric: absolute, or against the stable release measured at the same time.

    Exactly one bound is given. Absolute bounds carry the unit of the metric: '0.1%', '2s' or a plain count.
    """

    model_config = ConfigDict(json_schema_extra=_exactly_one_bound)

    metric: str = Field(description="name of a metric of this file")
    at_most: str | float | None = Field(
        default=None, description="the candidate's value may be this much, in the metric's unit: '0.1%', '2s', 10"
    )
    at_least: str | float | None = Field(
        default=None, description="the candidate's value must be this much, in the metric's unit"
    )
    at_most_times_stable: float | None = Field(
        default=None, gt=0, description="the candidate's value may be the stable release's, times this (REL-7: 1.1)"
    )
    at_least_times_stable: float | None = Field(
        default=None, gt=0, description="the candidate's value must be the stable release's, times this"
    )

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        given = [name for name in BOUNDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "a check without a bound"
            refuse("Check", [Problem((), found, f"exactly one of: {', '.join(BOUNDS)}")])
        return self

    def bound(self, unit: Unit) -> float:
        """Return the bound as a number in the metric's unit (for relative bounds: the factor).

        Raises:
            Expected: the bound is not written in the metric's unit.
        """
        relative = self.at_most_times_stable or self.at_least_times_stable
        if relative is not None:
            return relative
        return quantity(self.at_most if self.at_most is not None else self.at_least, unit)


def quantity(value: str | float | None, unit: Unit) -> float:
    """Return a bound as a number in the unit that it must be written in.

    Raises:
        Expected: it is not written in that unit.
    """
    match unit:
        case Unit.PERCENT:
            return parse_percent(value)
        case Unit.SECONDS:
            return parse_duration(value)
        case Unit.COUNT if isinstance(value, int | float):
            return float(value)
    raise Expected("a plain number, as the metric counts", value)


def show_quantity(value: float, unit: Unit) -> str:
    """Return a figure with its unit, exact enough that a broken bound looks broken."""
    if unit is Unit.SECONDS:
        return f"{value:.6g} s" if abs(value) >= 1 or value == 0 else f"{value * 1000:.6g} ms"
    return f"{value:.6g} %" if unit is Unit.PERCENT else f"{value:.12g}"


class DriverSpec(BaseModel):
    """A driver by name, with its settings beside it; which settings there are depends on the driver."""

    model_config = ConfigDict(extra="allow", frozen=True)

    driver: str = Field(description="name of the driver")

    @property
    def settings(self) -> dict[str, object]:
        """Return the settings without the driver's name."""
        return dict(self.model_extra or {})


Replicas = Annotated[int, Field(ge=1, le=1000)]
