"""What every notifier does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.notifier import MemoryNotifier
from blocks.notifications.smtp import SmtpNotifier
from blocks.notifications.webhook import WebhookNotifier
from blocks.secrets import Secrets
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.notify.format import plain_text
from tasks.notify.ports import Notifier
from tests.support.notifying import message, running_chat, running_mailbox
from tests.support.processes import free_port
from tests.support.receivers import fake_pagerduty, running_receiver
from tests.support.telling import pagerduty, signed_webhook

VALUE = "correct-horse-battery"


@dataclass
class Bench:
    """A notifier, what has arrived at the other side, how that is made busy or unwilling, and one that is not there."""

    notifier: Notifier
    arrived: Callable[[], list[str]]
    be_busy: Callable[[], None]
    be_unwilling: Callable[[], None]
    silent: Notifier


def open_webhook(context: Context, url: str) -> WebhookNotifier:
    (context.base / "url").write_text(f"{url}/services/T0/B0/{VALUE}")
    return WebhookNotifier(WebhookNotifier.Settings(url="file:url"), context)


def _webhook_bench(context: Context, closed: Context) -> Iterator[Bench]:
    with running_chat() as chat:
        yield Bench(
            open_webhook(context, chat.url),
            lambda: [f"{each['text']}\n{each['attachments']}" for each in chat.taken],
            lambda: chat.statuses.append(503),
            lambda: chat.statuses.append(404),
            open_webhook(closed, f"http://127.0.0.1:{free_port()}"),
        )


def _pagerduty_bench(context: Context, closed: Context) -> Iterator[Bench]:
    with fake_pagerduty() as fake:
        yield Bench(
            pagerduty(context, f"{fake.url}/v2/enqueue"),
            lambda: [f"{each['payload']}\n{each.get('links')}" for each in fake.taken],
            lambda: fake.statuses.append(429),
            lambda: fake.statuses.append(400),
            pagerduty(closed, f"http://127.0.0.1:{free_port()}/v2/enqueue"),
        )


def _signed_bench(context: Context, closed: Context) -> Iterator[Bench]:
    with running_receiver() as receiver:
        yield Bench(
            signed_webhook(context, f"{receiver.url}/slipway"),
            lambda: [f"{each['data']}" for each in receiver.taken],
            lambda: receiver.statuses.append(503),
            lambda: receiver.statuses.append(410),
            signed_webhook(closed, f"http://127.0.0.1:{free_port()}/slipway"),
        )


def open_smtp(context: Context, port: int, **settings: object) -> SmtpNotifier:
    usual: dict[str, object] = {
        "host": "127.0.0.1",
        "port": port,
        "starttls": "if-offered",
        "from": "slipway@example.org",
        "to": ["ops@example.org", "ada@example.org"],
    }
    return SmtpNotifier(SmtpNotifier.Settings.model_validate(usual | settings), context)


def _smtp_bench(context: Context, closed: Context) -> Iterator[Bench]:
    with running_mailbox() as mailbox:
        yield Bench(
            open_smtp(context, mailbox.port),
            lambda: [f"{each['Subject']}\n{each.get_content()}" for each in mailbox.taken],
            lambda: mailbox.replies.append("451 come back later"),
            lambda: mailbox.replies.append("554 not from you"),
            open_smtp(closed, free_port()),
        )


def _memory_bench(context: Context, closed: Context) -> Iterator[Bench]:
    notifier, silent = (MemoryNotifier(MemoryNotifier.Settings(), each) for each in (context, closed))
    silent.problems = [Retryable("it does not answer", on="memory", next_action="start it")] * 9
    yield Bench(
        notifier,
        lambda: [plain_text(each) for each in notifier.sent],
        lambda: notifier.problems.append(Retryable("it is busy", on="memory", next_action="wait")),
        lambda: notifier.problems.append(Refused("it will not", on="memory", next_action="ask why")),
        silent,
    )


@pytest.fixture(
    params=[
        pytest.param(_webhook_bench, marks=pytest.mark.server),
        pytest.param(_pagerduty_bench, marks=pytest.mark.server),
        pytest.param(_signed_bench, marks=pytest.mark.server),
        pytest.param(_smtp_bench, marks=pytest.mark.server),
        _memory_bench,
    ],
    ids=["webhook", "fake-pagerduty", "signed-webhook", "smtp", "memory"],
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "closed").mkdir()
    (tmp_path / "secret").write_text("hunter2-hunter2")
    secrets = Secrets(tmp_path)
    secrets.resolve("file:secret")
    yield from request.param(Context(base=tmp_path, secrets=secrets), Context(base=tmp_path / "closed"))


def test_message_arrives_once_with_everything_that_it_says(bench: Bench) -> None:
    bench.notifier.send(message())
    (arrived,) = bench.arrived()
    for part in (
        "campus 3f2c1a9 to production: rolled back",
        "mend the commit",
        "ada",
        "https://prefect.example/runs/1",
    ):
        assert part in arrived


def test_two_messages_arrive_in_order(bench: Bench) -> None:
    bench.notifier.send(message(title="first"))
    bench.notifier.send(message(title="second"))
    assert ["first" in bench.arrived()[0], "second" in bench.arrived()[1]] == [True, True]


def test_secret_in_a_message_does_not_arrive(bench: Bench) -> None:
    bench.notifier.send(
        message(
            title="a hunter2-hunter2", text="b hunter2-hunter2", facts={"c": "hunter2-hunter2"}, link="hunter2-hunter2"
        )
    )
    (arrived,) = bench.arrived()
    assert "[redacted]" in arrived
    assert "hunter2" not in arrived


def test_text_of_others_cannot_break_a_message(bench: Bench) -> None:
    bench.notifier.send(message(title="a\r\nBcc: eve@example.org\n\n<!channel> é", text="<b>\0\x1b[31m\n.\n..\nend"))
    (arrived,) = bench.arrived()
    assert "a Bcc: eve@example.org" in arrived
    assert "end" in arrived


def test_long_message_arrives_cut_and_says_so(bench: Bench) -> None:
    bench.notifier.send(
        message(title="t" * 10_000, text="x" * 1_000_000, facts={str(n): "y" * 9999 for n in range(99)})
    )
    (arrived,) = bench.arrived()
    assert "(cut: 1000000 characters)" in arrived
    assert "80 facts were left out" in arrived
    assert len(arrived) < 20_000


def test_busy_side_may_be_asked_again_and_then_has_it_once(bench: Bench) -> None:
    bench.be_busy()
    with pytest.raises(Retryable):
        bench.notifier.send(message())
    bench.notifier.send(message())
    assert len(bench.arrived()) == 1


def test_unwilling_side_is_refused_with_what_to_do(bench: Bench) -> None:
    bench.be_unwilling()
    with pytest.raises(Refused) as caught:
        bench.notifier.send(message())
    assert caught.value.next_action
    assert bench.arrived() == []


def test_side_that_is_not_there_may_be_asked_again(bench: Bench) -> None:
    with pytest.raises(Retryable) as caught:
        bench.silent.send(message())
    error: SlipwayError = caught.value
    assert error.next_action
    assert VALUE not in str(error)
