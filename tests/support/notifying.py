"""Messages, and a chat and a mail server that take them."""

import contextlib
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks.common.occasion import Occasion
from tasks.notify.model import About, Message, Topic
from tests.support.http_server import Request, answering, plain
from tests.support.processes import free_port

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def message(environment: str = "production", **changes: Any) -> Message:
    """Return a message about a release that was rolled back, changed as wanted."""
    usual: dict[str, Any] = {
        "title": "campus 3f2c1a9 to production: rolled back",
        "text": "Why: errors 9 % > 1 %\nNext: mend the commit",
        "occasion": Occasion.ROLLED_BACK,
        "about": About(Topic.RELEASE, "lab", "campus", environment),
        "at": NOON,
        "facts": {"asked for by": "ada"},
        "link": "https://prefect.example/runs/1",
    }
    return Message(**(usual | changes))


@dataclass
class Chat:
    """Takes webhooks' requests: the next statuses that it answers with, else 200; the bodies that it took."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    says: str = ""

    def answer(self, request: Request) -> list[bytes]:
        """Answer, and keep what was taken."""
        self.asked.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.taken.append(json.loads(request.body))
        return plain(status, self.says or "ok")


@contextlib.contextmanager
def running_chat() -> Iterator[Chat]:
    """Yield a chat that listens on 127.0.0.1."""
    chat = Chat()
    with answering(chat.answer) as chat.url:
        yield chat


@dataclass
class Mailbox:
    """What a mail server took, and what it answers to the next mails instead of taking them."""

    port: int = 0
    replies: list[str] = field(default_factory=list)
    taken: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take recipients that are known."""
        del server, session, options
        if address in self.strangers:
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take the mail, or answer as told."""
        del server, session
        if self.replies:
            return self.replies.pop(0)
        assert isinstance(envelope.content, bytes)
        parsed = message_from_bytes(envelope.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        self.taken.append(parsed)
        self.envelopes.append(envelope)
        return "250 OK"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        """Let in whoever says 'hunter2-hunter2'."""
        del server, session, envelope, mechanism
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"hunter2-hunter2", handled=False)


@contextlib.contextmanager
def running_mailbox(certificate: Path | None = None) -> Iterator[Mailbox]:
    """Yield a mail server that listens on 127.0.0.1; with a certificate, one that offers STARTTLS and log-in."""
    mailbox = Mailbox(port=free_port())
    extra: dict[str, Any] = {}
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        extra = {"tls_context": tls, "authenticator": mailbox.authenticate}
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port, server_hostname="localhost", **extra)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


def write_certificate(path: Path, *, signs_for: str = "127.0.0.1") -> Path:
    """The file holds a key and a certificate that signs itself; returns the path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(signs_for))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path
