"""Figure 5: how fast signed deliveries are answered, and whether each starts one run, also through a kill.

`slipway receive` is a process of its own, with the lab's ledger and Prefect server. No worker takes the runs on.
"""

import http.client
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import yaml

from deployments.lab.lab import ROOT
from tasks.common.delivery import Status
from tasks.common.errors import Retryable
from tests.bench.place import Place
from tests.bench.report import Section
from tests.support.deliveries import RULE, github, pushed
from tests.support.lab import children, kill
from tests.support.processes import free_port, listens, running, wait_until

CLAIM = (
    "500 deliveries in 10 s: all answered under 100 ms at the 99th percentile; each distinct one starts exactly one "
    "run, also when the receiver or the Prefect server is killed (SIGKILL) in the middle and started again."
)
_WITHIN_S, _BOUND_S, _AT_ONCE = 10.0, 0.1, 32
_SECRET_VARIABLE = "SLIPWAY_BENCH_WEBHOOK"


@dataclass(frozen=True)
class Answer:
    """What one delivery got: 0 where there was no answer."""

    status: int
    took_s: float


class Receiver:
    """`slipway receive` for the lab's estate."""

    def __init__(self, place: Place) -> None:
        self._place, self._secret, self._port = place, secrets.token_urlsafe(24), free_port()
        self._estate = place.lab.estate_file.with_name("receiving.yaml")
        source = {"forge": "github", "secrets": [f"env:{_SECRET_VARIABLE}"], "rules": [RULE.model_dump(mode="json")]}
        file = yaml.safe_load(place.lab.estate_file.read_text()) | {"webhooks": {"github": source}}
        self._estate.write_text(yaml.safe_dump(file))

    @contextmanager
    def there(self) -> Iterator[int]:
        """It takes deliveries within the block, which gets its process."""
        argv = [sys.executable, "-m", "deployments.cli", "receive", "--estate", str(self._estate)]
        argv += ["--port", str(self._port), "--inside-port", str(free_port())]
        env = {**os.environ, **self._place.lab.environment(), _SECRET_VARIABLE: self._secret}
        with running(argv, log=self._estate.with_suffix(".log"), env=env, cwd=ROOT) as process:
            wait_until(lambda: listens(self._port), what="the receiver")
            yield process.pid

    def send(self, commit: str) -> Answer:
        """One push is delivered."""
        body = pushed(commit)
        headers = github(body, secret=self._secret, id_=commit)
        began_s = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", "/webhooks/github", body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        finally:
            connection.close()
        return Answer(status, time.monotonic() - began_s)


def measure(place: Place, count: int) -> Section:
    """Return how `count` deliveries were answered, and as many through a kill."""
    # Nobody else starts what these deliveries ask for, nor runs it.
    for name in ("prefect-worker", "receiver"):
        place.lab.supervisor.ask_to_stop(name)
    receiver = Receiver(place)
    with receiver.there():
        # What is only looked up once is not measured.
        receiver.send("f" * 40)
        _await_started(place)
        quiet, started_s, runs = _sent(place, receiver, 1, count, lambda: None)
    with receiver.there() as pid:
        killed, again_s, killed_runs = _sent_and_killed(place, receiver, count + 1, count, pid)
    with receiver.there():
        away, back_s, away_runs = _sent(place, receiver, 2 * count + 1, count, lambda: _kill_server(place))
    times = sorted(answer.took_s for answer in quiet)
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    answered = taken(quiet)
    lost = sum(answer.status == 0 for answer in killed)
    facts = (
        f"{answered} of {count} were taken; the answer took {times[len(times) // 2] * 1000:.0f} ms at the median, "
        f"{p99 * 1000:.0f} ms at the 99th percentile, {times[-1] * 1000:.0f} ms at most.",
        f"They started {runs} runs, the last one {started_s:.1f} s after the last delivery was sent.",
        f"Through a kill: {lost} of {count} got no answer and were sent again when the receiver was back; together "
        f"they started {killed_runs} runs, the last one {again_s:.1f} s after that.",
        f"Through a kill of the Prefect server: {taken(away)} of {count} were taken; they started {away_runs} runs, "
        f"the last one {back_s:.1f} s after the last delivery was sent.",
    )
    return Section(
        name="deliveries",
        title="Deliveries of webhooks",
        claim=CLAIM,
        met=answered == taken(away) == count
        and p99 < _BOUND_S
        and runs == killed_runs == away_runs == count
        and lost > 0,
        facts=facts,
        data={
            "deliveries": count,
            "answered": answered,
            "p99_s": p99,
            "longest_s": times[-1],
            "runs": runs,
            "unanswered_by_the_kill": lost,
            "runs_through_the_kill": killed_runs,
            "runs_through_a_kill_of_the_prefect_server": away_runs,
        },
    )


