"""moto's S3 server, started by the test. It accepts any key unless told otherwise, and signs nothing it sends."""

import contextlib
import http.client
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from blocks.context import Context
from blocks.stores.s3 import S3Store
from tests.support.processes import free_port, running, wait_until

BUCKET = "artefacts"
SETTINGS = {
    "bucket": BUCKET,
    "region": "eu-central-1",
    "access_key": "file:access-key",
    "secret_key": "file:secret-key",
    "part_size": "5MiB",
}


@dataclass(frozen=True)
class Moto:
    """A running server, with one bucket."""

    endpoint: str
    folder: Path

    def client(self) -> Any:
        """Return the vendor's client, to look behind the store's back."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="eu-central-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
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


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
