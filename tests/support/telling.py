"""Notifiers as the estate file would open them, with a secret planted in each, and what may show it."""

import contextlib
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from blocks.context import Context
from blocks.memory.ledger import MemoryLedger
from blocks.notifications.pagerduty import PagerDutyNotifier
from blocks.notifications.signed_webhook import SignedWebhookNotifier
from blocks.notifications.smtp import SmtpNotifier
from blocks.notifications.webhook import WebhookNotifier
from tasks.common.occasion import Occasion
from tasks.notify.ports import Channel, Notifier
from tasks.release.model import Evidence

TOKEN = "T0KEN-correct-horse-battery-1234"
"""As long as PagerDuty's keys are."""
PASSWORD = "hunter2-hunter2"
LOGIN = {"user": "slipway", "password": "file:password"}


def webhook(context: Context, address: str, timeout: str = "5s") -> WebhookNotifier:
    """Return a notifier whose whole address is a secret."""
    (context.base / "url").write_text(address)
    settings = WebhookNotifier.Settings.model_validate({"url": "file:url", "timeout": timeout})
    return WebhookNotifier(settings, context)


def pagerduty(context: Context, address: str, timeout: str = "5s") -> PagerDutyNotifier:
    """Return a notifier with the token as its key."""
    (context.base / "key").write_text(TOKEN)
    usual = {"routing_key": "file:key", "url": address, "timeout": timeout}
    return PagerDutyNotifier(PagerDutyNotifier.Settings.model_validate(usual), context)


def signed_webhook(
    context: Context, address: str, timeout: str = "5s", *, secret: str = TOKEN
) -> SignedWebhookNotifier:
    """Return a notifier with the token, or another text, as its secret."""
    (context.base / "signing").write_text(secret)
    usual = {"secret": "file:signing", "url": address, "timeout": timeout}
    return SignedWebhookNotifier(SignedWebhookNotifier.Settings.model_validate(usual), context)


Open = Callable[..., Notifier]

OPEN: dict[str, Open] = {
    "webhook": lambda context, url, **more: webhook(context, f"{url}/services/{TOKEN}", **more),
    "pagerduty": lambda context, url, **more: pagerduty(context, f"{url}/v2/enqueue", **more),
    "signed-webhook": lambda context, url, **more: signed_webhook(context, f"{url}/slipway", **more),
}
"""Opens each notifier by HTTP at a server's address, the token planted where its secret is."""


def smtp(context: Context, port: int, **settings: Any) -> SmtpNotifier:
    """Return a notifier by mail, with the password at hand where it is to log in."""
    (context.base / "password").write_text(PASSWORD)
    usual = {"host": "127.0.0.1", "port": port, "from": "slipway@example.org", "to": ["ops@example.org"]}
    return SmtpNotifier(SmtpNotifier.Settings.model_validate(usual | settings), context)


def channel(notifier: Notifier, name: str = "ops-chat") -> Channel:
    """Return a channel that is told everything."""
    return Channel(name, notifier, frozenset(Occasion))


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """Yield a port where connections are taken, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def noted(ledger: MemoryLedger) -> list[Evidence]:
    """Return what is on record about who was told."""
    return [each for each in ledger.evidence("run-1") if each.kind == "notification"]


def everything_in(error: BaseException) -> str:
    """Return whatever of an error may get into a log, a ledger or another process."""
    whole = traceback.format_exception(error)
    return "".join(whole) + repr(error.__dict__) + pickle.dumps(error).decode("latin-1") + repr(error.__context__)
