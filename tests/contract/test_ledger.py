"""What every ledger does."""

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from blocks import open_driver
from blocks.context import Context
from blocks.secrets import Secrets
from tasks.common.errors import Refused
from tasks.common.model import DriverSpec
from tasks.release.model import Evidence, Kind, Outcome, ReleaseRecord
from tasks.release.ports import Ledger

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    settings: dict[str, object] = {}
    if request.param == "postgresql":
        (tmp_path / "dsn").write_text(request.getfixturevalue("database_url"))
        settings = {"dsn": "file:dsn", "connect_timeout": "5s"}
    context = Context(base=tmp_path, secrets=Secrets(tmp_path))
    opened: Ledger = open_driver("ledger", DriverSpec(driver=request.param, **settings), context)
    opened.prepare()
    return opened


def record(id_: str = "run-1", /, **changes: object) -> ReleaseRecord:
    plain = ReleaseRecord(
        id=id_,
        kind=Kind.RELEASE,
        service="campus",
        environment="production",
        release="v1",
        commit="0" * 40,
        subject="Say hello",
        strategy="canary",
        requested_by="ada",
        started_at=NOON,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def released(ledger: Ledger, id_: str, outcome: Outcome = Outcome.SUCCEEDED, **changes: object) -> None:
    begun = record(id_, **changes)
    ledger.begin(begun)
    ledger.end(id_, outcome, begun.started_at + timedelta(minutes=5), None, None)


def test_preparing_twice_keeps_what_is_there(ledger: Ledger) -> None:
    ledger.begin(record())
    ledger.prepare()
    assert ledger.record("run-1") == record()


def test_record_comes_back_as_it_was_begun(ledger: Ledger) -> None:
    begun = record(kind=Kind.ROLLBACK, subject="Grüße 🚢 'quoted' \"twice\" \\ %s {x}", digest="sha256:ab")
    ledger.begin(begun)
    assert ledger.record("run-1") == begun


def test_begin_again_leaves_one_record_and_the_first_stands(ledger: Ledger) -> None:
    ledger.begin(record())
    ledger.begin(record(release="v2", started_at=NOON + timedelta(hours=1)))
    assert ledger.records(None, None, 10) == (record(),)


def test_begin_again_after_the_end_leaves_the_outcome(ledger: Ledger) -> None:
    released(ledger, "run-1")
    ledger.begin(record())
    assert ledger.record("run-1").outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    "changes",
    [{"outcome": Outcome.SUCCEEDED}, {"ended_at": NOON}, {"error": "it failed"}, {"started_at": datetime(2026, 3, 1)}],  # noqa: DTZ001
)
def test_record_that_begins_with_an_end_or_without_a_zone_is_refused(
    ledger: Ledger, changes: dict[str, object]
) -> None:
    with pytest.raises(Refused):
        ledger.begin(record(**changes))
    assert ledger.records(None, None, 10) == ()


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.RUNNING])
def test_end_is_kept_with_time_error_and_digest(ledger: Ledger, outcome: Outcome) -> None:
    ledger.begin(record())
    ledger.end("run-1", outcome, NOON + timedelta(hours=2), "p95 is 4 s\n  bound 2 s", "sha256:cd")
    assert ledger.record("run-1") == record(
        outcome=outcome, ended_at=NOON + timedelta(hours=2), error="p95 is 4 s\n  bound 2 s", digest="sha256:cd"
    )


def test_end_without_a_digest_leaves_the_one_it_began_with(ledger: Ledger) -> None:
    ledger.begin(record(digest="sha256:ab"))
    ledger.end("run-1", Outcome.FAILED, NOON, None, None)
    assert ledger.record("run-1").digest == "sha256:ab"


def test_same_end_again_changes_nothing(ledger: Ledger) -> None:
    ledger.begin(record())
    ledger.end("run-1", Outcome.FAILED, NOON, "first", "sha256:ab")
    ledger.end("run-1", Outcome.FAILED, NOON + timedelta(hours=1), "second", "sha256:cd")
    assert ledger.record("run-1") == record(outcome=Outcome.FAILED, ended_at=NOON, error="first", digest="sha256:ab")


