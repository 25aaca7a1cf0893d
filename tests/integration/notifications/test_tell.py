"""Chat and mail that fail: seen, bounded, without a secret, and never in the way of the work."""

import contextlib
import json
import logging
import pickle
import socket
import ssl
import threading
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.context import Context
from blocks.journal import Journal
from blocks.memory.ledger import MemoryLedger
from blocks.memory.notifier import MemoryNotifier
from blocks.notifications.smtp import SmtpNotifier
from blocks.notifications.webhook import WebhookNotifier
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.occasion import Occasion
from tasks.notify.model import Message
from tasks.notify.ports import Channel, Notifier
from tasks.notify.steps import tell
from tasks.release.model import Evidence
from tests.support.http_server import Request, answering, plain
from tests.support.ledger import record
from tests.support.notifying import (
    Chat,
    Mailbox,
    message,
    running_chat,
    running_mailbox,
    write_certificate,
)
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port, wait_until

pytestmark = pytest.mark.server

TOKEN = "T0KEN-correct-horse"
PASSWORD = "hunter2-hunter2"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(base=tmp_path)


@pytest.fixture
def ledger(context: Context) -> MemoryLedger:
    ledger = MemoryLedger(MemoryLedger.Settings(), context)
    ledger.begin(record())
    return ledger


@pytest.fixture
def journal(context: Context, ledger: MemoryLedger) -> Iterator[Journal]:
    """A journal, where the Prefect server does not answer."""
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        yield Journal(ledger, "run-1", context.secrets.redact)


@pytest.fixture
def chat() -> Iterator[Chat]:
    with running_chat() as running:
        yield running


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as running:
        yield running


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path / "server.pem")


@pytest.fixture
def safe_mailbox(certificate: Path) -> Iterator[Mailbox]:
    with running_mailbox(certificate) as running:
        yield running


def webhook(context: Context, address: str, timeout: str = "5s") -> WebhookNotifier:
    (context.base / "url").write_text(address)
    settings = WebhookNotifier.Settings.model_validate({"url": "file:url", "timeout": timeout})
    return WebhookNotifier(settings, context)


def smtp(context: Context, port: int, **settings: Any) -> SmtpNotifier:
    (context.base / "password").write_text(PASSWORD)
    usual = {"host": "127.0.0.1", "port": port, "from": "slipway@example.org", "to": ["ops@example.org"]}
    return SmtpNotifier(SmtpNotifier.Settings.model_validate(usual | settings), context)


LOGIN = {"user": "slipway", "password": "file:password"}


