"""What real deliveries mean, and what becomes of everything else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.delivery import Event
from tasks.common.webhooks import Happening
from tasks.webhook.model import Malformed
from tasks.webhook.payload import read
from tests.support.deliveries import COMMIT, body, github, gitlab, source, standard
from tests.unit.webhook.test_signature import NOW

GITHUB, GITLAB = source("github"), source("gitlab")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    "ref",
    "after",
    "deleted",
    "forced",
    "head_commit",
    "checkout_sha",
    "repository",
    "project",
    "commits",
    "sender",
)


def from_github(name: str, event: str = "push") -> Event:
    payload = body(f"github/{name}.json")
    return read(GITHUB, github(payload, event=event, id_="id-1"), payload, NOW)


def from_gitlab(name: str, event: str) -> Event:
    return read(GITLAB, gitlab(event=event, id_="id-1"), body(f"gitlab/{name}.json"), NOW)


def test_push_of_github_names_branch_commit_files_and_who() -> None:
    assert from_github("push.branch") == Event(
        id="id-1",
        name="push",
        happening=Happening.PUSH,
        repository="Codertocat/Hello-World",
        ref="master",
        commit=COMMIT,
        actor="Codertocat",
        paths=("README.md",),
    )


def test_push_of_gitlab_names_branch_commit_files_and_who() -> None:
    assert from_gitlab("push", "Push Hook") == Event(
        id="id-1",
        name="Push Hook",
        happening=Happening.PUSH,
        repository="gitlab-org/hello-world",
        ref="master",
        commit="2adc9465c4edfc33834e173fe89436a7cb899a1d",
        actor="sytses",
        paths=("README.md",),
    )


def test_new_tag_is_a_tag_with_the_commit_that_it_is_at() -> None:
    tag = from_github("push.tag-created")
    assert (tag.happening, tag.ref) == (Happening.TAG, "the-tag-v1")
    assert tag.commit == json.loads(body("github/push.tag-created.json"))["head_commit"]["id"]
    tag = from_gitlab("tag_push.created", "Tag Push Hook")
    assert tag.happening is Happening.TAG
    assert tag.commit == json.loads(body("gitlab/tag_push.created.json"))["checkout_sha"]


def test_deleted_tag_has_no_commit() -> None:
    assert from_github("push.tag-deleted").commit == ""
    assert from_gitlab("tag_push.deleted", "Tag Push Hook").commit == ""


@pytest.mark.parametrize(("name", "event"), [("ping", "ping"), ("pull_request.closed-merged", "pull_request")])
def test_everything_else_is_known_by_name_and_is_nothing_that_rules_are_about(name: str, event: str) -> None:
    found = from_github(name, event)
    assert (found.name, found.happening, found.commit) == (event, None, "")
    assert found.repository


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(body("github/push.branch.json")), **fields}).encode()


def read_github(payload: bytes) -> Event:
    return read(GITHUB, github(payload), payload, NOW)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"commits": []}, "none is told of"),
        ({"commits": [{"added": ["a"], "removed": [], "modified": []}] * 2048}, "not all are told of"),
        ({"commits": [{"added": ["a"]}]}, "one does not say"),
        ({"forced": True}, "what was taken away is not told"),
    ],
)
def test_push_that_does_not_name_all_of_its_files_names_none(fields: dict[str, object], why: str) -> None:
    assert read_github(changed(**fields)).paths is None, why


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 500_000,
        b'{"a":' * 150_000,
        b'{"ref": ' + b"9" * 100_000 + b"}",
        changed(ref=None),
        changed(ref="refs/heads/" + "x" * 600),
        changed(ref="refs/heads/a\nb"),
        changed(repository="acme"),
        changed(repository={"full_name": ["acme"]}),
        changed(head_commit={"id": "main"}, after="main"),
        changed(head_commit={"id": COMMIT[:12]}, after=COMMIT[:12]),
        changed(head_commit={"id": COMMIT + " --force"}),
    ],
    ids=range(16),
)
def test_body_that_is_not_what_the_forge_sends_is_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        read_github(payload)


@pytest.mark.parametrize("name", ["x-github-event", "x-github-delivery"])
def test_delivery_without_event_or_id_is_refused(name: str) -> None:
    payload = body("github/push.branch.json")
    with pytest.raises(Malformed, match=name):
        read(GITHUB, {**github(payload), name: ""}, payload, NOW)


def test_signed_id_of_a_delivery_counts_before_any_other() -> None:
    payload = body("gitlab/push.json")
    headers = {**standard(payload, NOW, id_="signed"), "x-gitlab-event-uuid": "another", "idempotency-key": "third"}
    assert read(GITLAB, headers, payload, NOW).id == "signed"


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_json_raises_anything_but_a_refusal(fields: dict[str, object]) -> None:
    for sender, name in ((GITHUB, "github/push.branch.json"), (GITLAB, "gitlab/push.json")):
        payload = json.dumps({**json.loads(body(name)), **fields}).encode()
        headers = github(payload) if sender is GITHUB else gitlab()
        try:
            found = read(sender, headers, payload, NOW)
        except Malformed:
            continue
        assert found.commit == "" or len(found.commit) in (40, 64)
