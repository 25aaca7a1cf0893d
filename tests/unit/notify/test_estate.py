"""Channels of the estate file: the documented ones are opened, mistakes are told with their lines."""

import re
from pathlib import Path
from typing import Any

import pytest

from blocks import DRIVERS
from blocks.estate import OpenEstate, settings_model
from blocks.notifications.smtp import SmtpNotifier
from blocks.notifications.webhook import WebhookNotifier
from tasks.common.load import load_estate
from tasks.common.occasion import Occasion
from tests.support.notifying import message
from tests.unit.common.files import example, line_of, mistakes_in, only

PAGE = (Path(__file__).parents[3] / "docs/how-to/get-notified.md").read_text(encoding="utf-8")


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


def test_documented_channels_are_opened(tmp_path: Path) -> None:
    estate = load(documented(("driver: postgresql\n  dsn: env:SLIPWAY_LEDGER", "driver: memory")))
    chat, mail = OpenEstate(estate, tmp_path).notifiers
    assert (chat.name, mail.name) == ("ops-chat", "on-call")
    assert isinstance(chat.notifier, WebhookNotifier)
    assert isinstance(mail.notifier, SmtpNotifier)


@pytest.mark.parametrize("occasion", Occasion)
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_documented_channels_want_what_the_page_says(tmp_path: Path, occasion: Occasion, environment: str) -> None:
    estate = load(documented(("driver: postgresql\n  dsn: env:SLIPWAY_LEDGER", "driver: memory")))
    chat, mail = OpenEstate(estate, tmp_path).notifiers
    about = message(occasion=occasion, environment=environment)
    assert chat.wants(about)
    assert mail.wants(about) is (environment == "production" and occasion is not Occasion.SUCCEEDED)


def test_page_lists_every_event_and_every_driver() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| `events` |"))
    assert re.findall(r"`([a-z-]+)`", row)[1:] == [each.value for each in Occasion]
    row = next(line for line in PAGE.splitlines() if line.startswith("| `driver` |"))
    assert set(re.findall(r"`([a-z-]+)`", row)[1:]) == set(DRIVERS["notifier"]) - {"memory"}


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
