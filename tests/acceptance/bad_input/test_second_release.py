"""A second release at the same moment, and one of what serves already: neither disturbs what users get."""

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tasks.common.errors import Refused
from tasks.release.model import Outcome, ReleaseRecord
from tests.support.processes import wait_until
from tests.support.small import Ended, Small
from tests.support.small_checks import assert_recorded, assert_says, assert_untouched, production, python

pytestmark = pytest.mark.server

CLOSED = [{"name": "the drill has passed", "promql": "vector(0)", "unit": "count", "at_least": 1}]


class Running:
    """A release that goes on in a thread."""

    def __init__(self, small: Small, commit: str) -> None:
        self.commit = commit
        self.ended: Ended | None = None
        # A new thread would not know which Prefect server the tests use.
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=lambda: context.run(self._release, small), name=f"release {commit[:7]}")
        self.thread.start()

    def _release(self, small: Small) -> None:
        self.ended = small.release(self.commit)

    def end(self) -> Ended:
        """Return how it has ended."""
        self.thread.join(120)
        assert self.ended is not None, "it has not ended"
        return self.ended


@contextmanager
def everywhere(small: Small, **changes: object) -> Iterator[None]:
    """The estate file says something else about every environment for the length of a `with`."""
    text = small.file.read_text()
    estate = yaml.safe_load(text)
    for environment in estate["environments"].values():
        environment.update(changes)
    small.file.write_text(yaml.safe_dump(estate))
    try:
        yield
    finally:
        small.file.write_text(text)


@contextmanager
def held_up(small: Small, gate: Path) -> Iterator[Running]:
    """A release has its leases, and stands in its tests until the `with` ends."""
    wait = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)"
    commit = small.commit(test={"steps": [{"name": "unit", "command": python(wait)}]})
    running = Running(small, commit)
    try:
        wait_until(lambda: _works(small, commit), what="the first one's leases")
        yield running
    finally:
        gate.touch()
        running.end()


def _works(small: Small, commit: str) -> bool:
    lease, found = small.ledger.leases.find("campus/production"), running_records(small, commit)
    return lease is not None and lease.live and bool(found) and lease.holder == found[0].id


def running_records(small: Small, commit: str) -> list[ReleaseRecord]:
    """Return the runs of a commit that are on record and have not ended."""
    found = small.ledger.records("campus", "production", 20)
    return [record for record in found if record.commit == commit and record.outcome is Outcome.RUNNING]


@pytest.mark.usefixtures("serving")
def test_second_release_is_refused_where_the_estate_wants_it_and_told_who_the_first_is(
    small: Small, tmp_path: Path
) -> None:
    with everywhere(small, when_busy="refuse"), held_up(small, tmp_path / "gate") as first:
        (record,) = running_records(small, first.commit)
        second = small.release(small.commit())
    assert_says(
        second,
        Refused,
        f"{record.id} may change campus/staging, this run may not",
        "campus/staging",
        "nothing was changed",
        f"let {record.id} end",
    )
    assert_recorded(small, second, Outcome.FAILED)
    assert second.visitors.failures == []
    assert small.evidence(second, "step") == []
    assert small.evidence(second, "build") == []
    assert first.end().error is None
    assert small.served() == {first.commit[:12]}


def test_releases_that_wait_run_one_after_the_other_in_the_order_in_which_they_came(
    small: Small, serving: str, tmp_path: Path
) -> None:
    with held_up(small, tmp_path / "gate") as first:
        waiting = []
        for _ in range(2):
            waiting.append(Running(small, small.commit()))
            wait_until(lambda: _queued(small, waiting[-1].commit), what="a word of the run that waits")
        assert small.served() == {serving}
    ends = [small.record(running.end()) for running in (first, *waiting)]
    assert [record.outcome for record in ends] == [Outcome.SUCCEEDED] * 3
    finished = [record.ended_at for record in ends if record.ended_at is not None]
    assert finished == sorted(finished)
    assert small.served() == {waiting[-1].commit[:12]}
    for running, before in zip(waiting, (first, waiting[0]), strict=True):
        ended = running.end()
        assert ended.visitors.failures == []
        steps = [item.at for item in small.evidence(ended, "step")]
        last = max(item.at for item in small.evidence(before.end(), "step"))
        assert steps and min(steps) > last, "no two of them were at work at once"
        assert first.end().run_id in [item.facts["held_by"] for item in small.evidence(ended, "waiting")]


def _queued(small: Small, commit: str) -> bool:
    found = running_records(small, commit)
    return bool(found) and any(item.kind == "waiting" for item in small.ledger.evidence(found[0].id))


# Once more what serves already


@pytest.mark.usefixtures("serving")
def test_closed_gate_before_what_serves_already_takes_nothing_away_from_users(small: Small) -> None:
    commit = small.commit()
    assert small.release(commit).error is None
    instances = small.processes()
    with production(small, gates=CLOSED):
        ended = small.release(commit)
    assert_says(ended, Refused, "1 of ", "campus", f"{commit[:7]} serves all traffic of production as before", "")
    assert_recorded(small, ended, Outcome.FAILED)
    assert small.evidence(ended, "roll-back") == []
    assert_untouched(small, ended, commit[:12])
    assert small.processes() == instances
