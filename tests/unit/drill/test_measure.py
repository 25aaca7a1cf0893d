"""What the client's log says, over logs whose truth is known because it was planted."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tasks.drill.measure import (
    Kind,
    Operation,
    Outage,
    Result,
    Sample,
    by_second,
    leaders,
    longest_gap_s,
    loss,
    outages,
    recovery,
    share_percent,
    unseen_s,
    writable_together,
    written_since,
)
from tasks.drill.model import NodeState

RATE = 50
SUSTAINED_S = 5.0
LATENCY_S = 0.01


def operation(number: int, result: Result = Result.OK, kind: Kind = Kind.WRITE) -> Operation:
    due_s = number / RATE
    return Operation(f"{number:06}", kind, due_s, due_s + LATENCY_S, result)


def series(length_s: float, *failed: tuple[float, float]) -> list[Operation]:
    """Return a client's operations, of which those that were due within the times have failed."""
    found = [operation(number) for number in range(int(length_s * RATE))]
    return [
        Operation(each.id, each.kind, each.due_s, each.ended_s, Result.FAIL)
        if any(begin <= each.due_s < end for begin, end in failed)
        else each
        for each in found
    ]


def test_client_that_was_always_served_saw_no_outage() -> None:
    assert outages(series(30), SUSTAINED_S) == ()
    assert outages([], SUSTAINED_S) == ()
    assert recovery(series(30), SUSTAINED_S).rto_s is None


@given(begin=st.floats(0.1, 20), length=st.floats(0.1, 20), shuffle=st.randoms())
def test_planted_outage_is_measured_to_the_pace_of_the_client(begin: float, length: float, shuffle: object) -> None:
    operations = series(50, (begin, begin + length))
    shuffle.shuffle(operations)  # type: ignore[attr-defined]
    (found,) = outages(operations, SUSTAINED_S)
    assert found.ended_s is not None
    assert 0 <= found.began_s - begin <= 1 / RATE + 1e-6
    assert abs(found.length_s(0) - length) <= 1 / RATE + LATENCY_S + 1e-6
    assert found.failed == sum(each.result is Result.FAIL for each in operations)


@given(successes=st.sets(st.integers(510, 990), max_size=60))
def test_success_between_failures_ends_no_outage(successes: set[int]) -> None:
    operations = [
        operation(number, Result.FAIL if 500 <= number < 1000 and number not in successes else Result.OK)
        for number in range(1500)
    ]
    (found,) = outages(operations, SUSTAINED_S)
    assert (found.began_s, found.ended_s) == (10.0, 20.0 + LATENCY_S)


def test_success_after_which_the_client_stopped_too_early_is_no_recovery() -> None:
    assert outages(series(24, (10, 20)), SUSTAINED_S) == (Outage(10.0, None, 500),)
    found = recovery(series(24, (10, 20)), SUSTAINED_S)
    assert not found.ended
    assert found.rto_s is not None and found.rto_s > 13.9


def test_outages_apart_are_told_apart_and_the_longest_is_the_rto() -> None:
    found = recovery(series(60, (5, 8), (20, 27), (40, 41)), SUSTAINED_S)
    assert [round(each.length_s(0), 1) for each in found.outages] == [3.0, 7.0, 1.0]
    assert found.rto_s is not None and round(found.rto_s, 1) == 7.0
    assert found.ended


def test_one_unknown_operation_is_an_outage_too() -> None:
    operations = [operation(number, Result.UNKNOWN if number == 100 else Result.OK) for number in range(1000)]
    (found,) = outages(operations, SUSTAINED_S)
    assert (found.began_s, found.failed) == (2.0, 1)


@given(data=st.data(), results=st.lists(st.sampled_from(sorted(Result)), min_size=1, max_size=200))
def test_planted_loss_is_found_and_nothing_else(data: st.DataObject, results: list[Result]) -> None:
    operations = [operation(number, result) for number, result in enumerate(results)]
    acknowledged = [each.id for each in operations if each.result is Result.OK]
    planted = set(data.draw(st.lists(st.sampled_from(acknowledged), unique=True))) if acknowledged else set()
    unknown = [each.id for each in operations if each.result is Result.UNKNOWN]
    arrived = set(data.draw(st.lists(st.sampled_from(unknown), unique=True))) if unknown else set()
    found = loss(operations, (set(acknowledged) - planted) | arrived)
    assert set(found.lost) == planted
    assert found.unknown_there == len(arrived)
    assert found.acknowledged == len(acknowledged)
    assert found.failed_there == ()
    assert (found.seconds is None) == (not planted)
    assert (found.rpo_s > 0) <= bool(planted)


def test_loss_reaches_from_its_first_write_to_the_failure_that_users_saw() -> None:
    operations = series(20, (10, 15))
    there = {each.id for each in operations if each.result is Result.OK and not 9.5 <= each.due_s < 10}
    found = loss(operations, there)
    assert len(found.lost) == 25
    assert found.seconds is not None and abs(found.seconds - 0.48) < 1e-6
    assert found.reaches_back_s is not None and abs(found.reaches_back_s - (0.5 - LATENCY_S)) < 1e-6


