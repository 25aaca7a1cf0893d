"""Pushes of branches and tags, which GitHub and GitLab tell in nearly the same words. Pure."""

from collections.abc import Mapping
from typing import Any

from tasks.common.delivery import Event
from tasks.common.webhooks import Happening
from tasks.webhook.payload_parts import commit, find, optional, text

_BRANCH, _TAG = "refs/heads/", "refs/tags/"


def read_push(
    event: Event, body: Mapping[str, Any], repository: tuple[str, ...], actor: tuple[str, ...], told_at_most: int
) -> Event:
    """Return the event with what was pushed.

    Args:
        event: its id and name.
        body: what was sent.
        repository: where the repository's name stands.
        actor: where it stands who has pushed.
        told_at_most: with as many commits the push does not name them all, and so not all of its files.

    Raises:
        Malformed: it does not say what was pushed.
    """
    ref = text(body.get("ref"), "ref")
    happening = Happening.PUSH if ref.startswith(_BRANCH) else Happening.TAG if ref.startswith(_TAG) else None
    return Event(
        id=event.id,
        name=event.name,
        happening=happening,
        repository=text(find(body, *repository), ".".join(repository)),
        ref=ref.removeprefix(_BRANCH).removeprefix(_TAG),
        commit=_commit(body),
        actor=optional(body, *actor),
        paths=_paths(body, told_at_most),
    )


def _commit(body: Mapping[str, Any]) -> str:
    """Return the commit that the ref is at now, '' where it was deleted."""
    # An annotated tag is an object of its own: 'after' is its hash, and the commit is named elsewhere.
    found = find(body, "head_commit", "id") or body.get("checkout_sha") or body.get("after")
    after = body.get("after")
    if body.get("deleted") is True or (isinstance(after, str) and set(after) == {"0"}):
        return ""
    return commit(found)


def _paths(body: Mapping[str, Any], told_at_most: int) -> tuple[str, ...] | None:
    commits = body.get("commits")
    if not isinstance(commits, list) or not commits or len(commits) >= told_at_most:
        return None
    # A forced push takes commits away, which are not told; what they had changed is changed back.
    if body.get("forced") is True:
        return None
    found: set[str] = set()
    for each in commits:
        for kind in ("added", "modified", "removed"):
            paths = each.get(kind) if isinstance(each, dict) else None
            if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
                return None
            found.update(paths)
    return tuple(sorted(found))
