"""Signatures of Standard Webhooks, for those that are checked and for those that are made. Pure.

*Source:* Standard Webhooks specification 1.0.0, "Signature scheme" and "Webhook headers".
"""

import base64
import binascii
import hmac

_WHSEC = b"whsec_"


def signing_key(secret: bytes) -> bytes:
    """Return the key that a secret stands for: after 'whsec_' it is base64, and else the secret itself.

    Raises:
        ValueError: it begins with whsec_, and what follows is no base64, or nothing. Says nothing of the secret.
    """
    text = secret.removeprefix(_WHSEC)
    if text == secret:
        return secret
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    # An empty key is one that everybody has.
    if not key:
        raise ValueError("the secret begins with whsec_, but what follows is no base64")
    return key


def signature(key: bytes, message_id: str, sent_at: str, body: bytes) -> str:
    """Return the signature of a message, without its version: base64 of the HMAC-SHA256 of id, time and body.

    Args:
        key: as `signing_key` returns it.
        message_id: the header webhook-id.
        sent_at: the header webhook-timestamp, seconds since 1970.
        body: as it is sent, byte for byte.
    """
    signed = b".".join([message_id.encode(), sent_at.encode(), body])
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
