"""Hashed passwords and signed tokens, with nothing but the standard library."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time

# Cheap enough for an example that is logged in to several times a second on a small machine. The parameters are kept
# with each hash, so raising them costs no user a log-in.
_COST = (2**12, 8, 1)
_DAY_S = 8 * 3600


def hash_password(password: str) -> str:
    """Return 'scrypt$n$r$p$salt$hash', under a salt of its own."""
    salt = secrets.token_bytes(16)
    return "$".join(["scrypt", *map(str, _COST), salt.hex(), _scrypt(password, salt, *_COST).hex()])


def password_matches(password: str, kept: str) -> bool:
    """Return whether the password is the one that was hashed."""
    _, n, r, p, salt, wanted = kept.split("$")
    found = _scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found.hex(), wanted)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, dklen=32)


def issue_token(user_id: int, secret: str, *, now: float | None = None) -> str:
    """Return a token that names the user for eight hours."""
    expires_at = (time.time() if now is None else now) + _DAY_S
    claims = json.dumps({"sub": user_id, "exp": round(expires_at)}).encode()
    body = base64.urlsafe_b64encode(claims).decode()
    return f"{body}.{_signature(body, secret)}"


def read_token(token: str, secret: str, *, now: float | None = None) -> int | None:
    """Return the user that a token names; None if it is forged, damaged or has expired."""
    body, _, signature = token.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(body, secret).encode()):
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(body))
    except (binascii.Error, ValueError):
        return None
    return int(claims["sub"]) if claims["exp"] > (time.time() if now is None else now) else None


def _signature(body: str, secret: str) -> str:
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
