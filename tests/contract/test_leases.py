"""What every store of leases does."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from blocks import open_driver
from blocks.context import Context
from blocks.memory.leases import MemoryLeases
from tasks.common.lease import Lease, LeaseLost, Leases, Waiting
from tasks.common.model import DriverSpec
from tasks.release.ports import Ledger
from tests.support.ledger import open_ledger

SCOPE = "campus/production"
TTL_S = 60.0


@dataclass
class World:
    """Leases, and a way to let time pass for them."""

    leases: Leases
    let_pass: Callable[[float], None]


@dataclass
class HandClock:
    """A clock that stands until it is set forward."""

    now_s: float = 1000.0

    def read(self) -> float:
        return self.now_s

    def forward(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Aging:
    """Makes everything that a database knows of leases older."""

    address: str = field(repr=False)

    def forward(self, seconds: float) -> None:
        with psycopg.connect(self.address) as connection:
            for table, column in (("lease", "expires_at"), ("lease_waiter", "asked_at")):
                older = "update slipway.{} set {} = {} - make_interval(secs => {})"
                names = (sql.Identifier(table), sql.Identifier(column), sql.Identifier(column))
                connection.execute(sql.SQL(older).format(*names, seconds))


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "memory":
        clock = HandClock()
        return World(MemoryLeases(clock.read), clock.forward)
    address = request.getfixturevalue("database_url")
    ledger = open_ledger(tmp_path, address)
    ledger.prepare()
    return World(ledger.leases, Aging(address).forward)


@pytest.fixture
def leases(world: World) -> Leases:
    return world.leases


def taken(leases: Leases, holder: str, scope: str = SCOPE, instead_of: str = "") -> Lease:
    found = leases.acquire(scope, holder, TTL_S, instead_of=instead_of)
    assert isinstance(found, Lease), f"{holder} does not get the lease: {found}"
    return found


def refused(leases: Leases, holder: str, scope: str = SCOPE, instead_of: str = "") -> Waiting:
    found = leases.acquire(scope, holder, TTL_S, instead_of=instead_of)
    assert isinstance(found, Waiting), f"{holder} gets the lease: {found}"
    return found


def assert_lost(leases: Leases, lease: Lease, *told: str) -> None:
    before = leases.find(lease.scope)
    for call in (leases.renew, leases.park):
        with pytest.raises(LeaseLost) as caught:
            call(lease, TTL_S)
        assert caught.value.on == lease.scope
        assert "'slipway releases list' shows who" in caught.value.next_action
        for text in told:
            assert text in str(caught.value)
    after = leases.find(lease.scope)
    assert (before and (before.holder, before.token, before.parked)) == (
        after and (after.holder, after.token, after.parked)
    )


# --- taking


def test_free_lease_is_taken_for_as_long_as_asked(leases: Leases) -> None:
    lease = taken(leases, "ann")
    assert (lease.scope, lease.holder, lease.parked, lease.live) == (SCOPE, "ann", False, True)
    assert 0 < lease.left_s <= TTL_S


def test_held_lease_is_waited_for_and_its_holder_named(leases: Leases) -> None:
    taken(leases, "ann")
    waiting = refused(leases, "bob")
    assert (waiting.scope, waiting.held_by, waiting.ahead) == (SCOPE, "ann", 0)
    assert 0 < waiting.left_s <= TTL_S


def test_scopes_do_not_know_each_other(leases: Leases) -> None:
    first = taken(leases, "ann", "campus/staging")
    second = taken(leases, "bob", "campus/production")
    assert leases.renew(first, TTL_S).token == first.token
    assert leases.renew(second, TTL_S).token == second.token
    refused(leases, "cid", "campus/staging")
    refused(leases, "dan", "campus/staging")
    assert refused(leases, "cid", "campus/production").ahead == 0


def test_expired_lease_is_taken_by_somebody_else_and_its_holder_told_who(world: World) -> None:
    old = taken(world.leases, "ann")
    world.let_pass(TTL_S - 10)
    refused(world.leases, "bob")
    world.let_pass(11)
    new = taken(world.leases, "bob")
    assert new.token > old.token
    assert_lost(world.leases, old, "lost to bob", f"its token:    {old.token}", f"newest token: {new.token}")


def test_process_that_comes_back_gets_its_runs_lease_anew_and_fences_the_one_before(leases: Leases) -> None:
    before = taken(leases, "ann")
    refused(leases, "bob")
    after = taken(leases, "ann")
    assert after.token == before.token + 1
    assert_lost(leases, before, "another process of the same run")
    assert leases.renew(after, TTL_S).live


def test_tokens_rise_with_every_lease_also_after_it_was_given_up_or_expired(world: World) -> None:
    tokens = []
    for holder in ("ann", "ann", "bob", "ann"):
        lease = taken(world.leases, holder)
        tokens.append(lease.token)
        if holder == "bob":
            world.let_pass(TTL_S + 1)
        elif len(tokens) == 2:
            world.leases.give_up(lease)
    assert tokens == [tokens[0] + n for n in range(4)]
    assert tokens[0] >= 1


@pytest.mark.parametrize("round_", range(5))
def test_of_many_threads_that_ask_at_once_one_gets_the_lease(leases: Leases, round_: int) -> None:
    gate = threading.Barrier(6)
    found: list[Lease | Waiting] = []

    def ask(holder: str) -> None:
        gate.wait(30)
        found.append(leases.acquire(SCOPE, holder, TTL_S))

    threads = [threading.Thread(target=ask, args=[f"run-{n}"]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    winners = [lease.holder for lease in found if isinstance(lease, Lease)]
    assert (len(found), len(winners)) == (6, 1)
    assert {waiting.held_by for waiting in found if isinstance(waiting, Waiting)} == set(winners)


# --- waiting


def test_first_come_is_first_served(leases: Leases) -> None:
    lease = taken(leases, "ann")
    queue = ["bob", "cid", "dan"]
    for holder in queue:
        refused(leases, holder)
    assert [refused(leases, holder).ahead for holder in reversed(queue)] == [2, 1, 0]
    leases.give_up(lease)
    for place, holder in enumerate(queue):
        for later in queue[place + 1 :]:
            waiting = refused(leases, later)
            assert (waiting.held_by, waiting.left_s) == (holder, 0)
        leases.give_up(taken(leases, holder))
    taken(leases, "eve")


def test_newcomer_does_not_take_a_free_lease_that_somebody_waits_for(world: World) -> None:
    taken(world.leases, "ann")
    world.let_pass(TTL_S - 1)
    refused(world.leases, "bob")
    world.let_pass(2)
    waiting = refused(world.leases, "cid")
    assert (waiting.held_by, waiting.left_s, waiting.ahead) == ("bob", 0, 1)
    taken(world.leases, "bob")


def test_who_has_not_asked_for_thirty_seconds_has_left_the_queue(world: World) -> None:
    leases = world.leases
    lease = taken(leases, "ann")
    refused(leases, "bob")
    world.let_pass(20)
    assert refused(leases, "cid").ahead == 1
    world.let_pass(9)
    assert refused(leases, "cid").ahead == 1
    world.let_pass(2)
    assert refused(leases, "cid").ahead == 0
    assert refused(leases, "bob").ahead == 1
    leases.give_up(lease)
    taken(leases, "cid")


def test_who_keeps_asking_keeps_its_place(world: World) -> None:
    lease = taken(world.leases, "ann")
    for _ in range(4):
        refused(world.leases, "bob")
        refused(world.leases, "cid")
        world.let_pass(25)
        lease = world.leases.renew(lease, TTL_S)
    assert refused(world.leases, "cid").ahead == 1
    assert refused(world.leases, "bob").ahead == 0


def test_who_leaves_the_queue_holds_nobody_up_and_comes_back_last(leases: Leases) -> None:
    lease = taken(leases, "ann")
    refused(leases, "bob")
    refused(leases, "cid")
    leases.leave(SCOPE, "bob")
    leases.leave(SCOPE, "bob")
    leases.leave("campus/unknown", "nobody")
    assert refused(leases, "cid").ahead == 0
    assert refused(leases, "bob").ahead == 1
    leases.give_up(lease)
    taken(leases, "cid")


def test_holder_does_not_stand_in_its_own_queue(leases: Leases) -> None:
    first = taken(leases, "ann")
    refused(leases, "bob")
    leases.give_up(first)
    lease = taken(leases, "bob")
    assert refused(leases, "cid").ahead == 0
    leases.give_up(lease)
    taken(leases, "cid")


# --- keeping


def test_renewed_lease_lives_on_with_its_token(world: World) -> None:
    lease = taken(world.leases, "ann")
    for _ in range(3):
        world.let_pass(TTL_S - 1)
        renewed = world.leases.renew(lease, TTL_S)
        assert renewed.token == lease.token
        assert TTL_S - 5 < renewed.left_s <= TTL_S
    refused(world.leases, "bob")


def test_expired_lease_that_nobody_took_is_renewed_also_while_somebody_waits(world: World) -> None:
    lease = taken(world.leases, "ann")
    world.let_pass(TTL_S - 1)
    refused(world.leases, "bob")
    world.let_pass(2)
    assert world.leases.renew(lease, TTL_S).live
    assert refused(world.leases, "bob").held_by == "ann"


def test_lease_of_nobody_is_lost(leases: Leases) -> None:
    assert_lost(leases, Lease(SCOPE, "ann", 7, 60.0), "knows of no such lease")
    assert leases.find(SCOPE) is None
    assert taken(leases, "bob").token == 1


def test_given_up_lease_is_free_at_once_and_cannot_be_renewed(leases: Leases) -> None:
    lease = taken(leases, "ann")
    leases.give_up(lease)
    assert leases.find(SCOPE) is None
    assert_lost(leases, lease, "was given up")
    leases.give_up(lease)
    taken(leases, "bob")


def test_giving_up_a_lease_that_is_not_the_newest_leaves_the_newest(world: World) -> None:
    leases = world.leases
    first = taken(leases, "ann")
    second = taken(leases, "ann")
    leases.give_up(first)
    assert leases.renew(second, TTL_S).live
    world.let_pass(TTL_S + 1)
    third = taken(leases, "bob")
    leases.give_up(second)
    assert leases.renew(third, TTL_S).live
    leases.give_up(Lease("campus/unknown", "ann", 1, 1.0))


def test_lease_that_was_lost_to_one_who_gave_it_up_is_still_lost(world: World) -> None:
    lease = taken(world.leases, "ann")
    world.let_pass(TTL_S + 1)
    world.leases.give_up(taken(world.leases, "bob"))
    assert_lost(world.leases, lease, "lost to bob")


def test_newest_lease_is_found_also_when_it_has_expired(world: World) -> None:
    assert world.leases.find(SCOPE) is None
    lease = taken(world.leases, "ann")
    world.let_pass(TTL_S + 1)
    found = world.leases.find(SCOPE)
    assert found is not None
    assert (found.holder, found.token, found.live) == ("ann", lease.token, False)


# --- parking


def test_parked_lease_is_kept_without_renewals_until_it_expires(world: World) -> None:
    lease = taken(world.leases, "ann")
    parked = world.leases.park(lease, 3600)
    assert (parked.parked, parked.token) == (True, lease.token)
    world.let_pass(3500)
    assert refused(world.leases, "bob").held_by == "ann"
    assert (world.leases.find(SCOPE) or pytest.fail("no lease")).parked
    world.let_pass(101)
    assert taken(world.leases, "bob").token == lease.token + 1
    assert_lost(world.leases, parked, "lost to bob")


def test_suspended_run_takes_its_parked_lease_before_anybody_who_waits(leases: Leases) -> None:
    lease = leases.park(taken(leases, "ann"), 3600)
    refused(leases, "bob")
    again = taken(leases, "ann")
    assert (again.token, again.parked) == (lease.token + 1, False)
    assert again.left_s <= TTL_S


def test_renewed_lease_is_not_parked_any_more(leases: Leases) -> None:
    lease = leases.park(taken(leases, "ann"), 3600)
    renewed = leases.renew(lease, TTL_S)
    assert not renewed.parked
    assert renewed.left_s <= TTL_S
    refused(leases, "bob", instead_of="ann")


def test_parked_lease_is_taken_at_once_by_who_comes_instead_of_its_holder(leases: Leases) -> None:
    lease = leases.park(taken(leases, "ann"), 3600)
    refused(leases, "bob")
    refused(leases, "cid", instead_of="dan")
    instead = taken(leases, "cid", instead_of="ann")
    assert (instead.holder, instead.token, instead.parked) == ("cid", lease.token + 1, False)
    assert_lost(leases, lease, "lost to cid")
    assert refused(leases, "bob").ahead == 0


def test_lease_of_a_holder_at_work_is_taken_by_nobody_in_its_place(leases: Leases) -> None:
    taken(leases, "ann")
    assert refused(leases, "bob", instead_of="ann").held_by == "ann"


def test_nobody_comes_instead_of_one_who_gave_up(leases: Leases) -> None:
    lease = leases.park(taken(leases, "ann"), 3600)
    refused(leases, "bob")
    leases.give_up(lease)
    assert refused(leases, "cid", instead_of="ann").held_by == "bob"


# --- the ledger's own


@pytest.mark.parametrize("driver", ["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def test_ledger_keeps_leases_from_one_call_to_the_next(
    driver: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings: dict[str, object] = {}
    if driver == "postgresql":
        (tmp_path / "dsn").write_text(request.getfixturevalue("database_url"))
        settings = {"dsn": "file:dsn"}
    ledger: Ledger = open_driver("ledger", DriverSpec(driver=driver, **settings), Context(base=tmp_path))
    ledger.prepare()
    taken(ledger.leases, "ann")
    assert refused(ledger.leases, "bob").held_by == "ann"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "it's; --", "ünïcode/プロダクション"])
def test_any_text_may_name_scope_and_holder(leases: Leases, text: str) -> None:
    lease = taken(leases, text, text)
    assert leases.renew(lease, TTL_S).token == lease.token
    refused(leases, "bob", text)
    leases.leave(text, "bob")
    assert leases.find(text) is not None
    taken(leases, text, text)


def test_leases_under_a_prefix_are_those_that_nobody_has_given_up_in_order(world: World) -> None:
    leases = world.leases
    for scope in ("use/db/2/b", "use/db/1/a", "use/db_2/c", "use/dbx", "other"):
        taken(leases, "ada", scope)
    leases.give_up(taken(leases, "bob", "use/db/3/gone"))
    assert [each.scope for each in leases.under("use/db/")] == ["use/db/1/a", "use/db/2/b"]
    assert [each.scope for each in leases.under("use/db_")] == ["use/db_2/c"], "a prefix is no pattern"
    assert leases.under("use/db/")[0].holder == "ada"
    world.let_pass(TTL_S + 1)
    assert [each.live for each in leases.under("use/db/")] == [False, False]
