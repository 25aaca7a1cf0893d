"""The load generator counts every way in which a server can fail, and its report invents no success."""

import asyncio
import contextlib
import itertools
import json
import math
import signal
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.lab.load import MIX, Client, Generator, generate, plan
from deployments.lab.load_report import NO_RELEASE, Phase, PhaseReport, failure_bound, summarise
from tasks.common.errors import Refused
from tests.support.processes import free_port, running, wait_until

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


# What the tiny server does with a request for the courses. It returns whether the connection goes on.
Behaviour = Callable[[socket.socket], bool]


def _answer(status: str, body: bytes, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nX-Release: v9\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def fine(connection: socket.socket) -> bool:
    connection.sendall(_answer("200 OK", b"{}"))
    return True


def server_error(connection: socket.socket) -> bool:
    connection.sendall(_answer("500 Internal Server Error", b"{}"))
    return True


def not_found(connection: socket.socket) -> bool:
    connection.sendall(_answer("404 Not Found", b"{}"))
    return True


def hang(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        connection.recv(1)
    return False


def reset(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def close(connection: socket.socket) -> bool:
    del connection
    return False


def truncate(connection: socket.socket) -> bool:
    connection.sendall(_answer("200 OK", b"x" * 1000)[:-1])
    return False


def truncate_chunked(connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Release: v9\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    return False


def garbage(connection: socket.socket) -> bool:
    connection.sendall(b"it is late, call again tomorrow\r\n\r\n")
    return False


FAULTS: dict[Behaviour, str] = {
    server_error: "5xx",
    not_found: "unexpected status",
    hang: "timeout",
    reset: "reset",
    close: "closed without an answer",
    truncate: "truncated",
    truncate_chunked: "truncated",
    garbage: "closed without an answer",
}


class TinyCampus(socketserver.ThreadingTCPServer):
    """Logs everybody in, and treats the courses as told; counts both connections and what it did to the courses."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 500

    def __init__(self, behaviour: Callable[[int], Behaviour], logged_in: bytes = b'{"token": "t"}') -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.logged_in = logged_in
        self.asked = itertools.count()
        self.connections = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        # Without the polite half-close of the base class, which would turn a reset into an end.
        self.close_request(request)


class _Handler(socketserver.StreamRequestHandler):
    server: TinyCampus

    def handle(self) -> None:
        self.server.connections += 1
        with contextlib.suppress(OSError):
            while self._one():
                pass

    def _one(self) -> bool:
        first = self.rfile.readline()
        headers = {}
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        if not first:
            return False
        self.rfile.read(int(headers.get(b"content-length", 0)))
        if b"/courses" in first:
            return self.server.behaviour(next(self.server.asked))(self.connection)
        status = "201 Created" if b"/enrolments" in first else "200 OK"
        self.connection.sendall(_answer(status, self.server.logged_in))
        return True


@contextlib.contextmanager
def tiny_campus(behaviour: Callable[[int], Behaviour], **options: bytes) -> Iterator[TinyCampus]:
    with TinyCampus(behaviour, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def load(url: str, out: Path, *, requests: int, rate: float = 200.0, timeout_s: float = 5.0) -> PhaseReport:
    async def run() -> None:
        client = Client(url, timeout_s)
        with out.open("w", buffering=1) as stream:
            await Generator(client, rate, stream).run(requests / rate)
        client.close()

    asyncio.run(run())
    return whole(out)


def whole(out: Path) -> PhaseReport:
    (report,) = summarise(out, [Phase("whole", datetime.now(UTC) - DAY, datetime.now(UTC) + DAY)])
    return report


@pytest.mark.server
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_fault_of_a_server_is_counted_under_its_name(fault: Behaviour, tmp_path: Path) -> None:
    faults = []

    def every_third(number: int) -> Behaviour:
        if number % 3 == 2:
            faults.append(number)
            return fault
        return fine

    with tiny_campus(every_third) as server:
        report = load(server.url, tmp_path / "load", requests=60, timeout_s=1.0)

    assert faults
    assert report.failed == len(faults)
    assert {name.rpartition(": ")[2] for name in report.failures} == {FAULTS[fault]}
    assert (report.scheduled, report.answered, report.unaccounted) == (60, 60, 0)


@pytest.mark.server
def test_healthy_server_has_no_failure_and_its_release_is_noted(tmp_path: Path) -> None:
    with tiny_campus(lambda number: fine) as server:
        report = load(server.url, tmp_path / "load", requests=60)
    assert (report.failed, dict(report.failures)) == (0, {})
    assert report.by_release["v9"].answered == 60


def test_refused_connections_are_failures_of_no_release(tmp_path: Path) -> None:
    report = load(f"http://127.0.0.1:{free_port()}", tmp_path / "load", requests=20)
    assert report.failed == 20
    assert {name.rpartition(": ")[2] for name in report.failures} == {"refused"}
    assert report.by_release[NO_RELEASE].failed == 20
    assert report.failed_at_most_percent == 100


@pytest.mark.server
def test_requests_keep_coming_while_nobody_answers_and_each_is_charged_the_whole_wait(tmp_path: Path) -> None:
    crowd = threading.Event()

    def only_once_twenty_have_come(number: int) -> Behaviour:
        if number == 19:
            crowd.set()
        return lambda connection: crowd.wait(20) and fine(connection)

    with tiny_campus(only_once_twenty_have_come) as server:
        report = load(server.url, tmp_path / "load", requests=60, timeout_s=15)
    assert report.failed == 0
    lines = [json.loads(line) for line in (tmp_path / "load").read_text().splitlines()]
    courses = [line for line in lines if line.get("kind", "").startswith("courses")]
    twentieth_at = sorted(line["at"] for line in courses)[19]
    assert all(line["at"] + line["s"] >= twentieth_at - 0.001 for line in courses)


@pytest.mark.server
def test_new_connections_are_new_and_the_others_are_kept(tmp_path: Path) -> None:
    with tiny_campus(lambda number: fine) as server:
        # Slow enough that a kept connection is idle again before the next request.
        load(server.url, tmp_path / "load", requests=60, rate=100)
        connections = server.connections
    fresh = sum(request.kind.fresh for request in itertools.islice(plan(), 60))
    assert fresh > 5
    assert fresh < connections < 60


@pytest.mark.server
def test_connection_that_the_server_closed_while_idle_is_not_used_again() -> None:
    async def two_requests(url: str) -> list[str]:
        client = Client(url)
        request = next(request for request in plan() if request.kind.name == "courses")
        first = await client.send(request)
        await asyncio.to_thread(wait_until, closed.is_set, what="the server's close")
        await asyncio.sleep(0)
        return [first.error, (await client.send(request)).error]

    closed = threading.Event()

    def fine_then_close(connection: socket.socket) -> bool:
        connection.sendall(_answer("200 OK", b"{}"))
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()
        return False

    with tiny_campus(lambda number: fine_then_close) as server:
        assert asyncio.run(two_requests(server.url)) == ["", ""]


@pytest.mark.server
def test_log_in_that_brings_no_token_is_a_failure(tmp_path: Path) -> None:
    with tiny_campus(lambda number: fine, logged_in=b"{}") as server:
        report = load(server.url, tmp_path / "load", requests=60)
    assert report.failures == {"log in: no token": report.failed}
    assert report.failed > 0


@pytest.mark.server
def test_term_ends_the_sending_and_open_requests_are_still_written(tmp_path: Path) -> None:
    out = tmp_path / "load"
    argv = [sys.executable, "-m", "deployments.lab.load", "--rate", "100", "--out", str(out), "--url"]
    release = threading.Event()

    def held(connection: socket.socket) -> bool:
        release.wait(10)
        return fine(connection)

    with (
        tiny_campus(lambda number: held) as server,
        running([*argv, server.url], log=tmp_path / "log") as process,
    ):
        wait_until(lambda: out.exists() and out.read_text().count("\n") > 5, what="the first lines")
        process.send_signal(signal.SIGTERM)
        release.set()
        assert process.wait(15) == 0, (tmp_path / "log").read_text()
    report = whole(out)
    assert report.scheduled > 5
    assert (report.failed, report.unaccounted) == (0, 0)


@pytest.mark.server
def test_requests_of_a_killed_generator_count_as_failed(tmp_path: Path) -> None:
    out = tmp_path / "load"
    argv = [sys.executable, "-m", "deployments.lab.load", "--rate", "100", "--out", str(out), "--url"]
    with tiny_campus(lambda number: hang) as server:
        with running([*argv, server.url], log=tmp_path / "log") as process:
            wait_until(lambda: out.exists() and out.read_text().count("\n") > 5, what="the first lines")
            process.kill()
            process.wait()
        now = datetime.now(UTC)
        (report,) = summarise(out, [Phase("so far", now - DAY, now)])
    assert report.failed == 0
    assert report.unaccounted > 0
    assert report.failed_at_most_percent > 100 * report.unaccounted / report.scheduled


def test_address_that_is_not_plain_http_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="plain HTTP"):
        asyncio.run(generate("https://127.0.0.1:1", 1.0, tmp_path / "load", 1.0))


@pytest.mark.server
def test_restarted_generator_does_not_wipe_out_what_was_counted(tmp_path: Path) -> None:
    out = tmp_path / "load"
    with tiny_campus(lambda number: server_error) as server:
        load(server.url, out, requests=20)
        counted = out.read_text()
        with pytest.raises(Refused, match="exists"):
            asyncio.run(generate(server.url, 100.0, out, 0.1))
    assert out.read_text() == counted


def test_the_same_seed_plans_the_same_requests() -> None:
    first, second = (list(itertools.islice(plan(), 500)) for _ in range(2))
    assert first == second
    assert {request.kind for request in first} == set(MIX)


# -- the report --------------------------------------------------------------------------------------------------------


def written(path: Path, *lines: dict[str, object], rate: float = 10.0) -> Path:
    head = {"started_at": START.isoformat(), "rate": rate}
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *lines)))
    return path


def line(n: int, *, s: float = 0.01, release: str = "v1", kind: str = "courses", error: str = "") -> dict[str, object]:
    return {"n": n, "at": n / 10, "s": s, "late": 0.0, "status": 200, "kind": kind, "release": release, "error": error}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_each_request_belongs_to_the_one_phase_that_it_was_scheduled_in(tmp_path: Path) -> None:
    path = written(tmp_path / "load", *[line(n, s=5.0) for n in range(20)], {"sent": 20})
    reports = summarise(path, [Phase("a", at(0), at(0.7)), Phase("b", at(0.7), at(1.25)), Phase("c", at(1.25), at(99))])
    assert [(r.name, r.scheduled, r.answered) for r in reports] == [("a", 7, 7), ("b", 6, 6), ("c", 7, 7)]


def test_first_and_last_bad_answer_are_told_by_release(tmp_path: Path) -> None:
    lines = [line(0), line(1, release="v2", error="5xx"), line(2, release="v2", s=3.0), line(3, release="v2"), line(4)]
    (report,) = summarise(written(tmp_path / "load", *lines, {"sent": 5}), [Phase("a", at(0), at(9))])
    assert (report.by_release["v1"].bad, report.by_release["v1"].first_bad_at) == (0, None)
    second = report.by_release["v2"]
    assert (second.answered, second.failed, second.bad) == (3, 1, 2)
    assert (second.first_bad_at, second.last_bad_at) == (at(0.11), at(3.2))
    assert report.failures == {"courses: 5xx": 1}


def test_report_that_is_slow_by_design_is_not_bad(tmp_path: Path) -> None:
    lines = [line(0, kind="progress", s=2.5), line(1, kind="progress", s=4.5)]
    (report,) = summarise(written(tmp_path / "load", *lines, {"sent": 2}), [Phase("a", at(0), at(9))])
    assert report.by_release["v1"].bad == 1
    assert report.slowest_s == pytest.approx(2.5)


def test_line_that_is_only_half_written_yet_is_left_for_later(tmp_path: Path) -> None:
    path = written(tmp_path / "load", line(0))
    with path.open("a") as stream:
        stream.write('{"n":1,"at":0.1,"s":0.0')
    (report,) = summarise(path, [Phase("a", at(0), at(0.2))])
    assert (report.scheduled, report.answered, report.unaccounted) == (2, 1, 1)


def test_phase_without_requests_proves_nothing(tmp_path: Path) -> None:
    (report,) = summarise(written(tmp_path / "load", line(0), {"sent": 1}), [Phase("later", at(50), at(60))])
    assert (report.scheduled, report.p95_s, report.failed_at_most_percent) == (0, None, 100)


def test_file_without_its_first_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "load").write_text("")
    with pytest.raises(ValueError, match="does not start"):
        summarise(tmp_path / "load", [])


@pytest.mark.parametrize("total", [10, 300, 100_000])
def test_bound_without_failures_is_the_rule_of_three(total: int) -> None:
    assert failure_bound(0, total) == pytest.approx(1 - 0.05 ** (1 / total))
    assert failure_bound(0, total) <= 3 / total


@pytest.mark.parametrize(("failed", "total"), [(1, 10), (3, 50), (20, 400), (399, 400)])
def test_bound_is_where_so_few_failures_have_five_percent_chance(failed: int, total: int) -> None:
    bound = failure_bound(failed, total)
    chance = math.fsum(math.comb(total, k) * bound**k * (1 - bound) ** (total - k) for k in range(failed + 1))
    assert chance == pytest.approx(0.05)


def test_bound_is_certainty_where_everything_failed_or_nothing_was_asked() -> None:
    assert failure_bound(5, 5) == failure_bound(0, 0) == 1.0
