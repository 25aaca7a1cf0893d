"""A notifier that keeps what it is given."""

from blocks.context import Context
from tasks.common.errors import SlipwayError
from tasks.common.model import StrictModel
from tasks.notify.format import redacted
from tasks.notify.model import Message


class MemoryNotifier:
    """Sends nothing anywhere.

    Attributes:
        sent: the messages that it has taken, in order.
        problems: errors that the next calls raise, one each.
    """

    keeps_trouble_open = False

    class Settings(StrictModel):
        """It has none."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings
        self._redact = context.secrets.redact
        self.sent: list[Message] = []
        self.problems: list[SlipwayError] = []

    def send(self, message: Message) -> None:
        """The message is kept, without secrets. *Idempotent:* no.

        Raises:
            Retryable, Refused: as `problems` says.
        """
        if self.problems:
            raise self.problems.pop(0)
        self.sent.append(redacted(message, self._redact))
