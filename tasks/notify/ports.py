"""What notification needs from the outside: channels to people."""

from dataclasses import dataclass
from typing import Protocol

from tasks.common.occasion import Occasion, Severity
from tasks.notify.model import Message


class Notifier(Protocol):
    """Carries messages to people by one way."""

    @property
    def keeps_trouble_open(self) -> bool:
        """Return whether the other side keeps a trouble open until it is told that it is over."""
        ...

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
        severity_at_least: what is less severe, it is not told about.
    """

    name: str
    notifier: Notifier
    events: frozenset[Occasion]
    only: frozenset[str] = frozenset()
    severity_at_least: Severity = Severity.INFO

    def wants(self, message: Message) -> bool:
        """Return whether the message is meant for this channel.

        What is about the whole estate is meant for all environments. Where troubles are kept open, their ends are
        always wanted, as nobody should have to close by hand what is over, and what is only for information is not.
        """
        environment = message.about.environment
        if self.only and environment and environment not in self.only:
            return False
        if self.notifier.keeps_trouble_open and not message.severity.reaches(Severity.WARNING):
            return message.ends_trouble
        return message.occasion in self.events and message.severity.reaches(self.severity_at_least)