def channel(notifier: Notifier, name: str = "ops-chat") -> Channel:
    return Channel(name, notifier, frozenset(Occasion))


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """Yield a port where connections are taken, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def noted(ledger: MemoryLedger) -> list[Evidence]:
    return [each for each in ledger.evidence("run-1") if each.kind == "notification"]


def everything_in(error: BaseException) -> str:
    whole = traceback.format_exception(error)
    return "".join(whole) + repr(error.__dict__) + pickle.dumps(error).decode("latin-1") + repr(error.__context__)


def test_channel_that_fails_twice_is_told_once_in_the_end(
    context: Context, journal: Journal, ledger: MemoryLedger, chat: Chat
) -> None:
    chat.statuses = [500, 500]
    tell([channel(webhook(context, f"{chat.url}/{TOKEN}"))], message(), journal)
    assert (len(chat.asked), len(chat.taken)) == (3, 1)
    (evidence,) = noted(ledger)
    assert evidence.facts == {
        "occasion": "rolled-back",
        "title": "campus 3f2c1a9 to production: rolled back",
        "sent": True,
        "tries": 3,
        "reason": "",
    }


def test_channel_that_always_fails_is_given_up_after_three_tries(
    context: Context, journal: Journal, ledger: MemoryLedger, chat: Chat
) -> None:
    chat.statuses = [503] * 9
    tell([channel(webhook(context, f"{chat.url}/{TOKEN}"))], message(), journal)
    assert len(chat.asked) == 3
    (evidence,) = noted(ledger)
    assert (evidence.facts["sent"], evidence.facts["tries"]) == (False, 3)


def test_address_that_was_withdrawn_is_not_tried_again_and_is_seen(
    context: Context, journal: Journal, ledger: MemoryLedger, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    chat.statuses, chat.says = [404], "no_service"
    tell([channel(webhook(context, f"{chat.url}/{TOKEN}"))], message(), journal)
    (evidence,) = noted(ledger)
    assert (evidence.name, evidence.facts["sent"], evidence.facts["tries"]) == ("ops-chat", False, 1)
    assert "HTTP 404, and says: no_service" in str(evidence.facts["reason"])
    assert "ops-chat was not told" in caplog.text


def test_channels_do_not_wait_for_one_that_hangs_and_neither_does_the_work(
    context: Context, journal: Journal, ledger: MemoryLedger, chat: Chat
) -> None:
    over = threading.Event()

    def drip(_: Request) -> Iterable[bytes]:
        """Never silent for as long as a timeout, and never done."""
        while not over.wait(0.05):
            yield b"HTTP/1.1 200 OK\r\nX: y\r\n" if not over.is_set() else b""

    (context.base / "other").mkdir()
    good = webhook(Context(base=context.base / "other"), f"{chat.url}/x")
    with answering(drip) as address:
        bad = webhook(context, f"{address}/{TOKEN}", timeout="20s")
        tell([channel(bad, "hangs"), channel(good, "good")], message(), journal, within_s=1.0)
        over.set()
    hangs, fine = noted(ledger)
    assert (hangs.name, hangs.facts["sent"], hangs.facts["reason"]) == ("hangs", False, "no answer within 1 s")
    assert (fine.name, fine.facts["sent"]) == ("good", True)
    assert len(chat.taken) == 1


class BrokenNotifier:
    """A driver with a bug, whose error's text holds what it must not."""

    def send(self, message: Message) -> None:
        raise RuntimeError(f"https://chat.example/{TOKEN} {message}")


class BrokenLedger(MemoryLedger):
    """A ledger with a bug."""

    def append(self, evidence: Evidence) -> None:
        raise ZeroDivisionError(TOKEN)


def test_bug_in_a_driver_is_no_reason_to_fail_and_its_text_is_not_shown(
    journal: Journal, ledger: MemoryLedger, caplog: pytest.LogCaptureFixture
) -> None:
    tell([channel(BrokenNotifier())], message(), journal)
    (evidence,) = noted(ledger)
    assert evidence.facts["reason"] == "unexpected RuntimeError"
    assert TOKEN not in caplog.text


def test_bug_in_the_ledger_is_no_reason_to_fail(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    ledger = BrokenLedger(MemoryLedger.Settings(), context)
    ledger.begin(record())
    notifier = MemoryNotifier(MemoryNotifier.Settings(), context)
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        tell([channel(notifier)], message(), Journal(ledger, "run-1", context.secrets.redact))
    assert len(notifier.sent) == 1
    assert "unexpected ZeroDivisionError" in caplog.text
    assert TOKEN not in caplog.text


def test_prefect_server_that_hangs_holds_up_neither_the_message_nor_the_work(
    context: Context, ledger: MemoryLedger, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = MemoryNotifier(MemoryNotifier.Settings(), context)
    with silent_server() as port, temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        tell([channel(notifier)], message(), Journal(ledger, "run-1", context.secrets.redact), within_s=1.0)
    assert len(notifier.sent) == 1
    assert [each.facts["sent"] for each in noted(ledger)] == [True]
    assert "not shown in the Prefect UI: its server does not answer" in caplog.text


@pytest.mark.slow
def test_message_is_a_task_of_its_run_and_one_that_failed_does_not_fail_the_run(
    context: Context, ledger: MemoryLedger, prefect_api: str
) -> None:
    good, bad = (MemoryNotifier(MemoryNotifier.Settings(), context) for _ in range(2))
    bad.problems = [Refused("withdrawn", on="memory", next_action="mend it")]

    @flow(name="tells")
    def work() -> None:
        journal = Journal(ledger, "run-1", context.secrets.redact)
        tell([channel(good, "good"), channel(bad, "bad")], message(title="both"), journal)
        tell([channel(good, "good")], message(title="one"), journal)

    def shown() -> dict[str, str]:
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["tells"])))
            return {run.name: str(run.state_name) for run in runs}

    wanted = {"notify: both": "Failed", "notify: one": "Completed"}
    with flows_of(prefect_api):
        state = work(return_state=True)
        wait_until(lambda: shown() == wanted, what=f"the tasks {wanted}")
    assert state.is_completed()
    assert [each.facts["sent"] for each in noted(ledger)] == [True, False, True]


