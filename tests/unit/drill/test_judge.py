"""The verdict: what was planted in a log is found, and nothing that was not seen is a pass."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.drills import DrillObjectives, Figure, Outcome, Phase
from tasks.drill.judge import (
    Round,
    broken_since,
    figure,
    improvements,
    judge,
    look,
    milestones,
    outcome_of,
    served,
    spread,
)
from tasks.drill.log import Log
from tasks.drill.measure import Kind, Result
from tasks.drill.report import headline, report
from tasks.drill.timeline import svg, text
from tests.unit.drill.examples import experiment
from tests.unit.drill.logs import log

OBJECTIVES = DrillObjectives.model_validate({"rto": "1m", "rpo": "0s"})
MOMENTS = {"injecting": 10.0, "injected": 10.0, "undone": 50.0}
FAILED_OVER = log(70, [(10, 30)], {"a1": (0, 10), "a2": (30, 70)}, {"a1": (10, 52)})


def all_ids(found: Log) -> frozenset[str]:
    return frozenset(each.id for each in found.of(Kind.WRITE) if each.result is Result.OK)


def judged(
    found: Log = FAILED_OVER, there: frozenset[str] | None = None, name: str = "node-lost", **more: object
) -> Round:
    given = {"number": 1, "moments": MOMENTS, "probes": (), "aborted": "", "by_hand": (), **more}
    return judge(experiment(name), OBJECTIVES, found, there=all_ids(found) if there is None else there, **given)  # type: ignore[arg-type]


def test_failover_that_was_expected_and_lost_nothing_passes() -> None:
    found = judged()
    assert (found.outcome, found.problems) == (Outcome.FAILS_OVER, ())
    assert abs(found.rto_s - 20) < 0.1
    assert [node for _, node in found.leaders] == ["a1", "a2"]
    assert found.recovery_reads.rto_s is None
    assert improvements([found], experiment()) == ()


def test_outcome_is_that_of_the_time_before_the_undoing() -> None:
    same = log(70, [(10, 13)])
    assert outcome_of(same, 10, 50, 5) is Outcome.RECOVERS
    assert outcome_of(FAILED_OVER, 10, 50, 5) is Outcome.FAILS_OVER
    assert outcome_of(log(70, [(10, 50)]), 10, 50, 5) is Outcome.PERSON
    assert outcome_of(log(70), 10, 50, 5) is Outcome.RECOVERS


def test_what_no_driver_undoes_is_for_a_person_though_everybody_was_served() -> None:
    served_all_the_time = log(70)
    assert judged(served_all_the_time).outcome is Outcome.RECOVERS
    assert judged(served_all_the_time, by_hand=("restore it",)).outcome is Outcome.PERSON


def test_report_says_what_a_person_does_where_nobody_and_nothing_mends_it() -> None:
    full = experiment("disk-full")
    found = judged(log(90, [(10, 80)]), name="disk-full", moments={"injected": 10.0, "undone": 79.0})
    assert found.problems == ()
    assert improvements([found], full) == (
        f"nothing and nobody mends this by itself; a person does: {full.person_does}",
    )


def test_person_who_must_act_is_a_pass_where_that_was_expected_and_no_rto_is_judged() -> None:
    waits = log(90, [(10, 80)])
    moments = {"injecting": 10.0, "injected": 10.0, "undone": 80.0}
    assert judged(waits, name="disk-full", moments=moments).problems == ()
    wrong = judged(waits, moments=moments).problems
    assert any("a-person-must-act, and fails-over was expected" in each for each in wrong)
    assert any(each.startswith("RTO 70.0 s") for each in wrong)


def test_planted_loss_fails_the_drill() -> None:
    there = all_ids(FAILED_OVER) - {"w000195"}
    (wrong,) = judged(there=there).problems
    assert wrong.startswith("1 acknowledged writes are lost")
    assert "synchronous_mode" in improvements([judged(there=there)], experiment())[0]


def test_planted_split_brain_fails_the_drill() -> None:
    both = log(70, [(10, 30)], {"a1": (0, 35), "a2": (30, 70)})
    wrong = [each for each in judged(both).problems if "SPLIT BRAIN: a1 and a2 took writes at once" in each]
    assert len(wrong) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(FAILED_OVER, whole=False), "the client has died before the end"),
        (replace(FAILED_OVER, late_s=2.0), "the client itself was held up for 2.0 s"),
        (log(70, [(10, 70)], dead={"a1": (10, 70)}), "service was not back"),
    ],
)
def test_what_makes_figures_worthless_fails_the_drill(changed: Log, said: str) -> None:
    assert any(said in each for each in judged(changed).problems)


def test_writes_that_could_not_be_counted_fail_the_drill() -> None:
    found = judge(
        experiment(), OBJECTIVES, FAILED_OVER, number=1, moments=MOMENTS, there=None, probes=(), aborted="", by_hand=()
    )
    assert "what was lost could not be counted" in found.problems


def test_abort_and_probe_that_does_not_hold_fail_the_drill() -> None:
    seen = look(experiment(), FAILED_OVER, Phase.DURING, 20.0)
    assert [each.name for each in seen if not each.holds] == ["users write", "one node takes writes"]
    assert all(each.holds for each in look(experiment(), FAILED_OVER, Phase.AFTER, 69.9))
    wrong = judged(probes=seen, aborted="nobody writes for too long").problems
    assert wrong[0] == "aborted: nobody writes for too long"
    assert len(wrong) == 3


def test_figure_of_which_there_are_no_data_is_none_and_no_probe_holds_on_it() -> None:
    empty = replace(FAILED_OVER, operations=(), samples=())
    assert [figure(empty, each, 20.0) for each in Figure] == [None] * len(Figure)
    assert not any(each.holds for each in look(experiment(), empty, Phase.BEFORE, 20.0))
    assert figure(FAILED_OVER, Figure.WRITES, 200.0) is None, "a client that has said nothing for long says nothing now"
    assert figure(FAILED_OVER, Figure.WRITABLE, 200.0) is None


def test_figures_are_those_of_the_moment() -> None:
    assert figure(FAILED_OVER, Figure.WRITES, 8.0) == 100
    assert figure(FAILED_OVER, Figure.WRITES, 25.0) == 0
    assert figure(FAILED_OVER, Figure.READS, 25.0) == 100
    assert [figure(FAILED_OVER, Figure.WRITABLE, at_s) for at_s in (5.0, 20.0, 40.0)] == [1, 0, 1]
    assert [figure(FAILED_OVER, Figure.ANSWERING, at_s) for at_s in (5.0, 20.0, 60.0)] == [3, 2, 3]


def test_bound_is_broken_since_its_first_look_without_a_break() -> None:
    rules = experiment().abort
    since = broken_since(FAILED_OVER, rules, {}, 5.0)
    assert since == {}
    since = broken_since(FAILED_OVER, rules, since, 20.0)
    since = broken_since(FAILED_OVER, rules, since, 25.0)
    assert since == {"nobody writes for too long": 20.0}
    assert broken_since(FAILED_OVER, rules, since, 40.0) == {}
    assert broken_since(replace(FAILED_OVER, operations=()), rules, {}, 5.0), "no data is not well"


def test_service_is_back_only_after_an_outage_and_for_long_enough() -> None:
    writes = FAILED_OVER.of(Kind.WRITE)
    assert not served([each for each in writes if each.due_s < 33], 10, 5)
    assert served([each for each in writes if each.due_s < 36], 10, 5)
    assert not served(log(70).of(Kind.WRITE), 10, 5)


def test_spread_over_rounds_is_that_of_all_of_them() -> None:
    found = spread([19.0, 23.0, 20.0])
    assert found is not None
    assert (found.count, found.least_s, found.median_s, round(found.mean_s, 1)) == (3, 19, 20, 20.7)
    assert (found.ninety_percent_s, found.largest_s) == (23, 23)
    many = spread([float(each) for each in range(1, 21)])
    assert many is not None and many.ninety_percent_s == 18
    assert spread([]) is None


def test_report_says_the_verdict_first_and_shows_when_what_has_happened() -> None:
    rounds = [judged(), judged(there=all_ids(FAILED_OVER) - {"w000195"})]
    made = report(
        experiment(),
        OBJECTIVES,
        rounds,
        timeline=text(FAILED_OVER, MOMENTS),
        before=[("2026-02-01", 21.0, True), ("2026-01-01", 23.0, False)],
        evidence="drills/evidence/run-1",
        problem="",
        redact=lambda text: text.replace("Patroni", "***"),
    )
    assert made.startswith("**node-lost FAILED in 1 of 2 rounds: fails-over")
    for each in (
        "RTO of writes 2 times",
        "Average recovery time of the last 2 drills: 22.0 s",
        "a1 at -10.0 s, a2 at +20.0 s",
        "objective    60.00 s ████",
        "round 1     20.01 s █████████████████ failed",
        "2026-01-01   23.00 s ███████████████████ failed",
    ):
        assert each in made
    assert "Patroni" not in made and "ended early" not in made
    assert headline(experiment(), []) == "node-lost: nothing was injected"


def test_what_has_happened_is_what_the_log_says_of_the_outage_that_counts() -> None:
    found = milestones(log(70, [(10, 30), (40, 41)], {"a1": (0, 10), "a2": (30, 70)}), 10.0, 5.0)
    assert {what: round(at_s, 1) for what, at_s in found.items()} == {
        "detected": 10.0,
        "promoted": 30.0,
        "recovered": 30.0,
    }
    assert milestones(log(70), 10.0, 5.0) == {}
    assert "recovered" not in milestones(log(40, [(10, 40)]), 10.0, 5.0)
    shown = judged().moments
    assert (shown["injected"], round(shown["recovered"])) == (10.0, 30)


def test_drill_that_has_ended_early_says_why() -> None:
    with_it = {"timeline": "", "before": [], "evidence": "", "redact": str}
    made = report(experiment(), OBJECTIVES, [judged()], problem="Refused: no disk", **with_it)  # type: ignore[arg-type]
    assert "**It has ended early.** Refused: no disk" in made
    again = f"Failed (drill): {headline(experiment(), [judged()])}"
    assert "ended early" not in report(experiment(), OBJECTIVES, [judged()], problem=again, **with_it)  # type: ignore[arg-type]


@given(moments=st.dictionaries(st.sampled_from(["steady", "detected", "promoted", "recovered"]), st.floats(0, 70)))
def test_words_on_the_picture_never_lie_on_each_other(moments: dict[str, float]) -> None:
    made = svg(FAILED_OVER, {**MOMENTS, **moments}, "title")
    words = re.findall(r'<text x="([0-9.]+)" y="([0-9.]+)" font-size="11" fill="#[0-9a-f]+">([^<]+)<', made)
    spans = [(float(y), float(x), float(x) + 6 * len(text)) for x, y, text in words]
    for (y, left, right), (other_y, other_left, _) in pairwise(sorted(spans)):
        assert y != other_y or right < other_left, words
        assert left >= 0 and right <= 960


def test_picture_shows_every_node_and_every_moment() -> None:
    made = svg(FAILED_OVER, MOMENTS, "a <title>")
    for each in ("a1", "a2", "a3", "writes a second", "reads a second", "injected 10.0 s", "a &lt;title&gt;"):
        assert each in made
    lines = text(FAILED_OVER, MOMENTS).splitlines()
    assert next(line for line in lines if line.startswith("a2 ")).count("W") > 30
    assert any(line.startswith("injected") and line.endswith("| 10.0 s") for line in lines)
