"""The S3 driver against moto, which accepts any key unless it is started otherwise, and against servers that fail."""

import contextlib
import hashlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pydantic
import pytest

from blocks.context import Context
from blocks.stores.s3 import S3Store
from tasks.common.errors import Refused, Retryable
from tests.support.processes import free_port
from tests.support.s3 import BUCKET, SETTINGS, Moto, open_store, running_moto

pytestmark = pytest.mark.server
MIB = 2**20


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with running_moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(os.urandom(20 * MIB))
    return path


class Gate(socketserver.BaseRequestHandler):
    """Passes connections on to moto until `let_through_bytes` went up; then nothing moves, or all ends."""

    server: "GateServer"

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.behind)) as inner:
            back = threading.Thread(target=self._answers, args=(inner,), daemon=True)
            back.start()
            while data := self.request.recv(65536):
                self.server.passed_bytes += len(data)
                if self.server.passed_bytes > self.server.let_through_bytes:
                    self.server.closed.set()
                    if self.server.stalls:
                        self.server.ended.wait()
                    return
                inner.sendall(data)

    def _answers(self, inner: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := inner.recv(65536):
                self.request.sendall(data)


class GateServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, behind: int, let_through_bytes: int, *, stalls: bool) -> None:
        super().__init__(("127.0.0.1", 0), Gate)
        self.behind = behind
        self.let_through_bytes = let_through_bytes
        self.passed_bytes = 0
        self.stalls = stalls
        self.closed = threading.Event()
        self.ended = threading.Event()


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def gate(moto: Moto, let_through_bytes: int, *, stalls: bool) -> GateServer:
    port = urlsplit(moto.endpoint).port
    assert port is not None
    return GateServer(port, let_through_bytes, stalls=stalls)


class FailingStore(BaseHTTPRequestHandler):
    """Stores one object, and fails in the way that the test asks for."""

    fault: ClassVar[str]
    stored: ClassVar[bytes | None]
    deleted: ClassVar[bool]

    def log_message(self, *_: object) -> None: ...

    def do_PUT(self) -> None:
        type(self).stored = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, b"")

    def do_DELETE(self) -> None:
        type(self).deleted = True
        self._answer(204, b"")

    def do_GET(self) -> None:
        match self.fault:
            case "busy":
                self._answer(503, b"<Error><Code>SlowDown</Code></Error>")
            case "breaks off":
                self._answer(200, b"half", length=1000)
                self.close_connection = True
            case _ if self.stored is None:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            case _:
                self._answer(200, self.stored[:-1] + b"!")

    def _answer(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def failing(fault: str) -> Iterator[tuple[str, type[FailingStore]]]:
    handler = type("Handler", (FailingStore,), {"fault": fault, "stored": None, "deleted": False})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as endpoint:
        yield endpoint, handler


def test_a_large_archive_is_sent_in_parts(moto: Moto, archive: Path, tmp_path: Path) -> None:
    store = moto.store(prefix="parts")
    digest = store.put(archive)
    key = f"parts/{digest.replace(':', '/')}"
    assert moto.client().head_object(Bucket=BUCKET, Key=key)["ETag"].endswith('-4"')
    assert moto.client().head_object(Bucket=BUCKET, Key=key, PartNumber=1)["ContentLength"] == 5 * MIB
    store.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == archive.read_bytes()


def test_a_small_archive_is_sent_at_once(moto: Moto, archive: Path) -> None:
    archive.write_bytes(b"small")
    digest = moto.store(prefix="small").put(archive)
    key = f"small/{digest.replace(':', '/')}"
    assert "-" not in moto.client().head_object(Bucket=BUCKET, Key=key)["ETag"]


def test_a_process_killed_while_uploading_leaves_nothing_visible(moto: Moto, archive: Path, tmp_path: Path) -> None:
    server = gate(moto, 8 * MIB, stalls=True)
    script = (
        "import sys; from pathlib import Path; from tests.support.s3 import open_store; base = Path(sys.argv[1]);"
        "open_store(base, endpoint=sys.argv[2], prefix='killed').put(base / 'archive')"
    )
    with serving(server) as endpoint:
        root = Path(__file__).parents[2]
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), endpoint], cwd=root)
        try:
            assert server.closed.wait(30)
        finally:
            process.kill()
            process.wait()
            server.ended.set()
    assert moto.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads"), "it was killed between two parts"
    store = moto.store(prefix="killed")
    assert store.digests() == ()
    assert store.exists(store.put(archive))


