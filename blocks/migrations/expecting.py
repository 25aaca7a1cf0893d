"""Suites of Great Expectations that a migration's validate phase has to meet."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from blocks.expectations.running import run_suites
from tasks.common.errors import Refused
from tasks.common.load import load_suites
from tasks.expectations.judge import breaks
from tasks.migration.model import Expect

SHOWN = 5
"""So many lines of what was found are shown."""


def require_met(step: Expect, address: str, on: str, redact: Callable[[str], str]) -> None:
    """The suite is met. *Idempotent:* yes; the database is only read.

    Args:
        step: which suite.
        address: of the database.
        on: what errors call it.
        redact: takes secrets out of a text.

    Raises:
        Refused: it is not met, or a part of it could not be evaluated.
        Retryable: the database does not answer, or the process of Great Expectations failed.
    """
    suites = load_suites({step.name: step.suite})
    report = run_suites(suites, address, Path(tempfile.gettempdir()), redact)
    broken = [each for each in report.checked if breaks(each)]
    if report.checked and not broken:
        return
    told = [redact(f"{each.table} {each.about}: {each.type}: {each.found} {each.problem}".strip()) for each in broken]
    raise not_trusted(f"the data is not as {step.name} expects it", on, "not met", told or ["nothing was evaluated"])


def not_trusted(what: str, on: str, name: str, found: Sequence[str]) -> Refused:
    """Return the error that says what was found in the new shape that must not be.

    Args:
        what: was found, in one sentence.
        on: the database and the step.
        name: what the lines are called.
        found: lines without secrets; those beyond the first few are not shown.
    """
    more = ["and more"] if len(found) > SHOWN else []
    return Refused(
        what,
        on=on,
        state="the new shape is not to be trusted; clients of the old one are not touched",
        next_action="mend the rows, or what fills them, then apply again",
        facts={name: "\n".join([*found[:SHOWN], *more])},
    )
