"""Physical backups of a PostgreSQL cluster in a bucket by barman-cloud, with restore to any point in time."""

import re
import shutil
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from blocks.backups import barman_settings
from blocks.backups.barman_archive import Archive
from blocks.backups.barman_program import NAME, Program
from blocks.backups.barman_progress import Counter, size_of, watched
from blocks.backups.barman_record import LABEL, Record, changed, misread, read, taken, unreadable, write
from blocks.backups.basebackup_program import failure
from blocks.backups.buckets import Bucket, Stored
from blocks.backups.clusters import cut_off
from blocks.backups.folders import refuse_filled, restoring, write_private
from blocks.backups.refusals import find, require, require_kind
from blocks.backups.wal import Range, choose_start, missing, require_wal
from blocks.context import Context
from blocks.files import system_errors
from blocks.users import own
from tasks.common.backups import (
    FIRST,
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

_LOOK_EVERY_S = 0.5
_ONLY_FULL = "barman-cloud takes full backups only, of a PostgreSQL before 17"


class BarmanCloudEngine:
    """Keeps backups and WAL in one bucket.

    Barman has no manifest of a backup. A record is written beside each when it and its WAL have arrived; without it
    there is no backup.

    Args:
        settings: which cluster, and into which bucket.
        context: resolves secrets and paths.
    """

    Settings = barman_settings.Settings
    form = Form.CLUSTER

    def __init__(self, settings: barman_settings.Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._program = Program(settings, context)
        self._bucket = Bucket(settings.s3, context)
        self._data = context.resolve(settings.data)
        self._on = self._program.on
        self._root = settings.root
        self._archive = Archive(self._program, self._bucket, settings, self._data)
        self._records: dict[tuple[str, str], Record | None] = {}

    def abilities(self) -> Abilities:
        """Return what can be done here.

        Raises:
            Refused: barman-cloud is missing or too old.
        """
        missing_here = {
            Ability.DIFFERENTIAL: _ONLY_FULL,
            Ability.INCREMENTAL: _ONLY_FULL,
            Ability.ENCRYPTION: "barman-cloud leaves it to the bucket: have that encrypt what it keeps",
            Ability.SECOND_REPOSITORY: "barman-cloud has one bucket: have that replicate itself to another region",
            Ability.RESUME: "barman-cloud starts anew",
        }
        can = frozenset(set(Ability) - set(missing_here))
        return Abilities({"barman-cloud": self._program.version()}, can, missing_here)

    def check(self, repository: int = FIRST, *, wal: bool = True) -> None:
        """The source answers, the bucket can be written, and a segment of WAL has just arrived in it.

        Also without `wal`: barman-cloud itself looks for none, and a backup that lacks it was sent for nothing.

        Raises:
            Refused: wrong credentials or keys, or WAL does not arrive.
            Retryable: the source or the bucket does not answer.
        """
        del wal
        self._require_repository(repository)
        self._program.version()
        self._program.configure()
        self._bucket.write(f"{self._root}slipway/check", b"")
        self._bucket.delete(f"{self._root}slipway/check")
        segment = self._switch_wal()
        self._await_wal(Range("", segment, segment))

    def take(self, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """A new backup and the WAL that it needs are complete in the bucket; returns it.

        What was interrupted is removed first. *Idempotent:* no.

        Raises:
            Refused: another kind than a full one, wrong credentials or keys, or WAL does not arrive.
            Retryable: the source, the bucket or the network failed on the way; nothing is called a backup.
        """
        require_kind(self.abilities(), kind, self._on)
        self._require_repository(repository)
        self.clean()
        self._await_new_label()
        counter = Counter(self._data, on_progress)
        options = ["-vv", "--gzip", "--immediate-checkpoint", f"--name={NAME}", f"--jobs={self._settings.jobs}"]
        options += [f"--host={self._context.resolve(self._settings.socket_dir)}", f"--port={self._settings.port}"]
        options += [f"--user={self._settings.role}"]
        options += [f"--max-bandwidth={self._settings.max_rate}"] if self._settings.max_rate else []
        self._program.command("barman-cloud-backup", before=tuple(options), on_line=counter)
        (info,) = self._program.json("barman-cloud-backup-show", counter.label).values()
        began, ended, wal, tablespaces, version = taken(info)
        self._await_wal(wal)
        base, needed = self._base(counter.label), self._archive.objects(wal)
        stored = StoredBackup(
            label=counter.label,
            kind=kind,
            started_at=began,
            # The time at which the end was asked for: a moment later it is complete for certain.
            ended_at=ended + timedelta(seconds=1),
            size_bytes=counter.done_bytes,
            stored_bytes=sum(each.size_bytes for each in base.values()),
            source_version=version,
        )
        self._archive.remember_control()
        record = Record(stored, wal, tablespaces, {**base, **needed})
        self._bucket.write(self._record_key(counter.label), write(record))
        counter.finish()
        return stored

    def copy(self, label: str, on_progress: OnProgress) -> StoredBackup:
        """There is no second repository.

        Raises:
            Refused: always.
        """
        del label, on_progress
        require(self.abilities(), Ability.SECOND_REPOSITORY, self._on)
        raise AssertionError("it was refused")

    def stored(self, repository: int = FIRST) -> tuple[StoredBackup, ...]:
        """Return the backups that have a record, oldest first.

        Raises:
            Refused: the bucket does not let us in.
            Retryable: it does not answer.
        """
        self._require_repository(repository)
        found = self._all_records()
        return tuple(
            record.stored if record is not None else unreadable(label) for label, record in sorted(found.items())
        )

    def verify(self, label: str, repository: int = FIRST) -> tuple[str, ...]:
        """Return what is wrong with a backup and the WAL that it needs: every object is read to its end.

        Raises:
            Refused: no such backup.
            Retryable: the bucket does not answer.
        """
        stored = find(label, self.stored(repository), self._on)
        record = self._all_records()[label]
        if record is None:
            return (stored.error,)
        return tuple(self._changed(record) or misread(record, self._bucket))

    def restore(self, to: RestoreTo, into: Path, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        """The folder is a cluster that recovers to what is asked for when it is started; returns where it starts from.

        *Idempotent:* yes.

        Raises:
            Refused: no backup reaches the point in time, no such backup, or the folder is not empty.
            Unsafe: an object of the backup was replaced or is damaged, or WAL is missing on the way.
            Retryable: the bucket failed on the way, or the disk is full.
        """
        refuse_filled(into)
        into = into.absolute()
        stored, to_the_end = choose_start(to, self.stored(repository), self._reach, self._on)
        record = self._all_records()[stored.label]
        assert record is not None, "what has no record is none to start from"
        there = self._archive.segments("", repository)
        require_wal(there, record.wal, self._on, to_the_end=to_the_end and to.at is None)
        self._require_unchanged(record)
        with restoring(into, self._program.user) as folder:
            self._fetch(record, folder, into, on_progress)
            with system_errors("the restored cluster cannot be prepared", folder):
                write_private(folder / "recovery.signal", b"", self._program.user)
            cut_off(folder, {"restore_command": self._program.fetching(), **_target(to, to_the_end=to_the_end)})
        on_progress(Progress(stored.size_bytes, stored.size_bytes))
        return stored

    def reaches(self, repository: int = FIRST) -> datetime | None:
        """Return the time of the last commit that WAL in the bucket leads to without a gap; None if none.

        Raises:
            Refused, Retryable: as for `stored`.
        """
        self._require_repository(repository)
        return max(self._reach().values(), default=None)

    def expire(self, labels: Sequence[str], repository: int = FIRST) -> None:
        """These backups are gone, and WAL that no backup needs any more. *Idempotent:* yes.

        Raises:
            Refused: the bucket does not let us.
            Retryable: the bucket failed on the way; what is gone is not listed any more.
        """
        there = {backup.label for backup in self.stored(repository)}
        for label in sorted(there.intersection(labels)):
            # First the record: from now on it is no backup, whatever happens to the rest.
            self._bucket.delete(self._record_key(label))
            self._program.command("barman-cloud-backup-delete", before=(f"--backup-id={label}",))

    def clean(self, repository: int = FIRST) -> tuple[str, ...]:
        """Nothing is left of interrupted backups; returns what was removed. *Idempotent:* yes.

        Complete backups that somebody else has taken into the same place are left alone.
        """
        self._require_repository(repository)
        removed = [f"process {number} of an interrupted backup" for number in self._program.end_orphans()]
        self._program.empty_folders()
        known = self._all_records()
        keys = list(self._bucket.list(f"{self._root}base/"))
        left = {key.removeprefix(f"{self._root}base/").partition("/")[0] for key in keys} - set(known)
        for label in sorted(left - self._of_others(left)):
            # Its own record last: without it nobody would find the rest.
            for key in sorted(self._base(label), key=lambda key: key.endswith("/backup.info")):
                self._bucket.delete(key)
            removed.append(f"the interrupted backup {label}")
        aborted = self._bucket.abort_uploads(f"{self._root}base/")
        return (*removed, *(f"what was sent of {key}" for key in aborted))

    def _require_repository(self, repository: int) -> None:
        if repository != FIRST:
            require(self.abilities(), Ability.SECOND_REPOSITORY, self._on)

    def _of_others(self, labels: set[str]) -> set[str]:
        """Return which of them are complete, and not ours."""
        if not labels:
            return set()
        listed = self._program.json("barman-cloud-backup-list")["backups_list"]
        return {each["backup_id"] for each in listed if each["status"] == "DONE" and each.get("backup_name") != NAME}

    def _record_key(self, label: str) -> str:
        return f"{self._root}slipway/{label}.json"

    def _all_records(self) -> dict[str, Record | None]:
        """Return the records by label; None for one that is damaged."""
        found = {}
        for key, about in self._bucket.list(f"{self._root}slipway/").items():
            label = Path(key).stem
            if re.fullmatch(LABEL, label):
                if (key, about.etag) not in self._records:
                    self._records[key, about.etag] = read(b"".join(self._bucket.chunks(key)))
                found[label] = self._records[key, about.etag]
        return found

    def _base(self, label: str) -> dict[str, Stored]:
        return dict(self._bucket.list(f"{self._root}base/{label}/"))

    def _changed(self, record: Record) -> list[str]:
        there = {**self._base(record.stored.label), **self._archive.objects(record.wal)}
        return changed(record, there)

    def _require_unchanged(self, record: Record) -> None:
        problems = self._changed(record)
        if problems:
            raise Unsafe(
                f"the backup {record.stored.label} is damaged",
                on=f"{self._on} in {self._bucket.on}",
                state="nothing was restored",
                next_action="restore another backup",
                facts={"problems": "\n".join(problems)},
            )

    def _reach(self) -> dict[str, datetime]:
        records = [record for record in self._all_records().values() if record is not None]
        archives = {record.wal.archive for record in records}
        there = {archive: self._archive.segments(archive, FIRST) for archive in archives}
        return {
            each.stored.label: self._archive.reach(there[each.wal.archive], each.wal, each.stored.ended_at, FIRST)
            for each in records
        }

    def _await_new_label(self) -> None:
        """Barman's labels have whole seconds: a backup in the same one would replace the last."""
        labels = {backup.label for backup in self.stored()}
        while f"{datetime.now(UTC):%Y%m%dT%H%M%S}" in labels:
            time.sleep(0.05)

    def _switch_wal(self) -> str:
        """The server has begun a new segment; returns the name of the one before."""
        try:
            with psycopg.connect(
                host=str(self._context.resolve(self._settings.socket_dir)),
                port=self._settings.port,
                user=self._settings.role,
                password=self._context.secrets.resolve(self._settings.password) if self._settings.password else None,
                dbname="postgres",
                connect_timeout=10,
                autocommit=True,
            ) as connection:
                # Without anything in it, a segment is not switched.
                connection.execute("select pg_create_restore_point('slipway')")
                row = connection.execute("select pg_walfile_name(pg_switch_wal())").fetchone()
        except psycopg.Error as error:
            raise failure("the server cannot be asked", str(error), self._on) from None
        assert row is not None
        return str(row[0])

    def _await_wal(self, wanted: Range) -> None:
        """The segments are in the bucket. What the server says of its own archiving is not asked."""
        deadline = time.monotonic() + self._settings.archive_timeout_s
        while absent := missing(self._archive.segments("", FIRST, of=wanted), wanted):
            if time.monotonic() > deadline:
                raise Refused(
                    "WAL does not arrive in the bucket",
                    on=f"{self._on} in {self._bucket.on}",
                    state="nothing is called a backup that is none",
                    next_action="see archive_command in postgresql.conf and the server's log, then run this again",
                    facts={"missing": ", ".join(absent[:5])},
                )
            time.sleep(_LOOK_EVERY_S)

    def _fetch(self, record: Record, folder: Path, into: Path, on_progress: OnProgress) -> None:
        """The folder holds what Barman has kept, and links to tablespaces beside it."""
        beside = into.with_name(f"{into.name}.tablespaces")
        if record.tablespaces:
            shutil.rmtree(beside, ignore_errors=True)
            with system_errors("the folder for tablespaces cannot be made", beside):
                own(beside, self._program.user)
        options = [f"--tablespace={name}:{beside / name}" for name in record.tablespaces]
        total = record.stored.size_bytes

        def restore(stop: threading.Event) -> None:
            arguments = (record.stored.label, str(folder))
            self._program.command("barman-cloud-restore", *arguments, before=("-v", *options), stop=stop, damaged=True)

        watched(restore, lambda: on_progress(Progress(min(size_of(folder), total), total)))


def _target(to: RestoreTo, *, to_the_end: bool) -> dict[str, str]:
    if to_the_end:
        return {}
    if to.backup_only:
        return {"recovery_target": "immediate", "recovery_target_action": "promote"}
    assert to.at is not None, "nothing else ends before the end"
    at = to.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
    return {"recovery_target_time": at, "recovery_target_action": "promote"}
