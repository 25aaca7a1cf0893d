"""Whole copies of a PostgreSQL cluster by pg_basebackup, proven by pg_verifybackup. Nothing else is needed."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from blocks.backups.basebackup_program import MANIFEST, Programs, Source, sign_in
from blocks.backups.clusters import cut_off
from blocks.backups.folders import restoring
from blocks.backups.orphans import end_orphans
from blocks.backups.refusals import find, require, require_kind, start_from
from blocks.context import Context
from blocks.files import digest_of_file, replacing, sync, sync_folder, system_errors
from blocks.users import own
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
from tasks.common.errors import Retryable, Unsafe
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import PositiveDuration, Size

_LABEL = re.compile(r"\d{8}-\d{6}-\d{6}")
_PARTIAL, _GONE = ".partial", ".gone"
_DATA, _ABOUT = "data", "backup.json"
_ONLY_FULL = "pg_basebackup takes full backups only, before PostgreSQL 17"


class BaseBackupEngine:
    """Keeps each backup as a folder of plain files, whole or not at all.

    Args:
        settings: which server, and into which folders.
        context: resolves secrets and paths.
    """

    class Settings(StrictModel):
        """Settings of the driver `pg_basebackup`."""

        host: str = Field(default="127.0.0.1", min_length=1, description="the server's address, or its socket's folder")
        port: int = Field(default=5432, ge=1, le=65535, description="the server's port")
        role: str = Field(default="postgres", min_length=1, description="role to sign in as, with REPLICATION")
        password: SecretRef | None = Field(default=None, description="reference to the role's password")
        user: str = Field(default="postgres", min_length=1, description="owns the files where Slipway runs as root")
        repositories: list[str] = Field(
            min_length=1, max_length=2, description="folders for backups; the second one for copies"
        )
        max_rate: Size | None = Field(default=None, ge=32 * 2**10, le=2**30, description="bytes a second, at most")
        timeout_s: PositiveDuration = Field(
            default=24 * 3600.0, alias="timeout", description="longest time for one backup or verification"
        )

    form = Form.CLUSTER

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._programs = Programs(context, settings.user, settings.timeout_s)

    def abilities(self) -> Abilities:
        """Return what can be done here.

        Raises:
            Refused: PostgreSQL's programs are missing or too old.
        """
        missing = {
            Ability.POINT_IN_TIME: "pg_basebackup keeps no WAL beyond the backup",
            Ability.DIFFERENTIAL: _ONLY_FULL,
            Ability.INCREMENTAL: _ONLY_FULL,
            Ability.ENCRYPTION: "pg_basebackup writes plain files; encrypt the disk",
            Ability.RESUME: "pg_basebackup starts anew",
        }
        if len(self._settings.repositories) < SECOND:
            missing[Ability.SECOND_REPOSITORY] = "the estate file names one repository"
        can = frozenset(set(Ability) - set(missing))
        return Abilities({"pg_basebackup": self._programs.version()}, can, missing)

    def check(self, repository: int = FIRST, *, wal: bool = True) -> None:
        """The server lets us in for replication, and the repository's folder is there.

        Raises:
            Refused: wrong credentials, or a folder cannot be made.
            Retryable: the server does not answer.
        """
        del wal  # None is kept.
        self._programs.version()
        sign_in(self._source())
        self._open(repository)

    def take(self, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """A new backup is complete in the repository; returns it. What was interrupted is removed first.

        *Idempotent:* no.

        Raises:
            Refused: another kind than a full one, or wrong credentials.
            Retryable: the server or the disk failed on the way; nothing is called a backup.
        """
        require_kind(self.abilities(), kind, self._on)
        version = sign_in(self._source())
        place = self._open(repository)
        self._sweep(place)
        began = datetime.now(UTC)
        label = f"{began:%Y%m%d-%H%M%S-%f}"
        with self._making(place, label) as folder:
            self._programs.base_backup(self._source(), folder / _DATA, self._max_rate_kib, on_progress)
            size = sum(file.stat().st_size for file in _files(folder / _DATA))
            stored = StoredBackup(label, kind, began, datetime.now(UTC), size, size, (), version.partition(" ")[0])
            _describe(folder, stored)
        on_progress(Progress(size, size))
        return stored

    def copy(self, label: str, on_progress: OnProgress) -> StoredBackup:
        """The second repository has this backup, and it was verified there; returns it. *Idempotent:* yes.

        Raises:
            Refused: no such backup, or no second repository.
            Unsafe: it is damaged.
            Retryable: the disk failed on the way.
        """
        require(self.abilities(), Ability.SECOND_REPOSITORY, self._on)
        first, second = self._place(FIRST), self._open(SECOND)
        stored = find(label, self.stored(), self._on)
        if label in {backup.label for backup in self.stored(SECOND)}:
            return stored
        self._sweep(second)
        with self._making(second, label) as folder:
            self._copy(first / label / _DATA, folder / _DATA, on_progress)
            self._require_sound(folder / _DATA, label)
            _describe(folder, stored)
        return stored

    def stored(self, repository: int = FIRST) -> tuple[StoredBackup, ...]:
        """Return the complete backups of a repository, oldest first.

        Raises:
            Refused: its folder cannot be read.
        """
        place = self._place(repository)
        with system_errors("the backups cannot be listed", place):
            there = place.iterdir() if place.is_dir() else ()
            labels = sorted(path.name for path in there if _LABEL.fullmatch(path.name))
        return tuple(_described(place / label) for label in labels)

    def verify(self, label: str, repository: int = FIRST) -> tuple[str, ...]:
        """Return what pg_verifybackup finds wrong with a backup: files, checksums and WAL.

        Raises:
            Refused: no such backup.
        """
        find(label, self.stored(repository), self._on)
        return tuple(self._problems(self._place(repository) / label))

    def restore(self, to: RestoreTo, into: Path, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """The folder is the cluster as of the end of the backup; the copy was verified.

        *Idempotent:* yes.

        Raises:
            Refused: a point in time is asked for, no such backup, or the folder is not empty.
            Unsafe: what is stored is damaged.
            Retryable: the disk is full, or failed.
        """
        if to.at is not None:
            require(self.abilities(), Ability.POINT_IN_TIME, self._on)
        every = self.stored(repository)
        named = find(to.label, every, self._on) if to.label else None
        stored = named or start_from(None, None, None, every, self._on)
        place = self._place(repository) / stored.label
        with restoring(into, self._programs.user) as folder:
            self._copy(place / _DATA, folder, on_progress)
            # The copy, and not the original: what was misread or miswritten on the way is found, too.
            self._require_sound(folder, stored.label, _about_problems(place))
            cut_off(folder, {})
        return stored

    def reaches(self, repository: int = FIRST) -> datetime | None:
        """Return when the newest backup was complete; None if there is none."""
        return max((backup.ended_at for backup in self.stored(repository) if not backup.error), default=None)

    def expire(self, labels: Sequence[str], repository: int = FIRST) -> None:
        """These backups are gone. *Idempotent:* yes.

        Raises:
            Refused: a file cannot be removed; its backup is not listed any more.
        """
        place = self._place(repository)
        for label in labels:
            if _LABEL.fullmatch(label) and (place / label).exists():
                gone = place / f"{label}{_GONE}"
                with system_errors("a backup cannot be removed", gone):
                    (place / label).rename(gone)
                    sync_folder(place)
                    shutil.rmtree(gone)

    def clean(self, repository: int = FIRST) -> tuple[str, ...]:
        """Nothing is left there of interrupted work; returns what was removed. *Idempotent:* yes."""
        return tuple(f"{name} in repository {repository}" for name in self._sweep(self._place(repository)))

    @property
    def _on(self) -> str:
        return f"pg_basebackup of {self._settings.host}:{self._settings.port}"

    @property
    def _max_rate_kib(self) -> int | None:
        return self._settings.max_rate // 1024 if self._settings.max_rate else None

    def _source(self) -> Source:
        given = self._settings
        password = self._context.secrets.resolve(given.password) if given.password else None
        return Source(host=given.host, port=given.port, role=given.role, password=password)

    def _place(self, repository: int) -> Path:
        """Return the folder of a repository; who only reads makes none in the place of a disk that is not mounted."""
        if repository > len(self._settings.repositories):
            require(self.abilities(), Ability.SECOND_REPOSITORY, self._on)
        return self._context.resolve(self._settings.repositories[repository - 1])

    def _open(self, repository: int) -> Path:
        """Return the folder of a repository, which exists afterwards."""
        place = self._place(repository)
        with system_errors("the repository's folder cannot be made", place):
            own(place, self._programs.user)
        return place

    @contextlib.contextmanager
    def _making(self, place: Path, label: str) -> Iterator[Path]:
        """Yield a folder that becomes the backup of this label when the `with` ends well; else nothing is left."""
        partial = place / f"{label}{_PARTIAL}"
        try:
            with system_errors("the backup's folder cannot be made", partial):
                own(partial, self._programs.user)
            yield partial
            with system_errors("the backup cannot be put into its place", partial):
                partial.rename(place / label)
                sync_folder(place)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _sweep(self, place: Path) -> list[str]:
        """Remove what interrupted calls have left; return its names."""
        there = sorted(place.iterdir()) if place.is_dir() else []
        left = [path for path in there if path.name.endswith((_PARTIAL, _GONE))]
        for path in left:
            end_orphans("pg_basebackup", path)
            with system_errors("what an interrupted call has left cannot be removed", path):
                shutil.rmtree(path)
        return [path.name for path in left]

    def _copy(self, source: Path, into: Path, on_progress: OnProgress) -> None:
        """The folder holds the same files, of the same owner, on the disk."""
        owner = self._programs.user
        total = sum(file.stat().st_size for file in _files(source))
        done = 0
        try:
            for path in sorted(source.rglob("*")):
                to = into / path.relative_to(source)
                to.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    to.mkdir(exist_ok=True)
                else:
                    shutil.copy2(path, to)
                    with to.open("rb") as copied:
                        sync(copied)
                    done += to.stat().st_size
                    on_progress(Progress(min(done, total), total))
            for path in (into, *into.rglob("*")):
                path.chmod(0o700 if path.is_dir() else 0o600)
                if owner is not None:
                    os.chown(path, owner.pw_uid, owner.pw_gid)
                if path.is_dir():
                    sync_folder(path)
        except OSError as error:
            raise Retryable(
                f"a backup cannot be copied: {error.strerror}",
                on=str(into),
                next_action="free space there, or see what is wrong with the disk, then run this again",
            ) from error

    def _problems(self, place: Path) -> list[str]:
        return _about_problems(place) or self._programs.problems(place / _DATA)

    def _require_sound(self, data: Path, label: str, known: Sequence[str] = ()) -> None:
        problems = [*known, *self._programs.problems(data)]
        if problems:
            raise Unsafe(
                f"the backup {label} is damaged",
                on=self._on,
                state="what was copied of it was removed",
                next_action="use another backup, or the one in the other repository",
                facts={"problems": "\n".join(problems)},
            )


def _describe(folder: Path, stored: StoredBackup) -> None:
    """The backup's figures, and the digests of its manifest and of its WAL, which has none there, are kept with it."""
    about = {**asdict(stored), "started_at": stored.started_at.isoformat(), "ended_at": stored.ended_at.isoformat()}
    about["digests"] = {
        str(file.relative_to(folder)): digest_of_file(file)
        for file in (folder / _DATA / MANIFEST, *_files(folder / _DATA / "pg_wal"))
    }
    with system_errors("the backup's description cannot be written", folder), replacing(folder / _ABOUT) as file:
        file.write(json.dumps(about, indent=1).encode())


