"""What every prober does."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.prober import MemoryAnswer, MemoryProber
from blocks.prober import HttpProber
from blocks.secrets import Secrets
from tasks.common.model import HttpCheck
from tasks.release.ports import HttpResult, Prober
from tests.support.http_server import Request, answering, plain
from tests.support.processes import free_port

VALUE = "correct-horse-battery"


@dataclass
class Bench:
    """A prober, a site that it asks, and how the site is told what to answer."""

    prober: Prober
    url: str
    answer: Callable[[str, str, MemoryAnswer], None]
    closed_url: str

    def ask(self, **check: object) -> HttpResult:
        wanted = HttpCheck.model_validate({"path": "/", "expect": 200, **check})
        (result,) = self.prober.probe(self.url, [wanted])
        assert result.check == wanted
        return result


def _http_bench(context: Context) -> Iterator[Bench]:
    answers: dict[tuple[str, str], MemoryAnswer] = {}
    over = threading.Event()

    def answer(request: Request) -> Iterable[bytes]:
        told = answers[request.method, request.path]
        over.wait(told.after_s)
        return plain(told.status, "" if request.method == "HEAD" else told.body)

    with answering(answer) as url:
        prober = HttpProber(HttpProber.Settings(), context)
        yield Bench(
            prober,
            url,
            lambda method, path, told: answers.update({(method, path): told}),
            f"http://127.0.0.1:{free_port()}",
        )
        over.set()


def _memory_bench(context: Context) -> Iterator[Bench]:
    prober = MemoryProber(MemoryProber.Settings(), context)
    prober.take_down("http://127.0.0.1:2")
    url = "http://127.0.0.1:1"
    yield Bench(prober, url, lambda *told: prober.answer(url, *told), "http://127.0.0.1:2")


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path)


@pytest.fixture(params=[pytest.param(_http_bench, marks=pytest.mark.server), _memory_bench], ids=["http", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, secrets: Secrets) -> Iterator[Bench]:
    yield from request.param(Context(base=tmp_path, secrets=secrets))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_the_wanted_status_passes(bench: Bench, method: str) -> None:
    bench.answer(method, "/x?y=1", MemoryAnswer(201))
    result = bench.ask(method=method, path="/x?y=1", expect=201)
    assert (result.passed, result.status, result.problem) == (True, 201, "")
    assert result.duration_s >= 0


def test_an_address_may_end_with_a_slash(bench: Bench) -> None:
    bench.answer("GET", "/", MemoryAnswer(200))
    bench.url += "/"
    assert bench.ask().passed


def test_another_status_fails_and_tells_what_was_expected_and_found(bench: Bench) -> None:
    bench.answer("GET", "/", MemoryAnswer(503, "no database"))
    result = bench.ask()
    assert (result.passed, result.status) == (False, 503)
    assert result.problem == "expected status 200, found 503; its body begins: no database"


def test_a_request_that_must_be_refused_passes_when_it_is(bench: Bench) -> None:
    bench.answer("GET", "/", MemoryAnswer(401))
    assert bench.ask(expect=401).passed


def test_a_text_that_is_there_passes(bench: Bench) -> None:
    bench.answer("GET", "/", MemoryAnswer(200, "status: café"))
    assert bench.ask(contains="café").passed


def test_a_text_that_is_missing_fails(bench: Bench) -> None:
    bench.answer("GET", "/", MemoryAnswer(200, "status: down"))
    result = bench.ask(contains="status: up")
    assert not result.passed
    assert result.problem == (
        "status 200 as expected, but the body does not contain 'status: up'; its body begins: status: down"
    )


def test_an_empty_body_is_told(bench: Bench) -> None:
    bench.answer("GET", "/", MemoryAnswer(500))
    assert bench.ask().problem == "expected status 200, found 500; its body is empty"


def test_only_the_begin_of_a_body_is_shown_in_one_line(bench: Bench) -> None:
    bench.answer("GET", "/", MemoryAnswer(500, "a\n\x1b[31m" + "b" * 1000))
    _, _, shown = bench.ask().problem.partition("begins: ")
    assert len(shown) == 200
    assert shown.isprintable()


def test_no_secret_of_a_body_is_shown_nor_half_of_one(bench: Bench, tmp_path: Path, secrets: Secrets) -> None:
    (tmp_path / "secret").write_text(VALUE)
    secrets.resolve("file:secret")
    bench.answer("GET", "/", MemoryAnswer(500, f"{VALUE} {'.' * 170}{VALUE} postgresql://app:hunter2@db/app"))
    problem = bench.ask().problem
    assert VALUE[:4] not in problem
    assert "hunter2" not in problem


def test_an_address_where_nothing_listens_is_a_result(bench: Bench) -> None:
    bench.url = bench.closed_url
    result = bench.ask()
    assert (result.passed, result.status) == (False, None)
    assert result.problem == f"connection refused: nothing listens on {bench.closed_url}"


def test_an_answer_that_is_late_is_a_result(bench: Bench) -> None:
    bench.answer("GET", "/", MemoryAnswer(200, after_s=60))
    result = bench.ask(within="200ms")
    assert (result.passed, result.status) == (False, None)
    assert result.problem == "no answer within 200 ms"


def test_results_keep_the_order_of_the_checks(bench: Bench) -> None:
    wanted = [200, 404, 201, 500, 200]
    for number, status in enumerate(wanted):
        bench.answer("GET", f"/{number}", MemoryAnswer(status))
    checks = [HttpCheck(path=f"/{number}", expect=200) for number in range(len(wanted))]
    results = bench.prober.probe(bench.url, checks)
    assert [result.status for result in results] == wanted
    assert [result.check for result in results] == checks
    assert [result.passed for result in results] == [True, False, False, False, True]


def test_no_checks_give_no_results(bench: Bench) -> None:
    assert bench.prober.probe(bench.url, []) == ()
