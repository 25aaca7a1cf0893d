"""Pull requests, releases and workflows: what of them a rule can be about, and what of them never counts.

Bodies that are not real ones are copies of real ones with what the test is about changed, or, for GitLab's merge
requests and releases, made here in the shape that its documentation gives.
"""

import json
from typing import Any

import pytest

from tasks.common.delivery import Event, PullRequest
from tasks.common.webhooks import Happening, WebhookRule
from tasks.webhook.decide import decide
from tasks.webhook.model import Malformed
from tasks.webhook.payload import read
from tests.support.deliveries import body, github, gitlab, source
from tests.unit.webhook.test_signature import NOW

HEAD = "c88b9ee719285134957cbc698c9b7ef9b78007bf"
GITHUB, GITLAB = source("github"), source("gitlab")


def with_changes(value: Any, changes: dict[str, Any]) -> bytes:
    """Return the body with other values at the places, 'a.b' each."""
    for place, new in changes.items():
        *way, last = place.split(".")
        part = value
        for key in way:
            part = part[key]
        part[last] = new
    return json.dumps(value).encode()


def from_github(name: str, event: str, **changes: Any) -> Event:
    payload = with_changes(
        json.loads(body(f"github/{name}.json")), {k.replace("__", "."): v for k, v in changes.items()}
    )
    return read(GITHUB, github(payload, event=event, id_="id-1"), payload, NOW)


def from_gitlab(value: Any, event: str, **changes: Any) -> Event:
    payload = with_changes(value, {k.replace("__", "."): v for k, v in changes.items()})
    return read(GITLAB, gitlab(event=event, id_="id-1"), payload, NOW)


def pull_request(action: str = "opened", **changes: Any) -> Event:
    return from_github("pull_request.closed-merged", "pull_request", action=action, **changes)


def workflow(**changes: Any) -> Event:
    return from_github("workflow_run.completed-success", "workflow_run", **changes)


def merge_request(action: str = "open", **changes: Any) -> Event:
    made = {
        "object_kind": "merge_request",
        "user": {"username": "ada"},
        "project": {"id": 5, "path_with_namespace": "acme/campus"},
        "object_attributes": {
            "iid": 7,
            "action": action,
            "source_branch": "feature",
            "source_project_id": 5,
            "target_branch": "main",
            "target_project_id": 5,
            "last_commit": {"id": "d" * 40},
        },
    }
    return from_gitlab(made, "Merge Request Hook", **changes)


def pipeline(**changes: Any) -> Event:
    of_a_push = {"object_attributes__source": "push", "merge_request": None}
    return from_gitlab(json.loads(body("gitlab/pipeline.success.json")), "Pipeline Hook", **{**of_a_push, **changes})


def gitlab_release(**changes: Any) -> Event:
    made = {
        "object_kind": "release",
        "action": "create",
        "tag": "v1.2",
        "project": {"path_with_namespace": "acme/campus"},
        "commit": {"id": "d" * 40},
    }
    return from_gitlab(made, "Release Hook", **changes)


def rule(event: str, repository: str, refs: list[str], start: str = "release", **fields: Any) -> WebhookRule:
    return WebhookRule.model_validate(
        {"event": event, "repository": repository, "refs": refs, "start": start, "parameters": {"service": "campus"}}
        | fields
    )


CHECK = rule("pull-request", "anbraten/test-ready-release-go", ["main"], "check", parameters={"commit": "{commit}"})


# --- pull requests


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened"])
def test_pull_request_with_new_commits_names_its_head_and_the_branch_that_it_is_for(action: str) -> None:
    assert pull_request(action) == Event(
        id="id-1",
        name="pull_request",
        happening=Happening.PULL_REQUEST,
        repository="anbraten/test-ready-release-go",
        ref="main",
        commit=HEAD,
        actor="anbraten",
        pull=PullRequest(62, "refs/pull/62/head", from_fork=False),
    )


