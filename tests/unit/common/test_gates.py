"""Gates and preflight, as files write them: accepted, and every mistake told at its place."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tasks.common.gates import Gate
from tasks.common.preflight import Preflight
from tests.unit.common.files import estate_mistakes, example, service_mistakes

QUERY = {"promql": "up", "unit": "percent", "at_most": "5%"}


def mistakes(model: type[BaseModel], **data: Any) -> list[tuple[str, str]]:
    """Return place and found of everything that is wrong, as a file's loader would read it."""
    try:
        model.model_validate_json(json.dumps(data), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        return [
            (".".join(map(str, each["loc"])), str(each.get("ctx", {}).get("found", each["type"])))
            for each in error.errors()
        ]
    return []


@pytest.mark.parametrize(
    ("gate", "bound"),
    [
        (QUERY, "at most 5 %"),
        ({"sql": "select 1", "unit": "count", "at_least": 1}, "at least 1"),
        ({"sql": " With x as (select 1) select %(window)s like 'a%%'", "unit": "seconds", "at_most": "2h"}, "7200 s"),
        ({"http": {"url": "http://x"}}, "HTTP 200"),
        ({"http": {"url": "http://x", "expect": 404}}, "HTTP 404"),
        ({"http": {"url": "http://x", "figure": "/a/0"}, "unit": "count", "at_most": 3}, "at most 3"),
        ({"recorded": "tests"}, "recorded by this run"),
    ],
)
def test_gate_with_one_source_and_one_bound_is_accepted(gate: dict[str, Any], bound: str) -> None:
    assert mistakes(Gate, name="x", **gate) == []
    assert bound in Gate.model_validate({"name": "x", **gate}).bound_words()


@pytest.mark.parametrize(
    ("gate", "wrong"),
    [
        ({}, [("", "a gate without a source")]),
        ({**QUERY, "sql": "select 1"}, [("", "promql and sql")]),
        ({"promql": "up", "unit": "count"}, [("", "a gate without a bound")]),
        ({**QUERY, "at_least": "1%"}, [("", "at_most and at_least")]),
        ({"promql": "up", "at_most": 1}, [("unit", "nothing")]),
        ({**QUERY, "at_most": 5}, [("at_most", "the number 5")]),
        ({**QUERY, "unit": "seconds"}, [("at_most", "the text '5%'")]),
        ({**QUERY, "unit": "count"}, [("at_most", "the text '5%'")]),
        ({**QUERY, "promql": "up{a='$servce'}"}, [("promql", "the unknown name $servce")]),
        ({"recorded": "tests", "at_least": 1}, [("at_least", "a key that has no meaning here")]),
        ({"recorded": "luck"}, [("recorded", "literal_error")]),
        ({"http": {"url": "http://x"}, "unit": "count"}, [("unit", "a key that has no meaning here")]),
        ({"http": {"url": "ftp://x"}}, [("http.url", "string_pattern_mismatch")]),
        ({"http": {"url": "http://x", "figure": "a"}}, [("http.figure", "string_pattern_mismatch")]),
        ({"http": {"url": "http://x", "within": 5}}, [("http.within", "value_error")]),
        (
            {"sql": "delete from t", "unit": "count", "at_most": 1},
            [("sql", "a statement that begins with 'delete from t'")],
        ),
        (
            {"sql": "select 5 % 2 = %(who)s", "unit": "count", "at_most": 1},
            [("sql", "the unknown parameter %"), ("sql", "the unknown parameter %(who)s")],
        ),
        ({**QUERY, "whatever": 1}, [("whatever", "extra_forbidden")]),
    ],
)
def test_every_mistake_of_a_gate_is_told_at_its_place(gate: dict[str, Any], wrong: list[tuple[str, str]]) -> None:
    assert mistakes(Gate, name="x", **gate) == wrong


@pytest.mark.parametrize("figure", [float("nan"), 5.1, float("inf")])
def test_figure_beyond_the_bound_or_none_at_all_does_not_hold(figure: float) -> None:
    assert not Gate.model_validate({"name": "x", **QUERY}).holds(figure)


@pytest.mark.parametrize("figure", [5.0, 0.0, -1.0])
def test_figure_within_the_bound_holds(figure: float) -> None:
    assert Gate.model_validate({"name": "x", **QUERY}).holds(figure)


GATES = """
gates:
  - {name: cost, promql: cost, unit: count, at_most: 0.05}
  - {name: cost, http: {url: "http://127.0.0.1/cost"}}
  - {name: all tests pass, recorded: tests}
  - {name: rehearsed in staging, recorded: rehearsal}
"""
FOUND = [
    "gates[1].name: found the name 'cost' a second time; expected each name once",
    "gates[2].name: found the name of a gate that is always there; expected another name",
    "gates[3].name: found the name of a gate that is always there; expected another name",
]


def test_names_that_are_taken_are_told_in_a_service_file_also_among_other_mistakes() -> None:
    text = example("blue-green.yaml") + GATES
    assert [each.partition(": ")[2] for each in service_mistakes(text)] == FOUND
    found = service_mistakes(text.replace("service: campus", "service: Campus"))
    assert len(found) == len(FOUND) + 1
    assert {each.partition(": ")[2] for each in found} >= set(FOUND)


def test_names_that_are_taken_are_told_in_an_estate_file() -> None:
    gates = "".join(f"    {line}\n" for line in GATES.strip().splitlines())
    text = example("estate.yaml", ("    replicas: 1\n", f"    replicas: 1\n{gates}"))
    places = [each.partition(": ")[2] for each in estate_mistakes(text)]
    assert places == [f"environments.staging.{each}" for each in FOUND]


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        ({"cpu_free_at_least": 30}, "cpu_free_at_least"),
        ({"certificate_valid_for": "14"}, "certificate_valid_for"),
        ({"reachable": [{"name": "db", "address": "db"}]}, "reachable.0.address"),
        ({"reachable": [{"name": "db", "address": "db:99999"}]}, "reachable.0.address"),
        ({"reachable": [{"name": "db", "address": "ftp://db"}]}, "reachable.0.address"),
        ({"certificates": [{"address": "https://x"}]}, "certificates.0.address"),
        ({"checks": [{"name": "x", "recorded": "tests"}]}, "checks.0.recorded"),
        ({"checks": [{"name": "x", **QUERY, "promql": "up{r='$release'}"}]}, "checks.0.promql"),
        ({"checks": [{"name": "x", "sql": "select %(slot)s", "unit": "count", "at_most": 1}]}, "checks.0.sql"),
        ({"checks": [{"name": "x", **QUERY}, {"name": "x", **QUERY}]}, "checks.1.name"),
    ],
)
def test_every_mistake_of_preflight_is_told_at_its_place(data: dict[str, Any], wrong: str) -> None:
    assert [place for place, _ in mistakes(Preflight, **data)] == [wrong]


def test_preflight_of_every_kind_is_accepted() -> None:
    data = {
        "cpu_free_at_least": "20%",
        "reachable": [{"name": "db", "address": "db.example:5432"}, {"name": "mail", "address": "https://mail/x?y"}],
        "certificates": [{"address": "[::1]:443", "server_name": "example.org", "ca": "ca.pem"}],
        "certificate_valid_for": "30d",
        "checks": [{"name": "no active incident", "http": {"url": "http://x"}}, {"name": "healthy", **QUERY}],
    }
    assert mistakes(Preflight, **data) == []


def test_defaults_are_those_of_the_requirements() -> None:
    default = Preflight()
    free = (default.cpu_free_at_least, default.memory_free_at_least, default.disk_free_at_least)
    assert (free, default.certificate_valid_for_s) == ((30, 30, 10), 14 * 86400)
