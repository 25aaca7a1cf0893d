"""What a restore needs from the outside: the server, or the folder, that is restored into."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tasks.common.backups import Form
from tasks.common.masking import Masking
from tasks.restore.model import Journal, Recovered, Seen


class TargetServer(Protocol):
    """A server whose data folder is restored into, or a folder alone, where nothing is started.

    Each method that changes something writes down first, beside the data folder, what it is about to do (`Phase`), and
    needs a grant: the holder of an older lease is refused. In this order: `check`, `observe`, `put_aside`, a restore
    into the folder that `fetches_into` names, `recover`, perhaps `mask`, `open`, `finish`. `bring_back` and `carry_on`
    go by what is on record, so that another process can call them after one that was killed.
    """

    forms: frozenset[Form]
    """What can be restored here."""

    @property
    def where(self) -> str:
        """Return which one it is, the same for every process: '/srv/postgresql/main on db1'."""
        ...

    @property
    def address(self) -> str:
        """Return where it answers when it is open: '127.0.0.1:5432'; '' where nothing is started."""
        ...

    @property
    def folder(self) -> Path:
        """Return the data folder: what is restored is there in the end."""
        ...

    def fetches_into(self, form: Form) -> Path:
        """Return the folder that a backup is fetched into: the data folder, or one beside it."""
        ...

    def check(self, form: Form, version: str) -> None:
        """A backup could be restored here, as far as this machine goes. Nothing is changed.

        Args:
            form: of what comes back.
            version: of the server that it is of: '15.18'; '' where that is not known.

        Raises:
            Refused: a program, or a user, is missing.
        """
        ...

    def observe(self) -> Seen:
        """Return what is there. Nothing is changed.

        Raises:
            Refused: it cannot be looked at.
        """
        ...

    def put_aside(self, begun: Journal) -> str:
        """The folder is empty or missing, and what was there is put aside whole; returns where to, '' if nothing was.

        *Idempotent:* no; a call that fails has changed nothing but that the server may be stopped: `bring_back`.

        Args:
            begun: what goes on record; its phase, place and former state are filled in here.

        Raises:
            Unsafe: the server does not stop.
            Refused: the folder cannot be renamed.
        """
        ...

    def recover(self, form: Form, version: str) -> Recovered:
        """What came back is whole, and only we can reach it: a server that runs, at the end of its recovery; files.

        *Idempotent:* no.

        Args:
            form: of what was fetched.
            version: as for `check`.

        Raises:
            Unsafe: it does not start, cannot be loaded or read, or cannot reach the state that was asked for.
            Refused: it cannot run here.
            Retryable: it was not ready in its time.
        """
        ...

    def databases(self) -> Sequence[str]:
        """Return the names of the databases of the recovered server, templates left out; none where there is none."""
        ...

    def heartbeat(self, database: str) -> datetime | None:
        """Return the newest heartbeat in a database of the recovered server; None where there is none."""
        ...

    def mask(self, database: str, masking: Masking, key: str, say: Callable[[str], None]) -> Sequence[str]:
        """Nothing is left of what the rules replace, nor of other databases; returns what was done, a sentence each.

        *Idempotent:* no: after a failure the copy is of no use.

        Raises:
            Refused: the rules do not fit, or there is no database.
            Unsafe: mail addresses are left.
            Retryable: the server stopped to answer.
        """
        ...

    def open(self, say: Callable[[str], None]) -> None:
        """The server answers on its address, to everybody whom its configuration lets in; files are in their place.

        Where something was put aside, its files of configuration take the place of those that were restored.

        Args:
            say: is told what a person has to know, or do next.

        Raises:
            Unsafe: it does not start, or does not answer there.
            Refused: the files cannot be put into their place.
        """
        ...

    def finish(self) -> None:
        """It is on record that what was restored is up, or in its place. *Idempotent:* yes."""
        ...

    def bring_back(self) -> str:
        """What was half restored is gone, and the former state is in its place; returns what is true now.

        Its server runs if it had. What has been open on the address is never removed, but put aside itself.
        *Idempotent:* yes.

        Raises:
            Unsafe: a server cannot be ended, or the former state's does not start.
            Refused: a folder cannot be renamed.
        """
        ...

    def carry_on(self) -> None:
        """What a dead run had restored whole is up. *Idempotent:* yes.

        Raises:
            Unsafe: it does not start, or does not answer on its address.
        """
        ...
