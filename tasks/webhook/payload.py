"""What a delivery says has happened. Pure.

Its sender is known by now; that it is what that sender sends is not taken for granted.

*Source:* GitHub, "Webhook events and payloads"; GitLab, "Webhook events".
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from tasks.common.delivery import Event
from tasks.common.webhooks import Forge, Happening
from tasks.webhook.model import Malformed

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_TEXT_AT_MOST = 500
_BRANCH, _TAG = "refs/heads/", "refs/tags/"
_COMMITS_TOLD_AT_MOST = {Forge.GITHUB: 2048, Forge.GITLAB: 20}
"""A push with more commits than this does not name them all, and so not all of its files."""


def read(forge: Forge, headers: Mapping[str, str], body: bytes) -> Event:
    """Return what has happened.

    Args:
        forge: who sends.
        headers: by lower-case name.
        body: as it was received.

    Raises:
        Malformed: it is no JSON object, or not what the forge sends; says what is wrong with it.
    """
    return _READERS[forge](headers, _object(body))


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"the body is no JSON: {type(error).__name__}") from None
    if not isinstance(found, dict):
        raise _malformed("the body is no JSON object")
    return found


def _github(headers: Mapping[str, str], body: Mapping[str, Any]) -> Event:
    name = _text(headers.get("x-github-event"), "x-github-event")
    id_ = _text(headers.get("x-github-delivery"), "x-github-delivery")
    if name != "push":
        return Event(id_, name, repository=_optional(body, "repository", "full_name"))
    return _push(Forge.GITHUB, id_, name, body, ("repository", "full_name"), ("sender", "login"))


def _gitlab(headers: Mapping[str, str], body: Mapping[str, Any]) -> Event:
    name = _text(headers.get("x-gitlab-event"), "x-gitlab-event")
    ids = (headers.get(each) for each in ("webhook-id", "idempotency-key", "x-gitlab-event-uuid"))
    id_ = _text(next(filter(None, ids), None), "x-gitlab-event-uuid")
    if name not in ("Push Hook", "Tag Push Hook"):
        return Event(id_, name, repository=_optional(body, "project", "path_with_namespace"))
    return _push(Forge.GITLAB, id_, name, body, ("project", "path_with_namespace"), ("user_username",))


def _push(
    forge: Forge, id_: str, name: str, body: Mapping[str, Any], repository: tuple[str, ...], actor: tuple[str, ...]
) -> Event:
    ref = _text(body.get("ref"), "ref")
    happening = Happening.PUSH if ref.startswith(_BRANCH) else Happening.TAG if ref.startswith(_TAG) else None
    return Event(
        id=id_,
        name=name,
        happening=happening,
        repository=_text(_find(body, *repository), ".".join(repository)),
        ref=ref.removeprefix(_BRANCH).removeprefix(_TAG),
        commit=_commit(body),
        actor=_optional(body, *actor),
        paths=_paths(forge, body),
    )


def _commit(body: Mapping[str, Any]) -> str:
    """Return the commit that the ref is at now, '' where it was deleted."""
    # An annotated tag is an object of its own: 'after' is its hash, and the commit is named elsewhere.
    found = _find(body, "head_commit", "id") or body.get("checkout_sha") or body.get("after")
    after = body.get("after")
    if body.get("deleted") is True or (isinstance(after, str) and set(after) == {"0"}):
        return ""
    if not isinstance(found, str) or not _COMMIT.fullmatch(found):
        raise _malformed("it does not name a whole commit")
    return found


def _paths(forge: Forge, body: Mapping[str, Any]) -> tuple[str, ...] | None:
    commits = body.get("commits")
    if not isinstance(commits, list) or not commits or len(commits) >= _COMMITS_TOLD_AT_MOST[forge]:
        return None
    # A forced push takes commits away, which are not told; what they had changed is changed back.
    if body.get("forced") is True:
        return None
    found: set[str] = set()
    for commit in commits:
        for kind in ("added", "modified", "removed"):
            paths = commit.get(kind) if isinstance(commit, dict) else None
            if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
                return None
            found.update(paths)
    return tuple(sorted(found))


def _find(body: object, *keys: str) -> object:
    for key in keys:
        body = body.get(key) if isinstance(body, dict) else None
    return body


def _optional(body: Mapping[str, Any], *keys: str) -> str:
    found = _find(body, *keys)
    return found[:_TEXT_AT_MOST] if isinstance(found, str) else ""


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value or len(value) > _TEXT_AT_MOST or not value.isprintable():
        raise _malformed(f"{what} is missing, or no text of up to {_TEXT_AT_MOST} characters")
    return value


def _malformed(what: str) -> Malformed:
    return Malformed(
        what,
        on="a delivery",
        state="nothing was started",
        next_action="compare what was sent with the forge's documentation; the secret was right",
    )


_READERS = {Forge.GITHUB: _github, Forge.GITLAB: _gitlab}
