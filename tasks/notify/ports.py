"""What notification needs from the outside: channels to people."""

from dataclasses import dataclass
from typing import Protocol

from tasks.common.occasion import Occasion
from tasks.notify.model import Message


class Notifier(Protocol):
    """Carries messages to people by one way."""

    def send(self, message: Message) -> None:
        """The other side has taken the message, without any secret that is known here. *Idempotent:* no.

        Raises:
            Retryable: the other side does not answer, or cannot take it now. It may have it all the same.
            Refused: it will not take it as things are: wrong address, wrong password, no encryption.
        """
        ...


@dataclass(frozen=True)
class Channel:
    """A notifier that is open, with what the estate file says about it.

    Args:
        name: what it is called in logs and in the ledger.
        notifier: how it is reached.
        events: occasions that it is told about.
        only: environments that it is told about; every one if empty.
    """

    name: str
    notifier: Notifier
    events: frozenset[Occasion]
    only: frozenset[str] = frozenset()

    def wants(self, message: Message) -> bool:
        """Return whether the message is meant for this channel."""
        return message.occasion in self.events and (not self.only or message.environment in self.only)
