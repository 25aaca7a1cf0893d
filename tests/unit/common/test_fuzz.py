"""Whatever a file holds: it is loaded or refused, never anything else, and the schema agrees with what is loaded."""

import copy
import functools
from typing import Any

import yaml
from hypothesis import example as seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tasks.common.document import read
from tasks.common.documentation import schema
from tasks.common.errors import Refused
from tasks.common.estate import Estate
from tasks.common.load import load_service
from tasks.common.service import ServiceFile
from tests.unit.common.files import SERVICE_EXAMPLES, example, load_example_estate

SERVICE = Draft202012Validator(schema(ServiceFile, "service-file.schema.json"))
ESTATE = Draft202012Validator(schema(Estate, "estate-file.schema.json"))

TYPICAL = st.sampled_from(
    [
        "",
        "30s",
        "0s",
        "5%",
        "100%",
        "512MiB",
        "campus",
        "canary",
        "rolling",
        "/x",
        "env:A",
        "file",
        "http://x",
        "yes",
        "\x85",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | TYPICAL
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | TYPICAL, inner, max_size=3),
    max_leaves=8,
)
YAML_SHAPED = st.text(alphabet=st.sampled_from(list("ab1:-[]{},&*!|>'\"#%@`?\\~<= \n\t\0\ud800é\u2028")), max_size=60)


def accepted(load: Any, text: str) -> bool:
    """Return whether the text is loaded; anything but a refusal fails the test."""
    try:
        load(text)
    except Refused as error:
        assert str(error.facts["mistakes"]).strip()
        return False
    return True


def load_a_service(text: str) -> ServiceFile:
    return load_service(text, "slipway.yaml")


@given(st.text() | YAML_SHAPED)
@seeded("%YAML 1." + "9" * 5000 + "\n---\n")
@seeded("\ufeffservice: a")
@seeded("a: !<x> b")
@seeded("? ")
@settings(deadline=None)
def test_any_text_is_refused_or_loaded(text: str) -> None:
    accepted(load_a_service, text)
    accepted(load_example_estate, text)


@given(VALUES)
@settings(deadline=None)
def test_any_yaml_is_refused_or_loaded(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    accepted(load_a_service, text)
    accepted(load_example_estate, text)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [found for key in keys for found in places(value[key])]


def changed(draw: Any, value: Any) -> Any:
    """Return a copy with up to two values replaced, removed or added."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 2))):
        container, key = draw(st.sampled_from(places(value)))
        if draw(st.booleans()):
            container[key] = draw(VALUES)
        elif isinstance(container, dict) and draw(st.booleans()):
            container[draw(st.text(max_size=5) | TYPICAL)] = draw(VALUES)
        else:
            del container[key]
        if not places(value):
            break
    return value


@functools.cache
def data_of(name: str) -> Any:
    """Return what an example says; `changed` leaves it as it is."""
    return read(example(name)).data


@st.composite
def nearly_services(draw: Any) -> Any:
    return changed(draw, data_of(draw(st.sampled_from(SERVICE_EXAMPLES))))


@st.composite
def nearly_estates(draw: Any) -> Any:
    return changed(draw, data_of("estate.yaml"))


@given(nearly_services())
@settings(deadline=None, max_examples=60)
def test_service_file_that_is_loaded_fits_its_schema(value: Any) -> None:
    text = yaml.safe_dump(value)
    if accepted(load_a_service, text):
        SERVICE.validate(read(text).data)


@given(nearly_estates())
@settings(deadline=None, max_examples=60)
def test_estate_file_that_is_loaded_fits_its_schema(value: Any) -> None:
    text = yaml.safe_dump(value)
    if accepted(load_example_estate, text):
        ESTATE.validate(read(text).data)
