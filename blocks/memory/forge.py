"""A forge that shows nothing to anybody."""

from blocks.context import Context
from tasks.common.errors import SlipwayError
from tasks.common.model import StrictModel
from tasks.webhook.ports import CommitReport


class MemoryForge:
    """Implements `Forge`.

    Attributes:
        taken: the reports, in order.
        problems: errors that the next calls raise, one each.
    """

    class Settings(StrictModel):
        """It has none."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings, context
        self.taken: list[CommitReport] = []
        self.problems: list[SlipwayError] = []

    def report(self, report: CommitReport) -> None:
        """The report is kept. *Idempotent:* yes; it is kept once more.

        Raises:
            Retryable, Refused: as `problems` says.
        """
        if self.problems:
            raise self.problems.pop(0)
        self.taken.append(report)
