"""Files encrypted with age, in pieces: a file of any size takes the memory of a small one.

Public keys ("recipients") encrypt, the secret key ("identity") decrypts. So the machine that takes backups need not
hold what reads them; and pyrage streams with keys only: with a passphrase it wants the whole file in memory, and age
makes each file cost a second of scrypt. *Source:* age-encryption.org/v1; pyrage 1.4, encrypt_io and decrypt_io.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import pyrage
from pydantic import BeforeValidator, WithJsonSchema

from blocks.files import sync
from tasks.common.errors import Refused, Unsafe
from tasks.common.secrets import NoReference

OnBytes = Callable[[int], None]
"""Told of so many more bytes."""


def check_recipient(value: object) -> str:
    """Return a public key unchanged.

    Raises:
        NoReference: it is none; it is not repeated, as it may be the secret key, pasted by mistake.
    """
    try:
        pyrage.x25519.Recipient.from_str(value)
    except (pyrage.RecipientError, TypeError):
        raise NoReference("a public key of age, as age-keygen prints it: age1...") from None
    return str(value)


Recipient = Annotated[
    str, BeforeValidator(check_recipient), WithJsonSchema({"type": "string", "pattern": "^age1[a-z0-9]{58}$"})
]


@dataclass(frozen=True)
class Sealed:
    """What became of a file: bytes before and after, and 'sha256:<hex>' of those after."""

    plain_bytes: int
    sealed_bytes: int
    digest: str


class Identities:
    """Secret keys: the one in use, and older ones for older backups.

    Args:
        text: the file that age-keygen writes, or several of them together.
        reference: where it comes from, for errors.

    Raises:
        Refused: there is no such key in it.
    """

    def __init__(self, text: str, reference: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        try:
            self.keys = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
        except pyrage.IdentityError:
            self.keys = []
        if not self.keys:
            raise Refused(
                "the secret is no secret key of age",
                on=reference,
                next_action="put there what age-keygen has written: a line that begins with AGE-SECRET-KEY-1",
            )
        self.reference = reference

    @property
    def recipients(self) -> tuple[str, ...]:
        """Return the public keys."""
        return tuple(str(key.to_public()) for key in self.keys)


def seal(source: Path, target: Path, recipients: Sequence[str], on_bytes: OnBytes) -> Sealed:
    """`target` is the encrypted file, on the disk.

    *Idempotent:* yes; a file that is there is replaced.

    Raises:
        OSError: one of the files cannot be read or written.
    """
    keys = [pyrage.x25519.Recipient.from_str(each) for each in recipients]
    hashed = hashlib.sha256()
    with source.open("rb") as plain, target.open("wb") as sealed:
        reader, writer = _Tapped(plain, lambda chunk: on_bytes(len(chunk))), _Tapped(sealed, hashed.update)
        with _own_errors(reader, writer):
            pyrage.encrypt_io(reader, writer, keys)
        sync(sealed)
    return Sealed(reader.count, writer.count, f"sha256:{hashed.hexdigest()}")


def unseal(source: Path, target: Path, identities: Identities, on_bytes: OnBytes) -> int:
    """`target` is the decrypted file; returns its size. *Idempotent:* yes; a file that is there is replaced.

    Raises:
        Refused: it was encrypted for none of these keys.
        Unsafe: it is damaged.
        OSError: one of the files cannot be read or written.
    """
    with source.open("rb") as sealed, target.open("wb") as plain:
        reader, writer = _Tapped(sealed, lambda _: None), _Tapped(plain, lambda chunk: on_bytes(len(chunk)))
        try:
            with _own_errors(reader, writer):
                pyrage.decrypt_io(reader, writer, identities.keys)
        except _NotOurs as error:
            raise _no_match(source, identities) if "No matching keys" in str(error) else _damaged(source) from None
        sync(plain)
    return writer.count


class _NotOurs(Exception):
    """What pyrage itself has found."""


class _Tapped:
    """A file in pyrage's hands. It keeps its own error, of which pyrage would leave a text."""

    def __init__(self, file: IO[bytes], seen: Callable[[bytes], None]) -> None:
        self._file = file
        self._seen = seen
        self.count = 0
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            chunk = self._file.read(size)
            self._note(chunk)
        except BaseException as error:
            self.error = error
            raise
        return chunk

    def write(self, chunk: bytes) -> int:
        try:
            self._file.write(chunk)
            self._note(chunk)
        except BaseException as error:
            self.error = error
            raise
        return len(chunk)

    def flush(self) -> None:
        try:
            self._file.flush()
        except BaseException as error:
            self.error = error
            raise

    def _note(self, chunk: bytes) -> None:
        self.count += len(chunk)
        self._seen(chunk)


@contextmanager
def _own_errors(*files: _Tapped) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        own = next((file.error for file in files if file.error is not None), None)
        if own is not None:
            raise own from None
        # An OSError of pyrage is not one: 'decryption error' is what it makes of damaged bytes.
        raise _NotOurs(str(error)) from None


def _no_match(source: Path, identities: Identities) -> Refused:
    return Refused(
        "the backup was not encrypted for this key",
        on=identities.reference,
        state="nothing was restored",
        next_action="set 'identity' to the key whose public key is among the recipients in its manifest.json",
        facts={"file": source, "public keys of those that were tried": ", ".join(identities.recipients)},
    )


def _damaged(source: Path) -> Unsafe:
    return Unsafe(
        "a stored file cannot be decrypted: it is damaged",
        on=str(source),
        state="nothing of it is used",
        next_action="restore another backup, or this one from the other repository; find out what changed it",
    )
