"""A lease is kept while its holder works, and waited for while somebody else has it."""

import threading
from collections.abc import Iterator

import pytest

from blocks import lease_keeper
from blocks.lease_keeper import KeptLease, await_lease
from blocks.memory.leases import MemoryLeases
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.lease import Lease, LeaseLost, Waiting
from tests.support.processes import wait_until

SCOPE = "campus/production"
LONG_S = 600.0
SHORT_S = 0.06


class AwayLeases(MemoryLeases):
    """Leases of a ledger that may be away."""

    away: SlipwayError | None = None
    renewals = 0

    def _answer(self) -> None:
        if self.away is not None:
            raise self.away

    def acquire(self, scope: str, holder: str, ttl_s: float, *, instead_of: str = "") -> Lease | Waiting:
        """As `MemoryLeases.acquire`, unless it is away."""
        self._answer()
        return super().acquire(scope, holder, ttl_s, instead_of=instead_of)

    def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """As `MemoryLeases.renew`, unless it is away."""
        self._answer()
        renewed = super().renew(lease, ttl_s)
        self.renewals += 1
        return renewed

    def park(self, lease: Lease, for_s: float) -> Lease:
        """As `MemoryLeases.park`, unless it is away."""
        self._answer()
        return super().park(lease, for_s)

    def give_up(self, lease: Lease) -> None:
        """As `MemoryLeases.give_up`, unless it is away."""
        self._answer()
        super().give_up(lease)

    def leave(self, scope: str, holder: str) -> None:
        """As `MemoryLeases.leave`, unless it is away."""
        self._answer()
        super().leave(scope, holder)


def silence() -> Retryable:
    return Retryable("the ledger is silent", on="the ledger", next_action="wait")


@pytest.fixture
def leases() -> AwayLeases:
    return AwayLeases()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "_ASK_EVERY_S", 0.01)


def taken(leases: MemoryLeases, holder: str, ttl_s: float = LONG_S) -> Lease:
    found = leases.acquire(SCOPE, holder, ttl_s)
    assert isinstance(found, Lease)
    return found


class Keeping:
    """Makes keepers, and ends them with the test."""

    def __init__(self, leases: AwayLeases, said: list[str]) -> None:
        self.leases = leases
        self.said = said
        self.made: list[KeptLease] = []

    def keep(self, ttl_s: float = SHORT_S) -> KeptLease:
        self.made.append(KeptLease(self.leases, taken(self.leases, "ann", ttl_s), ttl_s, self.said.append))
        return self.made[-1]


@pytest.fixture
def keeping(leases: AwayLeases, said: list[str]) -> Iterator[Keeping]:
    keeping = Keeping(leases, said)
    yield keeping
    for kept in keeping.made:
        kept.stop()


# --- keeping


def test_kept_lease_is_renewed_again_and_again_without_a_word(
    keeping: Keeping, leases: AwayLeases, said: list[str]
) -> None:
    kept = keeping.keep()
    wait_until(lambda: leases.renewals >= 10, what="ten renewals")
    kept.require()
    assert kept.lease.token == kept.token == 1
    assert said == []


def test_lease_that_is_not_kept_expires(keeping: Keeping, leases: AwayLeases) -> None:
    """The planted fault for the test above."""
    keeping.keep().stop()
    wait_until(lambda: not (leases.find(SCOPE) or pytest.fail("no lease")).live, what="the lease's end")
    assert taken(leases, "bob").token == 2


def test_stopped_keeper_has_no_thread_any_more(keeping: Keeping) -> None:
    kept = keeping.keep()
    names = f"lease {SCOPE}"
    assert names in [thread.name for thread in threading.enumerate()]
    kept.stop()
    kept.stop()
    assert names not in [thread.name for thread in threading.enumerate()]


def test_lease_that_is_not_known_to_be_good_is_renewed_before_anything_is_changed(
    keeping: Keeping, leases: AwayLeases
) -> None:
    kept = keeping.keep()
    kept.stop()
    wait_until(lambda: not (leases.find(SCOPE) or pytest.fail("no lease")).live, what="the lease's end")
    before = leases.renewals
    # Its last renewal was asked for before the lease was good, so that its time is over as soon, or a moment before.
    kept.require()
    assert leases.renewals == before + 1


def test_lost_lease_is_said_raised_and_remembered_for_ever(
    keeping: Keeping, leases: AwayLeases, said: list[str]
) -> None:
    kept = keeping.keep()
    other = taken(leases, "ann")
    wait_until(lambda: said, what="a word of the keeper")
    assert "another process of the same run" in said[0]
    leases.give_up(other)
    for _ in range(3):
        with pytest.raises(LeaseLost, match="another process"):
            kept.require()
    assert len(said) == 1


