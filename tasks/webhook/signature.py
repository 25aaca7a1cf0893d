"""Whether who sends a delivery knows the secret. Pure; fails closed.

*Source:* GitHub, "Validating webhook deliveries"; GitLab, "Webhooks", secret token and signing token; Standard Webhooks
specification 1.0, "Signature scheme"; CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery" 1.0.2, section 3 (bearer).
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

from tasks.common.signing import signature, signing_key
from tasks.common.webhooks import Forge, WebhookSource
from tasks.webhook.model import Forged

REPLAY_WINDOW_S = 300.0
"""How far a signed time may be from now. *Source:* Standard Webhooks names five minutes."""
_SIGNED_AT_ONCE_AT_MOST = 10
_HUB, _STANDARD = "x-hub-signature-256", "webhook-signature"


def verify(
    source: WebhookSource, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime
) -> None:
    """The sender knows one of the secrets.

    Args:
        source: who sends, and in which header such senders sign.
        headers: by lower-case name; lines between the values of one that was sent several times.
        body: as it was received, byte for byte.
        secrets: those that count now; an empty one never does.
        now: the time that a signed time is compared with.

    Raises:
        Forged: it does not, or has not shown it; says which header is missing or wrong, and nothing of a secret.
    """
    known = [secret.encode() for secret in secrets if secret.strip()]
    if not known:
        raise _forged("no secret is set for this source", "set the secret that the estate file refers to")
    _SCHEMES[source.forge](source, headers, body, known, now)


def _github(
    source: WebhookSource, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: datetime
) -> None:
    del source, now
    _signed_body(_HUB, _header(headers, _HUB), body, secrets)


def _gitlab(
    source: WebhookSource, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: datetime
) -> None:
    del source
    # A hook with a signing token sends both: what can be checked better is never passed by the weaker one.
    if _STANDARD in headers:
        _standard(headers, body, secrets, now)
    else:
        _require_one(_header(headers, "x-gitlab-token").encode(), secrets, "x-gitlab-token")


def _generic(
    source: WebhookSource, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: datetime
) -> None:
    if _STANDARD in headers:
        _standard(headers, body, secrets, now)
    else:
        # Some write the digits alone, some in capitals: they stand for the same number.
        given = _header(headers, source.signature_header).lower()
        _signed_body(source.signature_header, f"sha256={given.removeprefix('sha256=')}", body, secrets)


def _cloudevents(
    source: WebhookSource, headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: datetime
) -> None:
    if not source.bearer or _STANDARD in headers or source.signature_header in headers:
        _generic(source, headers, body, secrets, now)
        return
    scheme, _, token = _header(headers, "authorization").partition(" ")
    if scheme.lower() != "bearer":
        raise _forged("authorization is no bearer token", "send 'Bearer', a space, and the secret")
    _require_one(token.encode(), secrets, "authorization")


def _signed_body(header: str, given: str, body: bytes, secrets: Sequence[bytes]) -> None:
    wanted = [b"sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest().encode() for secret in secrets]
    _require_one(given.encode(), wanted, header)


def _standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: datetime) -> None:
    sent_at = _header(headers, "webhook-timestamp")
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12):
        raise _forged("webhook-timestamp is no time", "send the seconds since 1970")
    if abs(now.timestamp() - int(sent_at)) > REPLAY_WINDOW_S:
        raise _forged("webhook-timestamp is too far from now", "check both clocks; a delivery that was kept is refused")
    sent_id = _header(headers, "webhook-id")
    wanted = [signature(_key(secret), sent_id, sent_at, body).encode() for secret in secrets]
    given = [
        text.removeprefix("v1,").encode()
        for text in _header(headers, _STANDARD).split(" ")[:_SIGNED_AT_ONCE_AT_MOST]
        if text.startswith("v1,")
    ]
    # Every pair is compared, so that the time tells nothing about which one fits.
    if not sum(hmac.compare_digest(mine, theirs) for mine in wanted for theirs in given):
        raise _forged("webhook-signature does not fit", "check the secret on both sides")


def _key(secret: bytes) -> bytes:
    try:
        return signing_key(secret)
    except ValueError as wrong:
        raise _forged(str(wrong), "set it as the forge shows it") from None


def _require_one(given: bytes, wanted: Sequence[bytes], header: str) -> None:
    if not sum(hmac.compare_digest(given, each) for each in wanted):
        raise _forged(f"{header} does not fit", "check the secret on both sides")


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise _forged(f"{name} is missing", "set the secret of the hook; without it nothing is taken")
    if "\n" in value:
        raise _forged(f"{name} is there twice", "send it once")
    return value


def _forged(what: str, next_action: str) -> Forged:
    return Forged(what, on="a delivery", state="nothing was started", next_action=next_action)


_SCHEMES = {
    Forge.GITHUB: _github,
    Forge.GITLAB: _gitlab,
    Forge.GENERIC: _generic,
    Forge.CLOUDEVENTS: _cloudevents,
}
