"""A folder that is restored into: put aside by a rename, and brought back, with a journal beside it."""

import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from blocks.context import Context
from blocks.fence import Fence
from blocks.files import sync_folder, system_errors
from blocks.targets.records import TOKEN, beside, read_journal, write_journal
from blocks.targets.servers import end_programs
from tasks.restore.model import Journal, Phase, Seen

_ID_CHARACTERS = 8


class JournalledTarget(ABC):
    """What all targets do with their folder. What runs on it, and how that is stopped and started, is a driver's own.

    The folder and those beside it are on one file system: nothing is copied to put aside. What is about to be changed
    is on record before it is.

    Args:
        data: the folder.
        context: with a grant, it may be changed.
    """

    left_beside: tuple[str, ...]
    """Ends of the names beside the folder that a restore needs, and that it leaves nothing under."""

    def __init__(self, data: Path, context: Context) -> None:
        self._data, self._grant = data, context.grant
        self._fence = Fence(beside(data) / TOKEN, context.grant, self.where, makes_folder=True)

    @property
    def where(self) -> str:
        """Return which one it is: '/srv/postgresql/main on db1'."""
        return f"{self._data} on {socket.gethostname()}"

    @property
    def folder(self) -> Path:
        """Return the data folder."""
        return self._data

    @abstractmethod
    def _put_up(self, journal: Journal | None) -> bool:
        """Return whether what is in the folder was put there by the restore on record."""

    @abstractmethod
    def _runs(self) -> bool:
        """Return whether a server runs on the folder."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether anything answers on the address."""

    @abstractmethod
    def _unfit(self) -> str:
        """Return why what is in the folder cannot be put aside; '' if it can."""

    @abstractmethod
    def _stop(self) -> None:
        """Nothing works on the folder, and nothing was killed."""

    @abstractmethod
    def _end(self, *, opened: bool) -> None:
        """Nothing works on what was restored; where it was `opened`, users may have written into it."""

    @abstractmethod
    def _start_former(self, journal: Journal) -> str:
        """The former state is used as it was before; returns what is true now, of a target that was not empty."""

    def observe(self) -> Seen:
        """Return what is there. Nothing is changed."""
        with system_errors("the target cannot be looked at", self._data):
            journal = read_journal(self._data)
            filled = _filled(self._data)
            above = next(path for path in self._data.parents if path.exists())
            return Seen(
                journal=journal,
                filled=filled,
                ours=filled and self._put_up(journal),
                running=self._runs(),
                answers=self._answers(),
                aside_there=journal is not None and _exists(journal.aside),
                free_bytes=shutil.disk_usage(above).free,
                problem=self._problem(journal, filled=filled),
            )

    def put_aside(self, begun: Journal) -> str:
        """The folder is empty or missing; returns where what was there is now, '' if nothing was. *Idempotent:* no."""
        seen = self.observe()
        aside = self._free_name(f"aside-{begun.run_id[:_ID_CHARACTERS]}") if seen.filled else None
        former = replace(seen.journal, former=None) if seen.journal is not None and seen.ours else None
        journal = replace(begun, aside=str(aside or ""), was_running=seen.running, former=former)
        if aside is not None:
            self._note(replace(journal, phase=Phase.STOPPING))
            self._stop()
            self._note(replace(journal, phase=Phase.ASIDE))
            self._rename(self._data, aside)
        self._note(replace(journal, phase=Phase.FILLING))
        return journal.aside

    def finish(self) -> None:
        """It is on record that what was restored is in use. *Idempotent:* yes."""
        self._note(replace(self._journal, phase=Phase.DONE))

    def bring_back(self) -> str:
        """What was half restored is gone, and the former state is in its place. *Idempotent:* yes."""
        self._fence.claim()
        journal = read_journal(self._data)
        if journal is None or not _unfinished(journal):
            # What is on record is an earlier restore, which has ended well: it is the present state.
            return "nothing was changed"
        # One that was started by a run which was killed works on.
        for suffix in self.left_beside:
            end_programs(self._named(suffix))
        kept = self._clear_away(journal)
        try:
            state = self._start_former(journal)
        finally:
            self._note(journal.former)
        for left in (self._beside("discarded", journal), *map(self._named, self.left_beside)):
            with system_errors("what was half restored cannot be removed", left):
                shutil.rmtree(left, ignore_errors=not left.exists())
        return f"{state if journal.aside else 'the target is empty again'}{kept}"

    def _clear_away(self, journal: Journal) -> str:
        """The former state is in its place, or nothing is; returns what was kept of what had been restored."""
        if journal.phase in (Phase.STOPPING, Phase.ASIDE) and not _exists(journal.aside):
            return ""
        self._note(replace(journal, phase=Phase.RETURNING))
        in_its_place = bool(journal.aside) and not _exists(journal.aside)
        kept = ""
        if self._data.exists() and not in_its_place:
            self._end(opened=journal.opened)
            away = self._beside("discarded", journal)
            shutil.rmtree(away, ignore_errors=True)
            if journal.opened:
                # Somebody may have written into it: it is never removed.
                away = self._free_name(f"failed-{journal.run_id[:_ID_CHARACTERS]}")
                kept = f"; what had been open for a moment is kept in {away}"
            self._rename(self._data, away)
        if _exists(journal.aside):
            self._rename(Path(journal.aside), self._data)
        return kept

    def _problem(self, journal: Journal | None, *, filled: bool) -> str:
        """Return why nothing can be restored here; '' if nothing is in the way."""
        if self._data.is_symlink() or self._data.is_mount():
            return "the data folder is a link, or a disk is mounted on it: it cannot be renamed; name a folder below it"
        if _unfinished(journal):
            return ""
        if any(self._named(suffix).exists() for suffix in self.left_beside):
            return (
                "there is something beside the data folder under a name that a restore needs: "
                f"{' or '.join(self.left_beside)}"
            )
        return self._unfit() if filled else ""

    @property
    def _journal(self) -> Journal:
        found = read_journal(self._data)
        assert found is not None, "put_aside comes first"
        return found

    def _note(self, journal: Journal | None) -> None:
        """It is on record; from then on no holder of an older lease can change anything here."""
        with self._fence.changing():
            write_journal(self._data, journal)

    def _rename(self, source: Path, to: Path) -> None:
        with self._renaming(source), self._fence.changing():
            source.rename(to)
            sync_folder(to.parent)

    @contextmanager
    def _renaming(self, source: Path) -> Iterator[None]:
        with system_errors("the data folder cannot be renamed", source):
            yield

    def _named(self, suffix: str) -> Path:
        return self._data.with_name(f"{self._data.name}{suffix}")

    def _beside(self, what: str, journal: Journal) -> Path:
        return self._named(f".{what}-{journal.run_id[:_ID_CHARACTERS]}")

    def _free_name(self, what: str) -> Path:
        names = (self._named(f".{what}{'' if number == 1 else f'-{number}'}") for number in range(1, 10_000))
        return next(path for path in names if not path.exists())


def _exists(folder: str) -> bool:
    return bool(folder) and Path(folder).exists()


def _filled(data: Path) -> bool:
    return data.exists() and (not data.is_dir() or any(data.iterdir()))


def _unfinished(journal: Journal | None) -> bool:
    return journal is not None and journal.phase is not Phase.DONE
