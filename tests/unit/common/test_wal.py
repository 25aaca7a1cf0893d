"""What keeps a server from removing its WAL, and what is said of it."""

from dataclasses import replace

import pytest

from tasks.common.wal import Slot, WalHeld, problems

GIB = 2**30
WELL = WalHeld(GIB, waiting=2, waiting_bytes=2**25, oldest_s=1.0, slots=(Slot("standby", True, 3 * GIB),))


def test_server_that_keeps_up_has_no_problem() -> None:
    assert problems(WELL, 300.0) == ()
    assert problems(replace(WELL, slots=(Slot("standby", False, GIB),)), 300.0) == ()


@pytest.mark.parametrize(
    "held", [replace(WELL, oldest_s=301.0), replace(WELL, waiting_bytes=GIB + 1)], ids=["too long", "too much"]
)
def test_wal_that_waits_for_too_long_or_is_too_much_is_told(held: WalHeld) -> None:
    (said,) = problems(held, 300.0)
    assert said.startswith("archiving does not keep up: 2 pieces of WAL")
    assert "disk fills" in said


def test_slot_that_nobody_reads_is_named_with_what_it_holds_back() -> None:
    (said,) = problems(replace(WELL, slots=(Slot("old_standby", False, 3 * GIB),)), 300.0)
    assert "old_standby, which nobody reads, holds back 3 GiB" in said


def test_slot_that_has_lost_its_wal_is_named_also_where_it_is_read() -> None:
    (said,) = problems(replace(WELL, slots=(Slot("standby", True, 0, lost=True),)), 300.0)
    assert "standby has lost WAL" in said


def test_each_problem_is_told() -> None:
    slots = (Slot("a", False, 3 * GIB), Slot("b", False, 0, lost=True))
    assert len(problems(replace(WELL, oldest_s=301.0, slots=slots), 300.0)) == 3
