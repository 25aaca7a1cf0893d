"""What the receiver needs from the outside: forges that are told how runs went."""

from dataclasses import dataclass
from typing import Protocol

from tasks.common.delivery import Told


@dataclass(frozen=True)
class CommitReport:
    """What is to be shown beside a commit.

    Args:
        repository: as the forge calls it: OWNER/NAME.
        commit: its whole hash.
        name: what the report is about, such as 'slipway/release'; a later one of the same name takes its place.
        state: how it is.
        description: the same in words; longer ones than a forge takes are cut.
        link: where more is to be seen; '' for nowhere.
    """

    repository: str
    commit: str
    name: str
    state: Told
    description: str
    link: str = ""


class Forge(Protocol):
    """Shows beside a commit what became of it."""

    def report(self, report: CommitReport) -> None:
        """The forge shows the report, in place of an earlier one of that name. *Idempotent:* yes.

        Raises:
            Retryable: the forge does not answer, or takes none now.
            Refused: it does not take this one: the token is not good for it, or it does not know the commit.
        """
        ...