def _described(place: Path) -> StoredBackup:
    try:
        about = json.loads((place / _ABOUT).read_text())
        about.pop("digests")
        moments = {name: datetime.fromisoformat(about.pop(name)) for name in ("started_at", "ended_at")}
        return StoredBackup(**{**about, **moments, "kind": BackupKind(about["kind"]), "needs": ()})
    except (OSError, ValueError, KeyError, TypeError):
        began = datetime.strptime(place.name, "%Y%m%d-%H%M%S-%f").replace(tzinfo=UTC)
        error = f"its description {_ABOUT} is missing or damaged"
        return StoredBackup(place.name, BackupKind.FULL, began, began, 0, 0, error=error)


def _about_problems(place: Path) -> list[str]:
    """Return what is wrong with the description of a backup, with its manifest and with its WAL."""
    try:
        digests: dict[str, str] = json.loads((place / _ABOUT).read_text())["digests"]
    except (OSError, ValueError, KeyError, TypeError):
        return [f"its description {_ABOUT} is missing or damaged"]
    return [problem for name, digest in digests.items() if (problem := _file_problem(place / name, name, digest))]


def _file_problem(file: Path, name: str, digest: str) -> str:
    if not file.is_file():
        return f"{name} is missing"
    return "" if digest_of_file(file) == digest else f"{name} is not as it was written"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
