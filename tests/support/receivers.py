"""Who takes messages for programs: a fake of PagerDuty's Events API, and a receiver that checks signatures."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tasks.webhook.model import Forged
from tasks.webhook.signature import verify
from tests.support.deliveries import source
from tests.support.http_server import Request, answering, plain
from tests.support.telling import TOKEN


@dataclass
class FakePagerDuty:
    """A fake: answers as its documentation says, and keeps incidents as it does; the next statuses may be others.

    Attributes:
        taken: the events that it took.
        opened: keys of the incidents that it has opened, in order.
        open: what was last told of each incident that is open, by key.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    open: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(self, request: Request) -> list[bytes]:
        """Answer, and keep what was taken."""
        self.asked.append(request)
        if self.statuses:
            return plain(self.statuses.pop(0), "not now")
        event = json.loads(request.body)
        if wrong := _wrong_with(event, request):
            said = {"status": "invalid event", "message": "Event object is invalid", "errors": wrong}
            return plain(400, json.dumps(said))
        key = event["dedup_key"]
        self.taken.append(event)
        if event["event_action"] == "resolve":
            self.open.pop(key, None)
        else:
            self.opened += [] if key in self.open else [key]
            self.open[key] = event["payload"]
        return plain(202, json.dumps({"status": "success", "message": "Event processed", "dedup_key": key}))


def _wrong_with(event: dict[str, Any], request: Request) -> list[str]:
    """Return what the documented API would not take."""
    wrong = []
    if request.path != "/v2/enqueue" or len(request.body) > 512_000:
        wrong.append("no such place, or more than 512 KB")
    if event.get("routing_key") != TOKEN:
        wrong.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    if event.get("event_action") not in ("trigger", "resolve") or not 0 < len(event.get("dedup_key", "")) <= 255:
        wrong.append("'event_action' or 'dedup_key' is invalid")
    if event.get("event_action") == "trigger":
        payload = event.get("payload", {})
        if not 0 < len(payload.get("summary", "")) <= 1024 or not payload.get("source"):
            wrong.append("'summary' or 'source' is missing, or too long")
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            wrong.append("'severity' is invalid")
        if not isinstance(payload.get("custom_details"), dict) or datetime.fromisoformat(payload["timestamp"]) is None:
            wrong.append("'custom_details' or 'timestamp' is invalid")
    return wrong


@contextlib.contextmanager
def fake_pagerduty() -> Iterator[FakePagerDuty]:
    """Yield a fake of PagerDuty that listens on 127.0.0.1."""
    fake = FakePagerDuty()
    with answering(fake.answer) as fake.url:
        yield fake


@dataclass
class Receiver:
    """Takes what is signed with its secret, by the code that checks deliveries of forges; the next statuses may be set.

    Attributes:
        taken: the bodies that it took.
        problems: why it did not take others.
    """

    secret: str = TOKEN
    url: str = ""
    statuses: list[int] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> list[bytes]:
        """Answer, and keep what was taken."""
        self.asked.append(request)
        if self.statuses:
            return plain(self.statuses.pop(0), "not now")
        try:
            verify(source("gitlab"), request.headers, request.body, [self.secret], datetime.now(UTC))
        except Forged as problem:
            self.problems.append(problem.what)
            return plain(401, "who are you")
        self.taken.append(json.loads(request.body))
        return plain(204)


@contextlib.contextmanager
def running_receiver(secret: str = TOKEN) -> Iterator[Receiver]:
    """Yield a receiver that listens on 127.0.0.1."""
    receiver = Receiver(secret)
    with answering(receiver.answer) as receiver.url:
        yield receiver
