"""Senders whose events have names of their own: signed JSON, and CloudEvents."""

import json
from datetime import timedelta
from typing import Any

import pytest

from tasks.common.delivery import Event
from tasks.common.webhooks import Forge, Happening
from tasks.webhook.decide import decide
from tasks.webhook.model import Malformed
from tasks.webhook.payload import media_problem, read
from tests.support.deliveries import bearer, build, cloudevent, cloudevents_source, generic, generic_source, standard
from tests.unit.webhook.test_signature import NOW

EVENTS = cloudevents_source()
DATA = {"repository": "acme/campus", "ref": "main", "commit": "c" * 40}


def built(headers: dict[str, str] | None = None, settings: dict[str, Any] | None = None, **fields: object) -> Event:
    payload = build(**fields)
    given = generic(payload, id_="id-1") if headers is None else headers
    return read(generic_source(**settings or {}), given, payload, NOW)


def structured(**attributes: object) -> Event:
    return read(EVENTS, bearer(), json.dumps(cloudevent(**attributes)).encode(), NOW)


def binary(data: object = DATA, **attributes: str) -> Event:
    said = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/builds", "ce-type": "com.acme.build.passed"}
    given = {f"ce-{name}": value for name, value in attributes.items()}
    headers = {**bearer(content_type="application/json"), **said, **given}
    return read(EVENTS, headers, json.dumps(data).encode(), NOW)


# --- signed JSON


def test_event_of_a_generic_sender_is_what_the_estate_says_where_it_stands() -> None:
    assert built() == Event("id-1", "build.passed", Happening.OTHER, "acme/campus", "main", "c" * 40, "ada")
    start, _ = decide(built(), generic_source().rules)
    assert start is not None
    assert start.parameters == {"service": "campus", "commit": "c" * 40, "requested_by": "ada"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"event": "build.failed"}, "no rule is about a build.failed in acme/campus"),
        ({"event": "push"}, "no rule is about a push in acme/campus"),
        ({"event": "other"}, "no rule is about a other in acme/campus"),
        ({"repository": "eve/campus"}, "no rule is about a build.passed in eve/campus"),
        ({"repository": None}, "no rule is about a build.passed"),
        ({"ref": "next"}, "no rule is about next"),
        ({"ref": "refs/tags/main"}, "no rule is about refs/tags/main"),
        ({"commit": None}, "the event has no commit, which the rule needs"),
        ({"by": {}}, "the event has no actor, which the rule needs"),
        ({"by": "ada"}, "the event has no actor, which the rule needs"),
    ],
)
def test_event_that_no_rule_fits_starts_nothing(fields: dict[str, object], why: str) -> None:
    assert decide(built(**fields), generic_source().rules) == (None, why)


@pytest.mark.parametrize(
    "fields",
    [
        {"event": None},
        {"event": ""},
        {"event": 7},
        {"event": "a\nb"},
        {"commit": "main"},
        {"commit": "c" * 39},
        {"commit": 7},
        {"ref": ["main"]},
        {"ref": "x" * 501},
        {"repository": {"name": "acme/campus"}},
        {"by": {"name": "\u202eada"}},
    ],
    ids=str,
)
def test_body_that_says_nothing_or_something_else_there_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        built(**fields)


def test_pointer_leads_through_lists_and_odd_keys_and_to_nothing_where_there_is_nothing() -> None:
    def found(pointer: str) -> str:
        settings = {"fields": {**generic_source().fields.model_dump(), "actor": pointer}}
        return built(settings=settings, a=[{"b/c": "x", "~": "y"}], d={"0": "z"}).actor

    assert [found(each) for each in ("/a/0/b~1c", "/a/0/~0", "/d/0")] == ["x", "y", "z"]
    assert [found(each) for each in ("/a/1", "/a/-1", "/a/x", "/a/²", "/nowhere/at/all", "/event/0")] == [""] * 6


@pytest.mark.parametrize(
    ("headers", "id_header", "id_"),
    [
        ({"x-delivery-id": "one"}, None, "one"),
        ({"webhook-id": "two", "x-delivery-id": "one"}, None, "two"),
        ({"x-acme-id": "three", "x-delivery-id": "one"}, "X-Acme-Id", "three"),
        ({**standard(build(), NOW, id_="signed"), "x-acme-id": "chosen-anew"}, "X-Acme-Id", "signed"),
    ],
    ids=["default", "standard name", "named", "signed"],
)
def test_id_is_where_the_estate_says_but_a_signed_one_counts_before_any(
    headers: dict[str, str], id_header: str | None, id_: str
) -> None:
    assert built(headers, {"id_header": id_header}).id == id_


@pytest.mark.parametrize("id_header", [None, "x-acme-id"])
def test_delivery_without_an_id_is_refused_as_a_repeated_one_could_not_be_told(id_header: str | None) -> None:
    for headers in ({}, {"x-delivery-id": "" if id_header is None else "elsewhere"}):
        with pytest.raises(Malformed, match="the delivery's id"):
            built(headers, {"id_header": id_header})


