"""The pages about webhooks say what the code does."""

import hashlib
import hmac
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from blocks import DRIVERS
from blocks.estate import settings_model
from deployments.receiver.reporter import _LEASE_S, PAUSE_S, SINCE
from deployments.receiver.seen import Seen
from tasks.common.delivery import Event, Status
from tasks.common.webhooks import CHECK, FIELDS, Fields, Forge, Happening, WebhookRule, WebhookSource, offers
from tasks.webhook.decide import decide
from tasks.webhook.payload import read
from tasks.webhook.signature import REPLAY_WINDOW_S, verify
from tests.support.deliveries import SECRET, bearer, cloudevent
from tests.support.docs import ROOT, blocks_of, files_of, firsts, load, section
from tests.unit.webhook.test_signature import NOW

PAGE = ROOT / "docs/how-to/start-from-a-push.md"
OTHERS = ROOT / "docs/how-to/start-from-other-senders.md"
PUSH = Event("id", "push", Happening.PUSH, "acme/campus", "main", "a" * 40, "ada", ("src/app.py",))


def documented(name: str, source: str, page: Any = PAGE) -> WebhookSource:
    estate: Any = load(files_of(page)[name])
    return estate.webhooks[source]  # type: ignore[no-any-return]


def asked(event: Event, source: WebhookSource) -> dict[str, str]:
    """Return what the documented rules ask for; nothing where they start nothing."""
    start, _ = decide(event, source.rules)
    assert start is None or start.flow == "release"
    return dict(start.parameters) if start else {}


def test_documented_rule_releases_a_push_to_main_and_nothing_else() -> None:
    source = documented("webhooks.yaml", "github")
    assert asked(PUSH, source) == {
        "service": "campus",
        "commit": PUSH.commit,
        "requested_by": "ada, by a push to main",
    }
    others = [replace(PUSH, ref="next"), replace(PUSH, paths=("docs/a.md",)), replace(PUSH, repository="eve/campus")]
    for other in others:
        assert asked(other, source) == {}


def test_documented_rules_release_a_tested_commit_and_a_published_tag() -> None:
    source = documented("more-events.yaml", "github")
    tested = replace(PUSH, happening=Happening.WORKFLOW, workflow="test")
    assert asked(tested, source)["commit"] == PUSH.commit
    assert asked(replace(tested, workflow="lint"), source) == {}
    published = Event("id", "release", Happening.RELEASE, "acme/campus", "v1.2", "", "ada")
    assert asked(published, source)["commit"] == "v1.2"
    assert asked(replace(published, ref="nightly"), source) == {}


def test_page_names_every_forge_happening_placeholder_and_status() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{each}`" in text for each in (*Forge, CHECK))
    assert all(f"`{{{name}}}`" in text + OTHERS.read_text(encoding="utf-8") for name in FIELDS)
    assert sorted(firsts(PAGE, "What was delivered")[: len(Status)]) == sorted(f"`{status}`" for status in Status)
    assert f"{REPLAY_WINDOW_S / 60:g} minutes" in section(PAGE, "What was delivered")
    assert f"{REPLAY_WINDOW_S / 60:g} minutes" in section(OTHERS, "Signed JSON")


def test_page_names_the_placeholders_of_every_event() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\| (`\{.*) \|$", section(PAGE, "What can start a flow"), re.MULTILINE)
    assert [event for event, _ in rows] == [each for each in Happening if each is not Happening.OTHER]
    for event, named in rows:
        both = {*offers(Forge.GITHUB, event, Fields()), *offers(Forge.GITLAB, event, Fields())}
        assert set(re.findall(r"\{(\w+)\}", named)) == both, event


def test_pages_name_every_key_of_a_source() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGE.parent.glob("*.md"))
    keys = [field.alias or name for name, field in WebhookSource.model_fields.items()]
    keys += [*Fields.model_fields, *WebhookRule.model_fields]
    assert [key for key in keys if not re.search(rf"`{key}[`:]|^ +(- )?{key}:", text, re.MULTILINE)] == []


def test_page_names_every_figure() -> None:
    figures = {metric.name + "_total" * (metric.type == "counter") for metric in Seen().registry.collect()}
    shown = re.findall(r"`(slipway_\w+)`", section(PAGE, "Run it"))
    assert figures == set(shown)


def test_both_secrets_of_the_documented_change_are_references() -> None:
    (source,) = (load(files_of(PAGE)["two-secrets.yaml"]),)
    assert len(blocks_of(PAGE, "yaml")) == 4
    assert source


def test_documented_reports_and_their_times_are_those_of_the_code() -> None:
    reports = load(files_of(PAGE)["reports.yaml"]).webhooks["github"].reports  # type: ignore[attr-defined]
    assert settings_model("forge", reports.driver) is not None
    text = section(PAGE, "Tell the forge")
    assert f"after {_LEASE_S:g} seconds" in text
    assert f"every {PAUSE_S:g} seconds, for up to {SINCE.days} days" in text
    assert all(name in text for name in DRIVERS["forge"] if name != "memory")


def test_documented_body_of_another_sender_is_signed_and_understood_as_documented() -> None:
    source = documented("generic.yaml", "builds", OTHERS)
    payload = files_of(OTHERS)["sent.json"].encode()
    digits = hmac.new(SECRET.encode(), payload, hashlib.sha256).hexdigest()
    headers = {"x-builds-signature": digits, "x-builds-id": "try-1"}
    verify(source, headers, payload, [SECRET], NOW)
    commit = json.loads(payload)["build"]["commit"]
    found = read(source, headers, payload, NOW)
    assert (found.id, asked(found, source)) == (
        "try-1",
        {"service": "campus", "commit": commit, "requested_by": "ada, by a build of main"},
    )
    for header in headers:
        assert f"-H '{header}: " in OTHERS.read_text() or f'-H "{header}: ' in OTHERS.read_text()


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_documented_cloudevent_is_understood_as_documented(mode: str) -> None:
    source = documented("cloudevents.yaml", "events", OTHERS)
    data = {"repository": "acme/campus", "branch": "main", "commit": "c" * 40}
    if mode == "structured":
        headers, payload = bearer(), json.dumps(cloudevent(data=data)).encode()
    else:
        attributes = {f"ce-{name}": str(value) for name, value in cloudevent().items() if name != "data"}
        headers, payload = {**bearer(content_type="application/json"), **attributes}, json.dumps(data).encode()
    verify(source, headers, payload, [SECRET], NOW)
    found = read(source, headers, payload, NOW)
    assert asked(found, source) == {"service": "campus", "commit": "c" * 40, "requested_by": "a build of main"}
