"""Whatever is interrupted: never two writable sites, nothing planned is lost, and the goal is reached."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.common.errors import SlipwayError
from tasks.common.moves import MoveKind, open_move
from tasks.common.sites import ClusterRole
from tests.support.moving import ADDRESSES, NAME, RULES, Killed, Stand, two_sites, wish

MOST_CALLS = 14
HAPPENS = ("nothing", "a dies", "a comes back", "a's door is silent", "b is silent", "the DNS is silent", "b lags")


def happen(stand: Stand, what: str) -> None:
    a, b = stand.world.sites["a"], stand.world.sites["b"]
    match what:
        case "a dies":
            a.answers, a.running = False, False
        case "a comes back":
            a.answers, a.running, a.door_answers = True, True, True
        case "a's door is silent":
            a.door_answers = False
        case "b is silent":
            b.answers = False
        case "the DNS is silent":
            stand.world.dns_takes_changes = False
        case "b lags":
            b.keeps_up = False
    stand.use()


def heal(stand: Stand) -> None:
    for site in stand.world.sites.values():
        site.answers, site.running, site.door_answers, site.keeps_up = True, True, True, True
    stand.world.dns_answers = stand.world.dns_takes_changes = True
    stand.use()


def cut(stand: Stand, number: int, *, lost: bool) -> None:
    """The next run dies at its call of that number: before it has had an effect, or after it."""

    def die(here: int, name: str) -> None:
        if here == number:
            raise Killed(name)

    stand.before = die if not lost else lambda here, name: None
    stand.after = die if lost else lambda here, name: None


def whole(stand: Stand) -> None:
    stand.before = stand.after = lambda here, name: None


def attempt(stand: Stand, kind: MoveKind, to: str = "") -> bool:
    with suppress(Killed, SlipwayError):
        stand.run(wish(kind, to=to, accept_loss="a test"))
        return True
    return False


cuts = st.lists(st.tuples(st.integers(1, MOST_CALLS), st.booleans(), st.sampled_from(HAPPENS)), max_size=5)


def serves(stand: Stand, region: str) -> None:
    assert stand.world.takers() == [region]
    assert stand.world.names[NAME] == (list(ADDRESSES[region]), RULES.ttl_s)
    stand.use()


@settings(max_examples=80, deadline=None)
@given(cuts, st.booleans())
def test_interrupted_failover_never_makes_two_writable_sites_and_reaches_its_goal(
    interruptions: list[tuple[int, bool, str]], dead: bool
) -> None:
    stand = Stand(two_sites())
    stand.use()
    site = stand.world.sites["a"]
    site.running = False
    site.answers = not dead
    for number, lost, event in interruptions:
        cut(stand, number, lost=lost)
        attempt(stand, MoveKind.FAILOVER, "b")
        happen(stand, event)
    whole(stand)
    heal(stand)
    # Where the run had not fenced it yet, the site that came back serves again.
    if stand.world.takers() != ["a"] or open_move(stand.moves.history("shop", 9)) is not None:
        assert attempt(stand, MoveKind.FAILOVER, "b") or stand.world.takers() == ["b"]
        serves(stand, "b")


@settings(max_examples=80, deadline=None)
@given(cuts)
def test_interrupted_switchover_loses_nothing_and_reaches_its_goal(interruptions: list[tuple[int, bool, str]]) -> None:
    stand = Stand(two_sites())
    stand.use()
    for number, lost, event in interruptions:
        cut(stand, number, lost=lost)
        attempt(stand, MoveKind.SWITCHOVER, "b")
        happen(stand, event)
    whole(stand)
    heal(stand)
    if stand.world.takers() != ["b"] or open_move(stand.moves.history("shop", 9)) is not None:
        assert attempt(stand, MoveKind.SWITCHOVER, "b"), stand.steps
    serves(stand, "b")
    assert set(stand.written) <= set(stand.world.sites["b"].written)
    assert stand.world.sites["a"].role == ClusterRole.STANDBY


@settings(max_examples=80, deadline=None)
@given(cuts)
def test_interrupted_failback_loses_nothing_that_the_site_that_serves_has_taken(
    interruptions: list[tuple[int, bool, str]],
) -> None:
    stand = Stand(two_sites())
    stand.use()
    stand.world.sites["b"].keeps_up = False
    stand.use()
    stand.world.sites["a"].running = False
    assert attempt(stand, MoveKind.FAILOVER)
    heal(stand)
    stand.written = [each for each in stand.written if each in stand.world.sites["b"].written]
    stand.use()
    for number, lost, event in interruptions:
        cut(stand, number, lost=lost)
        attempt(stand, MoveKind.FAILBACK, "a")
        happen(stand, event)
    whole(stand)
    heal(stand)
    if stand.world.takers() != ["a"] or open_move(stand.moves.history("shop", 9)) is not None:
        assert attempt(stand, MoveKind.FAILBACK, "a"), stand.steps
    serves(stand, "a")
    assert set(stand.written) <= set(stand.world.sites["a"].written)


@settings(max_examples=80, deadline=None)
@given(cuts, st.lists(st.sampled_from(["failover", "switchover a", "switchover b", "failback a"]), max_size=6))
def test_any_sequence_of_wishes_and_events_never_makes_two_writable_sites(
    interruptions: list[tuple[int, bool, str]], wishes: list[str]
) -> None:
    stand = Stand(two_sites())
    for position, each in enumerate(wishes):
        kind, _, to = each.partition(" ")
        if position < len(interruptions):
            number, lost, event = interruptions[position]
            happen(stand, event)
            cut(stand, number, lost=lost)
        attempt(stand, MoveKind(kind), to)
        stand.use()
        whole(stand)


@pytest.mark.parametrize("number", range(1, MOST_CALLS))
@pytest.mark.parametrize("lost", [False, True])
def test_switchover_that_died_before_the_promotion_can_be_taken_back(number: int, lost: bool) -> None:
    stand = Stand(two_sites())
    stand.use()
    cut(stand, number, lost=lost)
    if attempt(stand, MoveKind.SWITCHOVER, "b") or stand.world.sites["b"].role == ClusterRole.PRIMARY:
        return
    whole(stand)
    assert attempt(stand, MoveKind.SWITCHOVER, "a"), stand.world.changes
    serves(stand, "a")
    assert set(stand.written) <= set(stand.world.sites["a"].written)
    assert attempt(stand, MoveKind.SWITCHOVER, "b")
    serves(stand, "b")
