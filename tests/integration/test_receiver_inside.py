"""The page and the figures for the team: in this process, and in a real browser."""

import json
import subprocess
from collections.abc import Iterator, Mapping
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
from tasks.common.delivery import Delivery, Event, Status
from tasks.common.errors import Retryable
from tests.support.deliveries import delivery
from tests.support.needs import need
from tests.support.processes import free_port, listens, wait_until
from tests.support.receiving import no_alarms

NASTY = '<script>document.title="owned"</script><img src=x onerror="document.title=1">'


class Place:
    """The page of a receiver that keeps its deliveries in memory."""

    def __init__(self, deliveries: MemoryDeliveries) -> None:
        self.deliveries, self.seen = deliveries, Seen()
        self.keys: list[str] = []
        self.dispatcher = Dispatcher(deliveries, self.start, str, self.seen)
        self.app = make_inside(deliveries, self.dispatcher, no_alarms(), self.seen, "testserver")
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
