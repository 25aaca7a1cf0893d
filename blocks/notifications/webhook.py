"""Messages to a chat, by an incoming webhook as Slack, Mattermost, Rocket.Chat and others have it."""

import http.client
import ipaddress
import json
import ssl
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from blocks.context import Context
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import PositiveDuration
from tasks.notify.format import redacted, slack_payload
from tasks.notify.model import Message

_BUSY = (408, 425, 429)
_SAYS_BYTES = 4096
_SAYS_SHOWN = 200


class WebhookNotifier:
    """Implements `Notifier` with one POST a message.

    The address holds a token, so it is a secret: it stands in no log, no error and no exception. That is why the
    request is made with http.client, which logs nothing, and not with httpx, which logs every address. Plain http is
    only used on this machine. Redirects and proxies are not followed or used; certificates are checked.
    """

    class Settings(StrictModel):
        """Which webhook."""

        url: SecretRef = Field(description="the webhook's address, with its token")
        timeout_s: PositiveDuration = Field(
            default=5.0, alias="timeout", le=20, description="longest wait for the connection, and for each answer"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._secrets = context.secrets

    def send(self, message: Message) -> None:
        """The other side answered 2xx. *Idempotent:* no.

        Raises:
            Retryable: it does not answer, is busy (408, 425, 429), or has an error of its own (5xx).
            Refused: anything else; the address may be wrong or withdrawn.
        """
        address = self._address()
        body = json.dumps(slack_payload(redacted(message, self._secrets.redact))).encode()
        try:
            status, says = self._post(address, body)
        # Not chained: some of these carry the address.
        except ssl.SSLCertVerificationError as error:
            problem: Refused | Retryable = self._refused(
                f"the webhook's certificate is not accepted: {error.verify_message}",
                "check the address; SSL_CERT_FILE names certificates that Slipway trusts",
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = self._retryable(f"the webhook does not answer: {type(error).__name__}")
        else:
            if 200 <= status < 300:
                return
            problem = self._judged(status, says)
        raise problem

    def _address(self) -> SplitResult:
        """Return the parts of the address; it is resolved at every use, as it may have been exchanged."""
        try:
            address = urlsplit(self._secrets.resolve(self._settings.url))
            host, _ = address.hostname, address.port
            whole = f"{address.path}{address.query}"
            sound = bool(host) and address.scheme in ("http", "https") and whole.isascii() and whole.isprintable()
        except ValueError:
            sound = False
        if not sound or " " in whole:
            raise self._refused("the webhook's address is none", "let it be the whole https://... that the chat gave")
        if address.scheme == "http" and not is_here(str(host)):
            raise self._refused(
                "the webhook's address is not encrypted: its token could be read on the way",
                "use the https address; http is only for this machine",
            )
        # A server may repeat the path without the host, and a person the last part of it.
        for part in (whole, address.path.rpartition("/")[2]):
            self._secrets.redactor.add(part)
        return address

    def _post(self, address: SplitResult, body: bytes) -> tuple[int, str]:
        host, port, timeout = str(address.hostname), address.port, self._settings.timeout_s
        if address.scheme == "https":
            tls = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=timeout, context=tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        try:
            path = f"{address.path or '/'}{'?' + address.query if address.query else ''}"
            connection.request("POST", path, body, {"Content-Type": "application/json", "User-Agent": "slipway"})
            response = connection.getresponse()
            return response.status, "" if response.status < 300 else _read(response)
        finally:
            connection.close()

    def _judged(self, status: int, says: str) -> Refused | Retryable:
        shown = "".join(each if each.isprintable() else " " for each in self._secrets.redact(says))[:_SAYS_SHOWN]
        said = f", and says: {shown.strip()}" if shown.strip() else ""
        if status in _BUSY or status >= 500:
            return self._retryable(f"the webhook cannot take it now: HTTP {status}{said}")
        return self._refused(
            f"the webhook refuses it: HTTP {status}{said}",
            "check that the address is whole and was not withdrawn; make a new webhook in the chat if need be",
        )

    def _refused(self, what: str, next_action: str) -> Refused:
        return Refused(what, on=self._settings.url, state="the message was not sent", next_action=next_action)

    def _retryable(self, what: str) -> Retryable:
        return Retryable(
            what,
            on=self._settings.url,
            state="the message may not have been sent",
            next_action="check that this worker reaches the chat, and the chat's own status page",
        )


def is_here(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(response: http.client.HTTPResponse) -> str:
    """Return the beginning of a body; what it says is a help, and none of it is needed."""
    try:
        return response.read(_SAYS_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
