"""Trials and challenges, as tests want them."""

from datetime import datetime, timedelta

from tasks.common.challenges import Challenge, Control, Trial, TrialOutcome
from tests.support.catalogue import NOW, PLAN

SOUND = Control("the undamaged copy", True, "11 of 12 rungs held", 4.0)
UNSOUND = Control("the undamaged copy", False, "schema: an object is missing", 4.0)


def trial(
    outcome: TrialOutcome = TrialOutcome.FOUND,
    fault: str = "flipped byte",
    *,
    expected: str = "repository",
    found_by: str | None = None,
    said: str = "it is not as it was written",
) -> Trial:
    """Return a damage; one that was found was found by the rung that should, unless another one is named."""
    by = found_by if found_by is not None else expected if outcome is TrialOutcome.FOUND else ""
    done = "" if outcome is TrialOutcome.LEFT_OUT else "one bit of byte 7"
    return Trial(fault, outcome, done, expected, by, said, 1.5)


def challenge(*trials: Trial, control: Control = SOUND, run_id: str = "run-1", ended_at: datetime = NOW) -> Challenge:
    """Return a challenge that took a minute."""
    began_at = ended_at - timedelta(minutes=1)
    return Challenge(PLAN, run_id, f"{PLAN}/1/{NOW:%Y%m%d-%H%M%S}", began_at, ended_at, (control,), trials)
