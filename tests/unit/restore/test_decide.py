"""What a dead run has left, and whether a target may be touched."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.common.backup_plans import RestoreTarget
from tasks.common.backups import Form, RestoreTo
from tasks.common.errors import Refused, Unsafe
from tasks.common.model import DriverSpec
from tasks.restore.decide import must_ask, require_fits, require_room, settle, state_of, steps_of
from tasks.restore.model import Chosen, Journal, Phase, Seen, Settlement
from tests.support.catalogue import entry

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EMPTY = Seen(None, filled=False, ours=False, running=False, answers=False, aside_there=False, free_bytes=2**40)
SPARE = RestoreTarget(server=DriverSpec(driver="postgresql"))
SOURCE = RestoreTarget(server=DriverSpec(driver="postgresql"), source=True)
BEFORE = (Phase.STOPPING, Phase.ASIDE)
HALF = (Phase.FILLING, Phase.RECOVERING, Phase.MASKING)


def left(phase: Phase, aside: str = "/srv/main.aside-1", **seen: bool) -> Seen:
    journal = Journal("run-1", "db", "db/1/x", "db/1/x", NOON, phase, aside)
    return replace(EMPTY, journal=journal, **seen)


def settled(seen: Seen) -> Settlement:
    return settle(seen, "/srv/main on db1")


def test_nothing_on_record_or_a_restore_that_was_done_needs_nothing() -> None:
    assert settled(EMPTY) is Settlement.NOTHING
    assert settled(left(Phase.DONE, filled=True, aside_there=True)) is Settlement.NOTHING


@pytest.mark.parametrize("phase", BEFORE)
def test_before_the_folder_was_renamed_its_server_is_started_and_after_it_brought_back(phase: Phase) -> None:
    assert settled(left(phase, filled=True)) is Settlement.START
    assert settled(left(phase, aside_there=True)) is Settlement.BRING_BACK


@pytest.mark.parametrize("phase", HALF)
def test_half_restored_folder_is_never_taken_for_the_present_state(phase: Phase) -> None:
    assert settled(left(phase, filled=True, aside_there=True)) is Settlement.BRING_BACK
    assert settled(left(phase, aside="", filled=True)) is Settlement.BRING_BACK
    with pytest.raises(Unsafe, match="put aside is not there"):
        settled(left(phase, filled=True))


def test_half_way_back_is_carried_on() -> None:
    assert settled(left(Phase.RETURNING, aside_there=True)) is Settlement.BRING_BACK
    assert settled(left(Phase.RETURNING, filled=True, aside_there=True)) is Settlement.BRING_BACK
    assert settled(left(Phase.RETURNING, filled=True)) is Settlement.START


def test_what_has_been_open_is_carried_on_and_never_taken_back() -> None:
    assert settled(left(Phase.OPENING, filled=True, aside_there=True)) is Settlement.CARRY_ON


def test_folders_that_somebody_has_moved_are_left_alone() -> None:
    with pytest.raises(Unsafe, match="as well as the state that was put aside") as caught:
        settled(left(Phase.ASIDE, filled=True, aside_there=True))
    assert caught.value.facts["its run"] == "run-1" and "journal.json" in caught.value.next_action


def asks(seen: Seen, target: RestoreTarget = SPARE) -> bool:
    return must_ask(seen, target, "/srv/main on db1", "127.0.0.1:5432")


def test_empty_folder_may_be_filled_without_asking() -> None:
    assert not asks(EMPTY)


@pytest.mark.parametrize(
    ("seen", "target"),
    [
        (replace(EMPTY, filled=True), SPARE),
        (replace(EMPTY, filled=True, running=True, ours=True), SPARE),
        (replace(EMPTY, filled=True, running=True), SOURCE),
    ],
    ids=["stopped", "put up by a restore", "the plan's source"],
)
def test_what_is_there_gives_way_only_after_a_persons_yes(seen: Seen, target: RestoreTarget) -> None:
    assert asks(seen, target)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (replace(EMPTY, filled=True, running=True), "no restore has put up"),
        (replace(EMPTY, answers=True), "another server answers on 127.0.0.1:5432"),
        (replace(EMPTY, problem="it is a mount point"), "it is a mount point"),
    ],
)
def test_server_of_somebody_else_is_refused(seen: Seen, why: str) -> None:
    with pytest.raises(Refused, match=why):
        asks(seen)


CHOSEN = Chosen(entry(NOON), RestoreTo("x", NOON))


def test_disk_without_room_is_refused_before_anything_is_touched() -> None:
    size = CHOSEN.entry.stored.size_bytes
    require_room(CHOSEN, replace(EMPTY, free_bytes=size), "here")
    with pytest.raises(Refused, match="there is no room"):
        require_room(CHOSEN, replace(EMPTY, free_bytes=size - 1), "here")


def test_plan_names_every_step_in_order() -> None:
    new = steps_of(CHOSEN, SPARE, EMPTY, "127.0.0.1:5432", Form.CLUSTER)
    assert [step.split()[0] for step in new] == ["start", "fetch", "start", "start"]
    over = steps_of(CHOSEN, SOURCE, replace(EMPTY, filled=True, running=True), "127.0.0.1:5432", Form.CLUSTER)
    assert [step.split()[0] for step in over] == [
        "start",
        "restore",
        "ask",
        "stop",
        "rename",
        "fetch",
        "start",
        "start",
    ]
    masked = SPARE.model_copy(update={"masking": "masking.yaml"})
    steps = steps_of(CHOSEN, masked, EMPTY, "127.0.0.1:5432", Form.CLUSTER)
    assert steps[-2].startswith("mask it") and steps[-1].startswith("start it on 127.0.0.1:5432")


def test_plan_says_what_is_done_with_a_dump_and_with_files() -> None:
    dump = steps_of(CHOSEN, SPARE, EMPTY, "127.0.0.1:5432", Form.DUMP)
    assert "load the dump" in dump[2] and dump[-1].startswith("start it on 127.0.0.1:5432")
    for form in (Form.FILES, Form.RDB):
        steps = steps_of(CHOSEN, SPARE, replace(EMPTY, filled=True), "", form)
        assert steps[-2:] == ("read it to its end", "put it into its place; nothing is started")
        assert steps[3].startswith("rename the folder that is there") and "beside" in steps[4]
        assert state_of(CHOSEN, form) == "that of the backup"


FOLDER = frozenset({Form.FILES, Form.RDB})
SERVER = frozenset({Form.CLUSTER, Form.DUMP})


@pytest.mark.parametrize("form", Form)
def test_target_takes_forms_of_its_own_and_no_others(form: Form) -> None:
    for forms in (FOLDER, SERVER):
        if form in forms:
            require_fits(form, forms, SPARE, "db into spare")
        else:
            with pytest.raises(Refused, match=f"the plan's are {form.value}") as caught:
                require_fits(form, forms, SPARE, "db into spare")
            assert "'folder' files and Redis" in caught.value.next_action and caught.value.on == "db into spare"


@pytest.mark.parametrize("form", sorted(FOLDER))
def test_masking_and_a_database_are_asked_only_of_what_a_postgresql_server_comes_of(form: Form) -> None:
    asks_much = SPARE.model_copy(update={"masking": "masking.yaml", "database": "shop"})
    require_fits(Form.DUMP, SERVER, asks_much, "db into spare")
    with pytest.raises(Refused, match="has 'masking' and 'database', and there is no database") as caught:
        require_fits(form, FOLDER, asks_much, "db into spare")
    error = caught.value
    assert all((error.what, error.on, error.state, error.next_action))
