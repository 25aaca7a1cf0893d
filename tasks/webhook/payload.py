"""What a delivery says has happened. Pure.

Its sender is known by now; that it is what that sender sends is not taken for granted.
"""

from collections.abc import Mapping
from datetime import datetime

from tasks.common.delivery import Event
from tasks.common.webhooks import Forge, WebhookSource
from tasks.webhook.payload_github import read_github
from tasks.webhook.payload_gitlab import read_gitlab
from tasks.webhook.payload_json import parse
from tasks.webhook.payload_own import STRUCTURED, is_structured, read_cloudevent, read_generic
from tasks.webhook.payload_parts import malformed

_JSON = "application/json"
_BATCH = "application/cloudevents-batch"
_READERS = {Forge.GITHUB: read_github, Forge.GITLAB: read_gitlab, Forge.GENERIC: read_generic}


def read(source: WebhookSource, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
    """Return what has happened.

    Args:
        source: who sends, and where such senders say what.
        headers: by lower-case name.
        body: as it was received.
        now: the time that an event's own time is compared with.

    Raises:
        Malformed: it is no JSON, or not what the source sends; says what is wrong with it.
    """
    found = parse(body)
    if source.forge is Forge.CLOUDEVENTS and not is_structured(headers):
        return read_cloudevent(source, headers, found, now)
    if not isinstance(found, dict):
        raise malformed("the body is no JSON object")
    if source.forge is Forge.CLOUDEVENTS:
        return read_cloudevent(source, headers, found, now)
    return _READERS[source.forge](source, headers, found)


def media_problem(forge: Forge, content_type: str) -> str:
    """Return what is wrong with the content type of a delivery; '' where nothing is."""
    kind, _, parameters = content_type.lower().partition(";")
    kind = kind.strip()
    if "charset" in parameters and "utf-8" not in parameters:
        return "the body is not sent in UTF-8"
    if forge is not Forge.CLOUDEVENTS:
        return "" if kind == _JSON else f"the body is not sent as {_JSON}"
    if kind.startswith(_BATCH):
        return "batches of events are not taken: let each be sent by itself"
    fits = kind == _JSON or (kind.startswith("application/") and kind.endswith("+json"))
    return "" if fits else f"the event is not sent as {STRUCTURED}, or its data not as {_JSON}"
