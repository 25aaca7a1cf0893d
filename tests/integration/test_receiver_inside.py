"""The page and the figures for the team: in this process, and in a real browser."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from fastapi.testclient import TestClient

from blocks.memory.deliveries import MemoryDeliveries
from deployments.receiver.dispatcher import Dispatcher
from deployments.receiver.inside import make_inside
from deployments.receiver.seen import Seen
from tasks.backup.status import PlanStatus, status_of
from tasks.common.backup_plans import BackupPlan, Objectives
from tasks.common.delivery import Delivery, Event, Status
from tasks.common.errors import Retryable
from tasks.common.model import DriverSpec
from tests.support.catalogue import NOW, entry, verification
from tests.support.deliveries import delivery
from tests.support.docs import ROOT
from tests.support.needs import need
from tests.support.processes import free_port, listens, wait_until
from tests.support.receiving import no_alarms

NASTY = '<script>document.title="owned"</script><img src=x onerror="document.title=1">'


class Place:
    """The page of a receiver that keeps its deliveries in memory."""

    def __init__(self, deliveries: MemoryDeliveries, look: Callable[[], Sequence[PlanStatus]] = tuple) -> None:
        self.deliveries, self.seen = deliveries, Seen()
        self.keys: list[str] = []
        self.dispatcher = Dispatcher(deliveries, self.start, str, self.seen)
        self.app = make_inside(deliveries, self.dispatcher, no_alarms(), self.seen, "testserver", look)
        self.client = TestClient(self.app, follow_redirects=False)

    def start(self, flow: str, parameters: Mapping[str, str], key: str) -> str:
        self.keys.append(key)
        return f"run-{len(self.keys)}"

    def again(self, delivery_id: str, origin: str = "http://testserver") -> int:
        return self.client.post(f"/deliveries/{delivery_id}/again", headers={"origin": origin}).status_code


@pytest.fixture
def place() -> Place:
    return Place(MemoryDeliveries())


def test_page_shows_what_was_started_and_why_others_were_not(place: Place) -> None:
    place.deliveries.keep(delivery(1))
    place.dispatcher.start_waiting()
    place.deliveries.keep(delivery(2, start=None, status=Status.IGNORED, why="no rule is about next"))
    place.deliveries.keep(delivery(3))
    place.seen.refuse("github", 401, "x-hub-signature-256 does not fit")
    page = place.client.get("/")
    assert page.status_code == 200
    for text in ("run-1", "no rule is about next", "waiting", "x-hub-signature-256 does not fit", "acme/campus"):
        assert text in page.text
    assert page.text.count("Start again") == 1
    assert "script-src" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_empty_page_says_what_to_do(place: Place) -> None:
    page = place.client.get("/").text
    assert "Nothing was delivered yet" in page
    assert "Nothing was refused" in page


def test_nothing_that_was_sent_is_markup(place: Place) -> None:
    event = Event("1", NASTY, None, NASTY, NASTY, "", NASTY)
    place.deliveries.keep(delivery(1, event=event, source=NASTY, start=None, status=Status.IGNORED, why=NASTY))
    place.seen.refuse(NASTY, 404, NASTY)
    page = place.client.get("/").text
    assert "<script" not in page
    assert "<img" not in page


def test_started_delivery_is_started_once_more_for_each_click(place: Place) -> None:
    place.deliveries.keep(delivery(1))
    place.dispatcher.start_waiting()
    for _ in range(2):
        assert place.again("delivery-1") == 303
        place.dispatcher.start_waiting()
    assert len(set(place.keys)) == 3
    found = place.deliveries.latest(10)
    assert [each.status for each in found] == [Status.STARTED] * 3
    assert {each.start.flow for each in found if each.start} == {"release"}
    assert {json.dumps(dict(each.start.parameters)) for each in found if each.start} == {
        json.dumps({"service": "campus", "commit": f"{1:040x}"})
    }


def test_what_waits_was_ignored_or_is_unknown_cannot_be_started_again(place: Place) -> None:
    place.deliveries.keep(delivery(1))
    place.deliveries.keep(delivery(2, start=None, status=Status.IGNORED))
    for id_ in ("delivery-1", "delivery-2", "nobody"):
        assert place.again(id_) == 404
    assert len(place.deliveries.latest(10)) == 2


@pytest.mark.parametrize("origin", ["", "http://evil.example", "null"])
def test_page_from_elsewhere_starts_nothing(place: Place, origin: str) -> None:
    place.deliveries.keep(delivery(1))
    place.dispatcher.start_waiting()
    assert place.again("delivery-1", origin) == 403
    assert len(place.deliveries.latest(10)) == 1


def test_name_from_elsewhere_that_leads_here_is_refused(place: Place) -> None:
    assert place.client.get("/", headers={"host": "evil.example"}).status_code == 400


class Broken(MemoryDeliveries):
    """In place of a ledger that does not answer."""

    def latest(self, limit: int) -> tuple[Delivery, ...]:
        raise Retryable("the ledger does not answer", on="env:DSN", next_action="start it")

    waiting = latest

    def find(self, delivery_id: str) -> Delivery | None:
        raise Retryable("the ledger does not answer", on="env:DSN", next_action="start it")


def test_page_without_a_ledger_says_so_and_shows_what_it_has(place: Place) -> None:
    broken = Place(Broken())
    broken.seen.refuse("github", 503, "it cannot be kept now")
    page = broken.client.get("/")
    assert page.status_code == 503
    assert "the ledger does not answer; start it" in page.text
    assert "it cannot be kept now" in page.text
    assert broken.again("delivery-1") == 503
    assert "slipway_deliveries_waiting NaN" in broken.client.get("/metrics").text


def test_figures_count_what_was_taken_refused_started_and_waits(place: Place) -> None:
    for number in (1, 2):
        place.seen.taken(place.deliveries.keep(delivery(number)))
    place.deliveries.settle("delivery-1", run_id="run-1")
    place.seen.started()
    place.seen.refuse("x" * 1000, 401, "wrong")
    with place.seen.timed():
        pass
    figures = place.client.get("/metrics").text.splitlines()
    for line in (
        'slipway_deliveries_total{source="github",status="waiting"} 2.0',
        'slipway_deliveries_refused_total{code="401"} 1.0',
        "slipway_delivery_runs_started_total 1.0",
        "slipway_deliveries_waiting 1.0",
        "slipway_delivery_answer_seconds_count 1.0",
    ):
        assert line in figures


# --- backups

PLAN = BackupPlan(engine=DriverSpec(driver="memory"), objectives=Objectives(rto="15m", rpo="5m"))


def figures_of_backups(place: Place) -> dict[str, str]:
    lines = place.client.get("/metrics").text.splitlines()
    found = [line.partition(" ") for line in lines if line.startswith("slipway_backup_")]
    return {name.removeprefix("slipway_backup_"): value for name, _, value in found}


def test_figures_show_each_backup_plan_and_zero_for_what_never_was() -> None:
    taken = entry(NOW, verified_at=NOW)
    statuses = [
        replace(status_of("campus-db", PLAN, [taken], [verification(taken)], NOW), next_backup_at=NOW),
        status_of("uploads", PLAN, [], [], NOW),
    ]
    found = figures_of_backups(Place(MemoryDeliveries(), lambda: statuses))
    at = f"{NOW.timestamp():.10g}"
    shown = {name: f"{float(value):.10g}" for name, value in found.items()}
    wanted = {
        "problems": ("0", "1"),
        "count": ("1", "0"),
        "newest_timestamp_seconds": (at, "0"),
        "newest_verified_timestamp_seconds": (at, "0"),
        "verified_timestamp_seconds": (at, "0"),
        "rpo_seconds": ("4", "nan"),
        "rpo_objective_seconds": ("300", "300"),
        "rto_seconds": ("90", "nan"),
        "rto_objective_seconds": ("900", "900"),
        "size_bytes": ("3000000", "0"),
        "growth_bytes_per_day": ("nan", "nan"),
        "next_timestamp_seconds": (at, "0"),
        "next_verification_timestamp_seconds": ("0", "0"),
    }
    assert shown == {
        f'{name}{{plan="{plan}"}}': values[number]
        for number, plan in enumerate(("campus-db", "uploads"))
        for name, values in wanted.items()
    }


def test_figures_of_backups_are_not_known_without_a_ledger_and_come_back_with_it() -> None:
    there = True

    def look() -> Sequence[PlanStatus]:
        if there:
            return [status_of("campus-db", PLAN, [], [], NOW)]
        raise Retryable("the ledger does not answer", on="env:DSN", next_action="start it")

    place = Place(MemoryDeliveries(), look)
    before = figures_of_backups(place)
    there = False
    assert set(figures_of_backups(place).values()) == {"NaN"}
    there = True
    assert figures_of_backups(place) == before


def test_plan_that_is_not_named_any_more_has_no_figures() -> None:
    plans = ["campus-db", "uploads"]
    place = Place(MemoryDeliveries(), lambda: [status_of(name, PLAN, [], [], NOW) for name in plans])
    assert any("uploads" in name for name in figures_of_backups(place))
    plans.remove("uploads")
    assert not any("uploads" in name for name in figures_of_backups(place))


def test_every_documented_figure_is_there_and_every_figure_is_documented() -> None:
    page = (ROOT / "docs/reference/backup-status.md").read_text(encoding="utf-8")
    place = Place(MemoryDeliveries(), lambda: [status_of("campus-db", PLAN, [], [], NOW)])
    there = {f"slipway_backup_{name.partition('{')[0]}" for name in figures_of_backups(place)}
    assert set(re.findall(r"^\| `(slipway_backup_\w+)`", page, re.MULTILINE)) == there


# --- a real browser


@pytest.fixture
def address(place: Place) -> Iterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(place.app, host="127.0.0.1", port=port, log_level="warning"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: listens(port), what="the page")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.server
@pytest.mark.slow
def test_browser_shows_the_page_and_runs_nothing_of_what_was_sent(place: Place, address: str, tmp_path: Path) -> None:
    place.deliveries.keep(delivery(1))
    place.dispatcher.start_waiting()
    nasty = replace(delivery(2).event, ref=NASTY, actor=NASTY)
    place.deliveries.keep(delivery(2, event=nasty, start=None, status=Status.IGNORED, why=NASTY))
    argv = [need("chromium"), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    shown = subprocess.run([*argv, "--dump-dom", address], capture_output=True, text=True, timeout=120, check=True)
    assert "<title>Deliveries - Slipway</title>" in shown.stdout
    assert '<tr id="delivery-1">' in shown.stdout
    assert "<img" not in shown.stdout
