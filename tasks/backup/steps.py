"""The @task functions of backups: thin, and the only module here that imports Prefect."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from uuid import UUID

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from blocks.backup_uses import BackupUses, in_use_now
from blocks.databases.watching import SourceWatch
from blocks.estate import OpenEstate
from blocks.lease_keeper import KeptLease, await_lease
from tasks.backup.account import Account
from tasks.backup.account import report as account_report
from tasks.backup.ports import BackupEngine
from tasks.backup.progress import described, percent
from tasks.backup.request import BackupRequest
from tasks.backup.retention import Decision, plan_retention
from tasks.backup.status_steps import show_status
from tasks.backup.stock import GONE, Difference, broken, compare, digest_of
from tasks.common.backup_plans import BackupPlan
from tasks.common.backups import FIRST, SECOND, Ability, Entry, OnProgress, Progress, StoredBackup, backup_id
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.common.lease import scope_of
from tasks.common.lease_steps import holder
from tasks.common.repositories import require_known
from tasks.common.run_steps import page_of
from tasks.common.source_facts import SourceFacts
from tasks.common.steps import ONCE, TRANSIENT, only_shown
from tasks.notify.messages import backup_failed, backup_taken
from tasks.notify.steps import tell

SHOW_EVERY_S = 5.0
_DIED_S = 5.0
"""So much longer than a lease lasts it is waited for: that of a run that has died has expired by then."""


@dataclass(eq=False)
class Work:
    """A run of `backup` that alone may change its plan's repositories.

    Args:
        estate: where the plan is.
        request: what was asked for.
        run_id: of this run.
        plan: what the estate file says of it.
        engine: of the plan, open.
        lease: the right to work.
        account: what was done, for people.
        source: the label of the backup that was taken, and what its source was meanwhile; None where it was not seen.
    """

    estate: OpenEstate
    request: BackupRequest
    run_id: str
    plan: BackupPlan
    engine: BackupEngine
    lease: KeptLease
    account: Account = field(default_factory=Account)
    source: tuple[str, SourceFacts] | None = None

    def __str__(self) -> str:
        """Return 'campus-db', as task names show it."""
        return self.request.plan

    @property
    def driver(self) -> str:
        """Return the engine's name, as the catalogue has it."""
        return self.plan.engine.driver

    @cached_property
    def repositories(self) -> tuple[int, ...]:
        """Return the numbers of the repositories that there are."""
        return (FIRST, SECOND) if Ability.SECOND_REPOSITORY in self._can else (FIRST,)

    @property
    def needed_to_take(self) -> tuple[int, ...]:
        """Return the repositories that have to be ready before a backup is taken: each that its WAL has to arrive in.

        A segment counts as archived only when every repository has it, and the next one waits for it.
        """
        return self.repositories if Ability.POINT_IN_TIME in self._can else (FIRST,)

    @property
    def needed_to_copy(self) -> tuple[int, ...]:
        """Return the repositories that have to be made ready for the copy, and are not yet."""
        return tuple(each for each in self.repositories if each not in self.needed_to_take)

    @cached_property
    def _can(self) -> frozenset[Ability]:
        return self.engine.abilities().can

    def entries(self, *, expired: bool = False) -> tuple[Entry, ...]:
        """Return what the catalogue has of the plan now."""
        return self.estate.ledger.catalogue.entries(self.request.plan, expired=expired)


@contextmanager
def working(estate: OpenEstate, request: BackupRequest) -> Iterator[Work]:
    """This run alone works on the plan within the block; how it has ended is shown, and told where it has failed.

    Raises:
        Refused: no such plan, or another run is at work on it; which one.
    """
    account = Account()
    try:
        plan = estate.backup_plan(request.plan)
        estate.ledger.prepare()
        work = Work(estate, request, holder(), plan, estate.backup(request.plan), take_lease(estate, request), account)
        try:
            yield work
        finally:
            work.lease.give_up()
    except BaseException as error:
        _announce_failed(estate, request, account, error)
        raise
    _show(estate, request, account, "")
    # Only who keeps a trouble open is told that it is over: nobody reads a mail every hour.
    keeping = [each for each in estate.notifiers if each.notifier.keeps_trouble_open]
    tell(keeping, backup_taken(request.plan, estate.file.estate, datetime.now(UTC)), None)


