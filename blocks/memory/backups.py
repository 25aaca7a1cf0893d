"""Backups in memory, for tests and dry runs: of lines of text, with their times for WAL."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from blocks.backups.folders import restoring
from blocks.backups.refusals import find, refuse_needed, require, require_kind, start_from
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
from tasks.common.errors import Refused, SlipwayError, Unsafe
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef

CONTENT = "content.txt"
"""The file that a restore makes: the lines, one each."""
_LETTERS = {BackupKind.FULL: "F", BackupKind.DIFFERENTIAL: "D", BackupKind.INCREMENTAL: "I"}


@dataclass
class MemoryBackup:
    """One backup with its bytes; `content` is None where they are lost."""

    stored: StoredBackup
    content: bytes | None
    digest: str


@dataclass
class MemoryRepository:
    """What a repository holds: backups by label, the time of the newest WAL, and how many takes were interrupted."""

    backups: dict[str, MemoryBackup] = field(default_factory=dict)
    wal_to: datetime | None = None
    interrupted: int = 0
    key_digest: str | None = None


@dataclass
class MemoryBackups:
    """What exists, and the faults that tests plant.

    Args:
        lines: the source: when each was written, and its text.
        repositories: by number.
        password: what the source asks for; '' for none.
        archives: whether WAL arrives in the repositories; nothing else shows that it does not.
        faults: raised by the method of that name, 'take', before it does anything.
    """

    lines: list[tuple[datetime, str]] = field(default_factory=list)
    repositories: dict[int, MemoryRepository] = field(
        default_factory=lambda: {FIRST: MemoryRepository(), SECOND: MemoryRepository()}
    )
    password: str = ""
    archives: bool = True
    faults: dict[str, SlipwayError] = field(default_factory=dict)

    def write(self, text: str) -> datetime:
        """The source has one line more; returns when. WAL arrives in the repositories at once, if it does."""
        at = datetime.now(UTC)
        self.lines.append((at, text))
        self.archive()
        return at

    def archive(self) -> None:
        """The newest WAL is in the repositories, if it arrives there."""
        if self.archives and self.lines:
            for repository in self.repositories.values():
                repository.wal_to = self.lines[-1][0]


class MemoryEngine:
    """Keeps backups for as long as the process lives.

    Args:
        settings: which world, and what the engine can do.
        context: resolves secrets.
    """

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        world: str = Field(default="", description="engines with the same world have the same source and repositories")
        form: Form = Field(default=Form.FILES, description="what a restore says that it has made")
        can: list[Ability] = Field(default=list(Ability), description="what the engine can do")
        password: SecretRef | None = Field(default=None, description="reference to the password of the source")
        key: SecretRef | None = Field(default=None, description="reference to the key of the repositories")

    worlds: ClassVar[dict[str, MemoryBackups]] = {}
    """What exists, by the world's name."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self.form = settings.form
        self._settings = settings
        self._resolve = context.secrets.resolve

    @property
    def _world(self) -> MemoryBackups:
        return self.worlds.setdefault(self._settings.world, MemoryBackups())

    @property
    def _on(self) -> str:
        return f"memory {self._settings.world}".strip()

    def abilities(self) -> Abilities:
        """Return what the settings allow."""
        self._fail("abilities")
        can = frozenset(self._settings.can)
        return Abilities(
            {"memory": "1"}, can, {each: "the settings leave it out" for each in Ability if each not in can}
        )

    def check(self, repository: int = FIRST, *, wal: bool = True) -> None:
        """A backup could be taken now.

        Raises:
            Refused: wrong password or key, or WAL does not arrive.
        """
        self._fail("check")
        self._sign_in()
        place = self._repository(repository)
        newest = self._world.lines[-1][0] if self._world.lines else None
        if wal and self._can(Ability.POINT_IN_TIME) and newest and place.wal_to != newest:
            raise Refused(
                f"WAL does not arrive in repository {repository}",
                on=self._on,
                next_action="see why the source does not archive",
            )

    def take(self, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """A new backup is complete in the repository; returns it. *Idempotent:* no.

        Raises:
            Refused: the engine cannot take this kind, or there is nothing that it can start from.
        """
        self._fail("take")
        require_kind(self.abilities(), kind, self._on)
        self._sign_in()
        place = self._repository(repository)
        needs = () if kind is BackupKind.FULL else self._chain(place, kind)
        place.interrupted += 1
        began = datetime.now(UTC)
        content = "".join(f"{text}\n" for _, text in self._world.lines).encode()
        own = len(content) - sum(place.backups[label].stored.stored_bytes for label in needs)
        _progress(len(content), on_progress)
        ended = datetime.now(UTC)
        label = f"{ended:%Y%m%d-%H%M%S%f}{_LETTERS[kind]}"
        stored = StoredBackup(label, kind, began, ended, len(content), max(0, own), needs)
        place.backups[label] = MemoryBackup(stored, content, _digest(content))
        place.interrupted = 0
        self._world.archive()
        return stored

    def copy(self, label: str, on_progress: OnProgress) -> StoredBackup:
        """The second repository has this backup; returns it. *Idempotent:* yes.

        Raises:
            Refused: no such backup, or no second repository.
        """
        self._fail("copy")
        require(self.abilities(), Ability.SECOND_REPOSITORY, self._on)
        first, second = self._repository(FIRST), self._repository(SECOND)
        stored = find(label, self.stored(), self._on)
        _progress(stored.size_bytes, on_progress)
        for each in (*stored.needs, label):
            second.backups.setdefault(each, first.backups[each])
        return stored

    def stored(self, repository: int = FIRST) -> tuple[StoredBackup, ...]:
        """Return the complete backups of a repository, oldest first.

        Raises:
            Refused: the key is wrong.
        """
        self._fail("stored")
        backups = [backup.stored for backup in self._repository(repository).backups.values()]
        return tuple(sorted(backups, key=lambda backup: (backup.ended_at, backup.label)))

    def verify(self, label: str, repository: int = FIRST) -> tuple[str, ...]:
        """Return what is wrong with a backup where it lies.

        Raises:
            Refused: no such backup, or the key is wrong.
        """
        self._fail("verify")
        stored = find(label, self.stored(repository), self._on)
        backups = self._repository(repository).backups
        return tuple(problem for each in (*stored.needs, label) if (problem := _problem(backups[each])))

    def restore(self, to: RestoreTo, into: Path, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """The folder holds the lines, in the file `content.txt`; returns the backup that it started from.

        *Idempotent:* yes.

        Raises:
            Refused: no backup reaches the point in time, no such backup, or the folder is not empty.
            Unsafe: what is stored is damaged.
        """
        self._fail("restore")
        if to.at is not None:
            require(self.abilities(), Ability.POINT_IN_TIME, self._on)
        stored = start_from(to.label, to.at, self.reaches(repository), self.stored(repository), self._on)
        problems = self.verify(stored.label, repository)
        if problems:
            raise Unsafe(
                f"the backup {stored.label} is damaged",
                on=self._on,
                state="nothing was restored",
                next_action="restore another backup",
                facts={"problems": "\n".join(problems)},
            )
        place = self._repository(repository)
        with restoring(into) as folder:
            _progress(stored.size_bytes, on_progress)
            kept = place.backups[stored.label].content
            assert kept is not None, "it was verified"
            if to.backup_only or place.wal_to is None or not self._can(Ability.POINT_IN_TIME):
                content = kept
            else:
                last = min(to.at or place.wal_to, place.wal_to)
                content = "".join(f"{text}\n" for at, text in self._world.lines if at <= last).encode()
            (folder / CONTENT).write_bytes(content)
        return stored

    def reaches(self, repository: int = FIRST) -> datetime | None:
        """Return the newest moment that can be restored; None if there is nothing.

        Raises:
            Refused: the key is wrong.
        """
        self._fail("reaches")
        ended = [backup.ended_at for backup in self.stored(repository)]
        wal_to = self._repository(repository).wal_to
        if not ended:
            return None
        return max([*ended, wal_to]) if wal_to and self._can(Ability.POINT_IN_TIME) else max(ended)

    def expire(self, labels: Sequence[str], repository: int = FIRST) -> None:
        """These backups are gone. *Idempotent:* yes.

        Raises:
            Refused: another backup, which is to stay, needs one of them; nothing was removed.
        """
        self._fail("expire")
        refuse_needed(labels, self.stored(repository), self._on)
        for label in labels:
            self._repository(repository).backups.pop(label, None)

    def clean(self, repository: int = FIRST) -> tuple[str, ...]:
        """Nothing is left there of interrupted work; returns what was removed. *Idempotent:* yes."""
        self._fail("clean")
        place = self._repository(repository)
        left, place.interrupted = place.interrupted, 0
        return (f"an interrupted backup in repository {repository}",) if left else ()

    def _can(self, ability: Ability) -> bool:
        return ability in self._settings.can

    def _repository(self, number: int) -> MemoryRepository:
        if number != FIRST:
            require(self.abilities(), Ability.SECOND_REPOSITORY, self._on)
        place = self._world.repositories[number]
        digest = _digest(self._resolve(self._settings.key).encode()) if self._settings.key else ""
        if place.key_digest is None:
            place.key_digest = digest
        if place.key_digest != digest:
            raise Refused(
                f"repository {number} cannot be read with this key",
                on=self._on,
                next_action="name the key that it was made with",
            )
        return place

    def _sign_in(self) -> None:
        given = self._resolve(self._settings.password) if self._settings.password else ""
        if given != self._world.password:
            raise Refused("the password of the source is wrong", on=self._on, next_action="correct the password")

    def _chain(self, place: MemoryRepository, kind: BackupKind) -> tuple[str, ...]:
        stored = sorted((backup.stored for backup in place.backups.values()), key=lambda backup: backup.ended_at)
        usable = [each for each in stored if kind is BackupKind.INCREMENTAL or each.kind is BackupKind.FULL]
        if not usable:
            raise Refused("there is no full backup to start from", on=self._on, next_action="take a full backup first")
        return (*usable[-1].needs, usable[-1].label)

    def _fail(self, method: str) -> None:
        fault = self._world.faults.get(method)
        if fault is not None:
            raise fault


def _progress(total: int, on_progress: OnProgress) -> None:
    for part in range(3):
        on_progress(Progress(total * part // 2, total))


def _problem(backup: MemoryBackup) -> str:
    label = backup.stored.label
    if backup.content is None:
        return f"{label}: its file is missing"
    return "" if _digest(backup.content) == backup.digest else f"{label}: its bytes are not those that were written"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
