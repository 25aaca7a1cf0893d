"""Buckets that backups lie in: how they are named in an estate file, and a look into them."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field

from blocks.context import Context
from blocks.files import CHUNK_BYTES
from blocks.s3 import meaning
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3(StrictModel):
    """A bucket at AWS, or at any server that speaks its protocol, over TLS."""

    bucket: str = Field(min_length=1, description="the bucket; it must exist")
    endpoint: str = Field(pattern=r"^[A-Za-z0-9.-]+(:[0-9]+)?$", description="host and, if not 443, port: no https://")
    region: str = Field(min_length=1, description="the bucket's region")
    access_key: SecretRef = Field(description="reference to the access key")
    secret_key: SecretRef = Field(description="reference to the secret key")
    path_style: bool = Field(default=False, description="the bucket stands in the path, not in the host's name")
    ca_file: str | None = Field(default=None, description="file with the authority that has signed the certificate")


@dataclass(frozen=True)
class Stored:
    """An object as a bucket lists it.

    Args:
        size_bytes: of its content.
        etag: the server's own mark of its content, which differs when that does.
        at: when it was written; aware.
    """

    size_bytes: int
    etag: str
    at: datetime


class Bucket:
    """What lies in a bucket.

    Every method raises Refused where the server does not let us in, and Retryable where it does not answer.

    Args:
        settings: which one, and how to sign in.
        context: resolves the keys.
    """

    def __init__(self, settings: S3, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._opened: S3Client | None = None
        self.on = f"bucket {settings.bucket} at {settings.endpoint}"

    def list(self, prefix: str) -> Mapping[str, Stored]:
        """Return the objects whose keys start like this."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
            return {
                item["Key"]: Stored(item["Size"], item["ETag"].strip('"'), item["LastModified"])
                for page in pages
                for item in page.get("Contents", ())
            }

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content of an object in pieces."""
        with self._errors(key):
            yield from self._client.get_object(Bucket=self._name, Key=key)["Body"].iter_chunks(CHUNK_BYTES)

    def write(self, key: str, content: bytes) -> None:
        """The object has this content. *Idempotent:* yes."""
        with self._errors(key):
            self._client.put_object(Bucket=self._name, Key=key, Body=content)

    def delete(self, key: str) -> None:
        """The object is gone. *Idempotent:* yes."""
        with self._errors(key):
            self._client.delete_object(Bucket=self._name, Key=key)

    def abort_uploads(self, prefix: str) -> tuple[str, ...]:
        """What was sent of objects that were never complete is gone; returns their keys. *Idempotent:* yes."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._name, Prefix=prefix)
            # Servers of other makers may list those of other prefixes, too.
            found = [
                (upload["Key"], upload["UploadId"])
                for page in pages
                for upload in page.get("Uploads", ())
                if upload["Key"].startswith(prefix)
            ]
            for key, upload_id in found:
                self._client.abort_multipart_upload(Bucket=self._name, Key=key, UploadId=upload_id)
        return tuple(key for key, _ in found)

    @property
    def _name(self) -> str:
        return self._settings.bucket

    @property
    def _client(self) -> "S3Client":
        if self._opened is None:
            given, resolve = self._settings, self._context.secrets.resolve
            self._opened = boto3.session.Session().client(
                "s3",
                region_name=given.region,
                endpoint_url=f"https://{given.endpoint}",
                aws_access_key_id=resolve(given.access_key),
                aws_secret_access_key=resolve(given.secret_key),
                verify=str(self._context.resolve(given.ca_file)) if given.ca_file else None,
                config=Config(
                    connect_timeout=5,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": 3},
                    s3={"addressing_style": "path" if given.path_style else "virtual"},
                    # Older servers of other makers refuse the new default checksums.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
        return self._opened

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            # Without its cause, whose text nobody has redacted.
            raise meaning(error, "the bucket", f"{what} in {self.on}", self._context.secrets.redact) from None