def test_write_that_failed_and_is_there_all_the_same_is_named() -> None:
    assert loss([operation(1, Result.FAIL)], {"000001"}).failed_there == ("000001",)


def test_write_that_is_there_and_not_in_the_log_is_named() -> None:
    found = loss([operation(1), operation(2)], {"000001", "000002", "000003"})
    assert (found.lost, found.unsent_there) == ((), ("000003",))


def test_reads_are_never_lost() -> None:
    assert loss([operation(1, Result.OK, Kind.READ)], set()).lost == ()


def watched(node: str, *states: tuple[float, NodeState], takes_s: float = 0.01) -> list[Sample]:
    return [Sample(node, at_s, at_s + takes_s, state) for at_s, state in states]


W, R, S = NodeState.WRITABLE, NodeState.READ_ONLY, NodeState.SILENT


def test_planted_split_brain_is_found() -> None:
    samples = watched("a1", (0, W), (1, W), (2, W), (3, R)) + watched("a2", (0, R), (1.5, W), (2.5, W))
    (found,) = writable_together(samples)
    assert (found.first, found.second, found.shown) == ("a1", "a2", True)
    assert (found.from_s, found.until_s) == (1.51, 2)


def test_leader_that_hands_over_is_no_split_brain() -> None:
    samples = watched("a1", (0, W), (1, W), (2, R), (3, R)) + watched("a2", (0, R), (1.5, R), (2.5, W))
    assert writable_together(samples) == ()
    assert [node for _, node in leaders(samples)] == ["a1", "a2"]


def test_old_leader_behind_a_closed_entrance_is_no_split_brain_and_no_silence() -> None:
    states = (1.0, NodeState.WRITABLE), (2.0, NodeState.SHUT), (3.0, NodeState.SHUT)
    old, new = watched("a1", *states), watched("b1", (2.0, NodeState.WRITABLE), (3.0, NodeState.WRITABLE))
    assert writable_together([*old, *new]) == ()
    assert unseen_s([*old, *new])["a1"] == 0


def test_what_was_acknowledged_since_a_moment_is_listed_for_repair() -> None:
    known = [operation(number) for number in range(10)]
    bad, read = operation(10, Result.UNKNOWN), operation(11, kind=Kind.READ)
    since = written_since([*known, bad, read], known[6].ended_s)
    assert since == tuple(each.id for each in known[6:])


def test_answer_that_took_too_long_leaves_it_open() -> None:
    samples = [*watched("a1", (0, W), (1, W)), Sample("a1", 2, 8, W), *watched("a2", (0, R), (5, W), (6, W))]
    (found,) = writable_together(samples)
    assert not found.shown


@given(
    handover=st.floats(1, 9),
    every=st.floats(0.1, 1),
    phases=st.tuples(st.floats(0, 0.1), st.floats(0, 0.1)),
    gap=st.floats(0, 2),
)
def test_nodes_that_were_never_writable_together_are_never_shown_to_have_been(
    handover: float, every: float, phases: tuple[float, float], gap: float
) -> None:
    def state(node: int, at_s: float) -> NodeState:
        return W if (at_s < handover if node == 0 else at_s >= handover + gap) else R

    samples = [
        Sample(f"a{node}", at_s, at_s + 0.02, state(node, at_s + 0.01))
        for node in (0, 1)
        for at_s in (phases[node] + number * every for number in range(int(12 / every)))
    ]
    assert not any(each.shown for each in writable_together(samples))


@given(begin=st.floats(1, 5), length=st.floats(1.1, 5), every=st.floats(0.1, 0.5))
def test_two_writable_nodes_are_always_found_when_it_lasts_longer_than_two_looks(
    begin: float, length: float, every: float
) -> None:
    count = int(12 / every)
    samples = watched("a1", *((number * every, W if number * every < begin + length else R) for number in range(count)))
    samples += watched("a2", *((number * every, W if number * every >= begin else R) for number in range(count)))
    assert any(each.shown for each in writable_together(samples))


def test_silence_beside_a_writable_node_is_measured() -> None:
    samples = watched("a1", (0, W), (1, S), (2, S), (3, R)) + watched("a2", (0, R), (1.5, W), (4, W))
    assert unseen_s(samples) == {"a1": 1.5, "a2": 0.0}


def test_seconds_without_any_operation_are_shown_as_empty() -> None:
    operations = [each for each in series(5, (1, 2)) if not 3 <= each.due_s < 4]
    found = by_second(operations, 0.0, 4.9)
    assert [(each.done, each.failed) for each in found] == [(50, 0), (0, 50), (50, 0), (0, 0), (50, 0)]


def test_share_of_nothing_is_no_figure() -> None:
    operations: Sequence[Operation] = series(4, (1, 2))
    assert share_percent(operations, 0, 2) == 50
    assert share_percent(operations, 10, 20) is None


def test_client_that_was_starved_shows_a_gap() -> None:
    assert abs(longest_gap_s(series(4)) - 1 / RATE) < 1e-6
    assert longest_gap_s([operation(0), operation(200)]) == 4.0