@task(name="lease", task_run_name="wait for the lease on backup/{request.plan}", **ONCE)
def take_lease(estate: OpenEstate, request: BackupRequest) -> KeptLease:
    """Nobody but this run works on the plan. That of a run that has died is waited for until it has expired.

    Raises:
        Refused: another run is at work on it; which one.
    """
    log, ttl_s = get_run_logger(), estate.backup_plan(request.plan).lease_s
    leases, scope = estate.ledger.leases, scope_of("backup", request.plan)
    try:
        lease = await_lease(leases, scope, holder(), ttl_s, ttl_s + _DIED_S, log.info)
    except Refused as error:
        found = leases.find(scope)
        by = found.holder if found is not None else "another run"
        raise Refused(
            f"run {by} is at work on {request.plan}: two backups of one plan never run at once",
            on=scope,
            state="this run has changed nothing",
            next_action=f"let run {by} end: {page_of(by) or 'the Prefect UI shows it'}; then start this one again",
            facts=error.facts,
        ) from error
    return KeptLease(leases, lease, ttl_s, log.warning)


@task(name="clean", task_run_name="{work}: remove what a dead run left in repository {repository}", **TRANSIENT)
def clean(work: Work, repository: int) -> None:
    """Nothing is left there of interrupted work. *Idempotent:* yes."""
    work.lease.require()
    for each in work.engine.clean(repository):
        get_run_logger().warning("left by a run that has died: %s", each)
        work.account.cleaned.append(work.estate.context.secrets.redact(each))


@task(name="check", task_run_name="{work}: check that repository {repository} can get a backup", **TRANSIENT)
def check(work: Work, repository: int) -> None:
    """The repository could get a backup now, as far as can be told without beginning one. *Idempotent:* yes.

    Whether WAL arrives is seen as soon as the backup begins.

    Raises:
        Refused, Retryable: as the engine says.
    """
    work.engine.check(repository, wal=False)


@task(name="take", task_run_name="{work}: take a backup", **TRANSIENT)
def take(work: Work) -> str:
    """A new backup is complete in the first repository; returns its label. It is not called good by that.

    *Idempotent:* no; what a failed try has left is resumed or removed by the next.
    """
    work.lease.require()
    # Each try anew: where a disk has gone meanwhile, a backup would fill the one that it was mounted on.
    _look(work, FIRST)
    database = work.estate.database(str(work))
    watch = SourceWatch(database) if database is not None else None
    label = work.engine.take(work.request.kind, _progress_of(work, "take")).label
    work.source = _seen(work, label, watch) if watch is not None else None
    return label


def _seen(work: Work, label: str, watch: SourceWatch) -> tuple[str, SourceFacts] | None:
    """Return what the source of the backup was; None, and people are told, where it has not answered."""
    try:
        return label, watch.end()
    except SlipwayError as error:
        what = work.estate.context.secrets.redact(error.what)
        get_run_logger().warning("what the source was is not on record with this backup: %s", what)
        work.account.remarks.append(
            f"What the source was is not on record: {what}. Once it is not the newest any more, a verification of "
            "this backup compares neither schema nor row counts, unless the engine keeps WAL."
        )
        return None


@task(name="record source", task_run_name="{work}: record what the source of {label} was", **TRANSIENT)
def record_source(work: Work, repository: int, label: str) -> None:
    """What the source was while the backup was taken is on record with it, where it was seen. *Idempotent:* yes.

    A copy that is another backup was taken at another time: nothing is on record with it.
    """
    if work.source is not None and work.source[0] == label:
        entry_id = backup_id(str(work), repository, label)
        work.estate.ledger.catalogue.observed(entry_id, work.source[1])


@task(name="copy", task_run_name="{work}: copy to the second repository", **TRANSIENT)
def copy(work: Work, label: str) -> str:
    """The second repository has the backup, or one that is as new; returns its label there. *Idempotent:* yes."""
    work.lease.require()
    _look(work, SECOND)
    return work.engine.copy(label, _progress_of(work, "copy")).label


