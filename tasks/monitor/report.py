"""What a person reads about one look at an environment. Pure."""

from collections.abc import Sequence
from typing import Protocol

from tasks.common.markdown import escape, table
from tasks.common.model import HttpCheck
from tasks.common.units import show_duration


class Result(Protocol):
    """What came of one check."""

    @property
    def check(self) -> HttpCheck:
        """Return what was asked."""
        ...

    @property
    def passed(self) -> bool:
        """Return whether the right answer came."""
        ...

    @property
    def problem(self) -> str:
        """Return what is wrong with the answer; '' where it is right."""
        ...

    @property
    def duration_s(self) -> float:
        """Return the time to the end of the answer."""
        ...


def failures(results: Sequence[Result]) -> dict[str, str]:
    """Return what is wrong, by the check's label."""
    return {each.check.label: each.problem for each in results if not each.passed}


def report(where: str, url: str, release: str, results: Sequence[Result]) -> str:
    """Return the look as Markdown: a summary first, then each request."""
    bad = len(failures(results))
    said = (
        f"**{bad} of {len(results)} requests failed**" if bad else f"all {len(results)} requests got the right answer"
    )
    rows = [
        (escape(each.check.label), "right" if each.passed else escape(each.problem), show_duration(each.duration_s))
        for each in results
    ]
    return f"# {where}\n\nRelease {release[:7]} at {url}: {said}.\n\n{table(('request', 'answer', 'took'), rows)}\n"
