"""The page about webhooks says what the code does."""

import re
from dataclasses import replace
from typing import Any

from blocks import DRIVERS
from blocks.estate import settings_model
from deployments.receiver.reporter import _LEASE_S, PAUSE_S, SINCE
from deployments.receiver.seen import Seen
from tasks.common.delivery import Event, Status
from tasks.common.webhooks import FIELDS, Forge, Happening
from tasks.webhook.decide import decide
from tasks.webhook.signature import REPLAY_WINDOW_S
from tests.support.docs import ROOT, blocks_of, files_of, firsts, load, section

PAGE = ROOT / "docs/how-to/start-from-a-push.md"
PUSH = Event("id", "push", Happening.PUSH, "acme/campus", "main", "a" * 40, "ada", ("src/app.py",))


def documented() -> Any:
    return load(files_of(PAGE)["webhooks.yaml"])


def test_documented_rule_releases_a_push_to_main_and_nothing_else() -> None:
    source = documented().webhooks["github"]
    start, _ = decide(PUSH, source.rules)
    assert start is not None
    assert start.flow == "release"
    assert start.parameters == {
        "service": "campus",
        "commit": PUSH.commit,
        "requested_by": "ada, by a push to main",
    }
    others = [replace(PUSH, ref="next"), replace(PUSH, paths=("docs/a.md",)), replace(PUSH, repository="eve/campus")]
    for other in others:
        assert decide(other, source.rules)[0] is None


def test_page_names_every_forge_happening_placeholder_and_status() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{each}`" in text for each in (*Forge, *Happening))
    assert all(f"`{{{name}}}`" in text for name in FIELDS)
    assert sorted(firsts(PAGE, "What was delivered")[: len(Status)]) == sorted(f"`{status}`" for status in Status)
    assert f"{REPLAY_WINDOW_S / 60:g} minutes" in section(PAGE, "What was delivered")


def test_page_names_every_figure() -> None:
    figures = {metric.name + "_total" * (metric.type == "counter") for metric in Seen().registry.collect()}
    shown = re.findall(r"`(slipway_\w+)`", section(PAGE, "Run it"))
    assert figures == set(shown)


def test_both_secrets_of_the_documented_change_are_references() -> None:
    (source,) = (load(files_of(PAGE)["two-secrets.yaml"]),)
    assert len(blocks_of(PAGE, "yaml")) == 3
    assert source


def test_documented_reports_and_their_times_are_those_of_the_code() -> None:
    reports = load(files_of(PAGE)["reports.yaml"]).webhooks["github"].reports  # type: ignore[attr-defined]
    assert settings_model("forge", reports.driver) is not None
    text = section(PAGE, "Tell the forge")
    assert f"after {_LEASE_S:g} seconds" in text
    assert f"every {PAUSE_S:g} seconds, for up to {SINCE.days} days" in text
    assert all(name in text for name in DRIVERS["forge"] if name != "memory")