@task(name="bring in line", task_run_name="{work}: repository {repository} and the catalogue", **TRANSIENT)
def bring_in_line(work: Work, repository: int) -> None:
    """The catalogue has what lies in the repository, and has nothing as being there that does not. *Idempotent:* yes.

    A backup that is not in the catalogue, such as one that was just taken, or that a run which has died had taken, is
    read where it lies before it is put there. One that is damaged is put there as unsound, and not left out: it lies in
    the repository, and the next run would come upon it again.

    Raises:
        Refused: none of the backups that the catalogue has there is there, and nobody has said that they are lost.
    """
    work.lease.require()
    log, catalogue = get_run_logger(), work.estate.ledger.catalogue
    found = _look(work, repository)
    for entry in found.gone:
        log.warning("%s is in the catalogue, and not in its repository", entry.id)
        catalogue.expired(entry.id, GONE, work.run_id, datetime.now(UTC))
        work.account.tell(entry, "gone", GONE)
    for entry in found.back:
        log.warning("%s is on record as removed, and lies in its repository; nothing removes it", entry.id)
        work.account.tell(entry, "there again", "it is on record as removed; restore it by hand, or remove it yourself")
    for stored in found.unknown:
        _enter(work, repository, stored)


@task(name="require sound", task_run_name="{work}: require {label} to be sound", **TRANSIENT)
def require_sound(work: Work, repository: int, label: str) -> None:
    """The backup is in the catalogue, and was not found damaged where it lies. Proven it is by a restore only.

    Raises:
        Unsafe: it is damaged.
    """
    entry = work.estate.ledger.catalogue.entry(backup_id(str(work), repository, label))
    if entry.unsound_at is not None or entry.stored.error:
        raise Unsafe(
            "the backup that was just taken is damaged where it lies",
            on=entry.id,
            state="it is in the catalogue as unsound; backups from before it are as they were, and nothing was expired",
            next_action="look at the disk and the memory of the machines that it went through; then take another one",
            facts={"found": entry.stored.error or "see its verification"},
        )


def announce_taken(work: Work, label: str) -> None:
    """Automations know that there is a new backup, which was read where it lies and is in the catalogue."""
    get_run_logger().info("%s is taken, read where it lies, and in the catalogue", backup_id(str(work), FIRST, label))
    work.account.taken = True
    _emit(work.estate, "slipway.backup.taken", work.request, "")


@task(name="expire", task_run_name="{work}: expire in repository {repository}", **TRANSIENT)
def expire(work: Work, repository: int) -> None:
    """What the plan keeps no longer is gone from the repository, and that is on record. *Idempotent:* yes.

    Put on record first, removed then: nobody is ever told of a backup that is removed in part. Who dies between the two
    leaves what the next run removes. Planned from what the catalogue has at this moment: a hold counts that came while
    the backup was taken. What is being verified or restored stays.
    """
    work.lease.require()
    uses = _uses(work)
    with uses.expiring(work.plan.lease_s + _DIED_S) as gate:
        for each in _dropped(work, repository, in_use_now(uses.leases, str(work))):
            work.estate.ledger.catalogue.expired(each.entry.id, each.reason, work.run_id, datetime.now(UTC))
        leaving = _look(work, repository).leaving
        if not leaving:
            return
        labels = [each.stored.label for each in leaving]
        get_run_logger().info("expiring in repository %d: %s", repository, ", ".join(labels))
        uses.end_lapsed([each.id for each in leaving])
        gate.require()
        work.engine.expire(labels, repository)
        for entry in leaving:
            work.account.tell(entry, "expired", entry.expired_why)


def _look(work: Work, repository: int) -> Difference:
    """Return how the repository differs from the catalogue, once it is known to be the one that was written.

    Raises:
        Refused: it is not: none of the backups that the catalogue has there is there.
    """
    entries, stored = work.entries(expired=True), work.engine.stored(repository)
    if not work.request.accept_loss:
        ours = [each for each in entries if (each.engine, each.repository) == (work.driver, repository)]
        require_known([each for each in ours if each.expired_at is None], stored, str(work), repository)
    return compare(str(work), work.driver, repository, entries, stored)


