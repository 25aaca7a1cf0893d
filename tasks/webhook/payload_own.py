"""What senders say whose events have names of their own: any signed JSON, and CloudEvents. Pure.

*Source:* CloudEvents specification 1.0.2, and its HTTP protocol binding and JSON format; RFC 6901, "JSON pointer".
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from tasks.common.delivery import Event
from tasks.common.webhooks import Fields, Happening, WebhookSource
from tasks.webhook.payload_parts import commit, malformed, text

STRUCTURED = "application/cloudevents+json"
_VERSION = "1.0"


def read_generic(source: WebhookSource, headers: Mapping[str, str], body: Mapping[str, Any]) -> Event:
    """Return what has happened, as the estate file says where it stands.

    Raises:
        Malformed: the delivery has no id, or does not say what has happened.
    """
    # Of several ids the signed one counts: whoever sends it once more can choose any other anew.
    names = ["webhook-id", "x-delivery-id"]
    if source.id_header and "webhook-signature" not in headers:
        names = [source.id_header]
    id_ = text(next(filter(None, map(headers.get, names)), None), f"the delivery's id ({' or '.join(names)})")
    assert source.fields.event is not None
    name = text(_at(body, source.fields.event), source.fields.event)
    return _event(id_, name, source.fields, body)


def read_cloudevent(source: WebhookSource, headers: Mapping[str, str], body: Any, now: datetime) -> Event:
    """Return what has happened.

    Args:
        source: where its data stand, and how far its time may be from now.
        headers: by lower-case name; with the attributes in binary mode.
        body: the event in structured mode, its data in binary mode.
        now: the time.

    Raises:
        Malformed: it is no such event, or its time is too far from now.
    """
    event = body if is_structured(headers) else _from_binary(headers, body)
    if event.get("specversion") != _VERSION:
        raise malformed(f"it is no CloudEvent of version {_VERSION}")
    who = text(event.get("source"), "source")
    if any(map(str.isspace, who)):
        raise malformed("source is no URI: it has a space in it")
    _check_time(event.get("time"), now, timedelta(seconds=source.window_s))
    # A source has no spaces: different pairs stay different.
    id_ = text(f"{who} {text(event.get('id'), 'id')}", "source with id")
    return _event(id_, text(event.get("type"), "type"), source.fields, event)


def is_structured(headers: Mapping[str, str]) -> bool:
    """Return whether the body is the whole event, and not only its data."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == STRUCTURED


def _from_binary(headers: Mapping[str, str], data: object) -> dict[str, object]:
    try:
        attributes = {
            name.removeprefix("ce-"): unquote(value, errors="strict")
            for name, value in headers.items()
            if name.startswith("ce-")
        }
    except UnicodeDecodeError:
        raise malformed("a ce- header is no text in UTF-8") from None
    return {**attributes, "data": data}


def _check_time(value: object, now: datetime, window: timedelta) -> None:
    if value is None:
        return
    try:
        at = datetime.fromisoformat(text(value, "time"))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise malformed("time is no time with its zone (RFC 3339)")
    if abs(now - at) > window:
        raise malformed(f"its time is more than {window.total_seconds():g} s from now")


def _event(id_: str, name: str, fields: Fields, body: object) -> Event:
    hash_ = _said(body, fields.commit)
    return Event(
        id=id_,
        name=name,
        happening=Happening.OTHER,
        repository=_said(body, fields.repository),
        ref=_said(body, fields.ref),
        commit=commit(hash_) if hash_ else "",
        actor=_said(body, fields.actor),
    )


def _said(body: object, pointer: str | None) -> str:
    """Return the text that the pointer leads to; '' where nothing is said there."""
    found = _at(body, pointer) if pointer else None
    return "" if found in (None, "") else text(found, str(pointer))


def _at(value: object, pointer: str) -> object:
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isascii() and key.isdigit() and len(key) < 7:
            value = value[int(key)] if int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value
