"""What becomes of a run on record as running: nobody who may be alive is disturbed, nothing dead is forgotten."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.lease import Lease
from tasks.release.unfinished import Action, Policy, RunState, Unfinished, decide, deciding

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPEN, OVER = NOON + timedelta(minutes=5), NOON - timedelta(seconds=1)
ME, OTHER = "run-me-1234", "run-other-1"
POLICIES: tuple[Policy, ...] = get_args(Policy)


def lease(holder: str, left_s: float = 40.0, *, parked: bool = False, scope: str = "campus/production") -> Lease:
    return Lease(scope, holder, 7, left_s, parked)


LEASES = {
    "none": None,
    "own live": lease(ME),
    "own parked": lease(ME, parked=True),
    "own expired": lease(ME, 0.0),
    "own parked and expired": lease(ME, -3.0, parked=True),
    "other's live": lease(OTHER),
    "other's parked": lease(OTHER, parked=True),
    "other's expired": lease(OTHER, 0.0),
}
QUESTIONS = {"no question": None, "open": OPEN, "expired": OVER}

DEAD = Unfinished(
    run_id=ME,
    rollback=False,
    resumed=False,
    lease=LEASES["own expired"],
    had_lease=True,
    state=RunState.ENDED,
    state_name="Crashed",
    answer_until=None,
    out=True,
)
"""A release that has died with its candidate under traffic."""

EVERY_STATE = st.builds(
    Unfinished,
    run_id=st.just(ME),
    rollback=st.booleans(),
    resumed=st.booleans(),
    lease=st.sampled_from(list(LEASES.values())),
    had_lease=st.booleans(),
    state=st.sampled_from(RunState),
    state_name=st.just("Crashed"),
    answer_until=st.sampled_from(list(QUESTIONS.values())),
    out=st.booleans(),
    cancelled=st.booleans(),
    successor=st.sampled_from([None, *RunState]),
    unsent=st.booleans(),
)
EVERY_POLICY = st.sampled_from(POLICIES)


def acts(run: Unfinished, policy: Policy = "roll-back") -> Action:
    return decide(run, policy, NOON).action


# The whole table


def every_combination() -> Iterator[tuple[str, Unfinished, Policy]]:
    flags = (False, True)
    parts = itertools.product(LEASES, RunState, QUESTIONS, flags, flags, flags, flags, POLICIES)
    for held, state, question, had_lease, out, rollback, resumed, policy in parts:
        asked = QUESTIONS[question]
        run = Unfinished(ME, rollback, resumed, LEASES[held], had_lease, state, state.value, asked, out)
        yield held, run, policy


def wanted(held: str, run: Unfinished, policy: Policy) -> Action:
    """The table of decisions, written down once more in the order in which a person would ask."""
    ended, alive = run.state is RunState.ENDED, run.state is RunState.ALIVE
    if held in ("other's live", "other's parked"):
        return Action.LEAVE
    if held == "own live":
        return Action.WAIT if ended else Action.LEAVE
    if not run.had_lease and not held.startswith("own"):
        return Action.CLOSE if ended else Action.LEAVE
    if run.answer_until and not alive and not (ended and held == "own expired"):
        return Action.ROLL_BACK if ended or run.answer_until == OVER else Action.WATCH
    if held == "own parked" and alive:
        return Action.LEAVE
    if held == "own parked" and run.state is RunState.SUSPENDED:
        return Action.WATCH
    if run.rollback:
        return Action.REPORT if run.resumed else Action.RESUME
    if not run.out or policy == "roll-back":
        return Action.ROLL_BACK
    if policy == "report":
        return Action.REPORT
    return Action.ROLL_BACK if run.resumed else Action.RESUME


def test_every_combination_is_decided_as_the_table_says() -> None:
    different, seen = [], set()
    for held, run, policy in every_combination():
        found = decide(run, policy, NOON)
        seen.add(found.action)
        assert found.why
        assert not found.why.endswith(".")
        if found.action is not wanted(held, run, policy):
            different.append((held, run, policy, found))
    assert different == []
    assert seen == set(Action), "the table knows every action"


# The promises, whatever the state


@given(EVERY_STATE, EVERY_POLICY)
def test_live_lease_of_another_run_is_always_left(run: Unfinished, policy: Policy) -> None:
    for foreign in (LEASES["other's live"], LEASES["other's parked"]):
        assert acts(replace(run, lease=foreign), policy) is Action.LEAVE


@given(EVERY_STATE, EVERY_POLICY)
def test_run_whose_own_lease_is_renewed_is_never_acted_upon(run: Unfinished, policy: Policy) -> None:
    assert acts(replace(run, lease=LEASES["own live"]), policy) in (Action.LEAVE, Action.WAIT)


@given(EVERY_STATE, EVERY_POLICY)
def test_nothing_is_changed_for_a_run_that_never_had_a_lease(run: Unfinished, policy: Policy) -> None:
    for none_of_its_own in (None, LEASES["other's expired"]):
        found = acts(replace(run, had_lease=False, lease=none_of_its_own), policy)
        assert found in (Action.LEAVE, Action.CLOSE)


@given(EVERY_STATE, EVERY_POLICY)
def test_run_is_resumed_once_at_most(run: Unfinished, policy: Policy) -> None:
    assert acts(replace(run, resumed=True), policy) is not Action.RESUME
    for successor in RunState:
        assert acts(replace(run, successor=successor), policy) is not Action.RESUME


@given(EVERY_STATE, EVERY_POLICY)
def test_run_that_somebody_cancelled_is_never_started_again(run: Unfinished, policy: Policy) -> None:
    assert acts(replace(run, cancelled=True), policy) is not Action.RESUME


@given(EVERY_STATE, EVERY_POLICY)
def test_rollback_that_asks_nobody_is_never_turned_back(run: Unfinished, policy: Policy) -> None:
    assert acts(replace(run, rollback=True, answer_until=None), policy) is not Action.ROLL_BACK


@given(EVERY_STATE, EVERY_POLICY)
def test_release_whose_end_is_in_a_file_is_not_rolled_back(run: Unfinished, policy: Policy) -> None:
    found = acts(replace(run, unsent=True), policy)
    assert found not in (Action.ROLL_BACK, Action.RESUME, Action.WATCH)


@given(EVERY_STATE)
def test_policy_to_report_never_starts_a_release_again(run: Unfinished) -> None:
    assert acts(replace(run, rollback=False), "report") is not Action.RESUME


# Rows that deserve a sentence


def test_release_that_died_under_traffic_is_rolled_back_and_told_why() -> None:
    found = decide(DEAD, "roll-back", NOON)
    assert found.action is Action.ROLL_BACK
    assert found.why == "its run was not heard of until its lease expired; Prefect says Crashed"


def test_lost_evidence_of_a_lease_does_not_make_a_dead_release_one_that_never_began() -> None:
    assert acts(replace(DEAD, had_lease=False)) is Action.ROLL_BACK
    assert acts(replace(DEAD, had_lease=False, lease=None)) is Action.CLOSE


def test_release_that_is_cancelled_and_dies_half_way_is_rolled_back_where_others_are_resumed() -> None:
    assert acts(DEAD, "resume") is Action.RESUME
    found = decide(replace(DEAD, cancelled=True), "resume", NOON)
    assert found.action is Action.ROLL_BACK
    assert "somebody has cancelled it" in found.why


def test_rollback_that_is_cancelled_and_dies_half_way_is_for_a_person() -> None:
    assert acts(replace(DEAD, rollback=True)) is Action.RESUME
    assert acts(replace(DEAD, rollback=True, cancelled=True)) is Action.REPORT


@pytest.mark.parametrize("successor", [RunState.ALIVE, RunState.SUSPENDED, RunState.UNKNOWN])
def test_release_that_another_run_was_started_to_finish_is_left_to_it(successor: RunState) -> None:
    assert acts(replace(DEAD, successor=successor), "resume") is Action.LEAVE


def test_release_whose_second_run_has_failed_too_is_rolled_back() -> None:
    run = replace(DEAD, successor=RunState.ENDED)
    assert acts(run, "resume") is Action.ROLL_BACK
    assert acts(replace(run, rollback=True), "resume") is Action.REPORT


def test_run_that_was_resumed_and_died_before_its_answer_was_on_record_is_dead_not_waiting() -> None:
    came_back = replace(DEAD, answer_until=OPEN)
    assert acts(came_back, "report") is Action.REPORT
    assert acts(replace(came_back, lease=LEASES["own parked"]), "report") is Action.ROLL_BACK


def test_answer_counts_to_the_second_that_was_promised() -> None:
    waiting = replace(DEAD, lease=LEASES["own parked"], state=RunState.SUSPENDED, answer_until=NOON)
    assert decide(waiting, "roll-back", NOON).action is Action.WATCH
    late = decide(waiting, "roll-back", NOON + timedelta(seconds=1))
    assert late.action is Action.ROLL_BACK
    assert late.why == "nobody has answered until 2026-03-01 12:00:00 UTC"


# Which lease decides


def test_release_that_waits_for_its_last_lease_is_alive_by_the_ones_that_it_has() -> None:
    staging = lease(ME, scope="campus/staging")
    assert deciding([staging, None], ME) is staging
    assert deciding([staging, lease(OTHER, -1.0)], ME) is staging
    run = replace(DEAD, lease=deciding([staging, None], ME), state=RunState.ALIVE)
    assert acts(run) is Action.LEAVE


def test_live_lease_where_it_wants_to_end_comes_first() -> None:
    staging, production = lease(ME, scope="campus/staging"), lease(OTHER)
    assert deciding([staging, production], ME) is production


def test_expired_lease_where_it_wants_to_end_counts_unless_it_lives_elsewhere() -> None:
    staging, production = lease(ME, -1.0, scope="campus/staging"), lease(OTHER, -1.0)
    assert deciding([staging, production], ME) is production
    assert deciding([staging, None], ME) is staging
    assert deciding([lease(OTHER, scope="campus/staging"), None], ME) is None
