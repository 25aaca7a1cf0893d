"""What people read about a challenge: what has come out in bold, then each damage and who has found it. Pure."""

from collections.abc import Callable

from tasks.challenge.judge import headline
from tasks.common.challenges import Challenge, Trial, TrialOutcome
from tasks.common.markdown import escape, table
from tasks.common.units import show_duration

HEAD = ("damage", "outcome", "should be found by", "was found by", "took", "what was done", "what was said")
_LONGEST = 300


def cells(trial: Trial) -> tuple[str, ...]:
    """Return a damage as a row under `HEAD`."""
    found_by = trial.found_by or ("nobody" if trial.outcome is TrialOutcome.NOT_FOUND else "")
    took = show_duration(trial.took_s) if trial.took_s else ""
    return trial.fault, trial.outcome.value, trial.expected, found_by, took, trial.done, trial.said[:_LONGEST]


def report(challenge: Challenge, redact: Callable[[str], str]) -> str:
    """Return the challenge as Markdown.

    Args:
        challenge: all of it.
        redact: takes the secrets out of a text.
    """

    def cell(text: str) -> str:
        return escape(redact(text))

    controls = [
        f"- {cell(each.name)}: {'sound' if each.sound else '**not sound**'}, {cell(each.said[:_LONGEST])} "
        f"(took {show_duration(each.took_s)})"
        for each in challenge.controls
    ]
    parts = [
        f"**{cell(headline(challenge))}.**",
        f"# Challenge of the verification of {cell(challenge.plan)}",
        f"On copies of {cell(challenge.backup_id)}, which is as it was. Undamaged ones first: without them a "
        "verification that finds fault with everything would pass.",
        "\n".join(controls),
        table(HEAD, [tuple(map(cell, cells(each))) for each in challenge.trials]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
