"""What every fault does: it is really there when it was injected, and really gone when it was undone."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from blocks import open_driver
from blocks.context import Context
from blocks.drills.undo_journal import UndoJournal, now, open_fault
from tasks.drill.journal import Entry
from tasks.drill.ports import Fault
from tests.support import faults
from tests.support.faults import Thing
from tests.support.needs import missing
from tests.support.processes import die, require_killed, wait_until

_SERVER = pytest.mark.server
KINDS = [
    "memory",
    *(
        pytest.param(each, marks=_SERVER)
        for each in (
            "kill",
            "stop",
            "link-down",
            "cut",
            "fill",
            "read-only",
            "freeze",
            "destroy-data",
            "destroy-data by hand",
            "flip-bytes",
            "mistake",
        )
    ),
]


@pytest.fixture(params=KINDS)
def thing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Thing]:
    kind = str(request.param)
    with ExitStack() as stack:
        match kind:
            case "memory":
                made = faults.in_memory()
            case "kill" | "stop":
                made = faults.process(tmp_path, kind)
            case "link-down" | "cut":
                made = faults.network(kind)
            case "fill" | "read-only":
                made = faults.disk(tmp_path, kind)
            case "freeze":
                made = faults.frozen_disk(tmp_path)
            case "destroy-data" | "destroy-data by hand":
                made = faults.data_folder(tmp_path, rebuilt=kind == "destroy-data")
            case _:
                if os.geteuid() != 0:
                    missing("only root reads another user's data folder")
                made = faults.table(request.getfixturevalue("postgresql_cluster"), tmp_path, kind)
        yield stack.enter_context(made)


@pytest.fixture
def fault(thing: Thing, tmp_path: Path) -> Fault:
    opened: Fault = open_driver("fault", thing.spec, Context(base=tmp_path))
    return opened


def entry(thing: Thing, fault: Fault, base: Path, expires_s: float = 0.0, number: int = 0) -> Entry:
    spec = thing.spec
    return Entry(
        f"run-1-{number:02}",
        "drill",
        "run-1",
        number,
        spec.driver,
        spec.settings,
        fault.aim(),
        str(base),
        now(),
        expires_s,
    )


def test_taking_aim_changes_nothing(thing: Thing, fault: Fault) -> None:
    aim = fault.aim()
    assert thing.well()
    assert not fault.injected(aim)


def test_fault_is_seen_and_really_breaks_something(thing: Thing, fault: Fault) -> None:
    aim = fault.aim()
    fault.inject(aim)
    assert fault.injected(aim)
    assert not thing.well()


def test_undone_it_is_gone_or_a_person_is_told_what_to_do(thing: Thing, fault: Fault) -> None:
    aim = fault.aim()
    fault.inject(aim)
    undone = fault.undo(aim)
    assert fault.reversible == thing.reversible == (not undone.by_hand)
    if thing.reversible:
        wait_until(thing.well, what="what was broken")


def test_undone_twice_it_is_as_after_once(thing: Thing, fault: Fault) -> None:
    aim = fault.aim()
    fault.inject(aim)
    first, second = fault.undo(aim), fault.undo(aim)
    assert bool(first.by_hand) == bool(second.by_hand)
    if thing.reversible:
        wait_until(thing.well, what="what was broken")


def test_undoing_what_was_never_injected_does_nothing(thing: Thing, fault: Fault) -> None:
    aim = fault.aim()
    assert fault.undo(aim).by_hand == ""
    assert thing.well()


def test_injected_twice_it_is_as_after_once(thing: Thing, fault: Fault) -> None:
    aim = fault.aim()
    fault.inject(aim)
    fault.inject(aim)
    assert fault.injected(aim)
    fault.undo(aim)
    if thing.reversible:
        wait_until(thing.well, what="what was broken")


def test_it_can_be_injected_again_after_it_was_undone(thing: Thing, fault: Fault) -> None:
    if not thing.reversible:
        pytest.skip("it cannot be undone")
    for _ in range(2):
        aim = fault.aim()
        fault.inject(aim)
        assert not thing.well()
        fault.undo(aim)
        wait_until(thing.well, what="what was broken")


def test_reaper_undoes_it_after_its_process_was_killed(thing: Thing, fault: Fault, tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path / "journal")

    def drill() -> None:
        one = entry(thing, fault, tmp_path)
        journal.add(one)
        fault.inject(one.aim)
        die(now=True)

    if thing.spec.driver == "memory":
        one = entry(thing, fault, tmp_path)
        journal.add(one)
        fault.inject(one.aim)
    else:
        require_killed(drill, "after it was injected")
    assert not thing.well()
    done, problems = journal.reap()
    assert [bool(each.undone and each.undone.by_hand) for each in done] == [not thing.reversible], done
    assert problems == ()
    if thing.reversible:
        wait_until(thing.well, what="what was broken")
    assert journal.entries() == ((), ())
    assert len(journal.undone("run-1")) == 1


def test_entry_whose_fault_was_never_injected_undoes_to_nothing(thing: Thing, fault: Fault, tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path / "journal")
    journal.add(entry(thing, fault, tmp_path))
    ((reaped,), _) = journal.reap()
    assert reaped.undone is not None and reaped.undone.by_hand == ""
    assert thing.well()


def test_undo_needs_nothing_but_what_is_in_the_journal(thing: Thing, fault: Fault, tmp_path: Path) -> None:
    journal = UndoJournal(tmp_path / "journal")
    journal.add(entry(thing, fault, tmp_path))
    ((read,), _) = journal.entries()
    again = open_fault(read)
    again.inject(read.aim)
    assert again.injected(read.aim)
    again.undo(read.aim)


def test_nothing_is_left_to_undo_where_all_of_it_has_vanished(thing: Thing, fault: Fault) -> None:
    if thing.vanish is None:
        pytest.skip("it cannot vanish")
    aim = fault.aim()
    fault.inject(aim)
    thing.vanish()
    assert fault.undo(aim).by_hand == ""