def test_other_end_is_refused_and_the_first_stands(ledger: Ledger) -> None:
    ledger.begin(record())
    ledger.end("run-1", Outcome.UNSAFE, NOON, "lost", None)
    with pytest.raises(Refused, match="ended as unsafe and cannot end as succeeded") as caught:
        ledger.end("run-1", Outcome.SUCCEEDED, NOON, None, None)
    assert caught.value.on == "run-1"
    assert ledger.record("run-1").outcome is Outcome.UNSAFE


def test_end_as_running_or_of_an_unknown_record_or_without_a_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(Refused, match="no such record"):
        ledger.end("run-1", Outcome.FAILED, NOON, None, None)
    ledger.begin(record())
    with pytest.raises(Refused, match="running"):
        ledger.end("run-1", Outcome.RUNNING, NOON, None, None)
    with pytest.raises(Refused, match="zone"):
        ledger.end("run-1", Outcome.FAILED, NOON.replace(tzinfo=None), None, None)
    assert ledger.record("run-1").outcome is Outcome.RUNNING


def test_of_two_workers_that_end_a_record_differently_one_wins_and_one_is_refused(ledger: Ledger) -> None:
    ledger.begin(record())
    barrier = threading.Barrier(2)
    results: dict[Outcome, str] = {}

    def end(outcome: Outcome) -> None:
        barrier.wait(10)
        try:
            ledger.end("run-1", outcome, NOON, None, None)
            results[outcome] = "kept"
        except Refused:
            results[outcome] = "refused"

    threads = [threading.Thread(target=end, args=[outcome]) for outcome in (Outcome.SUCCEEDED, Outcome.FAILED)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results.values()) == ["kept", "refused"]
    assert results[ledger.record("run-1").outcome] == "kept"


def test_evidence_comes_back_in_order_with_its_facts(ledger: Ledger) -> None:
    ledger.begin(record())
    facts: dict[str, object] = {
        "zebra before ant": 1,
        "ant": [True, None, -1.5, 1e300, 2**70, "ü🚢", {"nested": {"deeper": []}}],
        "empty": {},
    }
    kept = [
        Evidence("run-1", "step", f"number {number}", NOON - timedelta(seconds=number), facts, number / 3)
        for number in range(5)
    ]
    for evidence in kept:
        ledger.append(evidence)
    assert ledger.evidence("run-1") == tuple(kept)
    for evidence in ledger.evidence("run-1"):
        assert list(evidence.facts) == list(facts), "keys stay in the order in which they were written"


def test_evidence_appended_twice_is_there_twice(ledger: Ledger) -> None:
    ledger.begin(record())
    evidence = Evidence("run-1", "step", "shift", NOON)
    ledger.append(evidence)
    ledger.append(evidence)
    assert ledger.evidence("run-1") == (evidence, evidence)


def test_evidence_may_follow_the_end(ledger: Ledger) -> None:
    released(ledger, "run-1")
    ledger.append(Evidence("run-1", "notification", "sent", NOON))
    assert [evidence.name for evidence in ledger.evidence("run-1")] == ["sent"]


def test_evidence_of_one_record_is_not_shown_for_another(ledger: Ledger) -> None:
    ledger.begin(record("run-1"))
    ledger.begin(record("run-10"))
    ledger.append(Evidence("run-10", "step", "shift", NOON))
    assert ledger.evidence("run-1") == ()
    assert ledger.evidence("never") == ()


def test_evidence_without_a_record_is_refused(ledger: Ledger) -> None:
    with pytest.raises(Refused, match="no such record"):
        ledger.append(Evidence("run-1", "step", "shift", NOON))
    assert ledger.evidence("run-1") == ()


def test_measured_figures_that_json_does_not_have_are_kept_as_text(ledger: Ledger) -> None:
    ledger.begin(record())
    facts: dict[str, object] = {"p95": math.nan, "bounds": [math.inf, -math.inf]}
    ledger.append(Evidence("run-1", "sample", "p95", NOON, facts, math.nan))
    (kept,) = ledger.evidence("run-1")
    assert kept.facts == {"p95": "NaN", "bounds": ["Infinity", "-Infinity"]}
    assert kept.duration_s is None


