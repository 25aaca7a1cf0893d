"""What climbing the ladder over a damaged copy says of the ladder. Pure."""

from collections.abc import Sequence

from tasks.common.backups import Rung, RungOutcome
from tasks.common.challenges import Challenge, Control, Trial, TrialOutcome, Verdict
from tasks.common.errors import Refused, SlipwayError, Unsafe


def judge_control(name: str, rungs: Sequence[Rung], took_s: float) -> Control:
    """Return whether nothing was found on an undamaged copy, and something was looked at.

    Args:
        name: of what.
        rungs: all of them.
        took_s: how long that took.
    """
    broken = _first_broken(rungs)
    if broken is not None:
        return Control(name, False, f"{broken.name}: {broken.said}", took_s)
    held = sum(each.outcome is RungOutcome.HELD for each in rungs)
    return Control(name, held > 0, f"{held} of {len(rungs)} rungs held, the others do not apply", took_s)


def judge_trial(fault: str, done: str, expected: str, rungs: Sequence[Rung], took_s: float) -> Trial:
    """Return whether the damage was found: whether a rung was broken by it.

    Args:
        fault: its name.
        done: what was done.
        expected: the rung that should find it.
        rungs: up to the first that was broken, or all of them.
        took_s: how long it took.
    """
    broken = _first_broken(rungs)
    if broken is None:
        said = next((f"'{expected}': {each.said}" for each in rungs if each.name == expected), "no rung was broken")
        return Trial(fault, TrialOutcome.NOT_FOUND, done, expected, "", said, took_s)
    return Trial(fault, TrialOutcome.FOUND, done, expected, broken.name, broken.said, took_s)


def left_out(fault: str, expected: str, why: str) -> Trial:
    """Return a damage that cannot be made here."""
    return Trial(fault, TrialOutcome.LEFT_OUT, "", expected, "", why, 0.0)


def undecided(fault: str, done: str, expected: str, why: str, took_s: float) -> Trial:
    """Return a damage of which nobody knows whether it would be found."""
    return Trial(fault, TrialOutcome.UNDECIDED, done, expected, "", why, took_s)


def headline(challenge: Challenge) -> str:
    """Return in one line what has come out."""
    trials = challenge.trials
    if challenge.verdict is Verdict.NO_VERDICT:
        return f"No verdict: {_why_none(challenge)}"
    if challenge.verdict is Verdict.NOT_FOUND:
        missed = [each.fault for each in trials if each.outcome is TrialOutcome.NOT_FOUND]
        return f"NOT FOUND: {', '.join(missed)}"
    found = [each for each in trials if each.outcome is TrialOutcome.FOUND]
    late = [each.fault for each in found if each.late]
    rest = [each for each in trials if each.outcome is TrialOutcome.LEFT_OUT]
    parts = [f"Every damage was found ({len(found)} of {len(found)})"]
    parts += [f"not by the rung that should: {', '.join(late)}"] if late else []
    parts += [f"left out: {', '.join(each.fault for each in rest)}"] if rest else []
    return "; ".join(parts)


def error_of(found: Challenge) -> SlipwayError | None:
    """Return the error that the run of a challenge ends with; None where every damage was found."""
    said = headline(found)
    facts = {each.fault: f"{each.done}; {each.said}" for each in found.trials if each.outcome is TrialOutcome.NOT_FOUND}
    if found.verdict is Verdict.NOT_FOUND:
        return Unsafe(
            f"the verification does not find damage: {said}",
            on=f"the plan {found.plan}",
            state=f"backups are as they were; what was verified by it is proven less than it says ({found.backup_id})",
            next_action="see in the artifact which rung should have found it, and why it did not: a program that is "
            "missing or too old, a setting, or a fault in Slipway, which you should report; restore a backup by hand "
            "and look at what came back until then",
            facts=facts,
        )
    if found.verdict is Verdict.NO_VERDICT:
        return Refused(
            f"the challenge proves nothing: {said}",
            on=f"the plan {found.plan}",
            state="nothing is known of what the verification finds; backups are as they were",
            next_action="run 'verify-backup' on the plan and mend what it says; then challenge it again",
        )
    return None


def _why_none(challenge: Challenge) -> str:
    unsound = next((each for each in challenge.controls if not each.sound), None)
    if unsound is not None:
        return f"{unsound.name} was not found sound: {unsound.said}"
    undecided = next((each for each in challenge.trials if each.outcome is TrialOutcome.UNDECIDED), None)
    if undecided is not None:
        return f"{undecided.fault}: {undecided.said}"
    return "no damage could be made" if challenge.controls else "there was no undamaged copy to compare with"


def _first_broken(rungs: Sequence[Rung]) -> Rung | None:
    return next((each for each in rungs if each.outcome is RungOutcome.BROKEN), None)
