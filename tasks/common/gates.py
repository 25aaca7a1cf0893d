"""Gates: small rules over evidence that must hold before a release goes on (REL-11), as a file writes them."""

import re
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.common.model import Place, Problem, StrictModel, Unit, quantity, refuse, show_quantity
from tasks.common.promql import names
from tasks.common.units import ADDRESS_PATTERN, PATH_PATTERN, Expected, PositiveDuration

SOURCES = ("recorded", "promql", "sql", "http")
BOUNDS = ("at_most", "at_least")
NAMES = ("service", "environment", "release", "slot", "window", "commit")
"""What may stand in a gate's query: `$service` in PromQL, `%(service)s` in SQL."""

TESTS, COVERAGE, SCANS = "all tests pass", "coverage", "scans are clean"
MIGRATED = "migrations are validated"
REHEARSED = "rehearsed in "
"""Names of the gates that are always there; the last one is followed by the environment's name. That of migrations is
there where the estate names the service's database."""

_PARAMETER = re.compile(r"%(?:\(([^)]*)\)s|%|)")
_SELECT = re.compile(r"\s*(select|with)\b", re.IGNORECASE)


class HttpQuestion(StrictModel):
    """A GET request and what must come back; with `figure`, the number in the answer is what counts."""

    url: str = Field(pattern=ADDRESS_PATTERN, description="whole address")
    expect: int = Field(default=200, ge=100, le=599, description="the status that must come back")
    figure: str | None = Field(
        default=None,
        pattern=PATH_PATTERN,
        description="JSON pointer (RFC 6901) to a number in the answer, such as /drill/passed; without it the status "
        "decides",
    )
    within_s: PositiveDuration = Field(default=5.0, alias="within", description="longest time to the end of the answer")


def _exactly_one(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in SOURCES]


class Gate(StrictModel):
    """A rule that must hold before a release goes on: one source, and a bound for the figure that is read there.

    Exactly one source is given. Without an answer, or with one that is no figure, the gate is closed, and no waiting
    opens it. `recorded` and an `http` without `figure` have no bound.
    """

    model_config = ConfigDict(json_schema_extra=_exactly_one)

    name: str = Field(min_length=1, max_length=100, description="what must hold, in words")
    recorded: Literal["tests", "coverage", "scans", "rehearsal"] | None = Field(
        default=None, description="what this run itself has recorded of it decides"
    )
    promql: str | None = Field(
        default=None,
        min_length=1,
        description="PromQL that returns one number; $service, $environment, $release, $slot, $window, $commit are "
        "filled in",
    )
    sql: str | None = Field(
        default=None,
        min_length=1,
        description="one SELECT over the ledger that returns one number; %(service)s, %(environment)s, %(release)s, "
        "%(slot)s, %(window)s, %(commit)s are its parameters, and %% is a per cent sign",
    )
    http: HttpQuestion | None = Field(default=None, description="a request and its answer")
    unit: Unit | None = Field(default=None, description="unit of the figure and of its bound: 3 for 3 %, not 0.03")
    at_most: str | float | None = Field(default=None, description="the figure may be this much, in its unit")
    at_least: str | float | None = Field(default=None, description="the figure must be this much, in its unit")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("Gate", _source_problems(self) or [*_bound_problems(self), *_query_problems(self)])
        return self

    @property
    def has_bound(self) -> bool:
        """Return whether a figure is read and held against a bound."""
        return bool(self.promql or self.sql or (self.http and self.http.figure))

    def holds(self, figure: float) -> bool:
        """Return whether a figure keeps the bound; NaN keeps none."""
        assert self.unit is not None, "whatever has a bound has a unit"
        if self.at_most is not None:
            return figure <= quantity(self.at_most, self.unit)
        return figure >= quantity(self.at_least, self.unit)

    def bound_words(self) -> str:
        """Return 'at most 0.1 %', or what must be so where there is no bound."""
        if not self.has_bound:
            return f"HTTP {self.http.expect}" if self.http else "recorded by this run"
        assert self.unit is not None, "whatever has a bound has a unit"
        word, bound = ("at most", self.at_most) if self.at_most is not None else ("at least", self.at_least)
        return f"{word} {show_quantity(quantity(bound, self.unit), self.unit)}"

    def source_words(self) -> str:
        """Return where the figure is read."""
        if self.recorded is not None:
            return f"what this run recorded: {self.recorded}"
        if self.http is not None:
            return f"HTTP: {self.http.url}" + (f" at {self.http.figure}" if self.http.figure else "")
        return f"PromQL: {self.promql}" if self.promql else f"SQL over the ledger: {self.sql}"


