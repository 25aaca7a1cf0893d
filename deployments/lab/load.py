"""Open-loop load on campus: every request has its moment before the first one is sent, and waits for no answer.

`python -m deployments.lab.load --url http://127.0.0.1:8080 --rate 200 --out load.jsonl [--duration 60]` runs until the
duration is over or a TERM signal comes, then waits for the open requests. One JSON line a request, written when it is
answered, so that a running phase can be read; `deployments.lab.load_report.summarise` reads them.

Latency is counted from the scheduled moment: a server that stalls is charged for everybody who came meanwhile.
*Source:* Gil Tene, 'How NOT to Measure Latency' (coordinated omission).
"""

import argparse
import asyncio
import contextlib
import json
import random
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import h11

from tasks.common.errors import Refused, Retryable

TIMEOUT_S = 10.0
_LEARNERS = 8
_COURSES = 16
_PASSWORD = "learn something new"  # pragma: allowlist secret (of the example's own learners, and meant to be known)
# Shorter than any server keeps an idle connection, so that nobody closes one that is just being used again.
_IDLE_S = 4.0
_SIGN_IN_WITHIN_S = 30.0


@dataclass(frozen=True)
class Kind:
    """One kind of request.

    Args:
        weight: share of the mix, against the other weights.
        expect: the only status that is not a failure.
        fresh: over a connection of its own.
        takes_s: how long the answer takes by design; not counted as slow.
    """

    name: str
    weight: float
    method: str
    target: str
    expect: int
    fresh: bool = False
    takes_s: float = 0.0


LOG_IN = Kind("log in", 1, "POST", "/api/v1/auth/login", 200)
MIX = (
    Kind("courses", 63, "GET", "/api/v1/courses", 200),
    Kind("courses, new connection", 20, "GET", "/api/v1/courses", 200, fresh=True),
    Kind("enrol", 12, "POST", "/api/v1/enrolments", 201),
    LOG_IN,
    Kind("progress", 2, "GET", "/api/v1/progress?seconds=2", 200, takes_s=2.0),
    Kind("export", 1, "GET", "/api/v1/export", 200),
)


@dataclass(frozen=True)
class Request:
    """One request as it was planned."""

    kind: Kind
    body: dict[str, object] = field(default_factory=dict)


def plan(seed: int = 1) -> Iterator[Request]:
    """Yield the requests without end; the same seed gives the same ones."""
    chance = random.Random(seed)  # noqa: S311 - a reproducible mix, no secret
    weights = [kind.weight for kind in MIX]
    while True:
        kind = chance.choices(MIX, weights)[0]
        if kind is LOG_IN:
            yield _log_in(chance.randint(1, _LEARNERS))
        elif kind.method == "POST":
            yield Request(kind, {"course_id": chance.randint(1, _COURSES)})
        else:
            yield Request(kind)


def _log_in(learner: int) -> Request:
    return Request(LOG_IN, {"email": f"learner{learner}@campus.example", "password": _PASSWORD})


@dataclass
class Answer:
    """What came back: filled in as it comes, so that half an answer is told from none."""

    status: int = 0
    release: str = ""
    body: bytes = b""
    error: str = ""


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.state = h11.Connection(h11.CLIENT)
        self.idle_since_s = 0.0

    async def exchange(self, head: h11.Request, body: bytes, answer: Answer) -> bool:
        """The answer is filled in. Return whether the connection can be used again."""
        self.writer.write(b"".join(self.state.send(event) or b"" for event in (head, h11.Data(body))))
        self.writer.write(self.state.send(h11.EndOfMessage()) or b"")
        while True:
            event = self.state.next_event()
            if event is h11.NEED_DATA:
                self.state.receive_data(await self.reader.read(65536))
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.release = dict(event.headers).get(b"x-release", b"").decode()
            elif isinstance(event, h11.Data) and len(answer.body) < 4096:
                answer.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        if self.state.our_state is not h11.DONE or self.state.their_state is not h11.DONE:
            return False
        self.state.start_next_cycle()
        return True


