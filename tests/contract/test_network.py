"""What everything does that looks at servers."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks import open_driver
from blocks.context import Context
from blocks.memory.network import MemoryNetwork
from tasks.common.errors import Refused, Retryable
from tasks.common.model import DriverSpec
from tasks.preflight.model import Certificate
from tasks.preflight.ports import Network
from tests.support.certificates import certificate, serving
from tests.support.http_server import answering, plain
from tests.support.processes import free_port

HOST = "campus.example"


@dataclass(frozen=True)
class Bench:
    """A network with servers in it.

    Args:
        network: under test.
        answers: starts a server that answers HTTP with a status; returns its host:port.
        shows: starts a server whose certificate ends so far from now; returns host:port, authorities and the end.
        nowhere: host:port where nobody listens.
    """

    network: Network
    answers: Callable[[int], str]
    shows: Callable[[timedelta], tuple[str, str, datetime]]
    nowhere: str


@pytest.fixture(params=["memory", pytest.param("sockets", marks=pytest.mark.server)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    nowhere = f"127.0.0.1:{free_port()}"
    network: Network = open_driver("network", DriverSpec(driver=request.param), Context(base=tmp_path))
    if isinstance(network, MemoryNetwork):
        yield _memory(network, nowhere)
        return
    with contextlib.ExitStack() as servers:

        def answers(status: int) -> str:
            return servers.enter_context(answering(lambda _: plain(status))).removeprefix("http://")

        def shows(left: timedelta) -> tuple[str, str, datetime]:
            shown = certificate(tmp_path, HOST, valid_for=left)
            return servers.enter_context(serving(shown)), shown.certificate.name, shown.not_after

        yield Bench(network, answers, shows, nowhere)


def _memory(network: MemoryNetwork, nowhere: str) -> Bench:
    def answers(status: int) -> str:
        network.listen("memory:80", status)
        network.listen("http://memory:80/health", status)
        return "memory:80"

    def shows(left: timedelta) -> tuple[str, str, datetime]:
        network.present("memory:443", Certificate(HOST, datetime.now(UTC) + left))
        return "memory:443", "ca.pem", datetime.now(UTC) + left

    return Bench(network, answers, shows, nowhere)


def test_server_that_takes_connections_is_reached_whatever_it_speaks(bench: Bench) -> None:
    assert bench.network.reach(bench.answers(500))


@pytest.mark.parametrize("status", [200, 204, 301, 401, 404])
def test_address_that_answers_below_500_is_reached(bench: Bench, status: int) -> None:
    assert bench.network.reach(f"http://{bench.answers(status)}/health")


@pytest.mark.parametrize("status", [500, 503])
def test_address_that_answers_with_a_server_error_is_not_reached(bench: Bench, status: int) -> None:
    with pytest.raises(Retryable, match=f"HTTP {status}"):
        bench.network.reach(f"http://{bench.answers(status)}/health")


def test_address_where_nobody_listens_is_not_reached(bench: Bench) -> None:
    for address in (bench.nowhere, f"http://{bench.nowhere}/"):
        with pytest.raises(Retryable) as caught:
            bench.network.reach(address)
        assert caught.value.on == address


def test_certificate_that_is_valid_for_the_name_is_returned_with_its_end(bench: Bench) -> None:
    address, ca, end = bench.shows(timedelta(days=30))
    found = bench.network.certificate(address, HOST, ca)
    assert (found.subject, abs(found.not_after - end) < timedelta(seconds=2)) == (HOST, True)


def test_certificate_that_ends_soon_is_still_returned(bench: Bench) -> None:
    address, ca, end = bench.shows(timedelta(hours=1))
    assert abs(bench.network.certificate(address, HOST, ca).not_after - end) < timedelta(seconds=2)


def test_certificate_that_has_expired_is_refused(bench: Bench) -> None:
    address, ca, _ = bench.shows(timedelta(hours=-1))
    with pytest.raises(Refused, match="expired") as caught:
        bench.network.certificate(address, HOST, ca)
    assert caught.value.on == address


def test_certificate_for_another_name_is_refused(bench: Bench) -> None:
    address, ca, _ = bench.shows(timedelta(days=30))
    for name in ("other.example", None):
        with pytest.raises(Refused, match="not accepted"):
            bench.network.certificate(address, name, ca)


def test_server_that_shows_none_may_be_asked_again(bench: Bench) -> None:
    _, ca, _ = bench.shows(timedelta(days=30))
    for address in (bench.nowhere, bench.answers(200)):
        with pytest.raises(Retryable):
            bench.network.certificate(address, HOST, ca)