def _uses(work: Work) -> BackupUses:
    log = get_run_logger()
    return BackupUses(work.estate.ledger.leases, str(work), work.run_id, work.plan.lease_s, log.warning)


def _dropped(work: Work, repository: int, in_use: Mapping[str, Sequence[str]]) -> list[Decision]:
    decisions = plan_retention(work.entries(), work.plan.retention, datetime.now(UTC), in_use)
    ours = (work.driver, repository)
    return [each for each in decisions if not each.keep and (each.entry.engine, each.entry.repository) == ours]


def _enter(work: Work, repository: int, stored: StoredBackup) -> None:
    """It was read where it lies, and is in the catalogue with what was found."""
    catalogue, redact = work.estate.ledger.catalogue, work.estate.context.secrets.redact
    began_at = datetime.now(UTC)
    wrong = [redact(each) for each in work.engine.verify(stored.label, repository)]
    if wrong and stored.label not in {each.label for each in work.engine.stored(repository)}:
        raise Retryable(
            "a backup went away while it was read",
            on=backup_id(str(work), repository, stored.label),
            state="nothing is on record against it",
            next_action="see that the repository's disk or service is there, then run this again",
        )
    # With the entry itself: who dies before the verification is on record leaves nothing that looks sound.
    kept = stored.with_errors(wrong)
    id_ = backup_id(str(work), repository, stored.label)
    entry = Entry(id_, str(work), work.driver, repository, kept, digest_of(stored), work.run_id)
    work.lease.require()
    catalogue.add(entry)
    if wrong:
        get_run_logger().error("%s is damaged: %s", id_, "; ".join(wrong))
        catalogue.note(broken(entry, work.run_id, began_at, datetime.now(UTC), wrong))
    work.account.tell(entry, "damaged" if kept.error else "added", kept.error)


def _progress_of(work: Work, what: str) -> OnProgress:
    """Return what shows the progress in the Prefect UI, at most every few seconds, and ends work without a lease."""
    began_s = shown_s = time.monotonic()
    ended = False
    artifact: object = None
    with only_shown():
        artifact = create_progress_artifact(0.0, key=f"backup-{work}-{what}", description=f"{what}: begun")

    def show(progress: Progress) -> None:
        nonlocal shown_s, ended
        now_s, whole = time.monotonic(), percent(progress) >= 100.0
        # The end at once, but once: engines go on to tell of it.
        if now_s - shown_s < SHOW_EVERY_S and (ended or not whole):
            return
        shown_s, ended = now_s, whole
        work.lease.require()
        text = f"{what}: {described(progress, now_s - began_s)}"
        get_run_logger().info(text)
        if isinstance(artifact, UUID):
            with only_shown():
                update_progress_artifact(artifact, percent(progress), text)

    return show


def _announce_failed(estate: OpenEstate, request: BackupRequest, account: Account, error: BaseException) -> None:
    # The text of what is not ours may hold anything.
    text = str(error) if isinstance(error, SlipwayError) else f"unexpected {type(error).__name__}"
    problem = estate.context.secrets.redact(text)
    _emit(estate, "slipway.backup.failed", request, problem)
    _show(estate, request, account, problem)
    unsafe = isinstance(error, Unsafe)
    run, at, taken = holder(), datetime.now(UTC), account.taken
    name, link = estate.file.estate, page_of(run)
    message = backup_failed(request.plan, name, at, problem, unsafe=unsafe, run=run, taken=taken, link=link)
    tell(estate.notifiers, message, None)


def _emit(estate: OpenEstate, name: str, request: BackupRequest, error: str) -> None:
    happened = Happened(name, estate.file.estate, plan=request.plan, run=holder(), error=error, ends_run=True)
    emit(happened, estate.context.secrets.redact)


def _show(estate: OpenEstate, request: BackupRequest, account: Account, problem: str) -> None:
    """What was done, and the status of all plans, are artifacts."""
    with only_shown():
        create_markdown_artifact(
            key=f"backup-{request.plan}",
            markdown=account_report(request.plan, account, problem),
            description="failed" if problem else "taken",
        )
    show_status(estate)
