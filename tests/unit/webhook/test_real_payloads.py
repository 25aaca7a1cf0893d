"""Every real body that we have, under its own event and under every other one, whole and broken."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.delivery import Event
from tasks.common.webhooks import Happening, WebhookRule, WebhookSource
from tasks.webhook.decide import decide
from tasks.webhook.model import Forged, Malformed
from tasks.webhook.payload import read
from tasks.webhook.signature import verify
from tests.support.deliveries import DATA, SECRET, body, github, gitlab, source
from tests.unit.webhook.test_signature import NOW

WANTED: dict[str, tuple[str, Happening | None, str, str]] = {
    "github/deployment_status.success.json": ("deployment_status", None, "", "no rule can be about"),
    "github/ping.json": ("ping", None, "", "it is a test of the hook"),
    "github/pull_request.closed-merged.json": ("pull_request", None, "", "the pull request was closed"),
    "github/push.branch.json": ("push", Happening.PUSH, "master", ""),
    "github/push.tag-created.json": ("push", Happening.TAG, "the-tag-v1", ""),
    "github/push.tag-deleted.json": ("push", Happening.TAG, "simple-tag", "simple-tag was deleted"),
    "github/release.published-2.json": ("release", Happening.RELEASE, "v1.0.0", ""),
    "github/release.published.json": ("release", Happening.RELEASE, "0.0.1", ""),
    "github/workflow_job.completed-failure.json": ("workflow_job", None, "", "no rule can be about"),
    "github/workflow_run.completed-success.json": ("workflow_run", Happening.WORKFLOW, "master", ""),
    "github/workflow_run.requested.json": ("workflow_run", None, "", "the workflow is requested"),
    "gitlab/pipeline.success.json": ("Pipeline Hook", None, "", "the pipeline was about a merge request"),
    "gitlab/push.json": ("Push Hook", Happening.PUSH, "master", ""),
    "gitlab/tag_push.created.json": ("Tag Push Hook", Happening.TAG, "v22", ""),
    "gitlab/tag_push.deleted.json": ("Tag Push Hook", Happening.TAG, "v1.0.0", "v1.0.0 was deleted"),
}
"""By file: the event's name, what it is, its branch or tag, and how the reason begins where it starts nothing."""
GITHUB, GITLAB = source("github"), source("gitlab")
EVENTS = {
    "github": ("push", "pull_request", "release", "workflow_run", "ping"),
    "gitlab": ("Push Hook", "Tag Push Hook", "Merge Request Hook", "Release Hook", "Pipeline Hook"),
}


def sent(name: str, payload: bytes, event: str) -> tuple[WebhookSource, dict[str, str]]:
    """Return who sends such a body, and the headers that it is sent with."""
    if name.startswith("github"):
        return GITHUB, github(payload, event=event, id_="id-1")
    return GITLAB, gitlab(event=event, id_="id-1")


def everything(event: Event) -> list[WebhookRule]:
    """Return rules that let every kind of event in that names a branch or tag of the repository."""
    rule: dict[str, Any] = {"repository": event.repository, "refs": ["**"], "start": "check", "forks": True}
    rule["parameters"] = {"service": "campus"}
    return [
        WebhookRule.model_validate({**rule, "event": each, "repository": event.repository or "x"})
        for each in Happening
        if each is not Happening.OTHER
    ]


def understood(name: str, payload: bytes, event: str) -> tuple[Event, bool, str]:
    sender, headers = sent(name, payload, event)
    found = read(sender, headers, payload, NOW)
    start, why = decide(found, everything(found))
    return found, start is not None, why


def test_every_real_body_is_in_the_table() -> None:
    assert {path.relative_to(DATA).as_posix() for path in DATA.glob("*/*.json")} == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_real_body_is_understood_and_starts_something_only_where_it_should(name: str) -> None:
    event, happening, ref, why = WANTED[name]
    found, started, said = understood(name, body(name), event)
    assert (found.name, found.happening, found.repository != "") == (event, happening, True)
    assert not ref or found.ref == ref
    assert (started, said.startswith(why)) == (not why, True), said


@pytest.mark.parametrize("name", WANTED)
def test_body_under_the_name_of_another_event_starts_nothing(name: str) -> None:
    own = WANTED[name][0]
    # GitLab's two kinds of pushes have one shape, and say by themselves which they are.
    alike = {own, "Push Hook", "Tag Push Hook"} if "Push Hook" in own else {own}
    for event in set(EVENTS[name.partition("/")[0]]) - alike:
        try:
            _, started, _ = understood(name, body(name), event)
        except Malformed:
            continue
        assert not started, event


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [found for key in keys for found in places(value[key])]


OTHER_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "refs/heads/x", "0" * 40, "success", "push", {}, [], [{}], "x" * 501, 10**300, "\0", "\ud800"]
    ),
)


@st.composite
def broken(draw: Any) -> tuple[str, bytes]:
    """Return a real body with some of its parts taken out, replaced or put into another order, or cut short."""
    name = draw(st.sampled_from(sorted(WANTED)))
    value = json.loads(body(name))
    for _ in range(draw(st.integers(1, 4))):
        if not (parts := places(value)):
            break
        container, key = parts[draw(st.integers(0, len(parts) - 1))]
        match draw(st.sampled_from(["drop", "replace", "swap", "turn"])):
            case "drop":
                del container[key]
            case "replace":
                container[key] = draw(OTHER_VALUES)
            case "swap":
                other, another = parts[draw(st.integers(0, len(parts) - 1))]
                container[key] = json.loads(json.dumps(other[another]))
            case _ if isinstance(container, dict):
                items = list(reversed(container.items()))
                container.clear()
                container.update(items)
    payload = json.dumps(value).encode()
    return name, payload[: draw(st.integers(0, len(payload)))] if draw(st.booleans()) else payload


@given(broken(), st.data())
@settings(max_examples=300, deadline=None)
def test_broken_body_is_refused_or_understood_and_nothing_else(sample: tuple[str, bytes], data: st.DataObject) -> None:
    name, payload = sample
    event = data.draw(st.sampled_from([WANTED[name][0], *EVENTS[name.partition("/")[0]]]))
    try:
        found, started, why = understood(name, payload, event)
    except Malformed as error:
        assert error.what
        return
    assert started or why
    assert found.commit == "" or len(found.commit) in (40, 64)
    assert all(text.isprintable() for text in (found.id, found.name, found.repository, found.ref, found.actor, why))


@given(st.sampled_from(sorted(WANTED)), st.data())
@settings(max_examples=200, deadline=None)
def test_changed_signature_never_fits(name: str, data: st.DataObject) -> None:
    payload = body(name)
    signature = github(payload)["x-hub-signature-256"]
    position = data.draw(st.integers(0, len(signature) - 1))
    other = data.draw(st.characters(codec="latin-1").filter(lambda each: each != signature[position]))
    changed = data.draw(
        st.sampled_from(
            [
                signature[:position] + other + signature[position + 1 :],
                signature[:position],
                signature[:position] + other + signature[position:],
                "sha256=" + signature[:6:-1] if signature[7:] != signature[:6:-1] else "",
                signature.upper(),
                github(payload, secret=SECRET[:-1])["x-hub-signature-256"],
            ]
        )
    )
    with pytest.raises(Forged):
        verify(GITHUB, {"x-hub-signature-256": changed}, payload, [SECRET], NOW)
