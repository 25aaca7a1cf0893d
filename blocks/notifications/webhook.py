"""Messages to a chat, by an incoming webhook as Slack, Mattermost, Rocket.Chat and others have it."""

import json

from pydantic import Field

from blocks.context import Context
from blocks.notifications.post import Poster
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import PositiveDuration
from tasks.notify.format import redacted, slack_payload
from tasks.notify.model import Message


class WebhookNotifier:
    """Implements `Notifier` with one POST a message.

    The address holds a token, so it is a secret: it stands in no log, no error and no exception.
    """

    keeps_trouble_open = False

    class Settings(StrictModel):
        """Which webhook."""

        url: SecretRef = Field(description="the webhook's address, with its token")
        timeout_s: PositiveDuration = Field(
            default=5.0, alias="timeout", le=20, description="longest wait for the connection, and for each answer"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._url = settings.url
        self._secrets = context.secrets
        self._poster = Poster(
            name="the webhook",
            on=settings.url,
            timeout_s=settings.timeout_s,
            redact=context.secrets.redact,
            if_refused="check that the address is whole and was not withdrawn; make a new webhook in the chat if need "
            "be",
        )

    def send(self, message: Message) -> None:
        """The other side answered 2xx. *Idempotent:* no.

        Raises:
            Retryable: it does not answer, is busy (408, 425, 429), or has an error of its own (5xx).
            Refused: anything else; the address may be wrong or withdrawn.
        """
        # Resolved at every use, as it may have been exchanged.
        address = self._poster.check(self._secrets.resolve(self._url))
        # A server may repeat the path without the host, and a person the last part of it.
        for part in (f"{address.path}{address.query}", address.path.rpartition("/")[2]):
            self._secrets.redactor.add(part)
        self._poster.post(address, json.dumps(slack_payload(redacted(message, self._secrets.redact))).encode())
