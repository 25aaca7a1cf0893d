"""The receiver over HTTP, in this process: what it takes, what it refuses, and what it says."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from fastapi.testclient import TestClient

from blocks.memory.deliveries import MemoryDeliveries
from blocks.secrets import Secrets
from deployments.receiver.app import BODY_AT_MOST_BYTES, Receiver, make_app
from deployments.receiver.dispatcher import Dispatcher
from deployments.receiver.limits import OTHERS_BURST, Bucket, Limits
from deployments.receiver.seen import Seen
from tasks.common.delivery import Delivery, Status
from tasks.common.errors import Refused, Retryable
from tasks.common.webhooks import WebhookSource
from tests.support.deliveries import COMMIT, SECRET, body, delivery, github, gitlab, pushed, source
from tests.support.processes import free_port, listens, wait_until

AWAY = Retryable("the Prefect server does not answer", on="it", next_action="start it")
PUSH = body("github/push.branch.json")


@dataclass
class Runs:
    """In place of a Prefect server: starts one run a key, and remembers in which order."""

    problems: list[Exception] = field(default_factory=list)
    started: dict[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    calls: int = 0

    def start(self, flow: str, parameters: Mapping[str, str], key: str) -> str:
        self.calls += 1
        if self.problems:
            raise self.problems[0]
        self.started.setdefault(key, (flow, parameters))
        return f"run-of-{key}"


class Place:
    """A receiver with a source of each kind."""

    def __init__(self, deliveries: MemoryDeliveries, secrets: Secrets) -> None:
        self.deliveries, self.runs = deliveries, Runs()
        self.seen = Seen()
        self.dispatcher = Dispatcher(deliveries, self.runs.start, secrets.redact, self.seen)
        sources = {"github": source(), "other": source(), "gitlab": source("gitlab")}
        sources["other"] = source(secrets=["env:SLIPWAY_TEST_OTHER"])
        receiver = Receiver(sources, secrets, deliveries, self.dispatcher.wake)
        self.app = make_app(receiver, deliveries, self.dispatcher, Limits(sources), self.seen)

    @contextmanager
    def running(self) -> Iterator[TestClient]:
        with TestClient(self.app) as client:
            yield client

    def await_started(self, count: int) -> None:
        wait_until(lambda: len(self.runs.started) == count, what=f"{count} runs")

    def statuses(self) -> list[Status]:
        return [each.status for each in self.deliveries.latest(100)]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("SLIPWAY_TEST_WEBHOOK", SECRET)
    monkeypatch.setenv("SLIPWAY_TEST_OTHER", "another-secret")
    return Place(MemoryDeliveries(), Secrets())


def test_push_is_answered_with_an_id_and_starts_one_run(place: Place) -> None:
    with place.running() as client:
        answer = client.post("/webhooks/github", content=PUSH, headers=github(PUSH))
        assert answer.status_code == 202
        assert answer.json()["status"] == "waiting"
        place.await_started(1)
        id_ = answer.json()["delivery"]
        wait_until(lambda: place.statuses() == [Status.STARTED], what="the start on record")
    assert place.runs.started == {
        f"delivery-{id_}": ("release", {"service": "campus", "commit": COMMIT, "requested_by": "Codertocat"})
    }
    assert place.deliveries.latest(1)[0].why == f"run-of-delivery-{id_}"


def test_same_push_again_is_answered_with_the_first_id_and_starts_nothing(place: Place) -> None:
    with place.running() as client:
        first = client.post("/webhooks/github", content=PUSH, headers=github(PUSH, id_="one"))
        again = client.post("/webhooks/github", content=PUSH, headers=github(PUSH, id_="one"))
        other = client.post("/webhooks/github", content=PUSH, headers=github(PUSH, id_="two"))
        place.await_started(1)
    assert again.json()["delivery"] == first.json()["delivery"]
    assert (other.json()["status"], first.json()["delivery"] in other.json()["why"]) == ("repeated", True)
    assert len(place.runs.started) == 1


@pytest.mark.parametrize(
    ("name", "event"), [("ping", "ping"), ("push.tag-deleted", "push"), ("pull_request.closed-merged", "pull_request")]
)
def test_event_that_no_rule_is_about_is_on_record_and_starts_nothing(place: Place, name: str, event: str) -> None:
    payload = body(f"github/{name}.json")
    with place.running() as client:
        answer = client.post("/webhooks/github", content=payload, headers=github(payload, event=event))
    assert (answer.status_code, answer.json()["status"]) == (202, "ignored")
    assert answer.json()["why"]
    assert (place.statuses(), place.runs.calls) == ([Status.IGNORED], 0)


LARGE = json.dumps({"ref": "x" * 10_000_000}).encode()
DEEP = b"[" * 400_000
REFUSED: list[tuple[str, int, str, bytes, dict[str, str]]] = [
    ("no signature", 401, "github", PUSH, {**github(PUSH), "x-hub-signature-256": ""}),
    ("wrong secret", 401, "github", PUSH, github(PUSH, secret="wrong")),
    ("another source's secret", 401, "github", PUSH, github(PUSH, secret="another-secret")),
    ("this source's secret elsewhere", 401, "other", PUSH, github(PUSH)),
    ("cut signature", 401, "github", PUSH, {**github(PUSH), "x-hub-signature-256": "sha256=" + "a" * 10}),
    ("old algorithm", 401, "github", PUSH, {**github(PUSH), "x-hub-signature-256": "", "x-hub-signature": "sha1=aa"}),
    ("wrong token", 401, "gitlab", body("gitlab/push.json"), gitlab(token="wrong")),
    ("unknown source", 404, "nobody", PUSH, github(PUSH)),
    ("10 MB", 413, "github", LARGE, github(LARGE)),
    ("no JSON", 400, "github", b"{", github(b"{")),
    ("deep JSON", 400, "github", DEEP, github(DEEP)),
    ("no id", 400, "github", PUSH, {**github(PUSH), "x-github-delivery": ""}),
    ("form", 415, "github", PUSH, {**github(PUSH), "content-type": "application/x-www-form-urlencoded"}),
    ("no type", 415, "github", PUSH, {**github(PUSH), "content-type": ""}),
]


@pytest.mark.parametrize(
    ("status", "name", "payload", "headers"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_is_wrong_is_refused_with_what_to_do_and_leaves_nothing(
    place: Place, status: int, name: str, payload: bytes, headers: dict[str, str]
) -> None:
    with place.running() as client:
        answer = client.post(f"/webhooks/{name}", content=payload, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert answer.json()["next"]
    assert SECRET not in answer.text
    assert (place.statuses(), place.runs.calls) == ([], 0)


def test_large_body_of_unknown_length_is_not_read_to_its_end(place: Place) -> None:
    sent: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b"x" * (BODY_AT_MOST_BYTES // 4)

    with place.running() as client:
        answer = client.post("/webhooks/github", content=pieces(), headers=github(b""))
    assert answer.status_code == 413


@pytest.mark.server
def test_sender_that_goes_in_the_middle_is_no_error_of_the_receiver(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(place.app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: listens(port), what="the receiver")
    with socket.create_connection(("127.0.0.1", port)) as sender:
        head = "\r\n".join(f"{name}: {value}" for name, value in github(PUSH).items())
        sender.sendall(
            f"POST /webhooks/github HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n{head}\r\n\r\n{{".encode()
        )
        wait_until(lambda: len(server.server_state.connections) == 1, what="the connection")
    wait_until(lambda: len(place.seen.refused) == 1, what="the end of the request")
    server.should_exit = True
    thread.join()
    assert (place.seen.refused[0].status, place.statuses()) == (400, [])
    assert "Traceback" not in caplog.text


def test_secret_that_is_missing_or_empty_lets_nothing_through(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, "", " "):
        if value is None:
            monkeypatch.delenv("SLIPWAY_TEST_WEBHOOK")
        else:
            monkeypatch.setenv("SLIPWAY_TEST_WEBHOOK", value)
        fresh = Place(place.deliveries, Secrets())
        with fresh.running() as client:
            answer = client.post("/webhooks/github", content=PUSH, headers=github(PUSH, secret=value or ""))
        assert (answer.status_code, fresh.statuses()) == (503, [])


def test_new_secret_counts_beside_the_old_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_TEST_OTHER", SECRET)
    rotating = Place(place.deliveries, Secrets())
    both = source(secrets=["env:SLIPWAY_TEST_WEBHOOK", "env:SLIPWAY_TEST_NEW"])
    monkeypatch.setenv("SLIPWAY_TEST_NEW", "new-secret")
    receiver = Receiver({"github": both}, Secrets(), place.deliveries, rotating.dispatcher.wake)
    rotating.app = make_app(receiver, place.deliveries, rotating.dispatcher, Limits({"github": both}), rotating.seen)
    with rotating.running() as client:
        for number, secret in enumerate((SECRET, "new-secret", "older")):
            payload = pushed(f"{number:040x}")
            answer = client.post("/webhooks/github", content=payload, headers=github(payload, secret=secret))
            assert answer.status_code == (401 if secret == "older" else 202)


class Broken(MemoryDeliveries):
    """In place of a ledger that does not answer."""

    def keep(self, delivery: Delivery) -> Delivery:
        raise Retryable("the ledger's database does not answer", on="env:DSN", next_action="start it")

    def waiting(self, limit: int) -> tuple[Delivery, ...]:
        raise Retryable("the ledger's database does not answer", on="env:DSN", next_action="start it")


def test_what_cannot_be_kept_is_not_taken_and_may_be_sent_again(place: Place) -> None:
    broken = Place(Broken(), Secrets())
    with broken.running() as client:
        answer = client.post("/webhooks/github", content=PUSH, headers=github(PUSH))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert client.get("/health/live").status_code == 200
        ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["next"]) == (503, "start it")
    with place.running() as client:
        assert client.get("/health/ready").json() == {"status": "ready"}


def limited(place: Place, **sources: WebhookSource) -> Place:
    receiver = Receiver(sources, Secrets(), place.deliveries, place.dispatcher.wake)
    place.app = make_app(receiver, place.deliveries, place.dispatcher, Limits(sources), place.seen)
    return place


def test_source_that_sends_too_much_is_told_when_to_come_again_and_holds_up_no_other(place: Place) -> None:
    slow = {"per_second": 0.01, "burst": 3}
    limited(place, github=source(**slow), other=source(), gitlab=source("gitlab", **slow))
    with place.running() as client:
        answers = [client.post("/webhooks/github", content=PUSH, headers=github(PUSH)) for _ in range(5)]
        assert client.post("/webhooks/gitlab", content=PUSH, headers=gitlab(event="System Hook")).status_code == 202
        for _ in range(20):
            assert client.post("/webhooks/other", content=PUSH, headers=github(PUSH)).status_code == 202
        assert client.get("/health/live").status_code == 200
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    assert 90 <= int(answers[-1].headers["retry-after"]) <= 100
    assert f"send it again in {answers[-1].headers['retry-after']} s" in answers[-1].text


def test_names_that_no_source_has_share_one_small_bound_and_hold_up_no_source(place: Place) -> None:
    limited(place, github=source())
    with place.running() as client:
        found = [client.post(f"/webhooks/n{number}", content=PUSH).status_code for number in range(OTHERS_BURST + 20)]
        assert client.post("/webhooks/github", content=PUSH, headers=github(PUSH)).status_code == 202
    assert found[:OTHERS_BURST] == [404] * OTHERS_BURST
    assert found[-1] == 429


def test_bucket_lets_through_so_many_a_second_and_so_many_at_once() -> None:
    now_s = [0.0]
    bucket = Bucket(2, 3, lambda: now_s[0])
    assert [bucket.take() for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    now_s[0] += 1
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.5]
    now_s[0] += 0.25
    assert bucket.take() == 0.25
    now_s[0] += 3600
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]


# --- the dispatcher


def test_runs_wait_while_the_server_is_away_and_start_later_once_and_in_order(place: Place) -> None:
    place.runs.problems = [AWAY]
    with place.running() as client:
        for number in range(5):
            payload = pushed(f"{number + 1:040x}")
            assert client.post("/webhooks/github", content=payload, headers=github(payload)).status_code == 202
        wait_until(lambda: place.runs.calls > 0, what="a try")
        assert set(place.statuses()) == {Status.WAITING}
        place.runs.problems = []
        place.await_started(5)
    commits = [parameters["commit"] for _, parameters in place.runs.started.values()]
    assert commits == [f"{number + 1:040x}" for number in range(5)]


def test_run_that_the_server_refuses_is_on_record_and_holds_up_nothing(place: Place) -> None:
    place.deliveries.keep(delivery(1))
    place.deliveries.keep(delivery(2))
    start = place.runs.start

    def refuse_the_first(flow: str, parameters: Mapping[str, str], key: str) -> str:
        if key.endswith("-1"):
            raise Refused("the flow release is not deployed", on="the server", next_action="deploy it")
        return start(flow, parameters, key)

    dispatcher = Dispatcher(place.deliveries, refuse_the_first, str, Seen())
    dispatcher.start_waiting()
    assert [(each.status, each.why) for each in place.deliveries.latest(2)] == [
        (Status.STARTED, "run-of-delivery-delivery-2"),
        (Status.REFUSED, "the flow release is not deployed"),
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_receiver_whose_dispatcher_was_ended_by_a_bug_is_not_ready(place: Place) -> None:
    place.deliveries.keep(delivery())
    place.runs.problems = [ZeroDivisionError("a bug")]
    with place.running() as client:
        wait_until(lambda: client.get("/health/ready").status_code == 503, what="the receiver not ready")
        assert "start the receiver again" in client.get("/health/ready").text
        assert client.get("/health/live").status_code == 200


def test_what_an_earlier_receiver_has_left_is_started_by_the_next_with_the_same_key(place: Place) -> None:
    kept = place.deliveries.keep(delivery())
    # It had started the run, and died before it was on record.
    place.runs.start(kept.start.flow, kept.start.parameters, f"delivery-{kept.id}") if kept.start else None
    with place.running():
        wait_until(lambda: place.statuses() == [Status.STARTED], what="the start on record")
    assert len(place.runs.started) == 1


def test_two_receivers_of_one_ledger_start_each_run_once(place: Place) -> None:
    for number in range(1, 21):
        place.deliveries.keep(delivery(number))
    dispatchers = [Dispatcher(place.deliveries, place.runs.start, str, Seen()) for _ in range(2)]
    threads = [threading.Thread(target=each.start_waiting) for each in dispatchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(place.runs.started) == 20
    assert set(place.statuses()) == {Status.STARTED}
