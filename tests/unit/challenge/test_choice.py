"""Which damages can be made, to what, and who should find them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tasks.challenge.choice import left_out_because, no_source_because, older_than, target_of
from tasks.challenge.model import ON_COPY, ON_SOURCE, Fault, Part, StoredFile, expected
from tasks.common.backups import Form
from tasks.verification.ladder import LADDER
from tests.support.catalogue import NOW, entry

CONTENT, EMPTY, WAL = (
    StoredFile("data/1", 100, Part.CONTENT),
    StoredFile("data/0", 0, Part.CONTENT),
    StoredFile("pg_wal/000000010000000000000001", 100, Part.WAL),
)


def only(files: object) -> StoredFile:
    (found,) = files  # type: ignore[misc]
    return found  # type: ignore[no-any-return]


def test_every_fault_is_made_once_has_a_rung_and_a_reason_to_be_left_out() -> None:
    assert sorted((*ON_COPY, *ON_SOURCE)) == sorted(Fault)
    places = {each.name: each for each in LADDER}
    for fault in Fault:
        for form in (Form.CLUSTER, Form.DUMP):
            assert form in places[expected(fault, form)].forms
        assert left_out_because(fault, "restic", in_folders=True)


def test_earlier_damage_to_the_source_does_not_hide_behind_a_later_one() -> None:
    names = [each.name for each in LADDER]
    should = [names.index(expected(each, Form.CLUSTER)) for each in ON_SOURCE if each is not Fault.ARCHIVE_SILENT]
    assert should == sorted(should, reverse=True), "who looks first must not find what an earlier damage has left"


@pytest.mark.parametrize("fault", [Fault.FLIPPED, Fault.TRUNCATED])
def test_only_what_holds_something_is_damaged(fault: Fault) -> None:
    assert target_of(fault, [EMPTY, WAL, CONTENT], only) == CONTENT
    assert target_of(fault, [EMPTY, WAL], only) is None


def test_only_wal_is_dropped_as_wal() -> None:
    assert target_of(Fault.WAL_GONE, [CONTENT, WAL], only) == WAL
    assert target_of(Fault.WAL_GONE, [CONTENT], only) is None


def test_newest_whole_backup_before_it_takes_its_place() -> None:
    hours = [entry(NOW - timedelta(hours=n), label=str(n)).stored for n in range(4)]
    damaged, built = replace(hours[1], error="page 7"), replace(hours[2], needs=("3",))
    assert older_than("0", hours) == hours[1]
    assert older_than("0", [hours[0], damaged, built, hours[3]]) == hours[3]
    assert older_than("3", hours) is None


def test_source_is_made_of_what_holds_a_database_and_is_restored() -> None:
    assert no_source_because(Form.CLUSTER, restored=True) == no_source_because(Form.DUMP, restored=True) == ""
    assert "form files" in no_source_because(Form.FILES, restored=True)
    assert "'verification'" in no_source_because(Form.DUMP, restored=False)


def test_backups_that_share_what_they_hold_are_told_apart_from_a_lonely_one() -> None:
    assert "share" in left_out_because(Fault.SWAPPED, "restic", in_folders=False)
    assert "no older" in left_out_because(Fault.SWAPPED, "pg_dump", in_folders=True)