def test_lease_lost_while_the_keeper_slept_is_found_lost_when_required(
    keeping: Keeping, leases: AwayLeases, said: list[str]
) -> None:
    kept = keeping.keep()
    kept.stop()
    wait_until(lambda: isinstance(leases.acquire(SCOPE, "bob", LONG_S), Lease), what="bob's lease")
    # Bob has it only after ann's has expired, and so was not renewed for longer than it is good for.
    with pytest.raises(LeaseLost, match="lost to bob"):
        kept.require()
    assert said == []


def test_silent_ledger_is_told_of_once_and_refuses_nothing(
    keeping: Keeping, leases: AwayLeases, said: list[str]
) -> None:
    kept = keeping.keep()
    wait_until(lambda: leases.renewals, what="a renewal")
    leases.away = silence()
    wait_until(lambda: said, what="a word of the keeper")
    assert said == [f"the lease on {SCOPE} is not renewed, and tried again: the ledger is silent"]

    def warned() -> bool:
        kept.require()
        return len(said) > 1

    wait_until(warned, what="a warning")
    assert "going on without knowing who has the lease" in said[1]
    assert "refuses token 1 if there is a newer one" in said[1]
    leases.away = None
    wait_until(lambda: f"the lease on {SCOPE} is renewed again" in said, what="the renewals going on")
    assert len([line for line in said if "not renewed" in line]) == 1
    kept.require()
    assert kept.token == 1


def test_ledger_that_was_silent_from_the_beginning_is_told_of_with_every_change(
    keeping: Keeping, leases: AwayLeases, said: list[str]
) -> None:
    lease = taken(leases, "ann")
    leases.away = Refused("the ledger does not let us in", on="the ledger", next_action="look")
    kept = KeptLease(leases, lease, LONG_S, said.append)
    keeping.made.append(kept)
    kept.require()
    kept.require()
    assert len([line for line in said if "going on without knowing" in line]) == 2
    assert len([line for line in said if "does not let us in" in line]) == 1


def test_given_up_lease_is_free_and_good_for_nothing(keeping: Keeping, leases: AwayLeases, said: list[str]) -> None:
    kept = keeping.keep(LONG_S)
    kept.give_up()
    kept.give_up()
    with pytest.raises(LeaseLost, match="given up by this process"):
        kept.require()
    assert taken(leases, "bob").token == 2
    kept.give_up()
    assert (leases.find(SCOPE) or pytest.fail("no lease")).holder == "bob"
    assert said == []


def test_giving_up_to_a_silent_ledger_is_told_of_and_fails_nothing(
    keeping: Keeping, leases: AwayLeases, said: list[str]
) -> None:
    kept = keeping.keep(LONG_S)
    kept.stop()
    leases.away = silence()
    kept.give_up()
    assert said == [
        f"the lease on {SCOPE} was not given up, and is free when it has expired, within 10 min: the ledger is silent"
    ]
    with pytest.raises(LeaseLost):
        kept.require()


def test_parked_lease_is_not_renewed_and_changes_nothing(keeping: Keeping, leases: AwayLeases) -> None:
    kept = keeping.keep()
    kept.park(LONG_S)
    found = leases.find(SCOPE)
    assert found is not None
    assert (found.parked, kept.lease.parked, found.left_s > SHORT_S) == (True, True, True)
    with pytest.raises(LeaseLost, match="parked by this process"):
        kept.require()
    assert (leases.find(SCOPE) or pytest.fail("no lease")).parked


def test_lease_that_cannot_be_parked_raises_why_and_may_be_parked_later(keeping: Keeping, leases: AwayLeases) -> None:
    kept = keeping.keep(LONG_S)
    leases.away = silence()
    with pytest.raises(Retryable, match="silent"):
        kept.park(LONG_S)
    leases.away = None
    kept.park(LONG_S)
    taken(leases, "ann")
    with pytest.raises(LeaseLost, match="another process"):
        kept.park(LONG_S)


# --- waiting


def wait_for(leases: MemoryLeases, holder: str, within_s: float, said: list[str], **more: object) -> Lease:
    return await_lease(leases, SCOPE, holder, LONG_S, within_s, said.append, **more)  # type: ignore[arg-type]


def test_free_lease_comes_at_once_without_a_word(leases: AwayLeases, said: list[str]) -> None:
    assert wait_for(leases, "ann", 0, said).token == 1
    assert said == []