@pytest.mark.parametrize(("action", "changes"), [("open", {}), ("reopen", {}), ("update", {"oldrev": "e" * 40})])
def test_merge_request_with_new_commits_names_its_head_and_the_branch_that_it_is_for(
    action: str, changes: dict[str, str]
) -> None:
    found = merge_request(action, **{f"object_attributes__{key}": value for key, value in changes.items()})
    assert found == Event(
        id="id-1",
        name="Merge Request Hook",
        happening=Happening.PULL_REQUEST,
        repository="acme/campus",
        ref="main",
        commit="d" * 40,
        actor="ada",
        pull=PullRequest(7, "refs/merge-requests/7/head", from_fork=False),
    )


@pytest.mark.parametrize(
    "found",
    [
        pull_request("closed"),
        pull_request("edited"),
        pull_request("labeled"),
        pull_request("opened" * 70),
        merge_request("update"),
        merge_request("merge"),
        merge_request("close"),
        merge_request("approved"),
        merge_request(""),
    ],
    ids=lambda event: event.unwanted[:40],
)
def test_other_changes_of_a_pull_request_are_nothing_that_rules_are_about(found: Event) -> None:
    assert found.happening is None
    start, why = decide(found, [CHECK])
    assert start is None
    assert why == found.unwanted != ""


FORK = {"id": 99, "full_name": "eve/test-ready-release-go"}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (pull_request(pull_request__head__repo=FORK), "another repository"),
        (pull_request(pull_request__head__repo=None), "a fork that is deleted"),
        (pull_request(pull_request__head__repo={}), "nobody knows which"),
        (pull_request(pull_request__head__repo={**FORK, "full_name": "anbraten/test-ready-release-go"}), "same name"),
        (pull_request(pull_request__head__repo={**FORK, "id": 576689461}), "same number"),
        (pull_request(pull_request__head={"sha": HEAD}), "nothing is said"),
        (merge_request(object_attributes__source_project_id=6), "another project"),
        (merge_request(object_attributes__source_project_id=None), "a fork that is deleted"),
        (merge_request(object_attributes__source_project_id="5"), "no number"),
        (merge_request(project__id=6, object_attributes__target_project_id=6), "the other way round"),
    ],
)
def test_pull_request_from_a_fork_starts_nothing_unless_its_rule_lets_forks_in(found: Event, why: str) -> None:
    assert found.pull is not None
    assert found.pull.from_fork, why
    about = rule("pull-request", found.repository, ["main"], "check")
    assert decide(found, [about]) == (None, "it comes from a fork, which no rule lets in")
    start, _ = decide(found, [about, about.model_copy(update={"forks": True})])
    assert start is not None
    assert start.flow == "check"


def test_pull_request_gives_its_number_its_ref_and_the_branch_that_it_is_for() -> None:
    asked = {"pull_request": "{pull_request}", "ref": "{pull_ref}", "note": "for {base}", "commit": "{commit}"}
    about = CHECK.model_copy(update={"parameters": asked})
    start, _ = decide(pull_request(), [about])
    assert start is not None
    assert start.parameters == {"pull_request": "62", "ref": "refs/pull/62/head", "note": "for main", "commit": HEAD}
    start, _ = decide(merge_request(), [about.model_copy(update={"repository": "acme/campus"})])
    assert start is not None
    assert (start.parameters["pull_request"], start.parameters["ref"]) == ("7", "refs/merge-requests/7/head")


def test_branch_that_a_pull_request_is_for_is_what_its_rule_names() -> None:
    assert decide(pull_request(pull_request__base__ref="next"), [CHECK]) == (None, "no rule is about next")
    # Its own branch may have any name.
    assert decide(pull_request(pull_request__head__ref="main"), [CHECK])[0] is not None


def test_rule_about_pushes_is_not_about_a_pull_request_of_the_same_branch() -> None:
    push = rule("push", "anbraten/test-ready-release-go", ["**"])
    assert decide(pull_request(), [push])[0] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"number": True},
        {"number": 0},
        {"number": -1},
        {"number": 2**31},
        {"number": "62"},
        {"number": 62.0},
        {"number": None},
        {"pull_request": None},
        {"pull_request__head__sha": "main"},
        {"pull_request__head__sha": HEAD.upper()},
        {"pull_request__base__ref": None},
        {"repository": []},
        {"action": None},
    ],
    ids=str,
)
def test_pull_request_that_does_not_say_which_one_it_is_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        pull_request(**{"action": "opened", **changes})


