"""What is published about the files is what the loader does."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tasks.common.document import read
from tasks.common.documentation import DIALECT, generate, schema, write
from tasks.common.estate import Estate
from tasks.common.service import ServiceFile
from tests.unit.common import test_load_estate, test_load_service
from tests.unit.common.files import REFERENCE, SERVICE_EXAMPLES, example

SERVICE = Draft202012Validator(schema(ServiceFile, "service-file.schema.json"))
ESTATE = Draft202012Validator(schema(Estate, "estate-file.schema.json"))

BEYOND_A_SCHEMA = {
    "weight: 0.1%": "an order of stages",
    "weight: 0%": "an order of stages",
    "weight: 99%": "an order of stages",
    "metric: user_reports, at_most: 10s": "a bound in the unit of a metric elsewhere",
    "metric: user_reports, at_most: 10%": "a bound in the unit of a metric elsewhere",
    "metric: p95, at_most: 10": "a bound in the unit of a metric elsewhere",
    "metric: p99, at_most: 10s": "the name of a metric elsewhere",
    "drain: 999d": "a largest duration",
    "command: ['']": "a first item",
    "  driver: postgres": "which drivers there are",
    "folder: ''": "a driver's settings",
    "folder: 5": "a driver's settings",
    "repository: ../campus": "a driver's settings",
    "blue: ['21001']": "a driver's settings",
    "promotes_from: stagin": "the name of an environment elsewhere",
    "promotes_from: production": "the name of an environment elsewhere",
}
"""Mistakes that only the loader finds, and what they are about."""

WRONG = [(SERVICE, "slipway.yaml", old, new) for old, new, _, _ in test_load_service.CHANGES] + [
    (ESTATE, "estate.yaml", old, new) for old, new, _, _ in test_load_estate.CHANGES
]


@pytest.mark.parametrize("name", sorted(generate()))
def test_committed_reference_is_what_the_models_say(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == generate()[name], (
        "run documentation.write('docs/reference')"
    )


def test_writing_gives_every_file_and_twice_gives_the_same(tmp_path: Path) -> None:
    first = {path: path.read_bytes() for path in write(tmp_path / "new")}
    assert {path.name for path in first} == set(generate())
    assert {path: path.read_bytes() for path in write(tmp_path / "new")} == first


@pytest.mark.parametrize("validator", [SERVICE, ESTATE], ids=["service", "estate"])
def test_schema_is_valid_in_its_dialect(validator: Draft202012Validator) -> None:
    assert validator.schema["$schema"] == DIALECT
    Draft202012Validator.check_schema(validator.schema)


@pytest.mark.parametrize("name", SERVICE_EXAMPLES)
def test_service_example_fits_the_schema(name: str) -> None:
    SERVICE.validate(read(example(name)).data)


def test_estate_example_fits_the_schema() -> None:
    ESTATE.validate(read(example("estate.yaml")).data)


@pytest.mark.parametrize("name", [*SERVICE_EXAMPLES, "estate.yaml"])
def test_examples_mean_the_same_to_other_readers_of_yaml(name: str) -> None:
    assert yaml.safe_load(example(name)) == read(example(name)).data


@pytest.mark.parametrize(("validator", "name", "old", "new"), WRONG, ids=[new for *_, new in WRONG])
def test_schema_refuses_what_the_loader_refuses_as_far_as_a_schema_can(
    validator: Draft202012Validator, name: str, old: str, new: str
) -> None:
    accepted = validator.is_valid(read(example(name, (old, new))).data)
    assert accepted == (new in BEYOND_A_SCHEMA), BEYOND_A_SCHEMA.get(new, "the schema should find this")


def test_ten_mistakes_are_mostly_found_by_the_schema_too() -> None:
    errors = SERVICE.iter_errors(read(test_load_service.TEN_MISTAKES).data)
    assert {".".join(map(str, error.absolute_path)) for error in errors} == {
        "",
        "service",
        "test.steps.0.command",
        "test.steps.0.timeout",
        "run.env.WORKERS",
        "run.probes",
    }


def objects(part: Any) -> list[dict[str, Any]]:
    """Return every object of a schema that has keys of its own."""
    if isinstance(part, list):
        return [found for item in part for found in objects(item)]
    if not isinstance(part, dict):
        return []
    below = [found for value in part.values() for found in objects(value)]
    return [part, *below] if isinstance(part.get("properties"), dict) and "type" in part else below


@pytest.mark.parametrize("validator", [SERVICE, ESTATE], ids=["service", "estate"])
def test_every_key_has_a_meaning_and_no_object_takes_unknown_keys(validator: Draft202012Validator) -> None:
    found = objects(validator.schema)
    assert len(found) > 4
    for each in found:
        assert each["additionalProperties"] is ("driver" in each["properties"])
        for key, value in each["properties"].items():
            assert value.get("description"), f"{each.get('title')}.{key} has no description"


def test_defaults_are_published_as_a_file_would_write_them() -> None:
    run = SERVICE.schema["$defs"]["Run"]["properties"]
    assert run["drain"]["default"] == "15s"
    assert ESTATE.schema["$defs"]["Environment"]["properties"]["floor"]["default"] == "100%"
    assert "| `drain` | duration | ms, s, m, h, d | `15s` |" in generate()["service-file.md"]


def test_links_inside_the_reference_lead_somewhere() -> None:
    for name, text in generate().items():
        if name.endswith(".md"):
            targets = {part.partition(")")[0] for part in text.split("](#")[1:]}
            assert targets, name
            assert all(f'<a id="{target}"></a>' in text for target in targets)
            links = [part.partition(")")[0] for part in text.split("](")[1:]]
            assert all((REFERENCE / link).exists() for link in links if not link.startswith(("#", "https://")))


def test_schema_is_json(tmp_path: Path) -> None:
    for path in write(tmp_path):
        if path.suffix == ".json":
            assert json.loads(path.read_text(encoding="utf-8"))["$id"] == path.name
