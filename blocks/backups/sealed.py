"""Engines whose backups are files that one program writes in one go: sealed with age, each in a folder of its own."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from blocks.backups.age import Identities, Recipient, seal, unseal
from blocks.backups.disk import disk_errors
from blocks.backups.folders import refuse_filled, restoring
from blocks.backups.manifest import Manifest, SealedFile
from blocks.backups.programs import Programs
from blocks.backups.refusals import require, require_kind, start_from
from blocks.backups.shelf import Shelf, Unfinished, label_at
from blocks.context import Context
from blocks.files import chunks_of, digest_of_file, replacing
from tasks.common.backups import (
    FIRST,
    SECOND,
    Abilities,
    Ability,
    BackupKind,
    Form,
    OnProgress,
    Progress,
    RestoreTo,
    StoredBackup,
)
from tasks.common.errors import Refused, Unsafe
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import PositiveDuration

_STEP_BYTES = 2**23
_PLAIN = "plain"
_SEALED = "sealed"


class SealedSettings(StrictModel):
    """Settings that all of these engines have."""

    repositories: list[str] = Field(
        min_length=1, max_length=2, description="folders for the backups: the first, and the copy in a second region"
    )
    recipients: list[Recipient] = Field(
        min_length=1, description="public keys of age that the backups are encrypted for; any one of them restores"
    )
    identity: SecretRef | None = Field(
        default=None, description="reference to the secret key of age; needed to restore, not to take backups"
    )
    within_s: PositiveDuration = Field(
        default=12 * 3600.0, alias="within", description="a dump that takes longer is ended"
    )


@dataclass(frozen=True)
class Dumped:
    """What a dump is of: 'campus on db.internal:5432', the server's version, and the whole of its progress."""

    source: str
    version: str
    progress_bytes: int


