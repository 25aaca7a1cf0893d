"""Servers as they really are: slow, endless, redirecting, with certificates that nobody trusts."""

import itertools
import socket
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.figures import HttpFigures
from blocks.network import SocketNetwork
from blocks.secrets import Secrets
from tasks.common.errors import Refused, Retryable
from tasks.common.gates import HttpQuestion
from tests.support.certificates import certificate, serving
from tests.support.http_server import RESET, Request, answering, plain

pytestmark = pytest.mark.server

SECRET = "s3cret-token-91c4"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A context whose secrets know one value."""
    (tmp_path / "token").write_text(SECRET)
    secrets = Secrets(tmp_path)
    secrets.resolve("file:token")
    return Context(base=tmp_path, secrets=secrets)


@pytest.fixture
def figures(context: Context) -> HttpFigures:
    return HttpFigures(HttpFigures.Settings(), context)


@pytest.fixture
def network(context: Context) -> SocketNetwork:
    return SocketNetwork(SocketNetwork.Settings.model_validate({"within": "1s"}), context)


def ask(url: str, **more: object) -> HttpQuestion:
    return HttpQuestion.model_validate({"url": url, "within": "1s", "figure": "/n", **more})


def drip(_: Request) -> Iterable[bytes]:
    """Answer with a byte now and then, for as long as anybody listens."""
    yield b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n"
    for _ in range(100):
        time.sleep(0.1)
        yield b" "


def test_server_that_sends_a_byte_now_and_then_is_late(figures: HttpFigures) -> None:
    with answering(drip) as url, pytest.raises(Retryable, match="no answer within 1 s"):
        figures.read(ask(url))


def test_answer_without_an_end_is_refused_and_not_kept(figures: HttpFigures) -> None:
    def endless(_: Request) -> Iterable[bytes]:
        yield b"HTTP/1.1 200 X\r\n\r\n"
        yield from itertools.repeat(b" " * 2**16, 2**12)

    with answering(endless) as url, pytest.raises(Refused, match="more than 1 MiB"):
        figures.read(ask(url, within="30s"))


def test_redirect_is_not_followed(figures: HttpFigures) -> None:
    with (
        answering(lambda _: plain(200, '{"n": 1}')) as there,
        answering(lambda _: plain(302, "", f"Location: {there}")) as url,
        pytest.raises(Refused, match="HTTP 302"),
    ):
        figures.read(ask(url))


def test_connection_that_breaks_off_is_no_answer(figures: HttpFigures) -> None:
    for pieces in ([RESET], [b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{", RESET], [b"no HTTP at all\r\n\r\n"]):
        with answering(lambda _, pieces=pieces: pieces) as url, pytest.raises(Retryable, match="no answer"):  # type: ignore[misc]
            figures.read(ask(url))


def test_no_error_repeats_a_secret(figures: HttpFigures) -> None:
    with answering(lambda _: plain(200, f'{{"token": "{SECRET}"}}')) as url, pytest.raises(Refused) as caught:
        figures.read(ask(f"{url}/?token={SECRET}"))
    assert SECRET not in caught.value.block()
    with pytest.raises(Retryable) as silent:
        figures.read(ask(f"http://127.0.0.1:1/{SECRET}"))
    assert SECRET not in silent.value.block()


def test_certificate_of_an_unknown_authority_is_refused_and_named(network: SocketNetwork, tmp_path: Path) -> None:
    shown = certificate(tmp_path, "campus.example", valid_for=timedelta(days=30))
    other = certificate(tmp_path, "campus.example", valid_for=timedelta(days=30))
    with serving(shown) as address:
        for ca in (None, other.certificate.name):
            with pytest.raises(Refused, match="not accepted for campus"):
                network.certificate(address, "campus.example", ca)


def test_certificate_that_is_not_valid_yet_is_refused(network: SocketNetwork, tmp_path: Path) -> None:
    shown = certificate(tmp_path, "campus.example", valid_for=timedelta(days=30), since=timedelta(days=-1))
    with serving(shown) as address, pytest.raises(Refused, match="not yet valid"):
        network.certificate(address, "campus.example", shown.certificate.name)


def test_authorities_that_cannot_be_read_are_refused_by_name(network: SocketNetwork, tmp_path: Path) -> None:
    (tmp_path / "nonsense.pem").write_text("no certificate")
    for name in ("missing.pem", "nonsense.pem"):
        with pytest.raises(Refused, match="authorities' file cannot be read") as caught:
            network.certificate("127.0.0.1:1", "campus.example", name)
        assert caught.value.on == name


def test_server_that_takes_the_connection_and_stays_silent_is_late(network: SocketNetwork) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert network.reach(address)
        with pytest.raises(Retryable, match="no TLS connection"):
            network.certificate(address, "campus.example", None)
        with pytest.raises(Retryable, match="no answer within"):
            network.reach(f"http://{address}/")


def test_server_that_hangs_up_shows_no_certificate(network: SocketNetwork) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close() -> None:
            taken, _ = server.accept()
            taken.close()

        thread = threading.Thread(target=close)
        thread.start()
        with pytest.raises(Retryable, match="no TLS connection"):
            network.certificate(f"127.0.0.1:{server.getsockname()[1]}", "campus.example", None)
        thread.join()


def test_https_address_with_a_certificate_that_nobody_trusts_is_not_reached(
    network: SocketNetwork, tmp_path: Path
) -> None:
    with serving(certificate(tmp_path, "campus.example", valid_for=timedelta(days=30))) as address:
        with pytest.raises(Retryable) as caught:
            network.reach(f"https://{address}/")
        assert "certificate" in caught.value.what.lower()
