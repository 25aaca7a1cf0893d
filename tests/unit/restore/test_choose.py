"""Which backup a restore starts from, and how far it goes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.backups import Entry, RestoreTo
from tasks.common.errors import Refused
from tasks.restore.choose import choose, recheck, wish_of
from tasks.restore.model import Chosen
from tasks.restore.request import RestoreRequest
from tests.support.catalogue import PLAN, entry

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(hours: float, **more: object) -> Entry:
    """Return a verified backup that was complete so many hours after noon."""
    found = entry(NOON + hours * HOUR)
    found = replace(found, stored=replace(found.stored, ended_at=NOON + hours * HOUR), verified_at=NOON + 9 * HOUR)
    return replace(found, **more)  # type: ignore[arg-type]


OLD, NEW = at(0), at(2)


def chosen(
    *entries: Entry, reaches: Mapping[int, float | None] | None = None, point_in_time: bool = True, **asked: object
) -> Chosen:
    request = RestoreRequest.model_validate({"plan": PLAN, "to": "spare", **asked})
    ends = {number: None if hours is None else NOON + hours * HOUR for number, hours in (reaches or {1: 4}).items()}
    return choose(request, entries, lambda number: ends[number], point_in_time=point_in_time)


def moment(hours: float) -> str:
    return (NOON + hours * HOUR).isoformat()


def test_without_more_the_newest_backup_and_all_wal_after_it() -> None:
    assert chosen(NEW, OLD) == Chosen(NEW, RestoreTo(NEW.stored.label))


def test_named_backup_comes_back_as_it_was_and_no_further() -> None:
    assert chosen(NEW, OLD, backup=OLD.id) == Chosen(OLD, RestoreTo(OLD.stored.label, backup_only=True))


def test_point_in_time_starts_from_the_newest_backup_before_it() -> None:
    assert chosen(NEW, OLD, at=moment(1)) == Chosen(OLD, RestoreTo(OLD.stored.label, NOON + HOUR))
    assert chosen(NEW, OLD, at=moment(2)).entry == NEW
    assert chosen(NEW, OLD, at=moment(3), backup=OLD.id).entry == OLD


@pytest.mark.parametrize("hours", [-1, 5])
def test_point_in_time_out_of_reach_is_refused_with_the_range(hours: float) -> None:
    with pytest.raises(Refused, match="no backup reaches") as caught:
        chosen(NEW, OLD, at=moment(hours))
    assert caught.value.facts == {"repository 1": "from 2026-11-22 12:00:00 UTC to 2026-11-22 16:00:00 UTC"}


def test_repository_that_reaches_further_is_taken() -> None:
    copy = replace(OLD, id=OLD.id.replace("/1/", "/2/"), repository=2)
    assert chosen(NEW, OLD, copy, reaches={1: 2, 2: 4}, at=moment(3)).entry == copy
    with pytest.raises(Refused) as caught:
        chosen(OLD, copy, reaches={1: 2, 2: None}, at=moment(3))
    assert caught.value.facts["repository 2"] == "reaches nothing"


def test_point_in_time_of_an_engine_without_wal_is_refused_with_the_nearest_backups() -> None:
    with pytest.raises(Refused, match="keeps no WAL") as caught:
        chosen(NEW, OLD, at=moment(1.9), point_in_time=False)
    assert next(iter(caught.value.facts)) == NEW.id


def test_unsound_backup_is_refused_by_name_and_left_out_otherwise() -> None:
    bad = replace(NEW, unsound_at=NOON + 9 * HOUR)
    with pytest.raises(Refused, match="on record as unsound") as caught:
        chosen(bad, OLD, backup=bad.id)
    assert OLD.id in caught.value.next_action
    found = chosen(bad, OLD)
    assert found.entry == OLD
    assert found.remarks == (f"1 newer on record as unsound, and left out: {bad.id}",)
    damaged = replace(NEW, stored=replace(NEW.stored, error="a byte is wrong"))
    with pytest.raises(Refused) as caught:
        chosen(damaged, backup=damaged.id)
    assert caught.value.facts["found"] == "a byte is wrong"


def test_backup_that_was_never_verified_is_restored_and_said_to_be_so() -> None:
    found = chosen(replace(NEW, verified_at=None))
    assert "never restored before" in found.remarks[0]


def test_plan_without_a_backup_that_could_be_restored_is_refused() -> None:
    with pytest.raises(Refused, match="no backup to restore"):
        chosen()
    with pytest.raises(Refused, match="no backup to restore"):
        chosen(replace(NEW, unsound_at=NOON))


def test_unknown_backup_is_refused_with_one_that_is_like_it() -> None:
    with pytest.raises(Refused, match="has no backup") as caught:
        chosen(NEW, OLD, backup=NEW.id[:-1])
    assert NEW.id in caught.value.next_action


def test_what_was_asked_about_is_restored_though_there_is_something_newer() -> None:
    asked = {"entry": OLD.id, "at": moment(1), "backup_only": False}
    assert recheck(asked, [NEW, OLD]) == Chosen(OLD, RestoreTo(OLD.stored.label, NOON + HOUR))
    with pytest.raises(Refused, match="expired meanwhile"):
        recheck(asked, [NEW])
    with pytest.raises(Refused, match="unsound"):
        recheck(asked, [replace(OLD, unsound_at=NOON)])


def test_wish_is_told_in_words() -> None:
    def wish(**asked: object) -> str:
        return wish_of(RestoreRequest.model_validate({"plan": "db", "to": "spare", **asked}))

    assert wish() == "the newest state of db"
    assert wish(backup="db/1/x") == "db/1/x"
    assert wish(at="2026-11-22T14:37:00.5+01:00") == "db as of 2026-11-22 13:37:00.500000 UTC"