def test_an_upload_that_breaks_off_may_be_retried_and_leaves_nothing_visible(moto: Moto, archive: Path) -> None:
    with serving(gate(moto, 8 * MIB, stalls=False)) as endpoint, pytest.raises(Retryable, match="did not answer"):
        moto.store(prefix="broken", endpoint=endpoint).put(archive)
    store = moto.store(prefix="broken")
    assert store.digests() == ()
    assert store.exists(store.put(archive))


def test_two_processes_may_put_the_same_archive_at_once(moto: Moto, archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(os.urandom(6 * MIB))
    script = (
        "import sys; from pathlib import Path; from tests.support.s3 import open_store; base = Path(sys.argv[1]);"
        "open_store(base, endpoint=sys.argv[2], prefix='both').put(base / 'archive')"
    )
    argv = [sys.executable, "-c", script, str(tmp_path), moto.endpoint]
    root = Path(__file__).parents[2]
    started = [subprocess.Popen(argv, cwd=root) for _ in range(2)]
    assert [process.wait(60) for process in started] == [0, 0]
    store = moto.store(prefix="both")
    [digest] = store.digests()
    store.fetch(digest, tmp_path / "copy")


def test_a_download_that_breaks_off_may_be_retried_and_leaves_nothing(tmp_path: Path) -> None:
    with failing("breaks off") as (endpoint, _), pytest.raises(Retryable, match="did not answer"):
        open_store(tmp_path, endpoint=endpoint).fetch("sha256:" + "0" * 64, tmp_path / "new" / "copy")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_busy_server_may_be_retried(tmp_path: Path) -> None:
    with failing("busy") as (endpoint, _), pytest.raises(Retryable, match="SlowDown"):
        open_store(tmp_path, endpoint=endpoint).digests()


def test_a_server_that_is_down_may_be_retried(tmp_path: Path) -> None:
    store = open_store(tmp_path, endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Retryable, match="EndpointConnectionError"):
        store.digests()


def test_an_archive_that_reads_back_differently_is_removed_again(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"content")
    with failing("changes a byte") as (endpoint, handler), pytest.raises(Refused, match="read back differently"):
        open_store(tmp_path, endpoint=endpoint).put(tmp_path / "archive")
    assert handler.stored is not None
    assert hashlib.sha256(handler.stored).digest() == hashlib.sha256(b"content").digest()
    assert handler.deleted


def test_a_missing_bucket_is_refused(moto: Moto, archive: Path) -> None:
    store = moto.store(bucket="not-made")
    for use in (store.digests, lambda: store.put(archive)):
        with pytest.raises(Refused, match="NoSuchBucket") as raised:
            use()
        assert "create the bucket" in raised.value.next_action


def test_wrong_keys_are_refused_and_not_shown(tmp_path: Path) -> None:
    # One action without a check: the making of the bucket. From then on moto looks at the keys.
    with running_moto(tmp_path, env={"INITIAL_NO_AUTH_ACTION_COUNT": "1"}) as strict:
        store = strict.store()
        for use in (store.digests, lambda: store.exists("sha256:" + "0" * 64)):
            with pytest.raises(Refused, match=r"InvalidAccessKeyId|403") as raised:
                use()
            assert "the-secret-key-of-the-test" not in str(raised.value)
            assert "AKIAEXAMPLEOFNOTHING" not in str(raised.value)


def test_a_machine_without_any_keys_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    settings = {"bucket": BUCKET, "region": "eu-central-1", "endpoint": f"http://127.0.0.1:{free_port()}"}
    store = S3Store(S3Store.Settings.model_validate(settings), Context(base=tmp_path))
    with pytest.raises(Refused, match="Unable to locate credentials"):
        store.digests()


@pytest.mark.parametrize(
    "wrong", [{"secret_key": None}, {"part_size": "1MiB"}, {"part_size": "5"}, {"access_key": "AKIA"}, {"prefix": "/a"}]
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        S3Store.Settings.model_validate({**SETTINGS, **wrong})
