"""With what a copy is compared."""

from datetime import UTC, datetime

import pytest

from tasks.common.backups import Form, RungOutcome
from tasks.common.source_facts import DatabaseFacts, SourceFacts
from tasks.verification import rungs
from tasks.verification.expected import UNSEEN, expected
from tests.unit.verification.test_judge import facts

AT = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
NOW, THEN = facts(), SourceFacts(AT, facts(), steady=True)


class Copy:
    """A restored database, of which only the facts are asked."""

    def __init__(self, found: DatabaseFacts) -> None:
        self.found = found

    def facts(self) -> DatabaseFacts:
        return self.found


@pytest.mark.parametrize("newest", [True, False])
def test_backup_that_is_restored_with_all_wal_is_compared_with_the_source_of_now(newest: bool) -> None:
    found = expected(with_wal=True, newest=newest, now=NOW, then=THEN)
    assert found.facts is NOW and not found.why and not found.remark


@pytest.mark.parametrize("newest", [True, False])
def test_backup_without_wal_is_compared_with_what_the_source_was_then(newest: bool) -> None:
    found = expected(with_wal=False, newest=newest, now=None, then=THEN)
    assert found.facts is THEN.facts and found.steady and not found.why
    assert found.remark == "compared with the source as it was when the backup was taken, at 2026-11-22 02:30:00 UTC"


def test_schema_that_was_changed_while_the_backup_was_taken_is_not_compared_and_rows_are() -> None:
    found = expected(with_wal=False, newest=True, now=None, then=SourceFacts(AT, facts(), steady=False))
    assert found.facts is not None and not found.steady
    rung = rungs.schema((), Form.DUMP, None, Copy(facts()), found.why)  # type: ignore[arg-type]
    assert rung.outcome is RungOutcome.LEFT_OUT
    assert "was changed while the backup was taken" in rung.said


def test_without_a_record_only_the_newest_is_compared_with_the_source_of_now() -> None:
    assert expected(with_wal=False, newest=True, now=NOW, then=None).facts is NOW
    old = expected(with_wal=False, newest=False, now=NOW, then=None)
    assert old.facts is None and "not on record" in old.why and old.remark == old.why


def test_source_that_does_not_answer_and_of_which_nothing_is_known_is_compared_with_nothing() -> None:
    for with_wal in (True, False):
        found = expected(with_wal=with_wal, newest=True, now=None, then=None)
        assert found.facts is None and found.why == UNSEEN
