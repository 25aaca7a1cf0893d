"""Messages as JSON for programs of one's own, signed by Standard Webhooks."""

import json
import time

from pydantic import Field

from blocks.context import Context
from blocks.notifications.post import OpenAddress, Poster
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.signing import signature, signing_key
from tasks.common.units import PositiveDuration
from tasks.notify.format import identity, json_payload, redacted
from tasks.notify.model import Message


class SignedWebhookNotifier:
    """Implements `Notifier` with one signed POST a message.

    The address needs no token: the signature says who sends, and that nothing was changed.

    *Source:* Standard Webhooks specification 1.0.0: id and time are signed with the body; the id is the same for every
    try of one message, the time is that of the try.
    """

    keeps_trouble_open = False

    class Settings(StrictModel):
        """Which receiver."""

        url: OpenAddress = Field(description="the receiver's address; no secret, so without a token")
        secret: SecretRef = Field(
            description="reference to the secret that both sides know: whsec_ and base64, or text"
        )
        timeout_s: PositiveDuration = Field(
            default=5.0, alias="timeout", le=20, description="longest wait for the connection, and for each answer"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._secrets = context.secrets
        self._poster = Poster(
            name="the receiver",
            on=settings.url,
            timeout_s=settings.timeout_s,
            redact=context.secrets.redact,
            if_refused="check the address, and that the receiver knows the secret; its log says why",
        )

    def send(self, message: Message) -> None:
        """The receiver answered 2xx. *Idempotent:* no; another try has the same webhook-id.

        Raises:
            Retryable: it does not answer, is busy (408, 425, 429), or has an error of its own (5xx).
            Refused: anything else, or the secret is none.
        """
        key = self._key()
        body = json.dumps(json_payload(redacted(message, self._secrets.redact))).encode()
        # Of the message as it was given: what is redacted may be more at the next try.
        message_id, sent_at = f"msg_{identity(message)}", str(int(time.time()))
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": sent_at,
            "webhook-signature": f"v1,{signature(key, message_id, sent_at, body)}",
        }
        self._poster.post(self._poster.check(self._settings.url), body, headers)

    def _key(self) -> bytes:
        secret = self._secrets.resolve(self._settings.secret)
        try:
            return signing_key(secret.encode())
        except ValueError as wrong:
            raise Refused(
                str(wrong),
                on=self._settings.secret,
                state="the message was not sent",
                next_action="set it where the reference points, as the receiver has it",
            ) from None
