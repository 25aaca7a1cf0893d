"""Physical backups of a PostgreSQL cluster by pgBackRest, with restore to any point in time."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from blocks.backups import pgbackrest_settings
from blocks.backups.clusters import cut_off
from blocks.backups.folders import refuse_filled, restoring
from blocks.backups.pgbackrest_archive import Archive
from blocks.backups.pgbackrest_program import Counter, Program, unreadable
from blocks.backups.pgbackrest_verify import problems_of
from blocks.backups.pgbackrest_view import alone
from blocks.backups.refusals import find, refuse_needed, require, require_kind
from blocks.backups.wal import Range, choose_start, missing, require_wal
from blocks.context import Context
from tasks.common.backups import (
    FIRST,
    SECOND,
    Abilities,
    Ability,
    BackupKind,
    Form,
    OnProgress,
    RestoreTo,
    StoredBackup,
)
from tasks.common.errors import Refused, Retryable

_KINDS = {"full": BackupKind.FULL, "diff": BackupKind.DIFFERENTIAL, "incr": BackupKind.INCREMENTAL}
_TYPES = {kind: name for name, kind in _KINDS.items()}
_LABEL = re.compile(r"\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?")
_NO_STANZA, _READABLE = {1, 3}, {0, 1, 2, 3}
_VERIFIES_ONE = (2, 55)
_LATER = {
    (2, 46): "keeping only the changed blocks of a file (a whole file is taken again)",
    _VERIFIES_ONE: "verifying one backup alone in a bucket (the whole repository is read)",
}
"""What newer versions do at less cost, by version. *Source:* pgBackRest's release notes."""


