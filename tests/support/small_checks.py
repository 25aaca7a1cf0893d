"""What tests of the small estate ask of a run that has ended."""

import contextlib
from collections.abc import Iterator

import pytest
import yaml

from tasks.common.errors import Refused, SlipwayError
from tasks.release.model import Outcome
from tests.support.small import Ended, Small

RUN_VALUE, TEST_VALUE = "run-value-0b5a1c9e", "test-value-77e2d904"


def assert_turned_back(small: Small, ended: Ended, former: str, commit: str) -> None:
    """Users met the candidate, and then the former release again, and no error on the way."""
    assert [item.facts["to"] for item in small.evidence(ended, "roll-back")] == [former]
    assert_recorded(small, ended, Outcome.ROLLED_BACK)
    assert ended.visitors.failures == []
    assert ended.visitors.met == {former, commit[:12]}
    assert small.served() == {former}


def assert_says(ended: Ended, kind: type[SlipwayError], what: str, on: str, state: str, next_action: str) -> None:
    """The run ended with this error, whose four parts hold these texts."""
    error = ended.error
    assert type(error) is kind or (kind is Refused and isinstance(error, Refused)), repr(error)
    assert isinstance(error, SlipwayError)
    parts = {"what": error.what, "on": error.on, "state": error.state, "next": error.next_action}
    wanted = {"what": what, "on": on, "state": state, "next": next_action}
    assert {name: part for name, part in parts.items() if wanted[name] not in part} == {}, error.block()


def assert_recorded(small: Small, ended: Ended, outcome: Outcome) -> None:
    """The ledger has the run with this outcome, who asked for it, and the error as it was shown."""
    record = small.record(ended)
    assert (record.outcome, record.requested_by) == (outcome, "ann")
    assert record.ended_at is not None
    assert record.error == (str(ended.error) if ended.error is not None else None)


def assert_untouched(small: Small, ended: Ended, release: str) -> None:
    """Users met nothing but this release, before, during and after the run."""
    assert ended.visitors.failures == []
    assert ended.visitors.met <= {release}
    assert small.served() == {release}


def assert_not_begun(small: Small, ended: Ended) -> None:
    """The ledger has no record of the run: it was refused before anything began."""
    with pytest.raises(Refused):
        small.record(ended)


def again(releases: set[str], environment: str) -> str:
    """Return what the state says of an environment that was turned back to its only release."""
    (release,) = releases
    return f"{release[:7]} serves all traffic of {environment} again"


@contextlib.contextmanager
def production(small: Small, **changes: object) -> Iterator[None]:
    """The estate file says something else about production for the length of a `with`."""
    text = small.file.read_text()
    estate = yaml.safe_load(text)
    estate["environments"]["production"].update(changes)
    small.file.write_text(yaml.safe_dump(estate))
    try:
        yield
    finally:
        small.file.write_text(text)


def facts_of(ended: Ended) -> dict[str, str]:
    """Return the further figures of the run's error."""
    assert isinstance(ended.error, SlipwayError)
    return {name: str(value) for name, value in ended.error.facts.items()}


def python(script: str) -> list[str]:
    return ["python3", "-S", "-c", script]
