"""Messages as incidents of PagerDuty, or of anything else that takes its Events API v2."""

import json

from pydantic import Field

from blocks.context import Context
from blocks.notifications.post import OpenAddress, Poster
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import PositiveDuration
from tasks.notify.format import redacted
from tasks.notify.incident import incident_event
from tasks.notify.model import Message


class PagerDutyNotifier:
    """Implements `Notifier` with incidents: one for each trouble, however often it is told of, until it is over.

    What is only for information opens none.
    """

    keeps_trouble_open = True

    class Settings(StrictModel):
        """Which integration."""

        routing_key: SecretRef = Field(description="reference to the integration key of an Events API v2 integration")
        url: OpenAddress = Field(
            default="https://events.pagerduty.com/v2/enqueue", description="where events are sent to"
        )
        timeout_s: PositiveDuration = Field(
            default=5.0, alias="timeout", le=20, description="longest wait for the connection, and for each answer"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._secrets = context.secrets
        self._poster = Poster(
            name="PagerDuty",
            on=settings.url,
            timeout_s=settings.timeout_s,
            redact=context.secrets.redact,
            if_refused="check that 'routing_key' is the whole key of an Events API v2 integration that is still there",
        )

    def send(self, message: Message) -> None:
        """The incident is open or closed as the message wants it. *Idempotent:* yes, by the incident's key.

        Raises:
            Retryable: PagerDuty does not answer, is busy (429), or has an error of its own (5xx).
            Refused: it does not take the event (400); the key may be wrong.
        """
        # The key first: what is resolved is redacted from then on.
        key = self._secrets.resolve(self._settings.routing_key)
        event = incident_event(redacted(message, self._secrets.redact), key)
        if event is not None:
            self._poster.post(self._poster.check(self._settings.url), json.dumps(event).encode())