def _source_problems(gate: Gate) -> list[Problem]:
    given = [name for name in SOURCES if getattr(gate, name) is not None]
    if len(given) == 1:
        return []
    return [Problem((), " and ".join(given) or "a gate without a source", f"exactly one of: {', '.join(SOURCES)}")]


def _bound_problems(gate: Gate) -> list[Problem]:
    given = [name for name in BOUNDS if getattr(gate, name) is not None]
    if not gate.has_bound:
        extra = [*given, *(["unit"] if gate.unit is not None else [])]
        return [Problem((name,), "a key that has no meaning here", "no such key: no figure is read") for name in extra]
    if len(given) != 1:
        return [Problem((), " and ".join(given) or "a gate without a bound", f"exactly one of: {', '.join(BOUNDS)}")]
    if gate.unit is None:
        return [Problem(("unit",), "nothing", f"one of: {', '.join(Unit)}")]
    value = getattr(gate, given[0])
    try:
        quantity(value, gate.unit)
    except Expected as error:
        found = f"the text {value!r}" if isinstance(value, str) else f"the number {value:g}"
        return [Problem((given[0],), found, f"{error.expected} (the unit is {gate.unit})")]
    return []


def asked_about(gate: Gate) -> tuple[str, ...]:
    """Return the names that a gate's query needs, each once."""
    parameters = [match[1] for match in _PARAMETER.finditer(gate.sql or "") if match[1] is not None]
    return tuple(dict.fromkeys([*names(gate.promql or ""), *parameters]))


def _query_problems(gate: Gate) -> list[Problem]:
    found = []
    for name in names(gate.promql or ""):
        if name not in NAMES:
            known = ", ".join(f"${each}" for each in NAMES)
            found.append(Problem(("promql",), f"the unknown name ${name}", f"one of: {known}"))
    if gate.sql is not None and not _SELECT.match(gate.sql):
        found.append(Problem(("sql",), f"a statement that begins with {gate.sql.strip()[:20]!r}", "one SELECT"))
    for match in _PARAMETER.finditer(gate.sql or ""):
        if match[0] != "%%" and match[1] not in NAMES:
            known = ", ".join(f"%({each})s" for each in NAMES)
            found.append(Problem(("sql",), f"the unknown parameter {match[0]}", f"one of: {known}; or %%"))
    return found


def named(key: str, gates: Iterable[Gate]) -> list[tuple[Place, str]]:
    """Return the name of each gate of a list with the gate's place."""
    return [((key, position), gate.name) for position, gate in enumerate(gates)]


def name_problems(gates: Iterable[tuple[Place, str]]) -> list[Problem]:
    """Return the gates whose name another one of the list has, or one of those that are always there.

    Args:
        gates: the names of one list, with the place of each gate.
    """
    found, seen = [], set[str]()
    for place, name in gates:
        where = (*place, "name")
        if name in (TESTS, COVERAGE, SCANS, MIGRATED) or name.startswith(REHEARSED):
            found.append(Problem(where, "the name of a gate that is always there", "another name"))
        elif name in seen:
            found.append(Problem(where, f"the name {name!r} a second time", "each name once"))
        seen.add(name)
    return found
