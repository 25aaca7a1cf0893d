"""The undo journal on the disk, and who undoes what is in it: the drill itself, or the reaper when it does not.

An entry is a file. It is there from before the fault until after the undoing, which moves it to `undone`. A lock on the
file keeps two from undoing the same at once. Nothing here knows of Prefect or of the ledger.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from blocks import open_driver
from blocks.context import Context
from blocks.files import replacing, sync_folder, system_errors
from blocks.secrets import Secrets
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.model import DriverSpec
from tasks.drill.journal import SUFFIX, Entry, Now, due, in_order, now_of, read, write
from tasks.drill.model import Undone
from tasks.drill.ports import Fault

_UNDONE = "undone"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LOCK = ".lock"
_HELD = "drill.run"


@dataclass(frozen=True)
class Reaped:
    """What became of an entry.

    Args:
        entry: which one.
        undone: what was done; None where it could not be undone.
        problem: why it could not.
    """

    entry: Entry
    undone: Undone | None
    problem: SlipwayError | None = None


def now() -> Now:
    """Return this moment, by both clocks."""
    return now_of(datetime.now(UTC), time.clock_gettime(time.CLOCK_BOOTTIME), _BOOT_ID.read_text().strip())


def open_fault(entry: Entry) -> Fault:
    """Return the fault that an entry undoes.

    Raises:
        Refused: there is no such driver.
    """
    base = Path(entry.base)
    context = Context(base=base, secrets=Secrets(base), path=entry.tools)
    fault: Fault = open_driver("fault", DriverSpec(driver=entry.driver, **entry.settings), context)
    return fault


class UndoJournal:
    """Entries in a folder. Safe to share between processes of one machine.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """The folder exists, and is closed to others. *Idempotent:* yes.

        Raises:
            Refused: it cannot be made.
        """
        with system_errors("the undo journal cannot be kept there", self.folder):
            (self.folder / _UNDONE).mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)

    def add(self, entry: Entry) -> None:
        """The entry is on the disk: only now its fault may be injected. *Idempotent:* yes, by its id.

        Raises:
            Refused: it cannot be written.
            Retryable: it may be written later.
        """
        self.prepare()
        with (
            system_errors("the undo journal cannot be written", self.folder),
            replacing(self._path(entry), 0o600) as file,
        ):
            file.write(write(entry).encode())

    def entries(self) -> tuple[tuple[Entry, ...], tuple[Unsafe, ...]]:
        """Return what may have to be undone, the next one first, and what is wrong with files that cannot be read."""
        found: list[Entry] = []
        problems: list[Unsafe] = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                found.append(read(path.read_text("utf-8", errors="replace"), str(path)))
            except FileNotFoundError:
                continue
            except Unsafe as problem:
                problems.append(problem)
        return in_order(found), tuple(problems)

    def undo(self, entry: Entry) -> Undone:
        """Nothing of the fault is left that a driver can undo, and the entry is gone. *Idempotent:* yes.

        Raises:
            Retryable: somebody undoes it just now, or it could not be undone now.
            Refused: it cannot be undone like this.
            Unsafe: likewise, and the state is not known.
        """
        with self._locked(entry):
            path = self._path(entry)
            if not path.exists():
                return Undone("it was undone already")
            fault = open_fault(entry)
            undone = fault.undo(entry.aim)
            self._close(entry, path, undone)
        return undone

    def reap(self, *, whatever: bool = False) -> tuple[tuple[Reaped, ...], tuple[Unsafe, ...]]:
        """What has expired is undone; one that cannot be does not stand in the way of the others. *Idempotent:* yes.

        Args:
            whatever: undo also what has not expired.

        Returns:
            What became of each, and what is wrong with files that cannot be read.
        """
        entries, problems = self.entries()
        done = []
        for entry in entries if whatever else due(entries, now()):
            try:
                done.append(Reaped(entry, self.undo(entry)))
            except SlipwayError as problem:
                done.append(Reaped(entry, None, problem))
            except Exception as error:  # a driver's bug keeps no other fault in place
                done.append(Reaped(entry, None, _unexpected(entry, error)))
        return tuple(done), problems

    @contextlib.contextmanager
    def held(self, run_id: str) -> Iterator[None]:
        """Within the block everybody can see that a run undoes its faults itself. It ends with the process, too.

        Raises:
            Retryable: another one has said so.
        """
        self.prepare()
        with (self.folder / _HELD).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Retryable(
                    "another drill has faults in place",
                    on=str(self.folder),
                    next_action="let it end; then start this one again",
                ) from None
            file.truncate(0)
            file.write(run_id)
            file.flush()
            yield

    def holder(self) -> str:
        """Return the run that undoes its faults itself, as its process lives; '' where none does."""
        with contextlib.suppress(FileNotFoundError), (self.folder / _HELD).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read() or "unknown"
        return ""

    def undone(self, run_id: str) -> Sequence[Mapping[str, object]]:
        """Return what was undone of a run, in the order of the ids."""
        files = sorted((self.folder / _UNDONE).glob(f"{run_id}*{SUFFIX}"))
        return [json.loads(each.read_text("utf-8")) for each in files]

    def _path(self, entry: Entry) -> Path:
        return self.folder / f"{entry.id}{SUFFIX}"

    def _close(self, entry: Entry, path: Path, undone: Undone) -> None:
        kept = {"at": datetime.now(UTC).isoformat(), "pid": os.getpid(), "entry": entry.id, **asdict(undone)}
        with replacing(self.folder / _UNDONE / path.name, 0o600) as file:
            file.write((json.dumps(kept, ensure_ascii=False) + "\n").encode())
        path.unlink(missing_ok=True)
        sync_folder(self.folder)

    @contextlib.contextmanager
    def _locked(self, entry: Entry) -> Iterator[None]:
        with (self.folder / f".{entry.id}{_LOCK}").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Retryable(
                    "somebody undoes it just now", on=str(entry), next_action="look again in a moment"
                ) from None
            yield
            (self.folder / f".{entry.id}{_LOCK}").unlink(missing_ok=True)


def _unexpected(entry: Entry, error: Exception) -> SlipwayError:
    return Refused(
        f"undoing has failed: {type(error).__name__}: {error}",
        on=str(entry),
        state="the fault may be in place",
        next_action="undo it by hand: the entry in the undo journal says what was done; then move the entry away",
    )
