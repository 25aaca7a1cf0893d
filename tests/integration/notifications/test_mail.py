"""Mail servers that fail or refuse: seen, without a password, and no mail twice."""

import logging
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from blocks.context import Context
from blocks.journal import Journal
from blocks.memory.ledger import MemoryLedger
from tasks.common.errors import Refused
from tasks.notify.steps import tell
from tests.support.notifying import Mailbox, message
from tests.support.telling import LOGIN, PASSWORD, TOKEN, channel, everything_in, noted, smtp

pytestmark = pytest.mark.server


def test_mail_is_refused_where_encryption_is_required_and_not_offered(context: Context, mailbox: Mailbox) -> None:
    with pytest.raises(Refused, match="does not offer encryption"):
        smtp(context, mailbox.port).send(message())
    assert (mailbox.taken, mailbox.strangers) == ([], set())


def test_password_is_not_given_in_clear(context: Context, mailbox: Mailbox) -> None:
    with pytest.raises(Refused, match="does not offer encryption") as caught:
        smtp(context, mailbox.port, starttls="if-offered", **LOGIN).send(message())
    assert mailbox.logins == []
    assert PASSWORD not in everything_in(caught.value)


def test_mail_goes_encrypted_with_password_where_the_certificate_is_trusted(
    context: Context, safe_mailbox: Mailbox, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = smtp(context, safe_mailbox.port, **LOGIN)
    with pytest.raises(Refused, match="certificate is not accepted"):
        notifier.send(message())
    assert safe_mailbox.logins == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    notifier.send(message())
    assert safe_mailbox.logins == [(b"slipway", PASSWORD.encode())]
    (mail,) = safe_mailbox.taken
    assert (mail["From"], mail["To"], mail["Auto-Submitted"]) == (
        "slipway@example.org",
        "ops@example.org",
        "auto-generated",
    )
    assert mail["Date"].datetime == message().at


def test_wrong_password_is_refused_and_stands_nowhere(
    context: Context,
    journal: Journal,
    ledger: MemoryLedger,
    safe_mailbox: Mailbox,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    notifier = smtp(context, safe_mailbox.port, **LOGIN)
    (context.base / "password").write_text(TOKEN)
    with pytest.raises(Refused, match="535") as caught:
        notifier.send(message())
    tell([channel(notifier)], message(), journal)
    assert "535" in str(noted(ledger)[0].facts["reason"])
    own_log = "".join(each.getMessage() for each in caplog.records if not each.name.startswith("mail."))
    assert TOKEN not in own_log + everything_in(caught.value) + str(noted(ledger))


def test_recipient_that_is_unknown_is_told_and_the_others_have_it(context: Context, mailbox: Mailbox) -> None:
    mailbox.strangers = {"eve@example.org"}
    both = smtp(context, mailbox.port, starttls="never", to=["eve@example.org", "ops@example.org"])
    with pytest.raises(Refused, match=r"does not take mail for eve@example\.org") as caught:
        both.send(message())
    assert caught.value.state == "the others have it"
    assert len(mailbox.taken) == 1
    with pytest.raises(Refused) as caught:
        smtp(context, mailbox.port, starttls="never", to=["eve@example.org"]).send(message())
    assert caught.value.state == "the message was not sent"


def test_farewell_that_fails_does_not_send_a_mail_twice(
    context: Context, journal: Journal, ledger: MemoryLedger, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang_up(self: Mailbox, server: SMTP, session: Session, envelope: Envelope) -> str:
        del self, session, envelope
        assert server.transport is not None
        server.transport.abort()
        return "221 Bye"

    monkeypatch.setattr(Mailbox, "handle_QUIT", hang_up, raising=False)
    tell([channel(smtp(context, mailbox.port, starttls="never"))], message(), journal)
    assert (len(mailbox.taken), noted(ledger)[0].facts["sent"]) == (1, True)


def test_second_copy_of_a_mail_has_the_same_id_and_another_mail_has_not(context: Context, mailbox: Mailbox) -> None:
    notifier = smtp(context, mailbox.port, starttls="never")
    for each in (message(), message(), message(title="another")):
        notifier.send(each)
    first, copy, other = [mail["Message-ID"] for mail in mailbox.taken]
    assert first == copy != other
    assert first.endswith("@example.org>")


def test_title_cannot_become_a_header(context: Context, mailbox: Mailbox) -> None:
    smtp(context, mailbox.port, starttls="never").send(message(title="a\r\nBcc: eve@example.org\r\n\r\nbody \udcff"))
    (mail,) = mailbox.taken
    assert (mail["Bcc"], mailbox.envelopes[0].rcpt_tos) == (None, ["ops@example.org"])
    assert mail["Subject"] == "a Bcc: eve@example.org body \ufffd"
