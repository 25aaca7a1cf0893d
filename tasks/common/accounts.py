"""What a run tells people that it has done: step by step, with what came of each."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Done:
    """One step that was done, or tried.

    Args:
        what: the step in words: 'fetch the backup'.
        at: when it began; aware.
        took_s: how long it took.
        said: what came of it, one sentence, without secrets.
    """

    what: str
    at: datetime
    took_s: float
    said: str
