"""The HTTP prober against servers that misbehave."""

import asyncio
import datetime
import gzip
import ipaddress
import itertools
import ssl
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blocks.context import Context
from blocks.prober import HttpProber
from tasks.common.model import HttpCheck
from tasks.release.ports import HttpResult
from tests.support.http_server import RESET, Request, answering, plain
from tests.support.processes import free_port

pytestmark = pytest.mark.server


def ask(url: str, **check: object) -> HttpResult:
    prober = HttpProber(HttpProber.Settings(), Context(base=Path()))
    (result,) = prober.probe(url, [HttpCheck.model_validate({"path": "/", "expect": 200, **check})])
    return result


class Site:
    """Keeps what was asked, and answers 200."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> list[bytes]:
        self.requests.append(request)
        return plain(200, "", f"Set-Cookie: seen={len(self.requests)}")


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    with answering(site) as address:
        yield address


def test_a_post_without_a_body_sends_none(site: Site, url: str) -> None:
    assert ask(url, method="POST").passed
    (request,) = site.requests
    assert (request.body, request.headers.get("content-length"), "content-type" in request.headers) == (b"", "0", False)


@pytest.mark.parametrize(("body", "sent"), [({}, b"{}"), ({"name": "é", "n": [1]}, None)])
def test_a_body_is_sent_as_json(site: Site, url: str, body: dict[str, object], sent: bytes | None) -> None:
    assert ask(url, method="POST", json=body).passed
    (request,) = site.requests
    assert request.headers["content-type"] == "application/json"
    assert request.body == (sent or '{"name":"é","n":[1]}'.encode())


@pytest.mark.parametrize("value", [datetime.date(2026, 1, 2), float("nan")], ids=["date", "nan"])
def test_a_body_that_is_no_json_is_a_result_and_nothing_is_sent(site: Site, url: str, value: object) -> None:
    result = ask(url, method="POST", json={"on": value})
    assert not result.passed
    assert "cannot be written" in result.problem
    assert site.requests == []


def test_each_check_is_one_request_on_its_own_without_cookies_of_the_one_before(site: Site, url: str) -> None:
    checks = [HttpCheck(path=f"/{number}?q=%20", expect=200) for number in range(3)]
    assert all(r.passed for r in HttpProber(HttpProber.Settings(), Context(base=Path())).probe(url, checks))
    assert [request.path for request in site.requests] == ["/0?q=%20", "/1?q=%20", "/2?q=%20"]
    assert not any("cookie" in request.headers for request in site.requests)


def test_a_proxy_of_the_environment_is_not_used(site: Site, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    assert ask(url).passed


def test_a_redirect_is_not_followed(site: Site, url: str) -> None:
    with answering(lambda _: plain(302, "", f"Location: {url}/")) as redirecting:
        assert ask(redirecting).problem.startswith("expected status 200, found 302")
        assert ask(redirecting, expect=302).passed
    assert site.requests == []


def test_it_works_where_an_event_loop_runs(url: str) -> None:
    async def within_a_loop() -> HttpResult:
        return ask(url)

    assert asyncio.run(within_a_loop()).passed


def test_a_compressed_body_is_read(url: str) -> None:
    del url
    with answering(lambda _: plain(200, gzip.compress(b"status: up"), "Content-Encoding: gzip")) as address:
        assert ask(address, contains="status: up").passed


def test_a_body_in_another_encoding_is_read() -> None:
    with answering(lambda _: plain(200, "café".encode("latin-1"), "Content-Type: text/plain; charset=latin-1")) as url:
        assert ask(url, contains="café").passed


@pytest.mark.parametrize("charset", ["hex", "no-such", "utf-16"])
def test_a_body_in_no_encoding_is_a_result(charset: str) -> None:
    with answering(lambda _: plain(500, b"\xff\xfe\xfd", f"Content-Type: text/plain; charset={charset}")) as url:
        assert ask(url).status == 500


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("pieces", "status", "problem"),
    [
        ([HEAD + b"Content-Length: 100\r\n\r\nhalf"], 200, "cut short"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"], 200, "cut short"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"], 200, "cut short"),
        ([HEAD], None, "cut short"),
        ([], None, "cut short"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], None, "no HTTP"),
        ([HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"], 200, "cannot be decoded"),
    ],
    ids=["length", "chunked", "chunks", "head", "nothing", "ssh", "gzip"],
)
def test_an_answer_that_is_not_whole_fails_although_its_status_is_right(
    pieces: list[bytes], status: int | None, problem: str
) -> None:
    with answering(lambda _: pieces) as url:
        result = ask(url)
    assert (result.passed, result.status) == (False, status)
    assert problem in result.problem


@pytest.mark.parametrize(
    ("head", "status", "told"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: ", None, "no answer within"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", 200, "status 200, but no end of the answer within"),
    ],
    ids=["head", "body"],
)
def test_a_server_that_sends_a_byte_now_and_then_is_late_all_the_same(
    head: bytes, status: int | None, told: str
) -> None:
    over = threading.Event()

    def drip(_: Request) -> Iterable[bytes]:
        yield head
        while not over.wait(0.05):
            yield b"x"

    with answering(drip) as url:
        result = ask(url, within="500ms")
        over.set()
    assert (result.passed, result.status) == (False, status)
    assert told in result.problem


def test_a_body_without_end_ends_at_the_deadline() -> None:
    def flood(_: Request) -> Iterable[bytes]:
        yield HEAD + b"\r\n"
        yield from itertools.repeat(b"x" * 65536)

    with answering(flood) as url:
        result = ask(url, within="500ms")
    assert (result.passed, result.status) == (False, 200)


def test_a_large_body_is_read_to_its_end_and_searched_at_its_begin() -> None:
    body = b"begin" + b"x" * (6 * 2**20) + b"end"
    with answering(lambda _: plain(200, body)) as url:
        assert ask(url, contains="begin").passed
        assert not ask(url, contains="end").passed
    with answering(lambda _: [HEAD + b"Content-Length: 9000000\r\n\r\n" + body]) as url:
        assert "cut short" in ask(url, contains="begin").problem


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return path


@pytest.fixture
def secure_url(site: Site, certificate: Path) -> Iterator[str]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with answering(site, tls) as address:
        yield address


def test_a_certificate_that_nobody_signed_is_told(site: Site, secure_url: str) -> None:
    result = ask(secure_url)
    assert (result.passed, result.status) == (False, None)
    assert result.problem == "the server's certificate is not accepted: self-signed certificate"
    assert site.requests == []


def test_a_certificate_that_ssl_cert_file_names_is_accepted(
    secure_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ask(secure_url).passed


def test_a_certificate_for_another_name_is_told(
    secure_url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert "not valid for 'localhost'" in ask(secure_url.replace("127.0.0.1", "localhost")).problem


def test_tls_to_a_server_that_speaks_none_is_told(url: str) -> None:
    assert "TLS" in ask(url.replace("http:", "https:")).problem


def test_plain_http_to_a_server_that_speaks_tls_is_told(secure_url: str) -> None:
    assert ask(secure_url.replace("https:", "http:")).problem


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://127.0.0.1", "http://", "http://[::1", "http://127.0.0.1:99999", "http://a..b", "http://\0"],
)
def test_what_is_no_address_is_a_result(url: str) -> None:
    result = ask(url)
    assert (result.passed, result.status) == (False, None)
    assert "address" in result.problem or "cannot be resolved" in result.problem


def test_a_password_in_the_address_is_not_shown() -> None:
    problem = ask(f"http://app:hunter2@127.0.0.1:{free_port()}").problem
    assert "connection refused" in problem
    assert "hunter2" not in problem


def test_a_connection_that_is_reset_is_told() -> None:
    with answering(lambda _: [HEAD + b"Content-Length: 100\r\n\r\n", RESET]) as url:
        assert ask(url).problem == "the server broke the connection off"