class SealedEngine(ABC):
    """Seals what a program dumps, and keeps it.

    A dump is written beside its place, in the repository, into a folder that is closed to other users. Then each file
    is encrypted and its plain one removed, the manifest is written, and one rename makes it a backup. What a killed
    run leaves is never listed, and the next one removes it.

    Args:
        settings: where, for whom, and how long it may take.
        context: resolves secrets and paths.
    """

    form: Form
    name: str
    """The driver's name."""

    def __init__(self, settings: SealedSettings, context: Context) -> None:
        self._sealing = settings
        self._resolve = context.secrets.resolve
        self._shelves = tuple(Shelf(context.resolve(folder)) for folder in settings.repositories)
        self._programs = Programs(context, settings.within_s)

    @abstractmethod
    def _versions(self) -> dict[str, str]:
        """Return the version of each program that is needed; raises Refused where one is missing."""

    @abstractmethod
    def _ask_source(self) -> None:
        """The source answers and lets us in; raises Refused or Retryable."""

    @abstractmethod
    def _dump(self, into: Path, on_progress: OnProgress) -> Dumped:
        """The folder holds the dump, and no folders; raises Refused or Retryable."""

    def abilities(self) -> Abilities:
        """Return what can be done here.

        Raises:
            Refused: a program is missing.
        """
        missing = {
            Ability.POINT_IN_TIME: f"{self.name} has no WAL: only the state of a backup comes back",
            Ability.DIFFERENTIAL: f"{self.name} takes full backups only",
            Ability.INCREMENTAL: f"{self.name} takes full backups only",
            Ability.RESUME: f"{self.name} has to start anew, as a dump is of one moment; a copy is resumed",
            Ability.BANDWIDTH: f"{self.name} has no limit",
        }
        can = {Ability.ENCRYPTION, Ability.SHARED}
        if len(self._shelves) == SECOND:
            can.add(Ability.SECOND_REPOSITORY)
        else:
            missing[Ability.SECOND_REPOSITORY] = "the estate file names one repository"
        return Abilities(self._versions(), frozenset(can), missing)

    def check(self, repository: int = FIRST, *, wal: bool = True) -> None:
        """A backup could be taken now: the programs are there, the source answers, the repository can be written.

        Raises:
            Refused: wrong credentials or key, a program is missing, or the repository cannot be written: all of it.
            Retryable: the source or the repository does not answer.
        """
        del wal  # None is kept.
        wrong: list[Refused] = []
        for look in (self._versions, self._identities, self._ask_source, self._shelf(repository).check_writable):
            try:
                look()
            except Refused as error:
                wrong.append(error)
        if len(wrong) > 1:
            raise Refused(
                f"no backup can be taken, for {len(wrong)} reasons",
                on=self.name,
                next_action="mend them all; each says how",
                facts={str(number): error.block() for number, error in enumerate(wrong, 1)},
            )
        if wrong:
            raise wrong[0]

    def take(self, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """A new backup is complete in the repository; returns it.

        *Idempotent:* no: each call takes one. What an interrupted call has left is removed first.

        Raises:
            Refused: it is not to be a full one, or as for `check`.
            Retryable: the source or the repository failed on the way; nothing is called a backup.
        """
        require_kind(self.abilities(), kind, self.name)
        self._identities()
        shelf = self._shelf(repository)
        shelf.sweep(Unfinished.TAKING)
        started_at = datetime.now(UTC)
        label = label_at(started_at)
        with shelf.workplace(Unfinished.TAKING, label) as folder:
            plain, sealed = folder / _PLAIN, folder / _SEALED
            plain.mkdir(mode=0o700)
            sealed.mkdir(mode=0o700)
            dumped = self._dump(plain, on_progress)
            files = tuple(self._seal(path, sealed) for path in sorted(plain.iterdir()))
            manifest = Manifest(
                label=label,
                engine=self.name,
                source=dumped.source,
                source_version=dumped.version,
                started_at=started_at,
                ended_at=datetime.now(UTC),
                recipients=tuple(self._sealing.recipients),
                files=files,
            )
            # The last word before it counts: whoever interrupts the run here has no backup.
            on_progress(Progress(dumped.progress_bytes, dumped.progress_bytes))
            shelf.publish(sealed, manifest)
        return manifest.stored()

    def copy(self, label: str, on_progress: OnProgress) -> StoredBackup:
        """The second repository has this backup, every byte of it checked on its way; returns it.

        *Idempotent:* yes; files that an interrupted call has copied are not copied again.

        Raises:
            Refused: no such backup, or no second repository.
            Unsafe: what is stored is damaged.
            Retryable: a repository failed on the way.
        """
        self._identities()
        source, target = self._shelf(FIRST), self._shelf(SECOND)
        manifest = source.manifest(label)
        if manifest.stored() in target.stored() and target.manifest(label) == manifest:
            return manifest.stored()
        target.remove(label)
        meter = _Meter(manifest.sealed_bytes, on_progress)
        with target.workplace(Unfinished.COPYING, label, keep=True) as folder:
            sealed = folder / _SEALED
            sealed.mkdir(mode=0o700, exist_ok=True)
            _remove_strangers(sealed, {file.stored_name for file in manifest.files})
            for file in manifest.files:
                _copy(source.root / label / file.stored_name, sealed / file.stored_name, file, meter)
            meter.finish()
            target.publish(sealed, manifest)
        return manifest.stored()

    def stored(self, repository: int = FIRST) -> tuple[StoredBackup, ...]:
        """Return the complete backups of a repository, oldest first; interrupted ones are not among them.

        Raises:
            Refused: the key does not fit, or no access.
            Retryable: the repository does not answer.
        """
        self._identities()
        return self._shelf(repository).stored()

    def verify(self, label: str, repository: int = FIRST) -> tuple[str, ...]:
        """Return what is wrong with a backup where it lies: each file is read and compared with the manifest's digest.

        Raises:
            Refused: no such backup, or as for `stored`.
            Retryable: the repository does not answer.
        """
        self._identities()
        return self._shelf(repository).wrong_with(label)

    def restore(self, to: RestoreTo, into: Path, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """The folder holds the backup's files, decrypted; returns the backup. Digests are checked first.

        *Idempotent:* yes.

        Raises:
            Refused: a point in time was asked for, no such backup, no key or one that does not fit, or the folder is
                not empty.
            Unsafe: what is stored is damaged: it cannot be restored.
            Retryable: the repository failed on the way, or the disk is full.
        """
        if to.at is not None:
            require(self.abilities(), Ability.POINT_IN_TIME, self.name)
        identities = self._identities() or self._no_identity()
        shelf = self._shelf(repository)
        label = to.label or start_from(None, None, None, shelf.stored(), str(shelf.root)).label
        manifest = shelf.manifest(label)
        refuse_filled(into)
        _refuse_damaged(label, shelf.wrong_with(label), shelf)
        meter = _Meter(manifest.plain_bytes, on_progress)
        with disk_errors("the backup cannot be restored", into, "nothing is left of what was restored"):  # noqa: SIM117
            with restoring(into) as folder:
                for file in manifest.files:
                    unseal(shelf.root / label / file.stored_name, folder / file.name, identities, meter.add)
                meter.finish()
        return manifest.stored()

    def reaches(self, repository: int = FIRST) -> datetime | None:
        """Return when the newest backup was begun, as a dump is of that moment; None if there is none.

        Raises:
            Retryable, Refused: as for `stored`.
        """
        sound = [backup.started_at for backup in self.stored(repository) if not backup.error]
        return max(sound, default=None)

    def expire(self, labels: Sequence[str], repository: int = FIRST) -> None:
        """These backups are gone. *Idempotent:* yes; what is gone already is left out.

        Raises:
            Retryable: the repository failed on the way; what is gone is not listed any more.
        """
        shelf = self._shelf(repository)
        for backup in self.stored(repository):
            if backup.label in labels:
                shelf.remove(backup.label)

    def clean(self, repository: int = FIRST) -> tuple[str, ...]:
        """Nothing is left there of interrupted work; returns what was removed, one sentence each. *Idempotent:* yes."""
        return tuple(self._shelf(repository).sweep(*Unfinished))

    def _shelf(self, repository: int) -> Shelf:
        if repository > len(self._shelves):
            require(self.abilities(), Ability.SECOND_REPOSITORY, self.name)
        return self._shelves[repository - 1]

    def _identities(self) -> Identities | None:
        """Return the secret keys, if the settings name them; one must open what is sealed now.

        Raises:
            Refused: none does: each backup would be taken, and none could be restored.
        """
        reference = self._sealing.identity
        if reference is None:
            return None
        identities = Identities(self._resolve(reference), reference)
        if not set(identities.recipients) & set(self._sealing.recipients):
            raise Refused(
                "the key cannot decrypt what is encrypted for the recipients",
                on=reference,
                next_action="name the secret key of one of the recipients, or add its public key to 'recipients'",
                facts={"public keys of the secret ones": ", ".join(identities.recipients)},
            )
        return identities

    def _no_identity(self) -> Identities:
        raise Refused(
            "there is no key to restore with",
            on=self.name,
            next_action="set 'identity' in the estate file to a reference to the secret key of one of the recipients",
        )

    def _seal(self, path: Path, folder: Path) -> SealedFile:
        target = folder / f"{path.name}.age"
        sealed = seal(path, target, self._sealing.recipients, lambda _: None)
        path.unlink()
        return SealedFile(
            name=path.name, plain_bytes=sealed.plain_bytes, sealed_bytes=sealed.sealed_bytes, digest=sealed.digest
        )


class _Meter:
    """Reports bytes in steps, so that a report costs nothing beside the work."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self._total, self._on_progress = total, on_progress
        self._done = self._told = 0
        on_progress(Progress(0, total))

    def add(self, count: int) -> None:
        self._done += count
        if self._done - self._told >= _STEP_BYTES:
            self._told = self._done
            self._on_progress(Progress(min(self._done, self._total), self._total))

    def finish(self) -> None:
        self._on_progress(Progress(self._total, self._total))


def _copy(source: Path, target: Path, file: SealedFile, meter: _Meter) -> None:
    if target.is_file() and target.stat().st_size == file.sealed_bytes and digest_of_file(target) == file.digest:
        meter.add(file.sealed_bytes)
        return
    with suppress(FileNotFoundError), source.open("rb") as opened, replacing(target) as written:
        for chunk in chunks_of(opened):
            written.write(chunk)
            meter.add(len(chunk))
    if not target.is_file() or digest_of_file(target) != file.digest:
        target.unlink(missing_ok=True)
        raise _damaged([f"{source} is missing, or not as it was written."], source.parent)


def _remove_strangers(folder: Path, known: set[str]) -> None:
    """Only files that belong to the backup are there: a copy that was killed leaves half of one under another name."""
    for path in folder.iterdir():
        if path.name not in known:
            path.unlink()


def _refuse_damaged(label: str, wrong: Sequence[str], shelf: Shelf) -> None:
    if wrong:
        raise _damaged(wrong, shelf.root / label)


def _damaged(wrong: Sequence[str], where: Path) -> Unsafe:
    return Unsafe(
        "a backup is damaged",
        on=str(where),
        state="nothing of it was used, and nothing was changed",
        next_action="use another backup, or this one from the other repository; find out what changed it",
        facts={"wrong": "\n".join(wrong[:10])},
    )
