"""Backups of files and configuration by restic: encrypted, each holding what is new since the ones before."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from blocks.backups.disk import disk_errors
from blocks.backups.folders import refuse_filled, restoring
from blocks.backups.programs import Programs
from blocks.backups.refusals import find, require, require_kind, start_from
from blocks.backups.restic_cli import NoRepository, ResticRepository
from blocks.backups.restic_words import DamagedSnapshots, Reading, percent_reader
from blocks.backups.shelf import label_at
from blocks.context import Context
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
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import PositiveDuration, Size, Variable

_HOST = "slipway"
_COMPLETE, _UNFINISHED = "slipway", "slipway-unfinished"
_OLDEST = (0, 14)


class ResticEngine:
    """Keeps folders and files.

    A snapshot counts only once it has the tag `slipway`, which it gets when restic has read every file; until then,
    and for ever where restic or Slipway was killed or a file could not be read, it has another one. Its label, times
    and sizes are tags, too, so that a copy has the same ones.

    Args:
        settings: what, where to, and how fast.
        context: resolves secrets and paths.
    """

    class Settings(StrictModel):
        """Settings of the driver `restic`."""

        repositories: list[str] = Field(
            min_length=1,
            max_length=2,
            description="restic's repositories, for this plan alone: a folder, or s3:https://HOST/BUCKET/PREFIX",
        )
        paths: list[str] = Field(min_length=1, description="folders and files to back up")
        excludes: list[str] = Field(default_factory=list, description="patterns of restic that are left out: '*.tmp'")
        password: SecretRef = Field(description="reference to the password of the repositories")
        env: dict[Variable, SecretRef] = Field(
            default_factory=dict,
            description="references to what restic's store needs in its environment: AWS_ACCESS_KEY_ID ...",
        )
        upload_per_s_bytes: Size | None = Field(
            default=None, alias="upload_per_s", description="so much is sent in a second at most: '2MiB'"
        )
        within_s: PositiveDuration = Field(
            default=12 * 3600.0, alias="within", description="a command of restic that takes longer is ended"
        )

    form = Form.FILES

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._resolve = context.secrets.resolve
        self._paths = [context.resolve(path) for path in settings.paths]
        self._programs = Programs(context, settings.within_s)
        self._repositories = tuple(
            ResticRepository(
                location if _is_remote(location) else str(context.resolve(location)), self._programs, self._environment
            )
            for location in settings.repositories
        )

    def abilities(self) -> Abilities:
        """Return what can be done here.

        Raises:
            Refused: restic is missing or too old.
        """
        version = self._programs.version(["restic", "version"], "apt-get install restic")
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
            raise Refused(
                f"restic {version} is too old: it copies in the other direction",
                on="this machine",
                next_action=f"install restic {_OLDEST[0]}.{_OLDEST[1]} or newer",
            )
        missing = {
            Ability.POINT_IN_TIME: "restic has no WAL: only the state of a backup comes back",
            Ability.DIFFERENTIAL: "each backup of restic is a full one that stores only what is new",
            Ability.INCREMENTAL: "each backup of restic is a full one that stores only what is new",
            Ability.SHARED: "restic locks its repository while it reads all of it, or removes something",
        }
        can = {Ability.ENCRYPTION, Ability.RESUME, Ability.BANDWIDTH}
        if len(self._repositories) == SECOND:
            can.add(Ability.SECOND_REPOSITORY)
        else:
            missing[Ability.SECOND_REPOSITORY] = "the estate file names one repository"
        return Abilities({"restic": version}, frozenset(can), missing)

    def check(self, repository: int = FIRST, *, wal: bool = True) -> None:
        """A backup could be taken now: restic is there, so is all that is to be backed up, the repository opens.

        Raises:
            Refused: wrong password, something is missing, or the repository cannot be made or written.
            Retryable: the repository does not answer.
        """
        del wal  # None is kept.
        self.abilities()
        self._check_paths()
        place = self._repository(repository)
        with contextlib.suppress(NoRepository):
            place.ask("cat", "config")
        if not _is_remote(place.location):
            _check_writable(Path(place.location))

    def take(self, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """A new backup is complete in the repository, which is made if there is none; returns it.

        *Idempotent:* no: each call takes one. What an interrupted call has sent and put on record is not sent again.

        Raises:
            Refused: it is not to be a full one, or as for `check`.
            Retryable: files could not be read, or the repository failed on the way; nothing is called a backup.
        """
        require_kind(self.abilities(), kind, "restic")
        self._check_paths()
        place = self._repository(repository)
        started_at = datetime.now(UTC)
        self._prepare(place)
        reading = self._back_up(place, on_progress)
        stored = StoredBackup(
            label=label_at(started_at),
            kind=BackupKind.FULL,
            started_at=started_at,
            ended_at=datetime.now(UTC),
            size_bytes=reading.total_bytes,
            # Where nothing is new there is its record all the same.
            stored_bytes=max(1, reading.added_bytes),
        )
        on_progress(Progress(reading.total_bytes, reading.total_bytes))
        place.run("tag", "--set", ",".join(_tags(stored)), reading.snapshot)
        return stored

    def copy(self, label: str, on_progress: OnProgress) -> StoredBackup:
        """The second repository has this backup; returns it.

        *Idempotent:* yes; restic leaves out what is there already.

        Raises:
            Refused: no such backup, or no second repository.
            Unsafe: what is stored is damaged.
            Retryable: a repository failed on the way.
        """
        source, target = self._repository(FIRST), self._repository(SECOND)
        snapshot, stored = self._find(label, source)
        if label in {each.label for _, each in self._snapshots(target)}:
            return stored
        try:
            target.ask("cat", "config")
        except NoRepository:
            # Cut alike, what both have is stored once.
            target.run("init", "--from-repo", source.location, "--copy-chunker-params")
        on_progress(Progress(0, stored.size_bytes))
        reader = percent_reader(stored.size_bytes, on_progress)
        target.run("copy", "--from-repo", source.location, *self._limit(), snapshot, on_line=reader)
        on_progress(Progress(stored.size_bytes, stored.size_bytes))
        return stored

    def stored(self, repository: int = FIRST) -> tuple[StoredBackup, ...]:
        """Return the complete backups of a repository, oldest first; other snapshots are not among them.

        Raises:
            Refused: wrong password, or no access.
            Retryable: the repository does not answer.
        """
        return tuple(stored for _, stored in self._snapshots(self._repository(repository)))

    def verify(self, label: str, repository: int = FIRST) -> tuple[str, ...]:
        """Return what is wrong with the repository that the backup lies in: all of it is read.

        What restic stores is shared by backups, so that damage counts against each of them.

        Raises:
            Refused: no such backup, or as for `stored`.
            Retryable: the repository does not answer, or is locked.
        """
        place = self._repository(repository)
        self._find(label, place)
        return place.wrong()

    def restore(self, to: RestoreTo, into: Path, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """The folder holds the files under their whole paths; returns the backup.

        *Idempotent:* yes.

        Raises:
            Refused: a point in time was asked for, no such backup, or the folder is not empty.
            Unsafe: what is stored is damaged: it cannot be restored.
            Retryable: the repository failed on the way, or the disk is full.
        """
        if to.at is not None:
            require(self.abilities(), Ability.POINT_IN_TIME, "restic")
        place = self._repository(repository)
        snapshots = self._snapshots(place)
        chosen = start_from(to.label, None, None, [stored for _, stored in snapshots], place.location)
        snapshot = next(snapshot for snapshot, stored in snapshots if stored == chosen)
        refuse_filled(into)
        with disk_errors("the backup cannot be restored", into, "nothing is left of what was restored"):  # noqa: SIM117
            with restoring(into) as folder:
                on_progress(Progress(0, chosen.size_bytes))
                place.run("restore", snapshot, "--target", str(folder))
                on_progress(Progress(chosen.size_bytes, chosen.size_bytes))
        return chosen

    def reaches(self, repository: int = FIRST) -> datetime | None:
        """Return when the newest backup was begun: files that changed later may be missing. None if there is none.

        Raises:
            Retryable, Refused: as for `stored`.
        """
        return max((stored.started_at for stored in self.stored(repository) if not stored.error), default=None)

    def expire(self, labels: Sequence[str], repository: int = FIRST) -> None:
        """These backups are gone, and what only they held. *Idempotent:* yes; what is gone already is left out.

        Raises:
            Retryable: the repository failed on the way, or is locked; what is gone is not listed any more.
        """
        place = self._repository(repository)
        going = [snapshot for snapshot, stored in self._snapshots(place) if stored.label in labels]
        if going:
            place.run("forget", "--prune", *going)

    def clean(self, repository: int = FIRST) -> tuple[str, ...]:
        """Nothing is left there of interrupted work; returns what was removed, one sentence each. *Idempotent:* yes."""
        place = self._repository(repository)
        left: list[str] = []
        with contextlib.suppress(NoRepository):
            left = self._ids(place, _UNFINISHED)
            if left:
                place.run("forget", "--prune", *left)
        return tuple(f"The unfinished snapshot {each[:8]} was removed from {place.location}." for each in left)

    def _back_up(self, place: ResticRepository, on_progress: OnProgress) -> Reading:
        reading = Reading(on_progress)
        excludes = [f"--exclude={pattern}" for pattern in self._settings.excludes]
        flags = ["--json", "--host", _HOST, "--tag", _UNFINISHED, *self._limit(), *excludes]
        try:
            place.run("backup", *flags, "--", *map(str, self._paths), on_line=reading.line)
        finally:
            # Said before whatever restic's exit code means: a file that was left out is why.
            reading.refuse_left_out(place.location)
        return reading

    def _prepare(self, place: ResticRepository) -> None:
        """There is a repository, and no unfinished snapshot in it."""
        try:
            left = self._ids(place, _UNFINISHED)
        except NoRepository:
            place.run("init")
            return
        if left:
            place.run("forget", *left)

    def _repository(self, number: int) -> ResticRepository:
        if number > len(self._repositories):
            require(self.abilities(), Ability.SECOND_REPOSITORY, "restic")
        return self._repositories[number - 1]

    def _snapshots(self, place: ResticRepository) -> list[tuple[str, StoredBackup]]:
        """Return complete backups with their snapshots' ids, oldest first; before them those that cannot be read."""
        damaged = DamagedSnapshots()
        try:
            found = place.ask("snapshots", "--json", "--tag", _COMPLETE, on_line=damaged.line)
        except NoRepository:
            return []
        read = [(str(each["id"]), _stored(each)) for each in found]
        return [*damaged.found, *sorted(read, key=lambda pair: pair[1].label)]

    def _ids(self, place: ResticRepository, tag: str) -> list[str]:
        return [str(each["id"]) for each in place.ask("snapshots", "--json", "--tag", tag)]

    def _find(self, label: str, place: ResticRepository) -> tuple[str, StoredBackup]:
        snapshots = self._snapshots(place)
        wanted = find(label, [stored for _, stored in snapshots], place.location)
        return next(pair for pair in snapshots if pair[1] == wanted)

    def _check_paths(self) -> None:
        # restic 0.14 passes by what is not there, and calls it a success.
        gone = [str(path) for path in self._paths if not os.path.lexists(path)]
        if gone:
            raise Refused(
                "what is to be backed up does not exist",
                on=", ".join(gone),
                next_action="correct 'paths' in the estate file, or see what has removed it; is a disk not mounted?",
            )

    def _environment(self) -> Mapping[str, str]:
        password = self._resolve(self._settings.password)
        store = {name: self._resolve(reference) for name, reference in self._settings.env.items()}
        return {**store, "RESTIC_PASSWORD": password, "RESTIC_FROM_PASSWORD": password}

    def _limit(self) -> list[str]:
        limit = self._settings.upload_per_s_bytes
        return [] if limit is None else ["--limit-upload", str(max(1, limit // 1024))]


def _tags(stored: StoredBackup) -> list[str]:
    return [
        _COMPLETE,
        f"label={stored.label}",
        f"started={stored.started_at.isoformat()}",
        f"ended={stored.ended_at.isoformat()}",
        f"size={stored.size_bytes}",
        f"stored={stored.stored_bytes}",
    ]


def _stored(snapshot: Mapping[str, Any]) -> StoredBackup:
    tags = dict(tag.partition("=")[::2] for tag in snapshot["tags"])
    return StoredBackup(
        label=tags["label"],
        kind=BackupKind.FULL,
        started_at=datetime.fromisoformat(tags["started"]),
        ended_at=datetime.fromisoformat(tags["ended"]),
        size_bytes=int(tags["size"]),
        stored_bytes=int(tags["stored"]),
    )


def _is_remote(location: str) -> bool:
    return location.startswith("s3:")


def _check_writable(folder: Path) -> None:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise Refused(
            "the repository cannot be written",
            on=str(there),
            next_action="give the user that runs Slipway's worker access to it, or mount it for writing",
        )