@pytest.mark.parametrize(
    ("facts", "where"),
    [
        ({"path": Path("x")}, "facts.path"),
        ({"list": [1, {"at": datetime(2026, 3, 1)}]}, "facts.list[1].at"),  # noqa: DTZ001
        ({"map": {1: "one"}}, "facts.map"),
        ({"raw": b"bytes"}, "facts.raw"),
    ],
)
def test_facts_that_are_no_json_data_are_refused_naming_the_place(
    ledger: Ledger, facts: dict[str, object], where: str
) -> None:
    ledger.begin(record())
    with pytest.raises(Refused) as caught:
        ledger.append(Evidence("run-1", "step", "shift", NOON, facts))
    assert caught.value.on == where
    assert ledger.evidence("run-1") == ()


def test_evidence_without_a_zone_is_refused(ledger: Ledger) -> None:
    ledger.begin(record())
    with pytest.raises(Refused, match="zone"):
        ledger.append(Evidence("run-1", "step", "shift", NOON.replace(tzinfo=None)))


def test_aware_times_are_the_same_moment_in_utc_wherever_they_stand(ledger: Ledger) -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    ledger.begin(record(started_at=elsewhere))
    ledger.append(Evidence("run-1", "step", "shift", elsewhere, {"seen_at": elsewhere}))
    ledger.end("run-1", Outcome.FAILED, elsewhere, None, None)
    (kept,) = ledger.evidence("run-1")
    found = ledger.record("run-1")
    assert found.started_at == found.ended_at == kept.at == NOON
    assert {found.started_at.utcoffset(), kept.at.utcoffset()} == {timedelta(0)}
    assert kept.facts == {"seen_at": "2026-03-01T12:00:00.123456+00:00"}


def test_text_that_no_database_takes_is_kept_with_a_mark_in_its_place(ledger: Ledger) -> None:
    bad, shown = "a\0b\udc80c", "a\ufffdb\ufffdc"
    ledger.begin(record(bad, subject=bad, requested_by=bad))
    ledger.append(Evidence(bad, bad, bad, NOON, {bad: [bad, {"deep": bad}]}))
    ledger.end(bad, Outcome.FAILED, NOON, bad, None)
    found = ledger.record(bad)
    assert (found.id, found.subject, found.requested_by, found.error) == (shown,) * 4
    assert ledger.evidence(bad) == (Evidence(shown, shown, shown, NOON, {shown: [shown, {"deep": shown}]}),)
    assert ledger.records(bad, bad, 10) == ledger.succeeded(bad, bad, 10) == ()


def test_changing_what_was_given_or_returned_does_not_change_the_ledger(ledger: Ledger) -> None:
    ledger.begin(record())
    facts: dict[str, object] = {"list": [1]}
    ledger.append(Evidence("run-1", "step", "shift", NOON, facts))
    facts["list"] = "changed"
    ledger.evidence("run-1")[0].facts.clear()
    assert ledger.evidence("run-1")[0].facts == {"list": [1]}


def test_unique_prefix_of_an_id_is_enough(ledger: Ledger) -> None:
    for id_ in ("abc-1", "abd-2", "xyz"):
        ledger.begin(record(id_))
    assert ledger.record("abc").id == "abc-1"
    assert ledger.record("x").id == "xyz"


def test_whole_id_wins_over_longer_ones_that_start_with_it(ledger: Ledger) -> None:
    for id_ in ("run-10", "run-1", "run-11"):
        ledger.begin(record(id_))
    assert ledger.record("run-1").id == "run-1"


def test_ambiguous_prefix_is_refused_naming_some_of_the_records(ledger: Ledger) -> None:
    for number in range(5):
        ledger.begin(record(f"run-{number}"))
    with pytest.raises(Refused, match="several records") as caught:
        ledger.record("run")
    assert caught.value.facts["among them"] == "run-0, run-1, run-2"
    with pytest.raises(Refused, match="several records"):
        ledger.record("")