def _sent(
    place: Place, receiver: Receiver, first: int, count: int, meanwhile: Callable[[], None]
) -> tuple[list[Answer], float, int]:
    """Return the answers, how long the last run took to be started, and how many runs there are more."""
    before = _runs(place)
    answers = _send_all(receiver, first, count, meanwhile)
    sent_at_s = time.monotonic()
    _await_started(place)
    return answers, time.monotonic() - sent_at_s, _runs(place) - before


def taken(answers: Sequence[Answer]) -> int:
    """Return how many deliveries were taken."""
    return sum(answer.status == 202 for answer in answers)


def _kill_server(place: Place) -> None:
    """The Prefect server is killed in the middle; supervisord starts it again."""
    time.sleep(_WITHIN_S / 2)
    server = place.lab.supervisor.processes()["prefect-server"].pid
    kill(server, *children(server))


def _sent_and_killed(
    place: Place, receiver: Receiver, first: int, count: int, pid: int
) -> tuple[list[Answer], float, int]:
    before = _runs(place)

    def kill_in_the_middle() -> None:
        time.sleep(_WITHIN_S / 2)
        os.killpg(pid, signal.SIGKILL)

    answers = _send_all(receiver, first, count, kill_in_the_middle)
    with receiver.there():
        for number, answer in enumerate(answers, start=first):
            if answer.status == 0:
                receiver.send(f"{number:040x}")
        sent_at_s = time.monotonic()
        _await_started(place)
    return answers, time.monotonic() - sent_at_s, _runs(place) - before


def _send_all(receiver: Receiver, first: int, count: int, meanwhile: Callable[[], None]) -> list[Answer]:
    """Each is sent at its moment, however long the others take."""
    began_s = time.monotonic()

    def send(number: int) -> Answer:
        time.sleep(max(0.0, began_s + number * _WITHIN_S / count - time.monotonic()))
        return receiver.send(f"{first + number:040x}")

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        beside = pool.submit(meanwhile)
        answers = list(pool.map(send, range(count)))
        beside.result()
    return answers


def _await_started(place: Place) -> None:
    deliveries = place.estate.ledger.deliveries
    deadline_s = time.monotonic() + 300
    while deliveries.waiting(1):
        if time.monotonic() > deadline_s:
            raise Retryable("not every run was started", on="the lab", next_action="read the receiver's log")
        time.sleep(0.1)
    refused = [each.why for each in deliveries.latest(1000) if each.status is Status.REFUSED]
    assert not refused, refused[:3]


def _runs(place: Place) -> int:
    """Return how many runs of releases the Prefect server has."""
    wait_until(lambda: _answers(place), within_s=120, what="the Prefect server")
    wanted = {"flows": {"name": {"any_": ["release"]}}}
    answer = httpx.post(f"{place.lab.api_url}/flow_runs/count", json=wanted, headers=place.lab.headers, timeout=60)
    return int(answer.raise_for_status().json())


def _answers(place: Place) -> bool:
    try:
        return httpx.get(f"{place.lab.api_url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
