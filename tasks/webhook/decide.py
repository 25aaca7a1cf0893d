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
        return None, f"no rule can be about {event.name!r}"
    if not event.commit:
        return None, f"{event.ref} was deleted"
    about = [rule for rule in rules if rule.event is event.happening and rule.repository == event.repository]
    if not about:
        return None, f"no rule is about a {event.happening} in {event.repository}"
    wanted = [rule for rule in about if matches(event.ref, rule.refs)]
    if not wanted:
        return None, f"no rule is about {event.ref}"
    for rule in wanted:
        if _touches(event, rule):
            return _start(event, rule)
    return None, "no file that a rule is about was changed"


def _touches(event: Event, rule: WebhookRule) -> bool:
    return not rule.paths or event.paths is None or any(matches(path, rule.paths) for path in event.paths)


def _start(event: Event, rule: WebhookRule) -> tuple[Start | None, str]:
    values = {"actor": event.actor, "commit": event.commit, "repository": event.repository}
    values |= {"tag": event.ref} if event.happening is Happening.TAG else {"branch": event.ref}
    missing = sorted(name for name in placeholders(rule.parameters) if not values.get(name))
    if missing:
        return None, f"the event has no {', '.join(missing)}, which the rule needs"
    parameters = {name: fill(text, values) for name, text in rule.parameters.items()}
    same = {name: text for name, text in parameters.items() if name != _WHO}
    about = json.dumps([event.repository, event.commit, rule.start, same], sort_keys=True)
    return Start(rule.start, parameters, hashlib.sha256(about.encode()).hexdigest()), ""
