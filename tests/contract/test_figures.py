"""What everything does that reads figures from answers to HTTP requests."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blocks.context import Context
from blocks.figures import HttpFigures
from blocks.memory.figures import MemoryFigures
from tasks.common.errors import Refused, Retryable
from tasks.common.gates import HttpQuestion
from tasks.gate.ports import AnswerSource
from tests.support.http_server import answering, plain
from tests.support.processes import free_port


@dataclass(frozen=True)
class Bench:
    """A source, and a function that gives an address where this answer comes."""

    source: AnswerSource
    url: Callable[[int, str], str]
    nowhere: str


@pytest.fixture(params=["memory", pytest.param("http", marks=pytest.mark.server)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    context, nowhere = Context(base=Path()), f"http://127.0.0.1:{free_port()}/"
    if request.param == "memory":
        memory = MemoryFigures(MemoryFigures.Settings(), context)

        def scripted(status: int, body: str) -> str:
            memory.answer("http://memory/", status, body)
            return "http://memory/"

        yield Bench(memory, scripted, nowhere)
        return
    with contextlib.ExitStack() as servers:

        def served(status: int, body: str) -> str:
            return servers.enter_context(answering(lambda _: plain(status, body))) + "/"

        yield Bench(HttpFigures(HttpFigures.Settings(), context), served, nowhere)


def question(url: str, **more: Any) -> HttpQuestion:
    return HttpQuestion.model_validate({"url": url, "within": "5s", **more})


@pytest.mark.parametrize(
    ("body", "pointer", "figure"),
    [
        ('{"passed": 3}', "/passed", 3.0),
        ('{"drill": {"minutes": 4.5}}', "/drill/minutes", 4.5),
        ('{"checks": [{"value": -1}, {"value": 2e3}]}', "/checks/1/value", 2000.0),
        ('{"a/b": {"c~d": 0}}', "/a~1b/c~0d", 0.0),
        ("[7]", "/0", 7.0),
        ('{"": 1}', "/", 1.0),
    ],
)
def test_number_at_the_pointer_is_the_figure(bench: Bench, body: str, pointer: str, figure: float) -> None:
    assert bench.source.read(question(bench.url(200, body), figure=pointer)) == figure


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"passed": 3}', "/failed"),
        ('{"passed": "3"}', "/passed"),
        ('{"passed": true}', "/passed"),
        ('{"passed": null}', "/passed"),
        ('{"passed": [3]}', "/passed"),
        ('{"passed": NaN}', "/passed"),
        ('{"passed": Infinity}', "/passed"),
        ('{"passed": 1e999}', "/passed"),
        ('{"passed": 1' + "0" * 400 + "}", "/passed"),
        ('{"passed": 3, "passed": 4}', "/passed"),
        ("[1, 2]", "/2"),
        ("[1, 2]", "/01"),
        ("[1, 2]", "/-1"),
        ("[1, 2]", "/-"),
        ("[" * 100_000, "/0"),
        ("3 passed", "/passed"),
        ("", "/passed"),
    ],
)
def test_what_is_no_single_finite_number_is_refused(bench: Bench, body: str, pointer: str) -> None:
    with pytest.raises(Refused):
        bench.source.read(question(bench.url(200, body), figure=pointer))


def test_without_a_pointer_the_expected_status_is_the_figure(bench: Bench) -> None:
    assert bench.source.read(question(bench.url(200, "fine"))) == 200
    assert bench.source.read(question(bench.url(404, "no incident"), expect=404)) == 404


@pytest.mark.parametrize("status", [204, 302, 404, 500, 503])
def test_another_status_is_refused_whatever_the_body_says(bench: Bench, status: int) -> None:
    with pytest.raises(Refused, match=f"HTTP {status}, not 200"):
        bench.source.read(question(bench.url(status, '{"passed": 3}'), figure="/passed"))


def test_address_where_nothing_listens_may_be_asked_again(bench: Bench) -> None:
    with pytest.raises(Retryable) as caught:
        bench.source.read(question(bench.nowhere))
    assert caught.value.on == bench.nowhere
