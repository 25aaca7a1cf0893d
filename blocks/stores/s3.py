"""Artefacts in an S3 bucket, at AWS or at any server that speaks its protocol."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field, model_validator

from blocks.context import Context
from blocks.files import CHUNK_BYTES, digest_of, digest_of_file, receive, system_errors
from blocks.s3 import MISSING, code_of, meaning
from blocks.stores.names import digest_named, missing, miswritten, name_of
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import Size

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SMALLEST_PART_BYTES = 5 * 2**20


class S3Store:
    """Keeps each archive as the object <prefix>/sha256/<hex> of a bucket.

    An upload that is killed leaves invisible parts; give the bucket a lifecycle rule AbortIncompleteMultipartUpload.

    Args:
        settings: which bucket, and how to sign in.
        context: resolves the references to the keys.
    """

    class Settings(StrictModel):
        """Settings of the driver `s3`."""

        bucket: str = Field(min_length=3, description="an existing bucket")
        prefix: str = Field(
            default="slipway", pattern=r"^[^/](.*[^/])?$", description="in front of every object's name"
        )
        region: str = Field(min_length=1)
        endpoint: str | None = Field(default=None, pattern=r"^https?://", description="if it is not AWS")
        access_key: SecretRef | None = Field(default=None, description="without keys: the machine's own role")
        secret_key: SecretRef | None = None
        part_size_bytes: Size = Field(
            default=16 * 2**20,
            alias="part_size",
            ge=_SMALLEST_PART_BYTES,
            description="larger archives are sent in parts of this size, several at a time",
        )

        @model_validator(mode="after")
        def _both_keys(self) -> Self:
            if (self.access_key is None) != (self.secret_key is None):
                raise ValueError("expected access_key and secret_key, or neither; found one of them")
            return self

    def __init__(self, settings: Settings, context: Context) -> None:
        self._bucket = settings.bucket
        self._prefix = f"{settings.prefix}/sha256/"
        self._place = f"bucket {settings.bucket}" + (f" at {settings.endpoint}" if settings.endpoint else "")
        self._transfer = TransferConfig(
            multipart_threshold=settings.part_size_bytes, multipart_chunksize=settings.part_size_bytes
        )
        self._settings = settings
        self._context = context
        self._opened: S3Client | None = None

    def put(self, archive: Path) -> str:
        """The archive is stored and was read back; returns its digest.

        *Idempotent:* yes; a damaged copy is replaced, and several processes may put the same archive at once.

        Raises:
            Refused: no such archive or bucket, no permission, or it reads back differently.
            Retryable: the server does not answer, or asks to slow down.
        """
        with system_errors("the archive cannot be read", archive):
            digest = digest_of_file(archive)
            key = self._key(digest)
            with self._errors(digest):
                if self._found(key) == digest:
                    return digest
                with archive.open("rb") as file:
                    self._client.upload_fileobj(file, self._bucket, key, Config=self._transfer)
                found = self._found(key)
                if found != digest:
                    self._client.delete_object(Bucket=self._bucket, Key=key)
                    raise miswritten(digest, found or "nothing", f"{key} in {self._place}")
        return digest

    def fetch(self, digest: str, into: Path) -> None:
        """`into` is the archive, its digest checked while reading; after an error it does not exist.

        *Idempotent:* yes.

        Raises:
            Refused: no such artefact or bucket, no permission, or `into` cannot be written.
            Unsafe: what is stored is not what was put.
            Retryable: the server does not answer, or asks to slow down.
        """
        key = self._key(digest)
        with system_errors(f"the artefact {digest} cannot be written", into), self._errors(digest):
            receive(self._chunks(key), digest, into, f"{key} in {self._place}")

    def exists(self, digest: str) -> bool:
        """Return whether an archive is stored under the digest (its bytes are not checked)."""
        key = self._key(digest)
        with self._errors(digest):
            try:
                self._client.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if code_of(error) in MISSING:
                    return False
                raise
            return True

    def digests(self) -> tuple[str, ...]:
        """Return all stored digests, sorted."""
        with self._errors("its list of artefacts"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            names = [item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", ())]
        return tuple(sorted(digest for digest in map(digest_named, names) if digest is not None))

    def delete(self, digest: str) -> None:
        """The archive is not stored any more.

        *Idempotent:* yes.

        Raises:
            Refused: no such bucket, or no permission.
            Retryable: the server does not answer, or asks to slow down.
        """
        key = self._key(digest)
        with self._errors(digest):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    @property
    def _client(self) -> "S3Client":
        if self._opened is None:
            settings, resolve = self._settings, self._context.secrets.resolve
            self._opened = boto3.session.Session().client(
                "s3",
                region_name=settings.region,
                endpoint_url=settings.endpoint,
                aws_access_key_id=resolve(settings.access_key) if settings.access_key else None,
                aws_secret_access_key=resolve(settings.secret_key) if settings.secret_key else None,
                config=Config(
                    connect_timeout=5,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": 3},
                    s3={"addressing_style": "path" if settings.endpoint else "auto"},
                    # Older servers of other makers refuse the new default checksums; every archive is read back anyway.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
        return self._opened

    def _key(self, digest: str) -> str:
        return self._prefix + name_of(digest)

    def _chunks(self, key: str) -> Iterator[bytes]:
        yield from self._client.get_object(Bucket=self._bucket, Key=key)["Body"].iter_chunks(CHUNK_BYTES)

    def _found(self, key: str) -> str | None:
        """Return the digest of what is stored under the key, read to its end; None if there is nothing."""
        try:
            return digest_of(self._chunks(key))
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn the SDK's errors into Slipway's."""
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and code_of(error) in MISSING:
                raise missing(what, self._place) from error
            state = "an artefact that was being stored is not visible"
            redact = self._context.secrets.redact
            raise meaning(error, "the artefact store", f"{what} in {self._place}", redact, state) from error
