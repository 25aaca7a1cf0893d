"""Messages as text and as payload: nothing in them becomes markup, everything fits."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.occasion import Occasion, Severity, severity_of
from tasks.common.redaction import Redactor
from tasks.notify.format import (
    FACTS_AT_MOST,
    TEXT_AT_MOST,
    TITLE_AT_MOST,
    cut,
    escape,
    identity,
    json_payload,
    message_id,
    plain_text,
    redacted,
    slack_payload,
    subject,
)
from tasks.notify.model import About, Message, Topic
from tests.support.notifying import NOON, message


def attachment(payload: dict[str, object]) -> dict[str, object]:
    """Return the payload's one attachment."""
    attachments = payload["attachments"]
    assert isinstance(attachments, list)
    (only,) = attachments
    assert isinstance(only, dict)
    return only


def test_plain_text_says_everything_in_the_order_of_importance() -> None:
    assert plain_text(message()) == (
        "campus 3f2c1a9 to production: rolled back\n\n"
        "Why: errors 9 % > 1 %\nNext: mend the commit\n\n"
        "asked for by: ada\n\n"
        "https://prefect.example/runs/1\n"
    )


def test_payload_has_text_and_one_attachment_with_fields() -> None:
    payload = slack_payload(message())
    assert payload["text"] == "campus 3f2c1a9 to production: rolled back"
    assert attachment(payload) == {
        "fallback": payload["text"],
        "color": "warning",
        "text": "Why: errors 9 % &gt; 1 %\nNext: mend the commit",
        "fields": [{"title": "asked for by", "value": "ada", "short": True}],
        "mrkdwn_in": [],
        "ts": 1772366400,
        "title": "Read on",
        "title_link": "https://prefect.example/runs/1",
    }


@pytest.mark.parametrize("occasion", Occasion)
def test_every_occasion_has_a_severity_and_its_colour(occasion: Occasion) -> None:
    shown = attachment(slack_payload(message(occasion=occasion)))["color"]
    colours = {Severity.INFO: {"good", "#2f6fde"}, Severity.WARNING: {"warning"}, Severity.CRITICAL: {"danger"}}
    assert shown in colours[severity_of(occasion)]
    assert (shown == "#2f6fde") is (occasion is Occasion.APPROVAL_WANTED)


@pytest.mark.parametrize("link", ["", "javascript:alert(1)", "file:///etc/passwd"])
def test_only_addresses_of_pages_become_links(link: str) -> None:
    assert "title_link" not in attachment(slack_payload(message(link=link)))


def test_mention_and_markup_are_shown_as_they_were_written() -> None:
    assert escape("<!channel> & <http://a|b> &amp;") == "&lt;!channel&gt; &amp; &lt;http://a|b&gt; &amp;amp;"


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=30))
def test_no_text_becomes_markup_or_a_second_line_of_a_title_or_too_long(
    title: str, text: str, facts: dict[str, object]
) -> None:
    hostile = message(title=title * 50, text=text * 500, facts=facts)
    line = subject(hostile)
    assert line.isprintable()
    assert len(line) <= TITLE_AT_MOST
    payload = slack_payload(hostile)
    shown = json.dumps({**payload, "attachments": [{**attachment(payload), "title_link": ""}]})
    assert "<" not in shown
    assert ">" not in shown
    fields = attachment(payload)["fields"]
    assert isinstance(fields, list)
    assert len(fields) <= FACTS_AT_MOST
    plain_text(hostile).encode()
    assert len(json.dumps(json_payload(hostile))) < 512_000


@pytest.mark.parametrize(("length", "whole"), [(TEXT_AT_MOST, True), (TEXT_AT_MOST + 1, False)])
def test_text_is_cut_with_a_note_only_where_it_is_too_long(length: int, whole: bool) -> None:
    found = cut("x" * length, TEXT_AT_MOST)
    assert len(found) <= TEXT_AT_MOST
    assert ("cut" not in found) is whole


def test_secret_at_the_place_of_the_cut_does_not_leave_its_half() -> None:
    secret = "hunter2-hunter2"
    hostile = message(title="t" * (TITLE_AT_MOST - 40) + secret, text="x" * (TEXT_AT_MOST - 40) + secret)
    safe = redacted(hostile, Redactor([secret]).redact)
    assert "hunter" not in plain_text(safe) + json.dumps([slack_payload(safe), json_payload(safe)])


def test_id_of_a_mail_is_that_of_its_message() -> None:
    assert message_id(message(), "example.org") == message_id(message(), "example.org")
    assert message_id(message(), "example.org") != message_id(message(text="other"), "example.org")


@pytest.mark.parametrize(
    "other",
    [
        message(text="other"),
        message(environment="staging"),
        message(at=NOON + timedelta(seconds=1)),
        message(occasion=Occasion.FAILED),
        message(facts={}),
    ],
    ids=["text", "place", "time", "occasion", "facts"],
)
def test_another_message_is_another_one(other: Message) -> None:
    assert identity(message()) == identity(message())
    assert identity(other) != identity(message())


def test_message_about_the_whole_estate_has_no_place() -> None:
    data = json_payload(message(about=About(Topic.RECONCILIATION, "lab"), link="file:///etc/passwd"))["data"]
    assert isinstance(data, dict)
    nothing = {"service": "", "environment": "", "schedule": ""}
    assert data["about"] == {"topic": "reconciliation", "estate": "lab", **nothing}
    assert data["link"] == ""
