"""What GitLab's deliveries say. Pure.

*Source:* GitLab, "Webhook events"; that a pipeline's ref is the branch that a merge request comes from, also of a fork:
GitLab's issue 487920.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.common.delivery import Event, PullRequest
from tasks.common.webhooks import Happening, WebhookSource
from tasks.webhook.payload_parts import commit, find, number, optional, text
from tasks.webhook.payload_push import read_push

_COMMITS_TOLD_AT_MOST = 20
_PARTS_AND_REQUESTS = ("merge_request_event", "external_pull_request_event", "parent_pipeline")
"""Why a pipeline ran that says nothing about a branch: for a merge request, or as a part of another one."""


def read_gitlab(source: WebhookSource, headers: Mapping[str, str], body: Mapping[str, Any]) -> Event:
    """Return what has happened.

    Raises:
        Malformed: it is not what GitLab sends.
    """
    del source
    name = text(headers.get("x-gitlab-event"), "x-gitlab-event")
    ids = (headers.get(each) for each in ("webhook-id", "idempotency-key", "x-gitlab-event-uuid"))
    id_ = text(next(filter(None, ids), None), "x-gitlab-event-uuid")
    event = Event(id_, name, repository=optional(body, *_REPOSITORY), actor=optional(body, "user", "username"))
    reader = _READERS.get(name)
    return reader(event, body) if reader else event


def _push(event: Event, body: Mapping[str, Any]) -> Event:
    return read_push(event, body, _REPOSITORY, ("user_username",), _COMMITS_TOLD_AT_MOST)


def _merge_request(event: Event, body: Mapping[str, Any]) -> Event:
    asked = body.get("object_attributes")
    action = optional(body, "object_attributes", "action")
    # An update of its title or labels names no earlier commit.
    if action not in ("open", "reopen") and not (action == "update" and find(asked, "oldrev")):
        return replace(event, unwanted=f"the merge request has no new commits: {action[:40] or 'no action'}")
    id_ = number(find(asked, "iid"), "object_attributes.iid")
    projects = [find(asked, "source_project_id"), find(asked, "target_project_id"), find(body, "project", "id")]
    return replace(
        event,
        happening=Happening.PULL_REQUEST,
        repository=_repository(body),
        ref=text(find(asked, "target_branch"), "object_attributes.target_branch"),
        commit=commit(find(asked, "last_commit", "id")),
        # Without a project: it was a fork, and is deleted.
        pull=PullRequest(id_, f"refs/merge-requests/{id_}/head", not _same(projects)),
    )


def _release(event: Event, body: Mapping[str, Any]) -> Event:
    action = text(body.get("action"), "action")
    if action != "create":
        return replace(event, unwanted=f"the release has the action {action[:40]}: only create counts")
    return replace(
        event,
        happening=Happening.RELEASE,
        repository=_repository(body),
        ref=text(body.get("tag"), "tag"),
        commit=commit(find(body, "commit", "id")),
    )


def _pipeline(event: Event, body: Mapping[str, Any]) -> Event:
    run = body.get("object_attributes")
    status = optional(body, "object_attributes", "status")
    if status != "success":
        return replace(event, unwanted=f"the pipeline is {status[:40] or 'without a status'}: only success counts")
    why = text(find(run, "source"), "object_attributes.source")
    if why in _PARTS_AND_REQUESTS or body.get("merge_request") is not None:
        return replace(event, unwanted=f"the pipeline was about a merge request, or a part of another one: {why}")
    if find(run, "tag") is not False:
        return replace(event, unwanted="the pipeline was about a tag")
    return replace(
        event,
        happening=Happening.WORKFLOW,
        repository=_repository(body),
        ref=text(find(run, "ref"), "object_attributes.ref"),
        commit=commit(find(run, "sha")),
        workflow=optional(body, "object_attributes", "name"),
    )


def _same(ids: Sequence[object]) -> bool:
    return all(isinstance(each, int) and each == ids[0] for each in ids)


def _repository(body: Mapping[str, Any]) -> str:
    return text(find(body, *_REPOSITORY), ".".join(_REPOSITORY))


_REPOSITORY = ("project", "path_with_namespace")
_READERS = {
    "Push Hook": _push,
    "Tag Push Hook": _push,
    "Merge Request Hook": _merge_request,
    "Release Hook": _release,
    "Pipeline Hook": _pipeline,
}
