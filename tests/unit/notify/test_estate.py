"""Channels of the estate file: the documented ones are opened, mistakes are told with their lines."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks import DRIVERS
from blocks.estate import OpenEstate, settings_model
from blocks.notifications.pagerduty import PagerDutyNotifier
from blocks.notifications.signed_webhook import SignedWebhookNotifier
from blocks.notifications.smtp import SmtpNotifier
from blocks.notifications.webhook import WebhookNotifier
from tasks.common.errors import Refused
from tasks.common.load import load_estate
from tasks.common.occasion import Occasion, Severity, severity_of
from tasks.notify.format import json_payload
from tasks.notify.messages import ended
from tasks.notify.model import Topic
from tasks.notify.ports import Channel
from tasks.release.model import Outcome
from tests.support.docs import ROOT, blocks_of, firsts, section
from tests.support.ledger import record
from tests.support.notifying import NOON, message
from tests.unit.common.files import example, line_of, mistakes_in, only

HOW_TO = ROOT / "docs/how-to/get-notified.md"
PAGE = HOW_TO.read_text(encoding="utf-8")


def load(text: str) -> Any:
    return load_estate(text, "estate.yaml", settings_model, DRIVERS)


def documented(*changes: tuple[str, str]) -> str:
    """Return the documented estate with the documented channels, each change made exactly once."""
    found = re.search(r"^`notifications.yaml`\n\n```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    text = example("estate.yaml") + "\n" + found[1]
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text


def channels(folder: Path, *changes: tuple[str, str]) -> tuple[Channel, ...]:
    """Return the documented channels, open."""
    estate = load(documented(("driver: postgresql\n  dsn: env:SLIPWAY_LEDGER", "driver: memory"), *changes))
    return OpenEstate(estate, folder).notifiers


def test_documented_channels_are_opened(tmp_path: Path) -> None:
    found = channels(tmp_path)
    assert {each.name: type(each.notifier) for each in found} == {
        "ops-chat": WebhookNotifier,
        "on-call": SmtpNotifier,
        "pager": PagerDutyNotifier,
        "portal": SignedWebhookNotifier,
    }


@pytest.mark.parametrize("occasion", Occasion)
@pytest.mark.parametrize("environment", ["staging", "production", ""])
def test_documented_channels_want_what_the_page_says(tmp_path: Path, occasion: Occasion, environment: str) -> None:
    about = message(occasion=occasion, environment=environment)
    wanted = {each.name: each.wants(about) for each in channels(tmp_path)}
    ended, severity = occasion is Occasion.SUCCEEDED, severity_of(occasion)
    assert wanted == {
        "ops-chat": True,
        "on-call": environment != "staging" and not ended,
        "pager": ended or severity is Severity.CRITICAL,
        "portal": severity is not Severity.INFO,
    }


@pytest.mark.parametrize("least", Severity)
@pytest.mark.parametrize("occasion", Occasion)
def test_channel_is_told_what_is_severe_enough_and_among_its_events(
    tmp_path: Path, least: Severity, occasion: Occasion
) -> None:
    _, mail, *_ = channels(tmp_path, ("    only: [production]", f"    severity_at_least: {least}"))
    order = ["info", "warning", "critical"]
    enough = order.index(severity_of(occasion)) >= order.index(least)
    assert mail.wants(message(occasion=occasion)) is (enough and occasion is not Occasion.SUCCEEDED)


def test_end_of_a_trouble_reaches_the_pager_of_its_environment_alone(tmp_path: Path) -> None:
    here, there = (message(environment=name, occasion=Occasion.SUCCEEDED) for name in ("production", "staging"))
    *_, pager, _ = channels(
        tmp_path, ("    routing_key:", "    only: [production]\n    events: [unsafe]\n    routing_key:")
    )
    assert (pager.wants(here), pager.wants(there)) == (True, False)
    assert not pager.wants(message(occasion=Occasion.DRIFT))


def test_page_lists_every_occasion_with_its_severity() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z]+) \| .+ \|$", section(HOW_TO, "Who is told what"), re.MULTILINE)
    assert rows == [(each.value, severity_of(each).value) for each in Occasion]


def test_page_lists_every_severity_every_driver_and_every_topic() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| `severity_at_least` |"))
    assert re.findall(r"`([a-z-]+)`", row) == [*(each.value for each in Severity), "info"]
    row = next(line for line in PAGE.splitlines() if line.startswith("| `driver` |"))
    assert set(re.findall(r"`([a-z-]+)`", row)[1:]) == set(DRIVERS["notifier"]) - {"memory"}
    titles = re.findall(r"^## .+: `([a-z-]+)`$", PAGE, re.MULTILINE)
    assert set(titles) == set(DRIVERS["notifier"]) - {"memory"}
    topics = firsts(HOW_TO, "A pager: `pagerduty`")[-len(Topic) :]
    assert topics == [f"`{each}`" for each in Topic]


def test_documented_json_is_what_is_sent() -> None:
    (shown,) = blocks_of(HOW_TO, "json")
    why, state = "canary 5 %: error_rate is 9 %", "2b7d0e4 serves all traffic"
    error = Refused(why, on="campus in production of lab", state=state, next_action="mend the commit")
    told = replace(
        record("0f8fad5b-d9cb-469f-a165-70867728950e"),
        commit="3f2c1a9d5b7e8f60123456789abcdef012345678",
        subject="Show courses by term",
        outcome=Outcome.ROLLED_BACK,
        error=str(error),
    )
    link = f"http://127.0.0.1:4200/runs/flow-run/{told.id}"
    assert json.loads(shown) == json.loads(
        json.dumps(json_payload(ended(told, "lab", NOON + timedelta(minutes=5), link)))
    )


def test_estate_without_channels_tells_nobody() -> None:
    assert load(example("estate.yaml")).notifications == []


TOKEN = "correct-horse-battery"
WRONG = [
    ("driver: webhook", "driver: webhok", "notifications[0].driver", "found the text 'webhok' (did you mean 'webhook'"),
    ("url: file:secrets", "uri: file:secrets", "notifications[0].uri", "found an unknown key (did you mean 'url'?)"),
    (
        "url: file:secrets/ops-chat-webhook",
        f"url: https://chat.example/{TOKEN}",
        "notifications[0].url",
        "found a value that is not shown, as it may be a secret; expected a reference to a secret",
    ),
    ("name: ops-chat", "name: Ops Chat", "notifications[0].name", "found the text 'Ops Chat'; expected a name"),
    ("name: ops-chat", "name: on-call", "notifications[0].name", "found the name 'on-call' 2 times; expected another"),
    (
        "events: [failed",
        "events: [faild",
        "notifications[1].events[0]",
        "found the text 'faild' (did you mean 'fai",
    ),
    (
        "only: [production]",
        "only: [produktion]",
        "notifications[1].only[0]",
        "found the unknown environment 'produkti",
    ),
    (
        "starttls: required",
        "starttls: yes",
        "notifications[1].starttls",
        "found the text 'yes'; expected one of: 're",
    ),
    (
        "starttls: required",
        "starttls: never",
        "notifications[1].starttls",
        "found the text 'never'; expected 'requi",
    ),
    ("    user: slipway\n", "", "notifications[1].user", "found nothing; expected this key: 'user' and 'password' go"),
    ("port: 587", "port: 70000", "notifications[1].port", "found the number 70000; expected at most 65535"),
    ("from: slipway@example.org", "from: slipway", "notifications[1].from", "found the text 'slipway'; expected"),
    (
        "to: [on-call@example.org]",
        'to: ["a@b.org, eve@c.org"]',
        "notifications[1].to[0]",
        "found the text 'a@b.org, eve@c.org'; expected",
    ),
    (
        "host: mail.example.org",
        'host: "mail example"',
        "notifications[1].host",
        "found the text 'mail example'; exp",
    ),
    (
        "severity_at_least: critical",
        "severity_at_least: error",
        "notifications[2].severity_at_least",
        "found the text 'error'; expected one of: 'info', 'warning' or 'critical'",
    ),
    (
        "env:SLIPWAY_PAGERDUTY_KEY",
        TOKEN,
        "notifications[2].routing_key",
        "found a value that is not shown, as it may be a secret; expected a reference to a secret",
    ),
    (
        "file:secrets/portal-webhook",
        f"whsec_{TOKEN}",
        "notifications[3].secret",
        "found a value that is not shown, as it may be a secret; expected a reference to a secret",
    ),
    (
        "https://portal.example.org/slipway",
        "http://portal.example.org/slipway",
        "notifications[3].url",
        "found a value that is not shown, as it may be a secret; expected an https:// address without user",
    ),
    (
        "https://portal.example.org/slipway",
        f"https://slipway:{TOKEN}@portal.example.org/slipway",
        "notifications[3].url",
        "found a value that is not shown, as it may be a secret; expected an https:// address without user",
    ),
    (
        "    host: mail.example.org\n",
        "",
        "notifications[1].host",
        "found nothing; expected this key (the mail ser",
    ),
]


@pytest.mark.parametrize(("old", "new", "place", "said"), WRONG, ids=[place + new for _, new, place, _ in WRONG])
def test_one_mistake_is_told_at_its_place(old: str, new: str, place: str, said: str) -> None:
    found = mistakes_in(documented((old, new)), load)
    mine = [each for each in found if f": {place}: {said}" in each]
    assert mine, found
    assert {each.partition(": ")[2].partition("[")[0] for each in found} == {"notifications"}
    assert TOKEN not in "".join(found)


def test_mistake_is_told_at_its_line() -> None:
    text = documented(("port: 587", "port: 0"))
    assert only(mistakes_in(text, load)).startswith(f"{line_of(text, 'port: 0')}: notifications[1].port: ")


def test_mistakes_of_channels_are_told_with_those_of_the_rest() -> None:
    text = documented(
        ("folder: artifacts", "folder: 5"),
        ("only: [production]", "only: [prod]"),
        ("port: 587", "port: 0"),
        ("driver: webhook", "driver: telegraph"),
    )
    assert [each.split(": ")[1] for each in mistakes_in(text, load)] == [
        "store.folder",
        "notifications[0].driver",
        "notifications[1].only[0]",
        "notifications[1].port",
    ]


@pytest.mark.parametrize("text", ["notifications: {}", "notifications: [5]", "notifications: [{name: 5, only: 5}]"])
def test_channels_that_are_none_are_told(text: str) -> None:
    assert mistakes_in(example("estate.yaml") + "\n" + text, load)
