"""What every store of deliveries does."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.memory.deliveries import MemoryDeliveries
from tasks.common.delivery import Deliveries, Event, PullRequest, Report, Reported, Status, Told
from tasks.common.webhooks import Happening
from tests.support.deliveries import delivery
from tests.support.ledger import open_ledger


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def deliveries(request: pytest.FixtureRequest, tmp_path: Path) -> Deliveries:
    if request.param == "memory":
        return MemoryDeliveries()
    ledger = open_ledger(tmp_path, request.getfixturevalue("database_url"))
    ledger.prepare()
    return ledger.deliveries


def test_delivery_comes_back_as_it_was_kept(deliveries: Deliveries) -> None:
    wanted = delivery()
    assert deliveries.keep(wanted) == wanted
    assert deliveries.waiting(10) == deliveries.latest(10) == (wanted,)


def test_delivery_that_asks_for_nothing_is_kept_and_does_not_wait(deliveries: Deliveries) -> None:
    ignored = delivery(start=None, status=Status.IGNORED, why="no rule", event=Event("event-1", "ping"))
    assert deliveries.keep(ignored) == ignored
    assert deliveries.keep(replace(ignored, id="another")) == ignored
    assert (deliveries.waiting(10), deliveries.latest(10)) == ((), (ignored,))


@pytest.mark.parametrize("happening", Happening)
def test_delivery_about_anything_comes_back_without_what_was_only_needed_to_decide(
    deliveries: Deliveries, happening: Happening
) -> None:
    kept = replace(delivery().event, happening=happening)
    pull = PullRequest(7, "refs/pull/7/head", from_fork=True)
    sent = replace(kept, paths=("a",), pull=pull, workflow="test", unwanted="a reason")
    assert deliveries.keep(delivery(event=sent)).event == kept
    assert deliveries.latest(1)[0].event == kept


def test_same_delivery_is_kept_once_whatever_has_become_of_it(deliveries: Deliveries) -> None:
    first = deliveries.keep(delivery())
    assert deliveries.keep(delivery(id="sent-again")) == first
    deliveries.settle(first.id, run_id="run-1")
    again = deliveries.keep(delivery(id="sent-again"))
    assert (again.id, again.status, again.why) == (first.id, Status.STARTED, "run-1")
    assert deliveries.latest(10) == (again,)


def test_same_id_from_another_source_is_another_delivery(deliveries: Deliveries) -> None:
    deliveries.keep(delivery())
    other = delivery(2, source="gitlab", event=delivery().event)
    assert deliveries.keep(other) == other


def test_another_delivery_that_asks_for_the_same_is_kept_as_repeated(deliveries: Deliveries) -> None:
    first = deliveries.keep(delivery())
    second = deliveries.keep(delivery(2, start=first.start))
    assert (second.id, second.status, second.start) == ("delivery-2", Status.REPEATED, None)
    assert first.id in second.why
    assert deliveries.waiting(10) == (first,)
    assert deliveries.keep(delivery(2, id="sent-again", start=first.start)) == second
    deliveries.settle(first.id, run_id="run-1")
    assert deliveries.keep(delivery(3, start=first.start)).status is Status.REPEATED


def test_runs_are_started_in_the_order_in_which_deliveries_were_kept(deliveries: Deliveries) -> None:
    for number in (3, 1, 2):
        deliveries.keep(delivery(number))
    assert [each.id for each in deliveries.waiting(2)] == ["delivery-3", "delivery-1"]
    deliveries.settle("delivery-3", run_id="run-3")
    deliveries.settle("delivery-1", refused="the flow is not deployed")
    assert [each.id for each in deliveries.waiting(2)] == ["delivery-2"]
    assert [(each.status, each.why) for each in deliveries.latest(10)] == [
        (Status.WAITING, ""),
        (Status.REFUSED, "the flow is not deployed"),
        (Status.STARTED, "run-3"),
    ]
    assert len(deliveries.latest(1)) == 1


def test_first_word_about_a_delivery_stands(deliveries: Deliveries) -> None:
    deliveries.keep(delivery())
    deliveries.settle("delivery-1", run_id="run-1")
    deliveries.settle("delivery-1", run_id="run-2")
    deliveries.settle("delivery-1", refused="too late")
    assert [(each.status, each.why) for each in deliveries.latest(10)] == [(Status.STARTED, "run-1")]


def test_of_many_at_once_that_ask_for_the_same_one_is_to_be_started(deliveries: Deliveries) -> None:
    one = delivery()
    sent = [delivery(number, start=one.start) for number in range(8)] + [delivery(0, start=one.start, id="again")]
    with ThreadPoolExecutor(max_workers=9) as pool:
        kept = list(pool.map(deliveries.keep, sent))
    assert len(deliveries.waiting(10)) == 1
    assert len(deliveries.latest(20)) == 8
    assert {each.status for each in kept} == {Status.WAITING, Status.REPEATED}


# --- what forges were told

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def started(deliveries: Deliveries, *numbers: int) -> None:
    for number in numbers:
        deliveries.keep(delivery(number))
        deliveries.settle(f"delivery-{number}", run_id=f"run-{number}")


def unreported(deliveries: Deliveries, *sources: str, limit: int = 10) -> list[tuple[str, Report | None]]:
    found = deliveries.unreported(sources or ("github",), LONG_AGO, limit)
    assert all(isinstance(each, Reported) and each.delivery.why.startswith("run-") for each in found)
    return [(each.delivery.id, each.last) for each in found]


def test_run_is_open_until_its_end_was_told_and_knows_what_was_told_last(deliveries: Deliveries) -> None:
    started(deliveries, 1)
    assert unreported(deliveries) == [("delivery-1", None)]
    for number, state in enumerate((Told.PENDING, Told.WAITING, Told.PENDING), start=1):
        report = Report(number, state, NOW)
        deliveries.note_report("delivery-1", report)
        assert unreported(deliveries) == [("delivery-1", report)]
    deliveries.note_report("delivery-1", Report(4, Told.SUCCESS, NOW))
    assert unreported(deliveries) == []


@pytest.mark.parametrize("state", [Told.SUCCESS, Told.FAILURE, Told.ERROR])
def test_end_that_the_forge_refuses_is_not_open_any_more(deliveries: Deliveries, state: Told) -> None:
    started(deliveries, 1)
    deliveries.note_report("delivery-1", Report(1, state, NOW, "HTTP 401"))
    assert unreported(deliveries) == []


def test_first_word_of_a_number_stands(deliveries: Deliveries) -> None:
    started(deliveries, 1)
    first = Report(1, Told.PENDING, NOW, "refused")
    for report in (first, Report(1, Told.SUCCESS, NOW + timedelta(hours=1))):
        deliveries.note_report("delivery-1", report)
    assert unreported(deliveries) == [("delivery-1", first)]


def test_only_what_was_started_for_these_sources_of_late_is_open_the_latest_first_kept_first(
    deliveries: Deliveries,
) -> None:
    started(deliveries, 3, 1, 2)
    deliveries.keep(delivery(4))
    deliveries.keep(delivery(5))
    deliveries.settle("delivery-5", refused="not deployed")
    deliveries.keep(delivery(6, source="gitlab"))
    deliveries.settle("delivery-6", run_id="run-6")
    assert [name for name, _ in unreported(deliveries)] == ["delivery-3", "delivery-1", "delivery-2"]
    assert [name for name, _ in unreported(deliveries, limit=2)] == ["delivery-1", "delivery-2"]
    assert [name for name, _ in unreported(deliveries, "gitlab", "other")] == ["delivery-6"]
    assert deliveries.unreported(["github"], datetime.now(UTC) + timedelta(hours=1), 10) == ()
    assert deliveries.unreported([], LONG_AGO, 10) == ()
