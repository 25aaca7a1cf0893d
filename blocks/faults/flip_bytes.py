"""The fault `flip-bytes`: a disk has returned something else than was written to it, in one page of a table."""

import os
import re
import time
from pathlib import Path

from pydantic import Field

from blocks.context import Context
from blocks.drills.session import Declined, NoAnswer, NotSent, Session
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.drill.model import Undone
from tasks.drill.ports import Aim

_PAGE_BYTES = 8192
_AT, _COUNT = _PAGE_BYTES - 64, 16
"""Rows are at the end of a page. *Source:* PostgreSQL manual, 73.6, database page layout."""
_PATH = "select pg_relation_filepath($1::regclass)"
_FILE = re.compile(r"(base/\d+|global)/\d+")
_WITHIN_S = 10.0


class FlipBytes:
    """Implements `Fault`: bytes of a page are inverted where they lie. The server notices when it reads the page anew.

    Args:
        settings: of which table.
        context: resolves the reference.
    """

    class Settings(StrictModel):
        """Settings of the driver `flip-bytes`."""

        address: SecretRef = Field(description="reference to the address of the database, to find the table's file")
        data: str = Field(min_length=1, description="data folder of the server")
        table: str = Field(min_length=1, description="table, as SQL names it; one that nobody reads just now")
        page: int = Field(default=0, ge=0, le=131071, description="page of its first file, from 0")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._context = settings, context

    @property
    def reversible(self) -> bool:
        """Return that it is, as long as nobody writes to the page."""
        return True

    def aim(self) -> Aim:
        """Return which bytes of which file, and what they are.

        Raises:
            Refused: there is no such page.
            Retryable: the server does not answer.
        """
        file = self._context.resolve(self._settings.data) / self._file()
        offset = self._settings.page * _PAGE_BYTES + _AT
        original = _read(file, offset)
        if len(original) < _COUNT:
            raise Refused(
                "the table has no such page on the disk",
                on=str(file),
                next_action="name one that it has; 0 is the first",
            )
        return {"file": str(file), "offset": offset, "original": original.hex()}

    def inject(self, aim: Aim) -> None:
        """The bytes are inverted, on the disk. *Idempotent:* yes.

        Raises:
            Refused: they were changed since they were looked at.
        """
        found, original = self._found(aim), bytes.fromhex(aim["original"])
        if found == _inverted(original):
            return
        if found != original:
            raise Refused(
                "the page was written since it was looked at",
                on=aim["file"],
                next_action="name one that nobody writes to",
            )
        _write(Path(aim["file"]), aim["offset"], _inverted(original))

    def injected(self, aim: Aim) -> bool:
        """Return whether they are inverted."""
        return self._found(aim) == _inverted(bytes.fromhex(aim["original"]))

    def undo(self, aim: Aim) -> Undone:
        """They are as they were, unless somebody has written to the page since. *Idempotent:* yes."""
        found, original = self._found(aim), bytes.fromhex(aim["original"])
        if found == original:
            return Undone("the page is as it was")
        if found != _inverted(original):
            check = f"check the table {self._settings.table}: pg_amcheck, or restore it"
            return Undone("the page, or the file, is another one by now", by_hand=check)
        _write(Path(aim["file"]), aim["offset"], original)
        return Undone("the page is as it was again")

    def _found(self, aim: Aim) -> bytes:
        return _read(Path(aim["file"]), aim["offset"])

    def _file(self) -> str:
        session = Session(self._context.secrets.resolve(self._settings.address))
        try:
            ((path,),) = session.ask(_PATH, [self._settings.table], time.monotonic() + _WITHIN_S)
        except Declined as error:
            raise Refused(str(error), on=self._settings.table, next_action="correct the setting") from None
        except (NotSent, NoAnswer) as error:
            raise Retryable(
                f"the server does not answer: {error}", on=self._settings.address, next_action="look at the server"
            ) from None
        finally:
            session.close()
        if path is None or not _FILE.fullmatch(path):
            raise Refused("it has no file of its own", on=self._settings.table, next_action="name an ordinary table")
        return path


def _inverted(some: bytes) -> bytes:
    return bytes(each ^ 0xFF for each in some)


def _read(file: Path, offset: int) -> bytes:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, _COUNT, offset)
    finally:
        os.close(descriptor)


def _write(file: Path, offset: int, some: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.pwrite(descriptor, some, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
