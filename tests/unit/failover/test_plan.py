"""The order of the steps, and what stops a run before it could make two writable sites."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.moves import Move, MoveKind
from tasks.common.sites import ClusterRole
from tasks.failover.carry import carry_out, look
from tasks.failover.model import Phase
from tasks.failover.plan import plan
from tests.support.moving import ADDRESSES, NAME, Stand, two_sites, wish

FAILOVER = Move("run-1", MoveKind.FAILOVER, "a", "b")


def steps(stand: Stand, move: Move = FAILOVER) -> list[str]:
    return [str(step) for step in plan(move, look(stand.tools()), stand.rules)]


def dead() -> Stand:
    stand = Stand(two_sites())
    stand.world.sites["a"].answers = stand.world.sites["a"].running = False
    return stand


def refused(stand: Stand, kind: MoveKind = MoveKind.FAILOVER, **more: str) -> SlipwayError:
    with pytest.raises(SlipwayError) as caught:
        stand.run(wish(kind, accept_loss="a test", **more))
    return caught.value


def test_old_site_is_fenced_first() -> None:
    assert steps(dead()) == [
        "a: close the door",
        "a: fence the database",
        "b: promote",
        "b: open the door",
        f"b: point the users there: {NAME}",
        "b: validate as a user",
    ]


def test_switchover_waits_for_the_last_write_and_has_the_old_site_follow() -> None:
    assert steps(Stand(two_sites()), replace(FAILOVER, kind=MoveKind.SWITCHOVER)) == [
        "a: close the door",
        "a: fence the database",
        "b: wait until it has everything of a",
        "b: promote",
        "b: open the door",
        f"b: point the users there: {NAME}",
        "b: validate as a user",
        "a: have the database follow b",
    ]


def test_failback_makes_the_old_site_a_standby_before_users_notice_anything() -> None:
    stand = dead()
    stand.run(wish(MoveKind.FAILOVER, accept_loss="a test"))
    stand.world.sites["a"].answers = stand.world.sites["a"].running = True
    assert steps(stand, Move("run-2", MoveKind.FAILBACK, "b", "a"))[:6] == [
        "a: fence the database",
        "a: have the database follow b, and throw away what only it has",
        "a: wait until it is nearly caught up with b",
        "b: close the door",
        "b: fence the database",
        "a: wait until it has everything of b",
    ]
    stand.run(wish(MoveKind.FAILBACK, to="a"))
    assert stand.world.takers() == ["a"]
    assert stand.world.sites["b"].follows == "a:5432"


def test_third_site_follows_the_new_one_and_the_old_one_is_left_alone_after_a_failover() -> None:
    stand = Stand(two_sites(third=True))
    stand.world.sites["a"].answers = stand.world.sites["a"].running = False
    stand.run(wish(MoveKind.FAILOVER, accept_loss="a test"))
    assert stand.world.sites["c"].follows == "b:5432"
    assert stand.world.sites["a"].role == ClusterRole.PRIMARY and not stand.world.sites["a"].door_open


def test_nothing_is_promoted_where_neither_door_nor_database_can_be_shown_to_be_shut() -> None:
    stand = dead()
    stand.world.sites["a"].door_answers = False
    error = refused(stand)
    assert isinstance(error, Refused)
    assert "it cannot be shown that a takes no writes" in error.what
    assert error.facts == {
        "its door": "did not answer: the cluster does not answer; the door does not answer",
        "its database": "did not answer: the cluster does not answer; the door does not answer",
    }
    assert stand.world.sites["b"].role == ClusterRole.STANDBY
    assert stand.world.names[NAME][0] == list(ADDRESSES["a"])


def test_person_may_take_the_risk_of_a_site_that_cannot_be_fenced() -> None:
    stand = dead()
    stand.world.sites["a"].door_answers = False
    refused(stand)
    stand.run(wish(MoveKind.FAILOVER, accept_unfenced="its power is off: I stand before it"))
    assert stand.world.takers() == ["b"] or stand.world.sites["b"].writable


def test_nobody_waits_any_more_for_a_site_whose_risk_was_taken() -> None:
    stand = dead()
    stand.world.sites["a"].door_answers = False
    tools = stand.tools()
    carry_out(Phase.FENCE, replace(FAILOVER, unfenced="its power is off"), tools, lambda step: nullcontext([]))
    assert tools.given_up == {"a"}


def test_site_that_is_slow_to_answer_once_is_asked_again() -> None:
    stand = dead()

    def slow(number: int, name: str) -> None:
        stand.world.sites["b"].answers = False

    def recovered(pause_s: float) -> None:
        stand.world.sites["b"].answers = True

    stand.after, stand.pause, stand.catch_up_s = slow, recovered, 60.0
    stand.run(wish(MoveKind.FAILOVER, accept_loss="a test"))
    assert stand.world.takers() == ["b"] and stand.world.names[NAME] == (list(ADDRESSES["b"]), 5)


def test_old_site_that_cannot_follow_is_told_of_and_fails_nothing() -> None:
    stand = Stand(two_sites())

    def silent(number: int, name: str) -> None:
        if name == "point":
            stand.world.sites["b"].answers = False

    stand.after = silent
    stand.run(wish(MoveKind.SWITCHOVER, to="b"))
    assert stand.steps[-1] == "a: have the database follow b: not done: b has no writable leader that could be followed"


def test_door_alone_fences_a_site_whose_database_does_not_answer() -> None:
    stand = dead()
    stand.run(wish(MoveKind.FAILOVER, accept_loss="a test"))
    stand.world.sites["a"].answers = stand.world.sites["a"].running = True
    assert stand.world.takers() == ["b"]


def test_database_alone_fences_a_site_whose_door_does_not_answer() -> None:
    stand = Stand(two_sites())
    stand.world.sites["a"].running = False
    stand.world.sites["a"].door_answers = False
    stand.run(wish(MoveKind.FAILOVER, accept_loss="a test"))
    assert stand.world.sites["a"].role == ClusterRole.FENCED
    assert stand.world.takers() == ["b"]


def test_silent_dns_stops_a_planned_move_before_anything_is_changed() -> None:
    stand = Stand(two_sites())
    stand.world.dns_answers = False
    assert "the DNS server says nothing" in refused(stand, MoveKind.SWITCHOVER, to="b").what
    assert stand.world.changes == []


def test_failover_goes_on_where_the_dns_takes_no_changes_and_the_next_run_points_the_users() -> None:
    stand = dead()
    stand.world.dns_takes_changes = False
    error = refused(stand)
    assert isinstance(error, Retryable) and "takes no changes" in error.what
    assert stand.world.sites["b"].writable
    stand.world.dns_takes_changes = True
    stand.run(wish(MoveKind.FAILOVER))
    assert stand.world.names[NAME] == (list(ADDRESSES["b"]), 5)


def test_switchover_whose_standby_stops_to_receive_promotes_nobody() -> None:
    stand = Stand(two_sites())
    stand.use()

    def stop(number: int, name: str) -> None:
        stand.world.sites["b"].keeps_up = False
        stand.use()

    stand.before = stop
    error = refused(stand, MoveKind.SWITCHOVER, to="b")
    assert isinstance(error, Retryable) and "b did not catch up with a" in error.what
    assert stand.world.sites["b"].role == ClusterRole.STANDBY
    stand.before = lambda number, name: None
    stand.run(wish(MoveKind.SWITCHOVER, to="a"))
    assert stand.world.takers() == ["a"] and set(stand.written) <= set(stand.world.sites["a"].written)


def test_third_primary_stops_everything() -> None:
    stand = Stand(two_sites(third=True))
    stand.world.sites["a"].answers = stand.world.sites["a"].running = False

    def rogue(number: int, name: str) -> None:
        stand.world.sites["c"].role, stand.world.sites["c"].door_open = ClusterRole.PRIMARY, True

    # The world itself counts two: users may be at c.
    stand.before, stand.use = rogue, lambda: None  # type: ignore[method-assign]
    assert isinstance(refused(stand), Unsafe)
    assert stand.world.sites["b"].role == ClusterRole.STANDBY


def test_users_are_not_let_in_where_nobody_takes_writes() -> None:
    stand = dead()

    def crash(number: int, name: str) -> None:
        if name == "promote":
            stand.world.sites["b"].running = False

    stand.after = crash
    assert "users are not let in at b" in refused(stand).what
    assert not stand.world.sites["b"].door_open