@pytest.mark.parametrize("wrong", ["nope", "run-1x", "RUN-1", "%", "run_1", "_", "un-1"])
def test_id_that_no_record_starts_with_is_refused(ledger: Ledger, wrong: str) -> None:
    ledger.begin(record())
    with pytest.raises(Refused, match="no such record"):
        ledger.record(wrong)


@pytest.mark.parametrize(
    ("service", "environment", "expected"),
    [
        (None, None, ["e", "d", "c", "b"]),
        ("campus", None, ["d", "c", "a"]),
        (None, "production", ["e", "c", "b", "a"]),
        ("campus", "production", ["c", "a"]),
        ("campus", "nowhere", []),
    ],
)
def test_records_are_the_latest_newest_first(
    ledger: Ledger, service: str | None, environment: str | None, expected: list[str]
) -> None:
    places = {"a": ("campus", "production"), "b": ("forum", "production"), "c": ("campus", "production")}
    places |= {"d": ("campus", "staging"), "e": ("forum", "production")}
    for number, (id_, (its_service, its_environment)) in enumerate(places.items()):
        at = NOON + timedelta(minutes=number)
        ledger.begin(record(id_, service=its_service, environment=its_environment, started_at=at))
    assert [found.id for found in ledger.records(service, environment, 4)] == expected


def test_order_is_by_start_and_of_two_with_one_start_the_later_begun_comes_first(ledger: Ledger) -> None:
    for id_, minutes in (("late", 2), ("early", 0), ("middle-1", 1), ("middle-2", 1)):
        ledger.begin(record(id_, started_at=NOON + timedelta(minutes=minutes)))
    assert [found.id for found in ledger.records(None, None, 10)] == ["late", "middle-2", "middle-1", "early"]


def test_no_records_are_returned_where_none_are_asked_for(ledger: Ledger) -> None:
    released(ledger, "run-1")
    assert ledger.records(None, None, 0) == ledger.succeeded("campus", "production", 0) == ()


def test_each_successful_release_is_listed_once_by_its_latest_success(ledger: Ledger) -> None:
    runs = [
        ("v1", Outcome.SUCCEEDED),
        ("v2", Outcome.SUCCEEDED),
        ("v3", Outcome.ROLLED_BACK),
        ("v1", Outcome.SUCCEEDED),
    ]
    runs += [("v2", Outcome.FAILED), ("v4", Outcome.UNSAFE)]
    for number, (release, outcome) in enumerate(runs):
        released(ledger, f"run-{number}", outcome, release=release, started_at=NOON + timedelta(minutes=number))
    ledger.begin(record("still running", release="v5", started_at=NOON + timedelta(hours=1)))
    found = ledger.succeeded("campus", "production", 10)
    assert [(each.id, each.release) for each in found] == [("run-3", "v1"), ("run-1", "v2")]
    assert ledger.succeeded("campus", "production", 1) == found[:1]


def test_successes_with_one_start_and_of_rollbacks_are_listed_once(ledger: Ledger) -> None:
    released(ledger, "a", release="v1")
    released(ledger, "b", release="v1", kind=Kind.ROLLBACK)
    assert [found.id for found in ledger.succeeded("campus", "production", 10)] == ["b"]


def test_success_elsewhere_does_not_count(ledger: Ledger) -> None:
    released(ledger, "a", environment="staging", started_at=NOON + timedelta(hours=1))
    released(ledger, "b", service="forum", started_at=NOON + timedelta(hours=1))
    released(ledger, "c")
    assert [found.id for found in ledger.succeeded("campus", "production", 10)] == ["c"]


def test_evidence_of_parallel_steps_is_all_kept(ledger: Ledger) -> None:
    ledger.begin(record())

    def append(thread: int) -> Callable[[], None]:
        def work() -> None:
            for number in range(5):
                ledger.append(Evidence("run-1", f"thread-{thread}", str(number), NOON))

        return work

    threads = [threading.Thread(target=append(thread)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    kept = ledger.evidence("run-1")
    assert len(kept) == 20
    for thread_number in range(4):
        names = [evidence.name for evidence in kept if evidence.kind == f"thread-{thread_number}"]
        assert names == ["0", "1", "2", "3", "4"], "each thread's evidence is in its order"
