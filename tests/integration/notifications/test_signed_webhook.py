"""Signed messages to a receiver: genuine by our own check, by the documented one, and by hmac alone."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from blocks.context import Context
from blocks.journal import Journal
from blocks.memory.ledger import MemoryLedger
from tasks.common.errors import Refused
from tasks.notify.steps import tell
from tests.support.docs import ROOT, blocks_of
from tests.support.notifying import message
from tests.support.receivers import Receiver, running_receiver
from tests.support.telling import OPEN, TOKEN, channel, everything_in, noted, signed_webhook

pytestmark = pytest.mark.server
WHSEC = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def documented() -> Any:
    """Return the check that the page shows."""
    (code,) = blocks_of(ROOT / "docs/how-to/get-notified.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    return names["is_genuine"]


def sent(context: Context, receiver: Receiver, **changes: Any) -> None:
    signed_webhook(context, f"{receiver.url}/slipway", secret=receiver.secret).send(message(**changes))


@pytest.mark.parametrize(("secret", "key"), [(WHSEC, bytes(range(32))), (TOKEN, TOKEN.encode())], ids=["whsec", "text"])
def test_receiver_finds_the_signature_right_by_our_own_check_and_by_hmac_alone(
    context: Context, secret: str, key: bytes
) -> None:
    with running_receiver(secret) as receiver:
        sent(context, receiver)
    (request,) = receiver.asked
    assert (len(receiver.taken), receiver.problems) == (1, [])
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert request.headers["content-type"] == "application/json"


def test_documented_check_takes_what_is_genuine_and_nothing_else(context: Context) -> None:
    with running_receiver(WHSEC) as receiver:
        sent(context, receiver)
    (request,) = receiver.asked
    is_genuine, headers, body = documented(), request.headers, request.body
    assert is_genuine(headers, body, WHSEC)
    assert not is_genuine(headers, body + b" ", WHSEC)
    assert not is_genuine(headers, body, "whsec_" + base64.b64encode(bytes(32)).decode())
    for name, value in (("webhook-id", "msg_other"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")):
        assert not is_genuine({**headers, name: value}, body, WHSEC)
    later = str(int(headers["webhook-timestamp"]) + 1)
    assert not is_genuine({**headers, "webhook-timestamp": later}, body, WHSEC)


def test_receiver_with_another_secret_refuses_it(context: Context) -> None:
    with running_receiver("another") as receiver:
        notifier = OPEN["signed-webhook"](context, receiver.url)
        with pytest.raises(Refused, match="HTTP 401"):
            notifier.send(message())
    assert receiver.problems == ["webhook-signature does not fit"]


def test_every_try_of_a_message_has_the_same_id_and_another_message_another_one(
    context: Context, journal: Journal, ledger: MemoryLedger
) -> None:
    with running_receiver() as receiver:
        receiver.statuses = [503, 503]
        notifier = OPEN["signed-webhook"](context, receiver.url)
        tell([channel(notifier)], message(), journal)
        tell([channel(notifier)], message(title="another"), journal)
    first, again, once_more, other = [each.headers["webhook-id"] for each in receiver.asked]
    assert first == again == once_more != other
    assert [each.facts["tries"] for each in noted(ledger)] == [3, 1]
    assert len(receiver.taken) == 2


def test_id_stays_the_same_also_when_a_secret_of_the_message_becomes_known_between_two_tries(context: Context) -> None:
    (context.base / "late").write_text("hunter2-hunter2")
    with running_receiver() as receiver:
        sent(context, receiver, text="with hunter2-hunter2")
        context.secrets.resolve("file:late")
        sent(context, receiver, text="with hunter2-hunter2")
    assert len({each.headers["webhook-id"] for each in receiver.asked}) == 1
    assert "hunter2" not in json.dumps(receiver.taken[1])


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", "whsec_AAA"])
def test_secret_that_is_no_key_is_refused_and_nothing_is_sent(context: Context, secret: str) -> None:
    with running_receiver() as receiver, pytest.raises(Refused, match="begins with whsec_") as caught:
        signed_webhook(context, receiver.url, secret=secret).send(message())
    assert receiver.asked == []
    assert secret == "whsec_" or secret not in everything_in(caught.value)
