"""Messages as events that open incidents at PagerDuty, and close them. Pure.

*Source:* PagerDuty, "Events API v2 Overview" and "Send an Alert Event": the fields; the lengths of summary (1024
characters), dedup_key (255) and of all (512 KB); what is sent again with the same dedup_key is one alert as long as it
is open; a resolve for one that is not open is dropped. The other fields have no documented limit.
"""

import hashlib

from tasks.common.occasion import Severity
from tasks.notify.format import body, cut, facts, page, subject
from tasks.notify.model import About, Message

SUMMARY_AT_MOST = 1024
KEY_AT_MOST = 255
SIZE_AT_MOST_BYTES = 512_000
_SOURCE_AT_MOST = 255


def incident_event(message: Message, routing_key: str) -> dict[str, object] | None:
    """Return the event that opens an incident, or closes it; None where nobody is to be woken and nothing is over.

    Args:
        message: without secrets.
        routing_key: the integration's key.
    """
    known = {"routing_key": routing_key, "dedup_key": incident_key(message.about)}
    if message.ends_trouble:
        return {**known, "event_action": "resolve"}
    if not message.severity.reaches(Severity.WARNING):
        return None
    about, link = message.about, page(message)
    shown = {"client_url": link, "links": [{"href": link, "text": "Read on"}]} if link else {}
    return {
        **known,
        "event_action": "trigger",
        "client": "Slipway",
        **shown,
        "payload": {
            "summary": subject(message, SUMMARY_AT_MOST),
            "source": cut(str(about), _SOURCE_AT_MOST),
            "severity": message.severity.value,
            "timestamp": message.at.isoformat(),
            "component": about.service or about.estate,
            "group": about.environment or about.estate,
            "class": message.occasion.value,
            "custom_details": {**dict(facts(message)), "text": body(message)},
        },
    }


def incident_key(about: About) -> str:
    """Return what an incident is known by: the same for all messages about the same thing, never too long."""
    parts = ["slipway", about.estate, about.environment, about.service, about.topic]
    whole = "/".join([*parts, about.schedule] if about.schedule else parts)
    if len(whole) <= KEY_AT_MOST:
        return whole
    return f"slipway/{hashlib.sha256(whole.encode()).hexdigest()}"
