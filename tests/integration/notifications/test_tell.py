"""Channels that fail: seen, bounded, and never in the way of the work."""

import threading
from collections.abc import Iterable

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.context import Context
from blocks.journal import Journal
from blocks.memory.ledger import MemoryLedger
from blocks.memory.notifier import MemoryNotifier
from tasks.common.errors import Refused
from tasks.common.occasion import Occasion
from tasks.notify.model import Message
from tasks.notify.ports import Channel
from tasks.notify.steps import tell
from tasks.release.model import Evidence
from tests.support.http_server import Request, answering
from tests.support.ledger import record
from tests.support.notifying import Chat, message
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port, wait_until
from tests.support.telling import TOKEN, channel, noted, silent_server, webhook

pytestmark = pytest.mark.server


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

    keeps_trouble_open = False

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
