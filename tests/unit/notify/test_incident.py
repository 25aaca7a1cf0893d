"""Events for incidents: what opens one, what closes it, and that everything fits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.occasion import Occasion, Severity
from tasks.notify.incident import KEY_AT_MOST, SIZE_AT_MOST_BYTES, SUMMARY_AT_MOST, incident_event, incident_key
from tasks.notify.model import About, Topic
from tests.support.notifying import message

RELEASE = About(Topic.RELEASE, "lab", "campus", "production")


@pytest.mark.parametrize("occasion", Occasion)
def test_only_warnings_and_worse_open_an_incident_and_only_success_closes_one(occasion: Occasion) -> None:
    about = message(occasion=occasion)
    event = incident_event(about, "key")
    if occasion is Occasion.SUCCEEDED:
        assert event == {"routing_key": "key", "dedup_key": incident_key(RELEASE), "event_action": "resolve"}
    elif about.severity is Severity.INFO:
        assert event is None
    else:
        assert event is not None
        assert event["event_action"] == "trigger"
        payload = event["payload"]
        assert isinstance(payload, dict)
        assert payload["severity"] == about.severity.value


def test_key_says_what_it_is_about() -> None:
    assert incident_key(RELEASE) == "slipway/lab/production/campus/release"


def test_long_names_have_a_short_key_each() -> None:
    long, other = (About(Topic.RELEASE, "e" * 200, "s" * 200, name) for name in ("production", "staging"))
    assert len(incident_key(long)) <= KEY_AT_MOST
    assert incident_key(long) != incident_key(other)


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=30), st.text(min_size=1))
def test_everything_fits(title: str, text: str, facts: dict[str, object], name: str) -> None:
    about = About(Topic.RELEASE, name * 99, name * 99, name * 99)
    hostile = message(title=title * 500, text=text * 5000, facts=facts, about=about, occasion=Occasion.UNSAFE)
    event = incident_event(hostile, "key")
    assert event is not None
    payload = event["payload"]
    assert isinstance(payload, dict)
    assert len(payload["summary"]) <= SUMMARY_AT_MOST
    assert len(json.dumps(event)) < SIZE_AT_MOST_BYTES


def test_longest_text_of_wide_characters_fits() -> None:
    wide = "\U0001f4a5" * 10_000
    event = incident_event(message(title=wide, text=wide, facts={f"{n}{wide}": wide for n in range(99)}), "key")
    assert len(json.dumps(event)) < SIZE_AT_MOST_BYTES
