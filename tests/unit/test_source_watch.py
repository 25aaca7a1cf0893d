"""A source is looked at beside its backup: what it was, whether it stayed so, and never for long."""

import threading
import time
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.databases.watching import SourceWatch
from blocks.memory.database import MemoryDatabase
from tasks.common.errors import Retryable
from tasks.common.source_facts import DatabaseFacts


@pytest.fixture
def source() -> MemoryDatabase:
    found = MemoryDatabase(MemoryDatabase.Settings(), Context(base=Path()))
    found.tables = {"public.film": 3}
    return found


class Slow(MemoryDatabase):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(MemoryDatabase.Settings(), Context(base=Path()))
        self.go = threading.Event()

    def facts(self, count_within_s: float | None = None) -> DatabaseFacts:
        self.go.wait(20)
        return super().facts(count_within_s)


def test_what_the_source_was_is_that_of_the_beginning(source: MemoryDatabase) -> None:
    watch = SourceWatch(source)
    found = watch.end()
    assert found.steady and dict(found.facts.rows) == {"public.film": 3}


def test_schema_that_changes_meanwhile_is_told_of(source: MemoryDatabase) -> None:
    watch = SourceWatch(source)
    watch._thread.join(10)
    source.tables["public.actor"] = 1
    found = watch.end()
    assert not found.steady
    assert dict(found.facts.rows) == {"public.film": 3}


def test_source_that_does_not_answer_at_the_beginning_or_the_end_is_an_error(source: MemoryDatabase) -> None:
    watch = SourceWatch(source)
    watch._thread.join(10)
    source.down = True
    with pytest.raises(Retryable, match="does not answer"):
        watch.end()
    with pytest.raises(Retryable, match="does not answer"):
        SourceWatch(source).end()


def test_backup_goes_on_beside_the_look_and_waits_for_a_slow_one_no_longer_than_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("blocks.databases.watching._PATIENCE_S", 0.1)
    slow, began = Slow(), time.monotonic()
    watch = SourceWatch(slow, count_within_s=0.1)
    with pytest.raises(Retryable, match="not looked at in time"):
        watch.end()
    assert time.monotonic() - began < 15
    slow.go.set()
