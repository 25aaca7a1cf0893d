"""What GitHub's deliveries say. Pure.

*Source:* GitHub, "Webhook events and payloads".
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.common.delivery import Event, PullRequest
from tasks.common.webhooks import Happening, WebhookSource
from tasks.webhook.payload_parts import commit, find, number, optional, text
from tasks.webhook.payload_push import read_push

_COMMITS_TOLD_AT_MOST = 2048
_NEW_COMMITS = ("opened", "synchronize", "reopened")
_TEST = "it is a test of the hook, and shows that the hook works"


def read_github(source: WebhookSource, headers: Mapping[str, str], body: Mapping[str, Any]) -> Event:
    """Return what has happened.

    Raises:
        Malformed: it is not what GitHub sends.
    """
    del source
    name = text(headers.get("x-github-event"), "x-github-event")
    id_ = text(headers.get("x-github-delivery"), "x-github-delivery")
    event = Event(id_, name, repository=optional(body, "repository", "full_name"), actor=optional(body, *_ACTOR))
    if name == "ping":
        return replace(event, unwanted=_TEST)
    reader = _READERS.get(name)
    return reader(event, body) if reader else event


def _push(event: Event, body: Mapping[str, Any]) -> Event:
    return read_push(event, body, _REPOSITORY, _ACTOR, _COMMITS_TOLD_AT_MOST)


def _pull_request(event: Event, body: Mapping[str, Any]) -> Event:
    action = text(body.get("action"), "action")
    if action not in _NEW_COMMITS:
        return replace(event, unwanted=f"the pull request was {action}: only {', '.join(_NEW_COMMITS)} count")
    head, base = find(body, "pull_request", "head"), find(body, "pull_request", "base")
    id_ = number(body.get("number"), "number")
    return replace(
        event,
        happening=Happening.PULL_REQUEST,
        repository=_repository(body),
        ref=text(find(base, "ref"), "pull_request.base.ref"),
        commit=commit(find(head, "sha")),
        # Without a repository: it was a fork, and is deleted.
        pull=PullRequest(id_, f"refs/pull/{id_}/head", not _same(find(head, "repo"), body.get("repository"))),
    )


def _release(event: Event, body: Mapping[str, Any]) -> Event:
    action = text(body.get("action"), "action")
    if action != "published":
        return replace(event, unwanted=f"the release was {action}: only published counts")
    # No commit: 'target_commitish' is where a new tag would have been put, not where the tag is.
    tag = text(find(body, "release", "tag_name"), "release.tag_name")
    return replace(event, happening=Happening.RELEASE, repository=_repository(body), ref=tag)


def _workflow(event: Event, body: Mapping[str, Any]) -> Event:
    run = body.get("workflow_run")
    action, conclusion = text(body.get("action"), "action"), find(run, "conclusion")
    if action != "completed" or conclusion != "success":
        told = conclusion if isinstance(conclusion, str) and conclusion.isprintable() else "no conclusion"
        return replace(event, unwanted=f"the workflow is {action} with {told[:40]}: only completed with success counts")
    # The branch is the fork's there, which may well be called main.
    if text(find(run, "event"), "workflow_run.event").startswith("pull_request"):
        return replace(event, unwanted="the workflow was about a pull request")
    if not _same(find(run, "head_repository"), body.get("repository")):
        return replace(event, unwanted="the workflow was about a fork")
    return replace(
        event,
        happening=Happening.WORKFLOW,
        repository=_repository(body),
        ref=text(find(run, "head_branch"), "workflow_run.head_branch"),
        commit=commit(find(run, "head_sha")),
        workflow=optional(body, "workflow", "name") or optional(body, "workflow_run", "name"),
    )


def _repository(body: Mapping[str, Any]) -> str:
    return text(find(body, *_REPOSITORY), ".".join(_REPOSITORY))


def _same(one: object, other: object) -> bool:
    """Return whether both are the same repository, by id and by name."""
    ids = [find(each, key) for each in (one, other) for key in ("id", "full_name")]
    return None not in ids and ids[:2] == ids[2:]


_REPOSITORY, _ACTOR = ("repository", "full_name"), ("sender", "login")
_READERS = {"push": _push, "pull_request": _pull_request, "release": _release, "workflow_run": _workflow}
