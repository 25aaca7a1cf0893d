"""Incidents at a fake of PagerDuty: one for each trouble, opened by what is wrong, closed by what is well again."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from blocks.context import Context
from blocks.journal import Journal
from blocks.memory.ledger import MemoryLedger
from tasks.common.errors import Refused
from tasks.common.occasion import Occasion, Severity
from tasks.notify.model import About, Topic
from tasks.notify.ports import Channel
from tasks.notify.steps import tell
from tests.support.notifying import message
from tests.support.receivers import FakePagerDuty, fake_pagerduty
from tests.support.telling import OPEN, noted, pagerduty

pytestmark = pytest.mark.server
RELEASE = About(Topic.RELEASE, "lab", "campus", "production")


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    with fake_pagerduty() as running:
        yield running


def send(context: Context, fake: FakePagerDuty, *occasions: Occasion, **changes: Any) -> None:
    for occasion in occasions:
        OPEN["pagerduty"](context, fake.url).send(message(occasion=occasion, **changes))


def test_fake_incident_says_what_people_must_know(context: Context, fake: FakePagerDuty) -> None:
    send(context, fake, Occasion.UNSAFE)
    (event,) = fake.taken
    payload = event["payload"]
    assert (event["event_action"], payload["severity"]) == ("trigger", "critical")
    assert payload["summary"] == "campus 3f2c1a9 to production: rolled back"
    assert (payload["source"], payload["class"]) == ("campus in production of lab", "unsafe")
    assert payload["custom_details"] == {
        "asked for by": "ada",
        "text": "Why: errors 9 % > 1 %\nNext: mend the commit",
    }
    assert event["links"] == [{"href": "https://prefect.example/runs/1", "text": "Read on"}]


def test_fake_has_one_incident_for_one_trouble_until_it_is_over_and_then_another_one(
    context: Context, fake: FakePagerDuty
) -> None:
    send(context, fake, Occasion.FAILED, Occasion.ROLLED_BACK, Occasion.UNSAFE)
    assert (len(fake.opened), [each["severity"] for each in fake.open.values()]) == (1, ["critical"])
    send(context, fake, Occasion.SUCCEEDED)
    assert fake.open == {}
    send(context, fake, Occasion.FAILED)
    assert (len(fake.opened), len(fake.open)) == (2, 1)


@pytest.mark.parametrize(
    "other",
    [
        replace(RELEASE, environment="staging"),
        replace(RELEASE, service="library"),
        replace(RELEASE, estate="other"),
        replace(RELEASE, topic=Topic.DRIFT),
        About(Topic.RELEASE, "lab"),
    ],
    ids=str,
)
def test_fake_keeps_the_incident_of_another_place_or_topic_when_this_one_is_well(
    context: Context, fake: FakePagerDuty, other: About
) -> None:
    send(context, fake, Occasion.UNSAFE, about=other)
    send(context, fake, Occasion.UNSAFE, about=RELEASE)
    assert len(fake.open) == 2
    send(context, fake, Occasion.SUCCEEDED, about=RELEASE)
    assert [each["source"] for each in fake.open.values()] == [str(other)]


@pytest.mark.parametrize("occasion", Occasion)
def test_fake_is_woken_by_warnings_and_worse_only(context: Context, fake: FakePagerDuty, occasion: Occasion) -> None:
    send(context, fake, occasion)
    wakes = message(occasion=occasion).severity is not Severity.INFO
    assert bool(fake.open) is wakes
    assert bool(fake.asked) is (wakes or occasion is Occasion.SUCCEEDED)


def test_channel_that_only_wants_the_worst_opens_and_closes_fake_incidents_and_records_nothing_else(
    context: Context, journal: Journal, ledger: MemoryLedger, fake: FakePagerDuty
) -> None:
    notifier = pagerduty(context, f"{fake.url}/v2/enqueue")
    pager = Channel("pager", notifier, frozenset({Occasion.UNSAFE}), severity_at_least=Severity.CRITICAL)
    for occasion in (Occasion.APPROVAL_WANTED, Occasion.FAILED, Occasion.DRIFT, Occasion.UNSAFE):
        tell([pager], message(occasion=occasion), journal)
    assert len(fake.open) == 1
    tell([pager], message(occasion=Occasion.SUCCEEDED), journal)
    assert fake.open == {}
    assert [each.facts["occasion"] for each in noted(ledger)] == ["unsafe", "succeeded"]


def test_key_that_the_fake_does_not_know_is_refused_with_what_to_do(context: Context, fake: FakePagerDuty) -> None:
    notifier = pagerduty(context, f"{fake.url}/v2/enqueue")
    (context.base / "key").write_text("too-short")
    with pytest.raises(Refused, match=r"HTTP 400, and says: .*routing_key") as caught:
        notifier.send(message())
    assert "'routing_key'" in caught.value.next_action
    assert fake.taken == []