def test_event_without_a_commit_counts_by_its_id_and_one_with_a_commit_once() -> None:
    def action(id_: str, **fields: object) -> str:
        rules = [generic_source().rules[0].model_copy(update={"parameters": {"service": "campus"}})]
        start, _ = decide(built(generic(b"", id_=id_), **fields), rules)
        assert start is not None
        return start.action

    assert action("1") == action("2")
    assert action("1", commit=None) == action("1", commit=None) != action("2", commit=None)


# --- CloudEvents


def test_cloudevent_means_the_same_in_both_modes() -> None:
    wanted = Event("/builds 1", "com.acme.build.passed", Happening.OTHER, "acme/campus", "main", "c" * 40)
    assert structured() == binary() == wanted
    start, _ = decide(structured(), EVENTS.rules)
    assert start is not None
    assert start.parameters == {"service": "campus", "commit": "c" * 40}


def test_attributes_can_be_pointed_to_in_both_modes() -> None:
    sender = cloudevents_source(fields={"repository": "/data/repository", "ref": "/subject", "commit": "/data/commit"})
    payload = json.dumps(cloudevent(subject="a ü")).encode()
    assert read(sender, bearer(), payload, NOW).ref == "a ü"
    headers = {f"ce-{name}": str(value) for name, value in cloudevent(subject="a%20%C3%BC").items() if name != "data"}
    headers |= bearer(content_type="application/json; charset=utf-8")
    assert read(sender, headers, json.dumps(DATA).encode(), NOW).ref == "a ü"


def test_same_id_of_another_source_is_another_event() -> None:
    assert structured(source="/a", id="b c").id != structured(source="/a/b", id="c").id
    assert structured(source="/a").id != structured(source="/b").id
    with pytest.raises(Malformed, match="space"):
        structured(source="/a b", id="c")


@pytest.mark.parametrize(
    "attributes",
    [
        {"specversion": "0.3"},
        {"specversion": 1.0},
        {"specversion": None},
        {"id": ""},
        {"id": 7},
        {"id": "x" * 495},
        {"source": None},
        {"type": None},
        {"type": "a\nb"},
        {"time": "yesterday"},
        {"time": NOW.replace(tzinfo=None).isoformat()},
        {"time": 7},
        {"time": ""},
        {"time": "0001-01-01T00:00:00+23:59"},
        {"time": "9999-12-31T23:59:59-23:59"},
    ],
    ids=str,
)
def test_what_is_no_cloudevent_is_refused_in_both_modes(attributes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        structured(**attributes)
    if all(isinstance(value, str) for value in attributes.values()):
        with pytest.raises(Malformed):
            binary(**attributes)


def test_text_in_a_header_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(Malformed, match="UTF-8"):
        binary(subject="%ff")


@pytest.mark.parametrize("off_s", [-301, 301])
def test_event_whose_time_is_too_far_from_now_is_refused(off_s: int) -> None:
    for send in (structured, binary):
        with pytest.raises(Malformed, match="more than 300 s from now"):
            send(time=(NOW + timedelta(seconds=off_s)).isoformat())
        near = NOW + timedelta(seconds=off_s * 0.9)
        assert send(time=near.isoformat().replace("+00:00", "Z")).happening is Happening.OTHER
    wide = cloudevents_source(window="1h")
    payload = json.dumps(cloudevent(time=(NOW + timedelta(seconds=off_s)).isoformat())).encode()
    assert read(wide, bearer(), payload, NOW).happening is Happening.OTHER


def test_data_may_be_anything_and_is_then_nothing_that_a_rule_fits() -> None:
    for data in (None, [], "text", 7, {"repository": None}):
        assert decide(structured(data=data), EVENTS.rules) == (None, "no rule is about a com.acme.build.passed")
        assert decide(binary(data), EVENTS.rules) == (None, "no rule is about a com.acme.build.passed")


@pytest.mark.parametrize(
    ("forge", "content_type", "fits"),
    [
        *((each, "application/json", True) for each in Forge),
        *((each, "Application/JSON; charset=UTF-8", True) for each in Forge),
        *((each, "application/json; charset=utf-16", False) for each in Forge),
        *((each, "application/x-www-form-urlencoded", False) for each in Forge),
        *((each, "text/json", False) for each in Forge),
        *((each, "application/json, application/json", False) for each in Forge),
        *((each, "application/json\napplication/json", False) for each in Forge),
        *((each, "", False) for each in Forge),
        *((each, "application/cloudevents-batch+json", False) for each in Forge),
        *((each, "application/cloudevents+json", each is Forge.CLOUDEVENTS) for each in Forge),
        *((each, "application/vnd.acme+json", each is Forge.CLOUDEVENTS) for each in Forge),
        (Forge.CLOUDEVENTS, "application/cloudevents+xml", False),
    ],
)
def test_content_type_must_be_one_that_the_sender_has(forge: Forge, content_type: str, fits: bool) -> None:
    assert (media_problem(forge, content_type) == "") is fits


def test_batch_of_events_is_refused_with_what_to_do() -> None:
    assert "each be sent by itself" in media_problem(Forge.CLOUDEVENTS, "application/cloudevents-batch+json")