def test_who_does_not_want_to_wait_is_refused_naming_the_holder_and_is_not_in_the_queue(
    leases: AwayLeases, said: list[str]
) -> None:
    taken(leases, "ann")
    seen: list[Waiting] = []
    with pytest.raises(Refused, match=f"ann may change {SCOPE}, this run may not") as caught:
        wait_for(leases, "bob", 0, said, on_waiting=seen.append)
    assert caught.value.on == SCOPE
    assert caught.value.state == "nothing was changed"
    assert "let ann end" in caught.value.next_action
    assert [waiting.held_by for waiting in seen] == ["ann"]
    waiting = leases.acquire(SCOPE, "cid", LONG_S)
    assert isinstance(waiting, Waiting)
    assert waiting.ahead == 0


def test_who_waited_in_vain_is_refused_and_has_left_the_queue(leases: AwayLeases, said: list[str]) -> None:
    taken(leases, "ann")
    seen: list[Waiting] = []
    with pytest.raises(Refused, match="after 200 ms of waiting"):
        wait_for(leases, "bob", 0.2, said, on_waiting=seen.append)
    assert len(seen) > 1
    assert len(said) == 1
    assert said[0].startswith(f"waiting for the lease on {SCOPE}: ann has it for another ")
    assert said[0].endswith(" at least")
    waiting = leases.acquire(SCOPE, "cid", LONG_S)
    assert isinstance(waiting, Waiting)
    assert waiting.ahead == 0


def test_lease_comes_when_it_is_given_up_and_each_new_holder_is_told_of(leases: AwayLeases, said: list[str]) -> None:
    held = [taken(leases, "ann")]
    assert isinstance(leases.acquire(SCOPE, "bob", LONG_S), Waiting)
    got: list[Lease] = []
    thread = threading.Thread(target=lambda: got.append(wait_for(leases, "cid", LONG_S, said)))
    thread.start()
    wait_until(lambda: said, what="a word of who waits")
    leases.give_up(held[0])
    wait_until(lambda: len(said) == 2, what="a word of bob, who is next")
    held = [taken(leases, "bob")]
    assert not got
    leases.give_up(held[0])
    thread.join(30)
    assert [lease.holder for lease in got] == ["cid"]
    assert "ann has it for" in said[0]
    assert said[0].endswith(", 1 waiting before this run")
    assert said[1] == f"waiting for the lease on {SCOPE}: bob is next, 1 waiting before this run"
    assert len(said) == 2


def test_parked_lease_is_taken_instead_of_its_holder(leases: AwayLeases, said: list[str]) -> None:
    leases.park(taken(leases, "ann"), LONG_S)
    assert wait_for(leases, "bob", 0, said, instead_of="ann").holder == "bob"


@pytest.mark.parametrize("away", [silence(), Refused("no right", on="the ledger", next_action="grant it")])
def test_ledger_that_does_not_answer_the_first_question_ends_the_wait(
    leases: AwayLeases, said: list[str], away: SlipwayError
) -> None:
    leases.away = away
    with pytest.raises(type(away), match=away.what):
        wait_for(leases, "ann", LONG_S, said)


def test_ledger_that_is_silent_in_between_is_told_of_once_and_asked_again(leases: AwayLeases, said: list[str]) -> None:
    held = taken(leases, "ann")
    got: list[Lease] = []
    thread = threading.Thread(target=lambda: got.append(wait_for(leases, "bob", LONG_S, said)))
    thread.start()
    wait_until(lambda: said, what="a word of who waits")
    leases.away = silence()
    wait_until(lambda: len(said) == 2, what="a word of the silence")
    leases.away = None
    wait_until(lambda: len(said) == 3, what="a word of who has it")
    leases.give_up(held)
    thread.join(30)
    assert [lease.holder for lease in got] == ["bob"]
    assert said[1] == f"waiting for the lease on {SCOPE}: the ledger is silent"
    assert "ann has it" in said[2]


def test_wait_that_ends_with_the_ledger_silent_raises_that(leases: AwayLeases, said: list[str]) -> None:
    taken(leases, "ann")

    def go_away(waiting: Waiting) -> None:
        del waiting
        leases.away = silence()

    with pytest.raises(Retryable, match="silent"):
        wait_for(leases, "bob", 0.05, said, on_waiting=go_away)


def test_interrupted_wait_leaves_the_queue(leases: AwayLeases, said: list[str]) -> None:
    taken(leases, "ann")

    def interrupt(waiting: Waiting) -> None:
        raise KeyboardInterrupt(waiting.held_by)

    with pytest.raises(KeyboardInterrupt):
        wait_for(leases, "bob", LONG_S, said, on_waiting=interrupt)
    waiting = leases.acquire(SCOPE, "cid", LONG_S)
    assert isinstance(waiting, Waiting)
    assert waiting.ahead == 0
