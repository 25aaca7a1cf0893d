"""What lies in a repository, beside what the catalogue says of it."""

from dataclasses import replace
from datetime import timedelta, timezone

from tasks.backup.stock import GONE, Difference, broken, compare, digest_of
from tests.support.catalogue import NOW, PLAN, entry

HOUR = timedelta(hours=1)
OLD, NEW = entry(NOW - HOUR), entry(NOW)


def test_repository_that_has_what_the_catalogue_has_differs_in_nothing() -> None:
    assert compare(PLAN, "memory", 1, [NEW, OLD], [OLD.stored, NEW.stored]) == Difference((), (), ())


def test_what_only_one_of_them_has_is_told_apart() -> None:
    assert compare(PLAN, "memory", 1, [OLD], [NEW.stored]) == Difference((NEW.stored,), (OLD,), ())


def test_what_was_gone_and_lies_there_again_is_neither_unknown_nor_gone_nor_to_be_removed() -> None:
    lost = replace(OLD, expired_at=NOW, expired_why=GONE)
    assert compare(PLAN, "memory", 1, [lost], [OLD.stored]) == Difference((), (), (lost,))
    assert compare(PLAN, "memory", 1, [lost], []) == Difference((), (), ())


def test_what_was_to_be_removed_and_lies_there_is_still_on_its_way_out() -> None:
    dropped = replace(OLD, expired_at=NOW, expired_why="nothing asks for it")
    assert compare(PLAN, "memory", 1, [dropped], [OLD.stored]) == Difference((), (), (), (dropped,))
    assert compare(PLAN, "memory", 1, [dropped], []) == Difference((), (), ())


def test_other_repositories_and_what_other_engines_have_taken_are_left_alone() -> None:
    copied, other = entry(NOW, repository=2), replace(OLD, engine="restic")
    assert compare(PLAN, "memory", 1, [copied, other], []) == Difference((), (), ())


def test_digest_stays_where_only_its_place_has_changed_and_differs_for_another_backup() -> None:
    stored = NEW.stored
    east = timezone(timedelta(hours=5))
    same = replace(stored, stored_bytes=1, error="unwell", ended_at=stored.ended_at.astimezone(east))
    assert digest_of(same) == digest_of(stored)
    others = {"label": "x", "size_bytes": 1, "needs": ("x",), "source_version": "16", "started_at": NOW + HOUR}
    for field, value in others.items():
        assert digest_of(replace(stored, **{field: value})) != digest_of(stored), field  # type: ignore[arg-type]


def test_damaged_backup_is_put_on_record_as_unsound() -> None:
    found = broken(NEW, "run-1", NOW, NOW + HOUR, ["a: is missing", "b: was cut"])
    assert found.unsound
    assert (found.rungs[0].said, found.rungs[0].took_s) == ("a: is missing; b: was cut", 3600.0)