class Client:
    """Sends requests to one address over HTTP/1.1 and says of each whether it failed, and how.

    Args:
        url: http://HOST:PORT.
        timeout_s: an answer that is not complete after this long is a failure.

    Raises:
        Refused: the address is not plain HTTP.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise Refused("the load generator speaks plain HTTP only", on=url, next_action="give it http://HOST:PORT")
        self._host, self._port = parts.hostname, parts.port or 80
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []
        self._token = ""

    async def send(self, request: Request) -> Answer:
        """Return the answer, its `error` empty only if it was whole, in time and what was expected."""
        answer = Answer()
        connection = None
        reusable = False
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._connection(fresh=request.kind.fresh)
                body = json.dumps(request.body).encode() if request.body else b""
                reusable = await connection.exchange(self._head(request, len(body)), body, answer)
        except TimeoutError:
            answer.error = "timeout"
        except h11.RemoteProtocolError:
            answer.error = "truncated" if answer.status else "closed without an answer"
        except ConnectionRefusedError:
            answer.error = "refused"
        except (ConnectionResetError, BrokenPipeError):
            answer.error = "reset"
        except OSError as error:
            answer.error = type(error).__name__
        if connection is not None:
            self._give_back(connection, reusable=reusable)
        self._judge(request, answer)
        return answer

    def _judge(self, request: Request, answer: Answer) -> None:
        if answer.error or answer.status == request.kind.expect:
            if request.kind is LOG_IN and not answer.error:
                self._take_token(answer)
            return
        answer.error = "5xx" if answer.status >= 500 else "unexpected status"

    def _take_token(self, answer: Answer) -> None:
        try:
            self._token = str(json.loads(answer.body)["token"])
        except (ValueError, KeyError, TypeError):
            answer.error = "no token"

    def _head(self, request: Request, length: int) -> h11.Request:
        headers = [("host", f"{self._host}:{self._port}"), ("user-agent", "slipway-load")]
        if length:
            headers += [("content-type", "application/json"), ("content-length", str(length))]
        if self._token and request.kind is not LOG_IN:
            headers.append(("authorization", f"Bearer {self._token}"))
        if request.kind.fresh:
            headers.append(("connection", "close"))
        return h11.Request(method=request.kind.method, target=request.kind.target, headers=headers)

    async def _connection(self, *, fresh: bool) -> _Connection:
        while self._idle and not fresh:
            connection = self._idle.pop()
            if time.monotonic() - connection.idle_since_s < _IDLE_S and not connection.reader.at_eof():
                return connection
            connection.writer.transport.abort()
        return _Connection(*await asyncio.open_connection(self._host, self._port))

    def _give_back(self, connection: _Connection, *, reusable: bool) -> None:
        if reusable:
            connection.idle_since_s = time.monotonic()
            self._idle.append(connection)
        else:
            connection.writer.transport.abort()

    async def sign_in(self) -> None:
        """A token is at hand, for the enrolments.

        Raises:
            Retryable: nobody could log in for 30 s.

        *Idempotent:* yes.
        """
        deadline = time.monotonic() + _SIGN_IN_WITHIN_S
        while (answer := await self.send(_log_in(1))).error:
            if time.monotonic() > deadline:
                raise Retryable(
                    f"the load generator cannot log in: {answer.error}",
                    on=f"http://{self._host}:{self._port}",
                    state="no load was put on it",
                    next_action="look whether campus serves there: GET /health",
                )
            await asyncio.sleep(0.2)

    def close(self) -> None:
        """Every idle connection is closed."""
        for connection in self._idle:
            connection.writer.transport.abort()
        self._idle.clear()


class Generator:
    """Sends the plan at a steady rate, and writes a line about each answer."""

    def __init__(self, client: Client, rate: float, out: TextIO) -> None:
        self._client = client
        self._rate = rate
        self._out = out
        self._open: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Task[None] | None = None
        self._sent = 0
        self._start_s = 0.0

    def stop(self) -> None:
        """No further request is sent; the open ones are still waited for. *Idempotent:* yes."""
        if self._sending is not None:
            self._sending.cancel()

    async def run(self, duration_s: float | None) -> None:
        """The duration is over, or stop() was called; every request that was sent has its line."""
        loop = asyncio.get_running_loop()
        self._start_s = loop.time() + 0.1
        self._write(started_at=(datetime.now(UTC) + timedelta(seconds=0.1)).isoformat(), rate=self._rate)
        self._sending = loop.create_task(self._send_all(loop, None if duration_s is None else duration_s * self._rate))
        with contextlib.suppress(asyncio.CancelledError):
            await self._sending
        await asyncio.gather(*self._open)
        self._write(sent=self._sent)

    async def _send_all(self, loop: asyncio.AbstractEventLoop, count: float | None) -> None:
        for number, request in enumerate(plan()):
            if count is not None and number >= count:
                return
            await asyncio.sleep(max(0.0, self._start_s + number / self._rate - loop.time()))
            task = loop.create_task(self._one(number, request))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            self._sent += 1

    async def _one(self, number: int, request: Request) -> None:
        loop = asyncio.get_running_loop()
        due_s = self._start_s + number / self._rate
        late_s = loop.time() - due_s
        answer = await self._client.send(request)
        self._write(
            n=number,
            at=round(number / self._rate, 4),
            s=round(loop.time() - due_s, 4),
            late=round(late_s, 4),
            status=answer.status,
            kind=request.kind.name,
            release=answer.release,
            error=answer.error,
        )

    def _write(self, **values: object) -> None:
        self._out.write(json.dumps(values, separators=(",", ":")) + "\n")


async def generate(url: str, rate: float, out: Path, duration_s: float | None = None) -> None:
    """The file `out` holds a line a request, first one about the start and a last one with the number sent.

    Args:
        url: the load balancer, http://HOST:PORT.
        rate: requests a second, above 0.
        out: the file; see load_report for what stands in it.
        duration_s: None runs until TERM or INT.

    Raises:
        Refused: the address is not plain HTTP, or the file exists.
        Retryable: nobody could log in.

    *Idempotent:* no; it puts load on the address.
    """
    client = Client(url)
    if out.exists():
        # A generator that was restarted must not wipe out what users got before.
        raise Refused("the file for the load's lines exists", on=str(out), next_action="remove it, or name another one")
    await client.sign_in()
    # Line by line: each is whole in the file as soon as it is written.
    with out.open("x", encoding="utf-8", buffering=1) as stream:
        generator = Generator(client, rate, stream)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, generator.stop)
        await generator.run(duration_s)
    client.close()


def main() -> None:
    """The command line's wishes are done."""
    parser = argparse.ArgumentParser(prog="python -m deployments.lab.load", description="open-loop load on campus")
    parser.add_argument("--url", required=True, help="where the load balancer listens, http://HOST:PORT")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--out", type=Path, required=True, help="file for one JSON line a request")
    parser.add_argument("--duration", type=float, help="seconds; without it, until a TERM signal")
    wishes = parser.parse_args()
    # A server that hangs keeps ten seconds' worth of connections open.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        asyncio.run(generate(wishes.url, wishes.rate, wishes.out, wishes.duration))
    except (Refused, Retryable) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