class PgBackRestEngine:
    """Keeps backups and WAL in one or two repositories, in folders of this machine or in buckets.

    Args:
        settings: which cluster, and into which repositories.
        context: resolves secrets and paths.
    """

    Settings = pgbackrest_settings.Settings
    form = Form.CLUSTER

    def __init__(self, settings: pgbackrest_settings.Settings, context: Context) -> None:
        self._settings = settings
        self._program = Program(settings, context)
        self._on = self._program.on
        self._data = context.resolve(settings.data)
        self._archive = Archive(self._program, settings.stanza, self._data)

    def abilities(self) -> Abilities:
        """Return what can be done here.

        Raises:
            Refused: pgBackRest is missing or too old.
        """
        found = self._program.version()
        version = ".".join(map(str, found))
        missing_here = {Ability.BANDWIDTH: "pgBackRest has no limit on bandwidth"}
        if len(self._settings.repositories) < SECOND:
            missing_here[Ability.SECOND_REPOSITORY] = "the estate file names one repository"
        if not all(each.cipher_pass for each in self._settings.repositories):
            missing_here[Ability.ENCRYPTION] = "not every repository has a cipher_pass in the estate file"
        later = {since: what for since, what in _LATER.items() if found < since}
        if all(self._program.place(number) for number in range(FIRST, len(self._settings.repositories) + 1)):
            later.pop(_VERIFIES_ONE, None)
        remarks = tuple(
            f"{what} needs pgbackrest {'.'.join(map(str, since))}; here is {version}" for since, what in later.items()
        )
        can = frozenset(set(Ability) - set(missing_here))
        return Abilities({"pgbackrest": version}, can, missing_here, remarks)

    def check(self, repository: int = FIRST, *, wal: bool = True) -> None:
        """The source answers, and is the one that the repositories are for; a segment of WAL has arrived in each.

        Without `wal` it is only seen that the repository opens: all else pgBackRest looks for as soon as a backup
        begins, before it copies a file, and its own `check` cannot leave WAL out. *Source:* tried with 2.45.

        Raises:
            Refused: wrong credentials or key, something is not set up, or WAL does not arrive.
            Retryable: the source or a repository does not answer.
        """
        self.prepare(repository)
        if wal:
            self._program.command("check")

    def take(self, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """A new backup is complete in the repository; returns it. What was interrupted is resumed.

        *Idempotent:* no.

        Raises:
            Refused: no full backup to start from, wrong credentials or key, or WAL does not arrive.
            Retryable: the source, the repository or the network failed on the way; nothing is called a backup.
        """
        require_kind(self.abilities(), kind, self._on)
        self.prepare(repository)
        before = {backup.label for backup in self.stored(repository)}
        if kind is not BackupKind.FULL and not before:
            raise Refused("there is no full backup to start from", on=self._on, next_action="take a full backup first")
        counter = Counter(on_progress)
        self._program.command("backup", f"--type={_TYPES[kind]}", repository=repository, on_line=counter)
        self._archive.remember_control()
        new = [backup for backup in self.stored(repository) if backup.label not in before]
        if not new:
            raise Retryable(
                "pgBackRest has ended well, and there is no new backup", on=self._on, next_action="read its log"
            )
        counter.finish(new[-1].size_bytes)
        return new[-1]

    def copy(self, label: str, on_progress: OnProgress) -> StoredBackup:
        """The second repository has a backup that is as new; it is taken from the source. *Idempotent:* yes.

        Raises:
            Refused: no such backup, or no second repository.
            Retryable: the source or a repository failed on the way.
        """
        require(self.abilities(), Ability.SECOND_REPOSITORY, self._on)
        wanted = find(label, self.stored(), self._on)
        there = [backup for backup in self.stored(SECOND) if backup.ended_at >= wanted.ended_at and not backup.error]
        return there[0] if there else self.take(BackupKind.FULL, on_progress, SECOND)

    def stored(self, repository: int = FIRST) -> tuple[StoredBackup, ...]:
        """Return the complete backups of a repository, oldest first.

        Raises:
            Refused: it cannot be read with these credentials or this key.
            Retryable: it does not answer.
        """
        return _backups(self._info(repository))

    def verify(self, label: str, repository: int = FIRST) -> tuple[str, ...]:
        """Return what is wrong with a backup where it lies, with what it needs, one sentence each.

        Of a bucket the whole repository is read: older versions cannot verify a single backup. WAL that is missing is
        looked for here, as 2.45 does not report it.

        Raises:
            Refused: no such backup, or the repository cannot be read with this key.
            Retryable: it does not answer.
        """
        info = self._info(repository)
        stored = find(label, _backups(info), self._on)
        wanted = _ranges(info)[label]
        absent = missing(self._archive.segments(wanted.archive, repository), wanted)
        lines: list[str] = []
        with self._only((*stored.needs, label), wanted, repository) as options:
            self._program.command(
                "verify",
                *options,
                "--output=text",
                "--verbose",
                repository=repository,
                on_line=lines.append,
                accept=tuple(range(256)),
            )
        gone = [f"WAL segment {segment} is missing" for segment in absent]
        return tuple(gone + problems_of(lines, (*stored.needs, label), wanted))

    def restore(self, to: RestoreTo, into: Path, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """The folder is a cluster that recovers to what is asked for when it is started; returns where it starts from.

        *Idempotent:* yes.

        Raises:
            Refused: no backup reaches the point in time, no such backup, or the folder is not empty.
            Unsafe: a file of the backup is damaged, or WAL is missing on the way.
            Retryable: the repository failed on the way, or the disk is full.
        """
        refuse_filled(into)
        stored, to_the_end = choose_start(to, self.stored(repository), lambda: self._reach(repository), self._on)
        wanted = _ranges(self._info(repository))[stored.label]
        there = self._archive.segments(wanted.archive, repository)
        on = f"{self._on}, repository {repository}"
        require_wal(there, wanted, on, to_the_end=to_the_end and to.at is None)
        into = into.absolute()
        counter = Counter(on_progress)
        with restoring(into, self._program.user) as folder:
            self._program.command(
                "restore",
                f"--set={stored.label}",
                f"--pg1-path={folder}",
                f"--tablespace-map-all={into}.tablespaces",
                *_target(to, to_the_end=to_the_end),
                repository=repository,
                on_line=counter,
                damaged=True,
            )
            cut_off(folder, {"restore_command": self._restore_command(into, repository)})
        counter.finish(stored.size_bytes)
        return stored

    def reaches(self, repository: int = FIRST) -> datetime | None:
        """Return the time of the last commit that WAL in the repository leads to without a gap; None if none.

        Raises:
            Refused, Retryable: as for `stored`.
        """
        return max(self._reach(repository).values(), default=None)

    def expire(self, labels: Sequence[str], repository: int = FIRST) -> None:
        """These backups are gone, and WAL that no backup needs any more. *Idempotent:* yes.

        Raises:
            Refused: a backup that is to stay needs one of them, or they are all the full backups that there are;
                nothing was removed.
            Retryable: the repository failed on the way.
        """
        stored = self.stored(repository)
        refuse_needed(labels, stored, self._on)
        going = [backup for backup in stored if backup.label in set(labels)]
        staying = [backup for backup in stored if backup not in going]
        if not going:
            return
        fulls = sum(backup.kind is BackupKind.FULL for backup in staying)
        if not fulls:
            raise Refused(
                "pgBackRest keeps the last full backup of a repository",
                on=self._on,
                next_action="take another full backup first",
            )
        for backup in reversed(going):
            self._program.command("expire", f"--set={backup.label}", repository=repository)
        # Only WAL goes by number: of backups it keeps more than there can be.
        kept = f"--repo{repository}-retention-archive"
        self._program.command("expire", f"{kept}-type=full", f"{kept}={fulls}", repository=repository)

    def clean(self, repository: int = FIRST) -> tuple[str, ...]:
        """Nothing is left there of interrupted backups; returns what was removed. *Idempotent:* yes.

        Raises:
            Retryable: a backup is at work.
        """
        info = self._info(repository)
        if info.get("status", {}).get("lock", {}).get("backup", {}).get("held"):
            raise Retryable("a backup is at work", on=self._on, next_action="wait for its end, then try again")
        if info["repo"][0]["status"]["code"] in _NO_STANZA:
            return ()
        removed = []
        known = {backup["label"] for backup in info.get("backup", [])}
        path = f"backup/{self._settings.stanza}"
        for label in self._program.json("repo-ls", path, repository=repository) or {}:
            if _LABEL.fullmatch(label) and label not in known:
                self._program.command("repo-rm", "--recurse", f"{path}/{label}", repository=repository)
                removed.append(f"the interrupted backup {label} in repository {repository}")
        return tuple(removed)

    def prepare(self, repository: int = FIRST) -> None:
        """The repository's stanza is there: WAL can arrive. Where it is not, every repository is to get one.

        *Idempotent:* yes.

        Raises:
            Refused, Retryable: as for `check`.
        """
        if self._info(repository)["repo"][0]["status"]["code"] in _NO_STANZA:
            self._program.own_repositories()
            self._program.command("stanza-create")

    def wal_of(self, label: str, repository: int = FIRST) -> tuple[str, ...]:
        """Return the names of the WAL segments that a backup cannot be restored without.

        Raises:
            Refused, Retryable: as for `stored`.
        """
        return tuple(missing({}, _ranges(self._info(repository))[label]))

    def _require_repository(self, repository: int) -> None:
        if repository > len(self._settings.repositories):
            require(self.abilities(), Ability.SECOND_REPOSITORY, self._on)

    def _info(self, repository: int) -> dict[str, Any]:
        self._require_repository(repository)
        found = self._program.json("info", repository=repository)
        info: dict[str, Any] = found[0] if found else {"repo": [{"status": {"code": 1, "message": "empty"}}]}
        status = info["repo"][0]["status"]
        if status["code"] not in _READABLE:
            raise unreadable(status["message"], f"{self._on}, repository {repository}")
        return info

    @contextmanager
    def _only(self, labels: Sequence[str], wal: Range, repository: int) -> Iterator[list[str]]:
        """Yield the options by which pgBackRest sees only these backups of a repository; none for a bucket."""
        place = self._program.place(repository)
        if place is None:
            yield []
            return
        view = self._program.folder / "scratch" / f"view-{repository}"
        with alone(place, view, self._settings.stanza, labels, wal):
            yield [f"--repo{repository}-path={view}"]

    def _reach(self, repository: int) -> dict[str, datetime]:
        """Return the newest moment that each backup leads to."""
        info = self._info(repository)
        ranges = _ranges(info)
        there = {name: self._archive.segments(name, repository) for name in {each.archive for each in ranges.values()}}
        found = {}
        for backup in _backups(info):
            wanted = ranges[backup.label]
            found[backup.label] = self._archive.reach(there[wanted.archive], wanted, backup.ended_at, repository)
        return found

    def _restore_command(self, into: Path, repository: int) -> str:
        program = [
            "pgbackrest",
            f"--config={self._program.config}",
            f"--stanza={self._settings.stanza}",
            f"--pg1-path={into}",
            f"--repo={repository}",
            "--log-level-console=warn",
        ]
        return f'{shlex.join(program)} archive-get %f "%p"'


def _target(to: RestoreTo, *, to_the_end: bool) -> list[str]:
    if to_the_end:
        return []
    if to.backup_only:
        return ["--type=immediate", "--target-action=promote"]
    assert to.at is not None, "nothing else ends before the end"
    at = to.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
    return ["--type=time", f"--target={at}", "--target-action=promote"]


def _backups(info: dict[str, Any]) -> tuple[StoredBackup, ...]:
    """Return the complete backups, oldest first."""
    backups = [_stored(each, info) for each in info.get("backup", [])]
    return tuple(sorted(backups, key=lambda backup: (backup.ended_at, backup.label)))


def _ranges(info: dict[str, Any]) -> dict[str, Range]:
    """Return the WAL that each backup needs to be consistent."""
    archives = {each["database"]["id"]: each["id"] for each in info.get("archive", [])}
    return {
        each["label"]: Range(archives[each["database"]["id"]], each["archive"]["start"], each["archive"]["stop"])
        for each in info.get("backup", [])
    }


def _stored(backup: dict[str, Any], info: dict[str, Any]) -> StoredBackup:
    versions = {each["id"]: each["version"] for each in info["db"]}
    needs = {*(backup["reference"] or ()), *filter(None, [backup["prior"]])}
    return StoredBackup(
        label=backup["label"],
        kind=_KINDS[backup["type"]],
        started_at=datetime.fromtimestamp(backup["timestamp"]["start"], UTC),
        # Whole seconds, cut off: a moment later it is complete for certain.
        ended_at=datetime.fromtimestamp(backup["timestamp"]["stop"], UTC) + timedelta(seconds=1),
        size_bytes=backup["info"]["size"],
        stored_bytes=backup["info"]["repository"]["delta"],
        needs=tuple(sorted(needs)),
        source_version=versions[backup["database"]["id"]],
        error="pgBackRest has found invalid page checksums in it" if backup.get("error") else "",
    )
