"""Which run an event asks for. Pure."""

import hashlib
import json
from collections.abc import Sequence

from tasks.common.delivery import Event, Start
from tasks.common.webhooks import Happening, WebhookRule, fill, matches, placeholders

_WHO = "requested_by"
"""Two who ask for the same thing ask for one run."""


def decide(event: Event, rules: Sequence[WebhookRule]) -> tuple[Start | None, str]:
    """Return the run that the first fitting rule starts, and why there is none otherwise.

    Args:
        event: what has happened.
        rules: the source's, in order.
    """
    if event.happening is None:
        return None, event.unwanted or f"no rule can be about {event.name!r}"
    if not event.commit and event.happening in (Happening.PUSH, Happening.TAG):
        return None, f"{event.ref} was deleted"
    about = [rule for rule in rules if rule.event == event.about and rule.repository == event.repository]
    if not about:
        return None, f"no rule is about a {event.about}" + (f" in {event.repository}" if event.repository else "")
    wanted = [rule for rule in about if rule.workflow in ("", event.workflow)]
    if not wanted:
        return None, f"no rule is about the workflow {event.workflow!r}"
    wanted = [rule for rule in wanted if not rule.refs or matches(event.ref, rule.refs)]
    if not wanted:
        return None, f"no rule is about {event.ref}"
    wanted = [rule for rule in wanted if rule.forks or event.pull is None or not event.pull.from_fork]
    if not wanted:
        return None, "it comes from a fork, which no rule lets in"
    for rule in wanted:
        if _touches(event, rule):
            return _start(event, rule)
    return None, "no file that a rule is about was changed"


def _touches(event: Event, rule: WebhookRule) -> bool:
    return not rule.paths or event.paths is None or any(matches(path, rule.paths) for path in event.paths)


def _start(event: Event, rule: WebhookRule) -> tuple[Start | None, str]:
    values = _values(event)
    missing = sorted(name for name in placeholders(rule.parameters) if not values.get(name))
    if missing:
        return None, f"the event has no {', '.join(missing)}, which the rule needs"
    parameters = {name: fill(text, values) for name, text in rule.parameters.items()}
    same = {name: text for name, text in parameters.items() if name != _WHO}
    about = json.dumps([event.repository, _subject(event), rule.start, same], sort_keys=True)
    return Start(rule.start, parameters, hashlib.sha256(about.encode()).hexdigest()), ""


def _subject(event: Event) -> str:
    """Return what must not be asked for twice: the commit, or the tag that was released, or else this very event."""
    return event.commit or (event.ref if event.happening is Happening.RELEASE else event.id)


def _values(event: Event) -> dict[str, str]:
    """Return what parameters may take from the event, by placeholder."""
    values = {"actor": event.actor, "commit": event.commit, "repository": event.repository}
    if event.pull is not None:
        return values | {"base": event.ref, "pull_request": str(event.pull.number), "pull_ref": event.pull.ref}
    return values | {_REF[event.happening]: event.ref} if event.happening in _REF else values


_REF = {
    Happening.PUSH: "branch",
    Happening.WORKFLOW: "branch",
    Happening.TAG: "tag",
    Happening.RELEASE: "tag",
    Happening.OTHER: "ref",
}
"""What the ref of an event is called, if it is not a pull request's."""
