"""moto's S3 server, started by the test. It accepts any key unless told otherwise, and signs nothing it sends."""

import contextlib
import http.client
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3

from blocks.context import Context
from blocks.stores.s3 import S3Store
from tests.support.certificates import certificate
from tests.support.needs import need
from tests.support.processes import free_port, listens, running, wait_until

BUCKET = "artefacts"
SETTINGS = {
    "bucket": BUCKET,
    "region": "eu-central-1",
    "access_key": "file:access-key",
    "secret_key": "file:secret-key",
    "part_size": "5MiB",
}
_TLS = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend tls
  bind 127.0.0.1:{port} ssl crt {pem}
  default_backend moto
backend moto
  server moto {moto}
"""


@dataclass(frozen=True)
class Moto:
    """A running server, with one bucket."""

    endpoint: str
    folder: Path
    ca_file: Path | None = None

    @property
    def place(self) -> str:
        """Return 'host:port'."""
        return self.endpoint.partition("://")[2]

    def client(self) -> Any:
        """Return the vendor's client, to look behind the store's back."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="eu-central-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            verify=str(self.ca_file) if self.ca_file else None,
        )

    def store(self, **settings: str) -> S3Store:
        """Return the driver, with settings over the usual ones."""
        return open_store(self.folder, **{"endpoint": self.endpoint, **settings})


def open_store(folder: Path, **settings: str) -> S3Store:
    """Return the driver; the keys that it is to read are in the folder."""
    (folder / "access-key").write_text("AKIAEXAMPLEOFNOTHING")
    (folder / "secret-key").write_text("the-secret-key-of-the-test")
    return S3Store(S3Store.Settings.model_validate({**SETTINGS, **settings}), Context(base=folder))


@contextlib.contextmanager
def running_moto(folder: Path, env: dict[str, str] | None = None) -> Iterator[Moto]:
    """Yield a server that listens on 127.0.0.1, its bucket made."""
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(argv, log=folder / "moto.log", env=env):
        wait_until(lambda: _answers(port), what="moto's server")
        moto = Moto(f"http://127.0.0.1:{port}", folder)
        moto.client().create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield moto


@contextlib.contextmanager
def behind_tls(moto: Moto, folder: Path) -> Iterator[Moto]:
    """Yield the same server as it is reached over TLS, under the name localhost.

    HAProxy stands in front of it. moto's own TLS ends connections without saying so, which pgBackRest takes for an
    attack, as OpenSSL 3 does.
    """
    shown, port = certificate(folder, "localhost", valid_for=timedelta(days=1)), free_port()
    (folder / "tls.pem").write_bytes(shown.certificate.read_bytes() + shown.key.read_bytes())
    (folder / "tls.cfg").write_text(
        _TLS.format(port=port, pem=folder / "tls.pem", moto=moto.endpoint.removeprefix("http://"))
    )
    with running([str(need("haproxy")), "-db", "-f", str(folder / "tls.cfg")], log=folder / "tls.log"):
        wait_until(lambda: listens(port), what="HAProxy in front of moto")
        yield Moto(f"https://localhost:{port}", folder, shown.certificate)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
