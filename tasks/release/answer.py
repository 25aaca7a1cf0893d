"""Decides whether the answer to an HTTP check is the one that was wanted."""

from collections.abc import Callable

from tasks.common.model import HttpCheck

_BODY_SHOWN = 200
# Redacted before it is cut to what is shown, so that a cut never leaves half a secret.
_BODY_REDACTED = 65536


def judge_answer(check: HttpCheck, status: int, body: str, redact: Callable[[str], str]) -> str:
    """Return what is wrong with an answer, in words for the person on call; nothing where it is as wanted."""
    if status != check.expect:
        return f"expected status {check.expect}, found {status}; {_shown(body, redact)}"
    if check.contains is not None and check.contains not in body:
        return f"status {status} as expected, but the body does not contain {check.contains!r}; {_shown(body, redact)}"
    return ""


def _shown(body: str, redact: Callable[[str], str]) -> str:
    line = " ".join(redact(body[:_BODY_REDACTED]).split())
    text = "".join(character if character.isprintable() else "\ufffd" for character in line[:_BODY_SHOWN])
    return f"its body begins: {text}" if text else "its body is empty"
