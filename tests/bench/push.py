"""Figure 6: how long a push that was taken waits for the first line of its flow, and where that time goes.

The lab's own receiver, Prefect server and worker. Nothing else is asked of them but a reconciliation a minute.
"""

import http.client
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import httpx

from tasks.common.errors import Retryable
from tests.bench.arithmetic import PARTS, Push, Spread, percentile
from tests.bench.first_line import ENTRYPOINT, marks
from tests.bench.place import Place
from tests.bench.report import Grid, Section
from tests.support.deliveries import github, pushed

CLAIM = (
    "From an accepted push (the 202 of slipway receive) to the first line of flow code: median under 3 s and 95 % "
    "under 5 s on 2 cores while idle."
)
MEDIAN_S, P95_S = 3.0, 5.0
AT_ONCE = 20
_WITHIN_S = 180.0
_AS_DEPLOYED = {"command": "slipway-run"}
_COMMANDS: dict[str, dict[str, str]] = {
    "python -m prefect.engine": {"command": "python -m prefect.engine"},
    "none: what Prefect does by itself": {},
}
"""What runs could be started with instead."""


def measure(place: Place, count: int, others: int) -> Section:
    """Return what `count` pushes took one by one, some at once, and `others` with each other command."""
    bench = _Bench(place)
    with bench.only_first_lines():
        # What is only looked up once is not measured.
        bench.one_by_one(2, _AS_DEPLOYED)
        place.say(f"{count} pushes, one by one")
        single = bench.one_by_one(count, _AS_DEPLOYED)
        place.say(f"{AT_ONCE} pushes at once")
        crowd = bench.at_once(AT_ONCE)
        compared = {}
        for name, variables in _COMMANDS.items():
            place.say(f"{others} pushes, with the command {name}")
            compared[name] = bench.one_by_one(others, variables)
    return _section(single, crowd, compared)


class _Bench:
    """Pushes are sent and their first lines awaited."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._secret = place.lab.secret("webhook-github")
        self._marks = marks(place.lab.estate_file)
        self._marks.mkdir(exist_ok=True)
        self._deployment = self._ask("GET", "/deployments/name/release/slipway")
        self._moments = random.Random(1)

    @contextmanager
    def only_first_lines(self) -> Iterator[None]:
        """The release flow ends after its first line."""
        before = {name: self._deployment[name] for name in ("entrypoint", "job_variables")}
        self._deploy(entrypoint=ENTRYPOINT)
        try:
            yield
        finally:
            self._deploy(**before)

    def one_by_one(self, count: int, job_variables: dict[str, str]) -> list[Push]:
        """Return as many pushes, each sent when the run before is over, at any moment between two polls."""
        self._deploy(job_variables=job_variables)
        found = []
        for _ in range(count):
            time.sleep(self._moments.uniform(0.5, 2.5))
            found.append(self._await(*self._push()))
        return found

    def at_once(self, count: int) -> list[Push]:
        """Return as many pushes, all of which were sent at the same time."""
        with ThreadPoolExecutor(max_workers=count) as pool:
            answered = [each.result() for each in [pool.submit(self._push) for _ in range(count)]]
        return [self._await(*each) for each in answered]

    def _push(self) -> tuple[str, float]:
        """Return the commit that was pushed, and when the receiver had answered that it takes it."""
        commit = token_hex(20)
        found = json.loads(pushed(commit))
        found["ref"], found["repository"]["full_name"] = "refs/heads/main", "slipway/campus"
        body = json.dumps(found).encode()
        connection = http.client.HTTPConnection(urlsplit(self._place.lab.receiver_url).netloc, timeout=30)
        connection.request("POST", "/webhooks/github", body, github(body, secret=self._secret, id_=commit))
        answer = connection.getresponse()
        at_s, said = time.time(), json.loads(answer.read())
        connection.close()
        assert (answer.status, said["status"]) == (202, "waiting"), said
        return commit, at_s

    def _await(self, commit: str, answered_s: float) -> Push:
        mark, deadline_s = self._marks / f"{commit}.json", time.monotonic() + _WITHIN_S
        wanted = {"flow_runs": {"name": {"like_": commit[:7]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 50}
        while True:
            runs = self._ask("POST", "/flow_runs/filter", wanted) if mark.exists() else []
            mine = [run for run in runs if run["parameters"]["request"]["commit"] == commit]
            if mine and mine[0]["state"]["type"] == "COMPLETED":
                break
            if time.monotonic() > deadline_s:
                raise Retryable(
                    f"the run of commit {commit} did not come", on="the lab", next_action="read its worker's log"
                )
            time.sleep(0.2)
        states = self._ask("GET", f"/flow_run_states/?flow_run_id={mine[0]['id']}")
        submitted = next(state["timestamp"] for state in states if state["type"] == "PENDING")
        wrote = json.loads(mark.read_text())
        moments = (_seconds(mine[0]["created"]), _seconds(submitted), wrote["process_s"], wrote["first_line_s"])
        return Push(answered_s, *moments)

    def _deploy(self, **changes: object) -> None:
        self._ask("PATCH", f"/deployments/{self._deployment['id']}", changes)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        lab = self._place.lab
        answer = httpx.request(method, f"{lab.api_url}{path}", json=body, headers=lab.headers, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def _section(single: list[Push], crowd: list[Push], compared: dict[str, list[Push]]) -> Section:
    times = [push.total_s for push in single]
    spread, p95_s = Spread.of(times), percentile(times, 95)
    rows = [("as deployed: slipway-run", *_row(single, spread.median))]
    rows += [(name, *_row(pushes, spread.median)) for name, pushes in compared.items()]
    parts = [(name, str(Spread.of(push.parts_s[name] for push in single))) for name in PARTS]
    return Section(
        name="push",
        title="From a push to the first line of its flow",
        claim=CLAIM,
        met=spread.median < MEDIAN_S and p95_s < P95_S,
        facts=(
            f"{spread}; 95 % under {p95_s:.2f} s.",
            f"{AT_ONCE} at once: {Spread.of(push.total_s for push in crowd)} from each answer to its first line.",
            "The moments of the pushes are spread over the worker's polls, and a reconciliation comes each minute.",
        ),
        grids=(
            Grid("Where the time goes", ("part", "took"), tuple(parts)),
            Grid("Other ways to start a run", ("command", "took", "95 % under", "ratio"), tuple(rows)),
        ),
        data={
            "total_s": times,
            "p95_s": p95_s,
            "parts_s": {name: [push.parts_s[name] for push in single] for name in PARTS},
            "at_once_s": [push.total_s for push in crowd],
            "other_commands_s": {name: [push.total_s for push in pushes] for name, pushes in compared.items()},
        },
    )


def _row(pushes: list[Push], ours_s: float) -> tuple[str, str, str]:
    times = [push.total_s for push in pushes]
    spread = Spread.of(times)
    return str(spread), f"{percentile(times, 95):.2f} s", f"{spread.median / ours_s:.2f}"
