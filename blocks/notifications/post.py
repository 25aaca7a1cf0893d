"""One POST of JSON to an address: what all notifiers by HTTP share."""

import http.client
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, WithJsonSchema

from tasks.common.errors import Refused, Retryable
from tasks.common.secrets import NoReference
from tasks.common.units import ADDRESS_PATTERN

_BUSY = (408, 425, 429)
_SAYS_BYTES = 4096
_SAYS_SHOWN = 200
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Poster:
    """POSTs to another side, and says in words for an operator what has become of it.

    The request is made with http.client, which logs nothing, and not with httpx, which logs every address: some hold a
    token. Plain http is only used on this machine. Redirects and proxies are not followed or used; certificates are
    checked.

    Args:
        name: what the other side is called in errors: 'the webhook'.
        on: what the estate file says of it, as errors may show it.
        timeout_s: longest wait for the connection, and for each answer.
        redact: applied to what the other side says.
        if_refused: what an operator does when it refuses a message.
    """

    name: str
    on: str
    timeout_s: float
    redact: Callable[[str], str]
    if_refused: str

    def check(self, address: str) -> SplitResult:
        """Return the address in its parts.

        Raises:
            Refused: it is none, or not encrypted on its way to another machine. Repeats no part of it.
        """
        parts = _parts(address)
        if parts is None:
            raise self._refused(f"{self.name}'s address is none", "write the whole address, https://...")
        if not is_safe(parts):
            raise self._refused(
                f"{self.name}'s address is not encrypted: what is sent could be read on the way",
                "use the https address; http is only for this machine",
            )
        return parts

    def post(self, to: SplitResult, body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """The other side answered 2xx. *Idempotent:* no.

        Args:
            to: what `check` has returned.
            body: JSON.
            headers: besides those that every request has.

        Raises:
            Retryable: it does not answer, is busy (408, 425, 429), or has an error of its own (5xx).
            Refused: anything else.
        """
        try:
            status, says = self._ask(to, body, headers)
        # Not chained: some of these carry the address.
        except ssl.SSLCertVerificationError as error:
            problem: Refused | Retryable = self._refused(
                f"{self.name}'s certificate is not accepted: {error.verify_message}",
                "check the address; SSL_CERT_FILE names certificates that Slipway trusts",
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = self._retryable(f"{self.name} does not answer: {type(error).__name__}")
        else:
            if 200 <= status < 300:
                return
            problem = self._judged(status, says)
        raise problem

    def _ask(self, to: SplitResult, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        host, port = str(to.hostname), to.port
        if to.scheme == "https":
            tls = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self.timeout_s, context=tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        try:
            path = f"{to.path or '/'}{'?' + to.query if to.query else ''}"
            usual = {"Content-Type": "application/json", "User-Agent": "slipway"}
            connection.request("POST", path, body, {**usual, **headers})
            response = connection.getresponse()
            return response.status, "" if response.status < 300 else _read(response)
        finally:
            connection.close()

    def _judged(self, status: int, says: str) -> Refused | Retryable:
        shown = "".join(each if each.isprintable() else " " for each in self.redact(says))[:_SAYS_SHOWN]
        said = f", and says: {shown.strip()}" if shown.strip() else ""
        if status in _BUSY or status >= 500:
            return self._retryable(f"{self.name} cannot take it now: HTTP {status}{said}")
        return self._refused(f"{self.name} refuses it: HTTP {status}{said}", self.if_refused)

    def _refused(self, what: str, next_action: str) -> Refused:
        return Refused(what, on=self.on, state="the message was not sent", next_action=next_action)

    def _retryable(self, what: str) -> Retryable:
        return Retryable(
            what,
            on=self.on,
            state="the message may not have been sent",
            next_action="check that this worker reaches it, and its own status page",
        )


def check_open_address(value: object) -> str:
    """Return an address that may stand in the estate file as it is.

    Raises:
        NoReference: it is none, not encrypted on its way to another machine, or holds a password; it is not repeated.
    """
    parts = _parts(value) if isinstance(value, str) else None
    if parts is None or not is_safe(parts) or parts.username is not None:
        raise NoReference("an https:// address without user and password, or an http:// one of this machine")
    return str(value)


OpenAddress = Annotated[
    str, BeforeValidator(check_open_address), WithJsonSchema({"type": "string", "pattern": ADDRESS_PATTERN})
]


def _parts(address: str) -> SplitResult | None:
    """Return the parts of an address that can be asked for as it stands; None if it is none."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    whole = f"{parts.path}{parts.query}"
    sound = bool(host) and parts.scheme in ("http", "https") and whole.isascii() and whole.isprintable()
    return parts if sound and " " not in whole else None


def is_safe(parts: SplitResult) -> bool:
    """Return whether nobody can read what is sent there on its way."""
    if parts.scheme == "https":
        return True
    try:
        return ipaddress.ip_address(str(parts.hostname)).is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def _read(response: http.client.HTTPResponse) -> str:
    """Return the beginning of a body; what it says is a help, and none of it is needed."""
    try:
        return response.read(_SAYS_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
