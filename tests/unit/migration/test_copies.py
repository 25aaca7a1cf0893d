"""Which backup a migration relies on: the newest that was found right, and is fresh."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.backups import Entry
from tasks.common.migrations import Phase
from tasks.migration.contract import Unmet
from tasks.migration.copies import choose, needed_for
from tasks.migration.plan import plan_apply
from tests.support.catalogue import entry
from tests.unit.migration.test_contract import _ADDS, _COMPILED, seen

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def copy(label: str, hours_old: float, *, verified: bool = True, wrong: bool = False) -> Entry:
    verified_at, unsound_at = NOW if verified else None, NOW if wrong else None
    ended_at = NOW - timedelta(hours=hours_old)
    return entry(ended_at, label=label, verified_at=verified_at, unsound_at=unsound_at)


def chosen(*entries: Entry, wanted: str = "") -> str | Unmet:
    return choose(entries, wanted, "campus-db", 86400.0, NOW)


def test_newest_verified_backup_is_chosen_though_a_newer_one_is_not_verified_yet() -> None:
    older, newer = copy("older", 20), copy("newer", 10)
    assert chosen(older, newer, copy("latest", 1, verified=False)) == newer.id
    assert chosen(older, newer, wanted=older.id) == older.id


@pytest.mark.parametrize(
    ("entries", "state"),
    [
        ((), "the newest verified one: none; the newest: none"),
        ((copy("a", 1, verified=False),), "not verified"),
        ((copy("a", 1, wrong=True),), "found to be wrong"),
        ((copy("a", 25),), "25 h old"),
    ],
)
def test_without_a_fresh_verified_backup_it_is_said_what_there_is_and_how_to_take_one(
    entries: tuple[Entry, ...], state: str
) -> None:
    found = chosen(*entries)
    assert isinstance(found, Unmet) and found.firm
    assert state in found.state
    assert found.next_action.startswith("slipway backup campus-db; slipway verify-backup campus-db")


def test_backup_that_is_named_is_the_one_that_counts() -> None:
    found = chosen(copy("a", 1), wanted="campus-db/1/b")
    assert isinstance(found, Unmet) and found.state == "there is no campus-db/1/b"


def test_backup_is_needed_before_rows_are_filled_and_shapes_removed_and_not_for_what_was_begun_with_one() -> None:
    fresh = seen(None)
    assert needed_for(plan_apply(None, _COMPILED, Phase.PREPARE), fresh) == ()
    assert needed_for(plan_apply(None, _COMPILED, Phase.VALIDATE), fresh) == (Phase.EXECUTE,)
    assert needed_for(plan_apply(None, _COMPILED, Phase.CLEANUP), fresh) == (Phase.EXECUTE, Phase.CLEANUP)
    assert needed_for(plan_apply(None, _ADDS, Phase.CLEANUP), fresh) == ()
    for backup, phases in (("", (Phase.CLEANUP,)), ("campus-db/1/a", ())):
        begun = seen(begun=True)
        attempt = replace(begun.attempts[0], standing=replace(begun.attempts[0].standing, backup=backup))
        actions = plan_apply(attempt, _COMPILED, Phase.CLEANUP)
        assert needed_for(actions, replace(begun, attempts=(attempt,))) == phases
