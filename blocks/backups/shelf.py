"""A repository of sealed backups: a folder for each, with encrypted files and a manifest that was written last."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from blocks.backups.disk import disk_errors, remove
from blocks.backups.manifest import MANIFEST, Damaged, Manifest, read, unreadable
from blocks.backups.refusals import find
from blocks.files import digest_of_file, replacing, sync_folder
from tasks.common.backups import StoredBackup
from tasks.common.errors import Unsafe

_LABEL = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z")
_TIME = "%Y%m%dT%H%M%S.%fZ"


class Unfinished(StrEnum):
    """What a folder that is no backup is left from; its name begins with this."""

    TAKING = ".taking-"
    COPYING = ".copying-"
    EXPIRING = ".expiring-"


class Shelf:
    """One repository.

    Args:
        root: its folder; made by the first backup.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def stored(self) -> tuple[StoredBackup, ...]:
        """Return the complete backups, oldest first; one whose manifest is damaged among them, with what is wrong."""
        return tuple(self._stored(label) for label in self._labels())

    def manifest(self, label: str) -> Manifest:
        """Return a backup's manifest.

        Raises:
            Refused: there is no such backup.
            Unsafe: the manifest is damaged.
        """
        try:
            return self._manifest(label)
        except Damaged as error:
            raise Unsafe(
                f"a backup cannot be used: {error}",
                on=str(self.root / label),
                state="nothing was changed; the backup is damaged or was tampered with",
                next_action="use another backup, or this one from the other repository; find out what changed it",
            ) from None

    def wrong_with(self, label: str) -> tuple[str, ...]:
        """Return what is wrong with a backup, one sentence each: every stored byte is read.

        Raises:
            Refused: there is no such backup.
        """
        try:
            manifest = self._manifest(label)
        except Damaged as error:
            return (f"{label}: {error}.",)
        with disk_errors("the backup cannot be read", self.root / label):
            return tuple(self._wrong_files(manifest))

    @contextmanager
    def workplace(self, purpose: Unfinished, label: str, *, keep: bool = False) -> Iterator[Path]:
        """Yield a folder, closed to other users, that becomes the backup when it is published; after an error it goes.

        Args:
            purpose: what it is for.
            label: of the backup.
            keep: leave it after an error, so that the next call finds what is done.
        """
        folder = self.root / f"{purpose}{label}"
        with disk_errors("the backup cannot be written", self.root):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                yield folder
            except BaseException:
                if not keep:
                    with suppress(OSError):
                        remove(folder)
                raise
            remove(folder)

    def publish(self, folder: Path, manifest: Manifest) -> None:
        """The folder, which holds all files of the manifest, is the backup, on the disk too. *Idempotent:* no.

        Raises:
            OSError: it cannot be written.
        """
        with replacing(folder / MANIFEST) as file:
            file.write(manifest.write())
        folder.rename(self.root / manifest.label)
        sync_folder(self.root)

    def remove(self, label: str) -> None:
        """The backup is gone, and not listed from the first moment on. *Idempotent:* yes."""
        going = self.root / f"{Unfinished.EXPIRING}{label}"
        with disk_errors("the backup cannot be removed", self.root / label, "it is not listed any more"):
            remove(going)
            with suppress(FileNotFoundError):
                (self.root / label).rename(going)
                sync_folder(self.root)
                remove(going)

    def sweep(self, *purposes: Unfinished) -> tuple[str, ...]:
        """Nothing is left of interrupted work of these kinds; returns what was removed. *Idempotent:* yes."""
        if not self.root.is_dir():
            return ()
        removed = []
        with disk_errors("what an interrupted run has left cannot be removed", self.root):
            for path in sorted(self.root.iterdir()):
                purpose = next((each for each in purposes if path.name.startswith(each)), None)
                if purpose is not None:
                    remove(path)
                    removed.append(f"{path} was left by an interrupted run and was removed.")
        return tuple(removed)

    def check_writable(self) -> None:
        """A backup can be written. *Idempotent:* yes.

        Raises:
            Refused: no permission.
            Retryable: the disk is full or gone.
        """
        with self.workplace(Unfinished.TAKING, "check") as folder:
            (folder / "check").write_bytes(b"\0" * 4096)

    def _labels(self) -> list[str]:
        with disk_errors("the repository does not answer", self.root):
            if not self.root.exists():
                return []
            return sorted(path.name for path in self.root.iterdir() if _LABEL.fullmatch(path.name))

    def _stored(self, label: str) -> StoredBackup:
        try:
            return self._manifest(label).stored()
        except Damaged as error:
            return unreadable(label, datetime.strptime(label, _TIME).replace(tzinfo=UTC), str(error))

    def _manifest(self, label: str) -> Manifest:
        if not _LABEL.fullmatch(label) or not (self.root / label).is_dir():
            find(label, self.stored(), str(self.root))
        with disk_errors("the backup cannot be read", self.root / label):
            try:
                data = (self.root / label / MANIFEST).read_bytes()
            except FileNotFoundError:
                raise Damaged("its manifest is missing") from None
        return read(data, label)

    def _wrong_files(self, manifest: Manifest) -> Iterator[str]:
        folder = self.root / manifest.label
        expected = {file.stored_name: file for file in manifest.files}
        for name, file in expected.items():
            path = folder / name
            if not path.is_file():
                yield f"{path} is missing."
            elif (size := path.stat().st_size) != file.sealed_bytes:
                yield f"{path} has {size} bytes and should have {file.sealed_bytes}."
            elif digest_of_file(path) != file.digest:
                yield f"{path} is not as it was written: its digest differs."
        for path in sorted(folder.iterdir()):
            if path.name not in expected and path.name != MANIFEST:
                yield f"{path} does not belong to the backup."


def label_at(moment: datetime) -> str:
    """Return the label of a backup that began then: '20261122T224530.123456Z'."""
    return moment.astimezone(UTC).strftime(_TIME)