def test_only_channels_that_want_it_are_told(context: Context, journal: Journal, ledger: MemoryLedger) -> None:
    wants, other_place, other_event = (MemoryNotifier(MemoryNotifier.Settings(), context) for _ in range(3))
    channels = [
        Channel("wants", wants, frozenset({Occasion.ROLLED_BACK}), frozenset({"production"})),
        Channel("other-place", other_place, frozenset(Occasion), frozenset({"staging"})),
        Channel("other-event", other_event, frozenset({Occasion.SUCCEEDED})),
    ]
    tell(channels, message(), journal)
    tell(channels[1:], message(), journal)
    assert [len(each.sent) for each in (wants, other_place, other_event)] == [1, 0, 0]
    assert [each.name for each in noted(ledger)] == ["wants"]


def refused_webhook(context: Context, address: str) -> Refused:
    with pytest.raises(Refused) as caught:
        webhook(context, address).send(message())
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        TOKEN,
        f"ftp://127.0.0.1/{TOKEN}",
        f"https:///{TOKEN}",
        f"https://127.0.0.1:port/{TOKEN}",
        f"https://[/{TOKEN}",
        f"https://127.0.0.1/{TOKEN} x",
        f"https://127.0.0.1/{TOKEN}é",
        f"https://127.0.0.1/{TOKEN}\x7f",
    ],
)
def test_address_that_is_none_is_refused_without_being_repeated(context: Context, address: str) -> None:
    assert TOKEN not in everything_in(refused_webhook(context, address))


def test_token_does_not_travel_in_clear(context: Context) -> None:
    error = refused_webhook(context, f"http://chat.example/{TOKEN}")
    assert "not encrypted" in error.what
    assert TOKEN not in everything_in(error)


def test_redirect_is_not_followed(context: Context, chat: Chat) -> None:
    with answering(lambda _: plain(302, "", f"Location: {chat.url}/")) as address:
        assert "HTTP 302" in refused_webhook(context, f"{address}/{TOKEN}").what
    assert chat.asked == []


def test_certificate_is_checked_and_one_that_is_trusted_is_taken(
    context: Context, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    chat = Chat()
    with answering(chat.answer, tls) as address:
        assert "certificate is not accepted" in refused_webhook(context, f"{address}/{TOKEN}").what
        assert chat.taken == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        webhook(context, f"{address}/{TOKEN}").send(message())
    assert len(chat.taken) == 1


@pytest.mark.parametrize("pieces", [[], [b"SSH-2.0-OpenSSH_9.2\r\n"], [b"HTTP/1.1 2"]], ids=["none", "ssh", "half"])
def test_answer_that_is_none_may_be_asked_again(context: Context, pieces: list[bytes]) -> None:
    with answering(lambda _: pieces) as address, pytest.raises(Retryable):
        webhook(context, f"{address}/{TOKEN}").send(message())


def test_server_that_says_nothing_may_be_asked_again(context: Context) -> None:
    with silent_server() as port:
        for notifier in (
            webhook(context, f"http://127.0.0.1:{port}/{TOKEN}", timeout="200ms"),
            smtp(context, port, timeout="200ms"),
        ):
            with pytest.raises(Retryable, match="does not answer"):
                notifier.send(message())


@pytest.mark.parametrize("status", [404, 500, 302])
def test_address_stands_in_no_log_error_or_evidence_also_when_the_server_repeats_it(
    context: Context,
    journal: Journal,
    ledger: MemoryLedger,
    chat: Chat,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    chat.statuses, chat.says = [status] * 9, f"no such hook: /services/{TOKEN}, {TOKEN}"
    notifier = webhook(context, f"{chat.url}/services/{TOKEN}")
    with pytest.raises(SlipwayError) as caught:
        notifier.send(message())
    tell([channel(notifier)], message(), journal)
    shown = caplog.text + everything_in(caught.value) + json.dumps([asdict(e) for e in noted(ledger)], default=str)
    assert TOKEN not in shown
    assert f"HTTP {status}" in shown


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
