"""Parts of what was sent, checked one by one. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from tasks.webhook.model import Malformed

TEXT_AT_MOST = 500
NUMBER_AT_MOST = 2**31 - 1
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def find(body: object, *keys: str) -> object:
    """Return what stands under the keys; None where there is nothing."""
    for key in keys:
        body = body.get(key) if isinstance(body, dict) else None
    return body


def text(value: object, what: str) -> str:
    """Return a text that can be shown on one line.

    Raises:
        Malformed: it is none; says what is missing.
    """
    if not isinstance(value, str) or not value or len(value) > TEXT_AT_MOST or not value.isprintable():
        raise malformed(f"{what} is missing, or no text of up to {TEXT_AT_MOST} printable characters")
    return value


def optional(body: Mapping[str, Any], *keys: str) -> str:
    """Return a text that is only shown; '' where there is none that could be."""
    found = find(body, *keys)
    return found[:TEXT_AT_MOST] if isinstance(found, str) and found.isprintable() else ""


def commit(value: object) -> str:
    """Return the hash of a commit.

    Raises:
        Malformed: it is no whole one.
    """
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        raise malformed("it does not name a whole commit")
    return value


def number(value: object, what: str) -> int:
    """Return a number by which the forge knows something.

    Raises:
        Malformed: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= NUMBER_AT_MOST:
        raise malformed(f"{what} is missing, or no number from 1")
    return value


def malformed(what: str) -> Malformed:
    """Return the error for what is not what its sender sends."""
    return Malformed(
        what,
        on="a delivery",
        state="nothing was started",
        next_action="compare what was sent with the sender's documentation; the secret was right",
    )