# --- releases


def test_published_release_names_its_tag() -> None:
    for name, tag in (("release.published", "0.0.1"), ("release.published-2", "v1.0.0")):
        found = from_github(name, "release")
        assert (found.happening, found.ref, found.commit) == (Happening.RELEASE, tag, "")
        about = rule("release", found.repository, [tag], parameters={"commit": "{tag}", "by": "{actor}"})
        start, _ = decide(found, [about])
        assert start is not None
        assert start.parameters == {"commit": tag, "by": found.actor}


def test_created_release_of_gitlab_names_its_tag_and_its_commit() -> None:
    found = gitlab_release()
    assert (found.happening, found.ref, found.commit) == (Happening.RELEASE, "v1.2", "d" * 40)


@pytest.mark.parametrize(
    "found",
    [
        *(from_github("release.published", "release", action=each) for each in ("created", "deleted", "released")),
        *(gitlab_release(action=each) for each in ("update", "delete")),
    ],
    ids=lambda event: event.unwanted,
)
def test_release_that_is_not_published_just_now_is_nothing_that_rules_are_about(found: Event) -> None:
    assert found.happening is None
    assert "counts" in decide(found, [rule("release", found.repository, ["**"])])[1]


def test_two_releases_of_one_repository_are_asked_for_both_and_one_of_them_once() -> None:
    def action(tag: str) -> str:
        found = from_github("release.published", "release", release__tag_name=tag)
        start, _ = decide(found, [rule("release", found.repository, ["**"])])
        assert start is not None
        return start.action

    assert action("v1") == action("v1") != action("v2")


# --- workflows


def test_workflow_that_has_ended_well_names_what_it_was_about() -> None:
    found = workflow()
    assert (found.happening, found.ref, found.workflow) == (Happening.WORKFLOW, "master", "test")
    assert found.commit == json.loads(body("github/workflow_run.completed-success.json"))["workflow_run"]["head_sha"]
    found = pipeline()
    assert (found.happening, found.ref, found.workflow) == (Happening.WORKFLOW, "master", "pipeline_name")
    assert found.commit == "bcbb5ec396a2c0f828686f14fac9b80b780504f2"


@pytest.mark.parametrize(
    "found",
    [
        from_github("workflow_run.requested", "workflow_run"),
        *(workflow(workflow_run__conclusion=each) for each in ("failure", "cancelled", "skipped", None, ["success"])),
        workflow(action="in_progress"),
        *(workflow(workflow_run__event=each) for each in ("pull_request", "pull_request_target")),
        workflow(workflow_run__head_repository=FORK),
        workflow(workflow_run__head_repository=None),
        *(pipeline(object_attributes__status=each) for each in ("failed", "running", "canceled", "manual", None)),
        from_gitlab(json.loads(body("gitlab/pipeline.success.json")), "Pipeline Hook"),
        pipeline(merge_request={"iid": 1}),
        pipeline(object_attributes__source="parent_pipeline"),
        pipeline(object_attributes__tag=True),
        pipeline(object_attributes__tag=None),
    ],
    ids=lambda event: event.unwanted,
)
def test_workflow_that_failed_or_was_about_a_pull_request_never_counts(found: Event) -> None:
    assert found.happening is None
    start, why = decide(found, [rule("workflow", found.repository, ["**"])])
    assert start is None
    assert why == found.unwanted != ""


def test_only_the_workflow_that_the_rule_names_counts() -> None:
    about = rule("workflow", "octo-org/octo-repo", ["master"], workflow="test")
    assert decide(workflow(), [about])[0] is not None
    assert decide(workflow(workflow__name="lint"), [about]) == (None, "no rule is about the workflow 'lint'")
    assert decide(workflow(workflow_run__head_branch="next"), [about]) == (None, "no rule is about next")


def test_test_delivery_is_ignored_with_a_plain_word() -> None:
    payload = body("github/ping.json")
    found = read(GITHUB, github(payload, event="ping"), payload, NOW)
    assert decide(found, [CHECK]) == (None, "it is a test of the hook, and shows that the hook works")
