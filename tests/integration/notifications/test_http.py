"""All notifiers by HTTP: another side that fails, lies or is not who it should be, and no secret shown anywhere."""

import json
import logging
import ssl
from dataclasses import asdict
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.journal import Journal
from blocks.memory.ledger import MemoryLedger
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.notify.ports import Notifier
from tasks.notify.steps import tell
from tests.support.http_server import Request, answering, plain
from tests.support.notifying import message
from tests.support.telling import (
    OPEN,
    TOKEN,
    channel,
    everything_in,
    noted,
    silent_server,
    smtp,
    webhook,
)

pytestmark = pytest.mark.server

each_kind = pytest.mark.parametrize("kind", OPEN)


def refused(notifier: Notifier) -> Refused:
    with pytest.raises(Refused) as caught:
        notifier.send(message())
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
    assert TOKEN not in everything_in(refused(webhook(context, address)))


def test_token_does_not_travel_in_clear(context: Context) -> None:
    error = refused(webhook(context, f"http://chat.example/{TOKEN}"))
    assert "not encrypted" in error.what
    assert TOKEN not in everything_in(error)


@each_kind
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(context: Context, kind: str, status: int) -> None:
    asked: list[Request] = []

    def elsewhere(request: Request) -> list[bytes]:
        asked.append(request)
        return plain(200)

    with (
        answering(elsewhere) as other,
        answering(lambda _: plain(status, "", f"Location: {other}/")) as address,
    ):
        assert f"HTTP {status}" in refused(OPEN[kind](context, address)).what
    assert asked == []


@each_kind
def test_certificate_is_checked_and_one_that_is_trusted_is_taken(
    context: Context, kind: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    asked: list[Request] = []

    def take(request: Request) -> list[bytes]:
        asked.append(request)
        return plain(202)

    with answering(take, tls) as address:
        notifier = OPEN[kind](context, address)
        assert "certificate is not accepted" in refused(notifier).what
        assert asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        notifier.send(message())
    assert len(asked) == 1


@each_kind
@pytest.mark.parametrize("pieces", [[], [b"SSH-2.0-OpenSSH_9.2\r\n"], [b"HTTP/1.1 2"]], ids=["none", "ssh", "half"])
def test_answer_that_is_none_may_be_asked_again(context: Context, kind: str, pieces: list[bytes]) -> None:
    with answering(lambda _: pieces) as address, pytest.raises(Retryable, match="does not answer"):
        OPEN[kind](context, address).send(message())


@each_kind
@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_status_that_passes_by_itself_may_be_asked_again(context: Context, kind: str, status: int) -> None:
    with answering(lambda _: plain(status)) as address, pytest.raises(Retryable, match=f"HTTP {status}"):
        OPEN[kind](context, address).send(message())


@each_kind
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
def test_status_that_does_not_pass_is_refused(context: Context, kind: str, status: int) -> None:
    with answering(lambda _: plain(status)) as address:
        error = refused(OPEN[kind](context, address))
    assert f"HTTP {status}" in error.what
    assert error.state == "the message was not sent"


@each_kind
def test_server_that_says_nothing_may_be_asked_again(context: Context, kind: str) -> None:
    with silent_server() as port, pytest.raises(Retryable, match="does not answer"):
        OPEN[kind](context, f"http://127.0.0.1:{port}", timeout="200ms").send(message())


def test_mail_server_that_says_nothing_may_be_asked_again(context: Context) -> None:
    with silent_server() as port, pytest.raises(Retryable, match="does not answer"):
        smtp(context, port, timeout="200ms").send(message())


@each_kind
@pytest.mark.parametrize("status", [404, 500, 302])
def test_secret_stands_in_no_log_error_or_evidence_also_when_the_server_repeats_it(
    context: Context,
    journal: Journal,
    ledger: MemoryLedger,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    status: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    with answering(lambda _: plain(status, f"no such hook: /services/{TOKEN}, {TOKEN}")) as address:
        notifier = OPEN[kind](context, address)
        with pytest.raises(SlipwayError) as caught:
            notifier.send(message())
        tell([channel(notifier)], message(), journal)
    shown = caplog.text + everything_in(caught.value) + json.dumps([asdict(e) for e in noted(ledger)], default=str)
    assert TOKEN not in shown
    assert f"HTTP {status}" in shown
    assert "says: no such hook" in shown


@each_kind
def test_secret_of_a_channel_is_not_in_what_it_sends_but_where_it_must_be(context: Context, kind: str) -> None:
    asked: list[Request] = []

    def take(request: Request) -> list[bytes]:
        asked.append(request)
        return plain(202)

    with answering(take) as address:
        OPEN[kind](context, address).send(message(text=f"it failed with {TOKEN}"))
    (request,) = asked
    sent = json.loads(request.body)
    sent.pop("routing_key", None)
    assert "[redacted]" in json.dumps(sent)
    assert TOKEN not in json.dumps(sent) + json.dumps(request.headers)
