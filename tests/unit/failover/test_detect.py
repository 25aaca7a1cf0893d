"""What a detector makes of recorded series of looks, and what no series may make it do."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.failover.detect import Change, Look, Rule, State, advance
from tasks.failover.model import Finding

SERIES = Path(__file__).parents[2] / "data" / "looks"
POINTS = ("east", "south", "west")
RULE = Rule(POINTS, quorum=2)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOOKS: dict[str, Look | None] = {
    "U": Look(site=True, database=True, control=True),
    "S": Look(site=False, database=False, control=True),
    "D": Look(site=True, database=False, control=True),
    "C": Look(site=False, database=False, control=False),
    ".": None,
}


def replay(rounds: Sequence[Mapping[str, str]], rule: Rule = RULE) -> list[tuple[State, Change | None]]:
    """Return what is known after each round; one round every 10 s."""
    state, found = State(), []
    for number, letters in enumerate(rounds):
        looks = {name: LOOKS[letter] for name, letter in letters.items()}
        state, change = advance(state, "north", looks, NOON + timedelta(seconds=10 * number), rule)
        found.append((state, change))
    return found


def told(change: Change | None) -> str:
    return "" if change is None else " over" if change.over else " !"


@pytest.mark.parametrize("path", sorted(SERIES.glob("*.txt")), ids=lambda path: path.stem)
def test_recorded_series_is_found_to_be_what_it_was(path: Path) -> None:
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    rounds = [dict(zip(POINTS, line.partition(" |")[0].split(), strict=True)) for line in lines]
    found = [f"{state.finding}{told(change)}" for state, change in replay(rounds)]
    assert found == [line.partition("| ")[2] for line in lines]


def test_outage_is_dated_from_the_first_of_the_failures() -> None:
    rounds = [dict.fromkeys(POINTS, letter) for letter in "UUUSSS"]
    (change,) = [change for _, change in replay(rounds) if change is not None]
    assert change.detection.since == NOON + timedelta(seconds=30)
    assert (change.detection.points, change.detection.quorum, change.detection.region) == (3, 2, "north")


letters = st.sampled_from("USDC.")
rounds = st.lists(st.fixed_dictionaries(dict.fromkeys(POINTS, letters)), max_size=40)


@given(rounds, st.sampled_from(POINTS))
def test_no_single_point_ever_causes_an_outage(series: list[dict[str, str]], liar: str) -> None:
    others = [{name: letter if name == liar else "U" for name, letter in each.items()} for each in series]
    assert [change for _, change in replay(others) if change is not None] == []


@given(rounds, st.sampled_from(POINTS))
def test_points_that_are_cut_off_or_silent_are_no_witnesses(series: list[dict[str, str]], seeing: str) -> None:
    cut = "C."[len(series) % 2]
    blind = [{name: letter if name == seeing else cut for name, letter in each.items()} for each in series]
    assert [change for _, change in replay(blind) if change is not None] == []


@given(rounds)
def test_flapping_that_never_fails_three_times_in_a_row_moves_nobody(series: list[dict[str, str]]) -> None:
    calm = [each if number % 3 else dict.fromkeys(POINTS, "U") for number, each in enumerate(series)]
    assert [change for _, change in replay(calm) if change is not None] == []


@given(rounds)
def test_outages_begin_and_end_in_turns(series: list[dict[str, str]]) -> None:
    changes = [change.over for _, change in replay(series) if change is not None]
    assert changes == [bool(number % 2) for number in range(len(changes))]


@given(rounds)
def test_outage_needs_a_quorum_whose_last_three_looks_have_failed(series: list[dict[str, str]]) -> None:
    for number, (state, change) in enumerate(replay(series)):
        if change is None or change.over:
            continue
        last = series[max(0, number - 2) : number + 1]
        failing = [name for name in POINTS if len(last) == 3 and all(each[name] in "SD" for each in last)]
        # A point that has called it down goes on to say so until it is well again.
        said = [name for name in POINTS if state.points[name].says in ("site down", "database down")]
        assert failing and len(said) >= RULE.quorum
        assert state.finding in (Finding.SITE_DOWN, Finding.DATABASE_DOWN)


@given(rounds, st.integers(0, 39))
def test_state_after_any_round_is_all_that_counts(series: list[dict[str, str]], cut: int) -> None:
    """A watch that goes on from a state finds what one that never stopped finds."""
    whole = replay(series)
    state = whole[cut][0] if cut < len(whole) else State()
    for number, each in enumerate(series[cut + 1 :], cut + 1):
        looks = {name: LOOKS[letter] for name, letter in each.items()}
        state, _ = advance(state, "north", looks, NOON + timedelta(seconds=10 * number), RULE)
    if cut < len(whole):
        assert state == whole[-1][0]


@pytest.mark.parametrize(("failures", "recoveries"), [(1, 1), (2, 5), (5, 2)])
def test_numbers_of_looks_are_those_that_were_set(failures: int, recoveries: int) -> None:
    rule = Rule(POINTS, 2, failures, recoveries)
    bad, good = dict.fromkeys(POINTS, "S"), dict.fromkeys(POINTS, "U")
    changes = [change for _, change in replay([bad] * failures + [good] * recoveries, rule)]
    assert [told(change) for change in changes if change is not None] == [" !", " over"]
    assert changes[failures - 1] is not None and changes[-1] is not None
