"""The @task functions of verification, a rung each: thin, and the only module here that imports Prefect."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from blocks.backup_uses import BackupUses
from blocks.estate import OpenEstate
from blocks.lease_keeper import KeptLease, kept_lease
from tasks.common.backups import Ability, Entry, RestoreTo, Rung, RungOutcome, Verification
from tasks.common.clocks import ahead_s
from tasks.common.errors import SlipwayError
from tasks.common.event_steps import emit
from tasks.common.events import Happened
from tasks.common.lease import scope_of
from tasks.common.lease_steps import holder
from tasks.common.repositories import require_known
from tasks.common.steps import ONCE, TRANSIENT, only_shown, tell_restored, transient
from tasks.common.uses import Doing
from tasks.verification import ladder, rungs
from tasks.verification.choice import choose, is_newest, require_scratch
from tasks.verification.expected import UNSEEN, Expected, expected
from tasks.verification.model import DatabaseFacts, Finding, Moment
from tasks.verification.ports import ScratchServer
from tasks.verification.report import HISTORY, Told, failure, report, verdict
from tasks.verification.request import VerifyRequest

_LOOK: dict[str, Any] = {
    **ONCE,
    "retries": 2,
    "retry_delay_seconds": [1, 4],
    "retry_condition_fn": transient,
}
"""Options of the rungs: only what the driver calls retryable is looked at again."""
_PATIENCE_S = 3600.0
"""Another verification of the plan is waited for."""
_NOT_RESTORED = "the plan has no 'verification': nothing was restored"


class Verifying:
    """A verification on its way.

    Args:
        estate: the open estate.
        request: what is asked for.
        entry: the backup that was chosen.
        newest: whether no newer backup is in its repository.
        kept: keeps the backup from being expired.
        to: the state that is restored from it; None: the newest that it leads to.

    Raises:
        Refused: the engine cannot work here, or no scratch server is for what it restores.
    """

    def __init__(
        self,
        estate: OpenEstate,
        request: VerifyRequest,
        entry: Entry,
        newest: bool,
        kept: KeptLease,
        to: RestoreTo | None = None,
    ) -> None:
        self.estate, self.request, self.entry, self.kept = estate, request, entry, kept
        self.plan = estate.backup_plan(request.plan)
        self.engine = estate.backup(request.plan)
        self.scratch = estate.scratch(request.plan)
        self.to = to or RestoreTo(label=entry.stored.label)
        self.began_at = datetime.now(UTC)
        self.redact = estate.context.secrets.redact
        self.rungs: list[Rung] = []
        self.remarks: list[str] = []
        self.source = Moment(self.began_at, "")
        self.expected = Expected(None, why=UNSEEN)
        self.ahead_s = 0.0
        self.folder = Path()
        self.newest = newest
        self.with_wal = Ability.POINT_IN_TIME in self.engine.abilities().can
        if self.scratch is not None:
            require_scratch(self.engine.form, self.scratch.forms, self.name, request.plan)

    @property
    def target(self) -> datetime:
        """Return the moment that is to be restored."""
        # An older state, without the WAL after it, is measured against the moment when it was taken.
        return self.source.at if self.newest or self.with_wal else self.entry.stored.ended_at

    @property
    def about_rpo(self) -> str:
        """Return what people have to know of the RPO; '' for nothing."""
        old = not (self.newest or self.with_wal)
        return "this is not the newest backup: its RPO is that of the moment when it was taken" if old else ""

    def remark(self, said: str) -> None:
        """People are told. *Idempotent:* yes."""
        if said not in self.remarks:
            self.remarks.append(said)
            get_run_logger().warning(self.redact(said))

    def climbed(self, rung: Rung) -> State:
        """The rung is kept, without secrets; returns what the task's state says of it. *Idempotent:* no."""
        self.rungs.append(replace(rung, said=self.redact(rung.said), facts=_plain(rung.facts, self.redact)))
        if rung.outcome is RungOutcome.BROKEN:
            get_run_logger().error("broken: %s", self.rungs[-1].said)
        names = {RungOutcome.HELD: "Held", RungOutcome.BROKEN: "Broken", RungOutcome.LEFT_OUT: "LeftOut"}
        return Completed(name=names[rung.outcome], message=self.rungs[-1].said, data=rung.outcome.value)

    def in_copy(self, name: str, climb: Callable[[ScratchServer], Rung]) -> State:
        """The rung is climbed in the scratch server, or left out where the plan has none. *Idempotent:* no."""
        if self.scratch is None:
            return self.climbed(Rung(name, RungOutcome.LEFT_OUT, _NOT_RESTORED, 0.0))
        # A scratch folder has no database to look at.
        return self.climbed(ladder.excused(name, self.engine.form, self.rungs) or climb(self.scratch))

    @property
    def name(self) -> str:
        """Return the database that is looked at; '' where nothing is restored."""
        how = self.plan.verification
        return (how.name or "") if how is not None else ""


@contextmanager
def verifying(estate: OpenEstate, request: VerifyRequest, to: RestoreTo | None = None) -> Iterator[Verifying]:
    """A backup is chosen, which is not expired within the block; others are taken and expired meanwhile.

    One verification of a plan runs at a time. An engine whose repository cannot be read while it is changed has no
    backup taken meanwhile, either.

    Args:
        estate: the open estate.
        request: what is asked for.
        to: the state that is restored from the backup; None: the newest that it leads to.

    Raises:
        Refused: another run has the plan for too long, there is no such plan or backup, or it cannot be verified here.
        Retryable: the ledger does not answer.
    """
    ttl_s, log = estate.backup_plan(request.plan).lease_s, get_run_logger()
    estate.ledger.prepare()
    leases = estate.ledger.leases
    scopes = [scope_of("verify", request.plan)]
    if Ability.SHARED not in estate.backup(request.plan).abilities().can:
        scopes.append(scope_of("backup", request.plan))
    newest = False

    def choose_one() -> Entry:
        nonlocal newest
        entry, newest = choose_backup(estate, request)
        return entry

    with ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(kept_lease(leases, scope, holder(), ttl_s, _PATIENCE_S, log.warning))
        uses = BackupUses(leases, request.plan, holder(), ttl_s, log.warning)
        entry, kept = stack.enter_context(uses.using(Doing.VERIFIED, choose_one))
        yield Verifying(estate, request, entry, newest, kept, to)


@task(name="choose", task_run_name="choose a backup: {request.which}", **TRANSIENT)
def choose_backup(estate: OpenEstate, request: VerifyRequest) -> tuple[Entry, bool]:
    """Return the backup that is verified, and whether it is the newest of its repository. *Idempotent:* yes.

    Raises:
        Refused: there is none, or its repository cannot be read, or is not the one that was written: that says nothing
            against the backup.
        Retryable: the ledger or the repository does not answer.
    """
    entries = estate.ledger.catalogue.entries(request.plan)
    entry = choose(request.which, request.plan, entries, random.SystemRandom().choice)
    _require_repository(estate, entry, entries)
    get_run_logger().info("%s is verified", entry.id)
    return entry, is_newest(entry, entries)


def _require_repository(estate: OpenEstate, entry: Entry, entries: Sequence[Entry]) -> None:
    if entry.engine == estate.backup_plan(entry.plan).engine.driver:
        beside = [each for each in entries if (each.engine, each.repository) == (entry.engine, entry.repository)]
        require_known(beside, estate.backup(entry.plan).stored(entry.repository), entry.plan, entry.repository)


@task(name="source", task_run_name="look at the source", **TRANSIENT)
def observe_source(work: Verifying) -> None:
    """It is known where the source is, and what its copy should be like; or said that it is not. *Idempotent:* yes.

    Raises:
        Retryable: the ledger does not answer.
    """
    database = work.estate.database(work.request.plan)
    if database is None:
        return
    then = None if work.with_wal else work.estate.ledger.catalogue.source_of(work.entry.id)
    now: DatabaseFacts | None = None
    try:
        before = datetime.now(UTC)
        work.source = database.moment()
        work.ahead_s = ahead_s(before, work.source.at, datetime.now(UTC))
        now = database.facts() if then is None else None
    except SlipwayError as error:
        missing = "schema and row counts are not compared" if then is None else "what is on record of it is used"
        clock = "" if work.source.lsn else "the worker's clock stands for the source's, and "
        work.remark(f"the source could not be observed ({error.what}): {clock}{missing}")
    work.expected = expected(with_wal=work.with_wal, newest=work.newest, now=now, then=then)
    for remark in filter(None, (work.expected.remark, work.about_rpo)):
        work.remark(remark)


@task(name=ladder.FRESHNESS, task_run_name=ladder.FRESHNESS, **_LOOK)
def check_freshness(work: Verifying) -> State:
    """It is known whether the repository reaches near enough to where the source is."""
    rpo_s, repository = work.plan.objectives.rpo_s, work.entry.repository
    return work.climbed(rungs.freshness(work.rungs, work.engine, work.source, rpo_s, repository, ahead_s=work.ahead_s))


@task(name=ladder.REPOSITORY, task_run_name=ladder.REPOSITORY, **_LOOK)
def check_repository(work: Verifying) -> State:
    """It is known whether the backup lies there as it was written."""
    stored, repository = work.entry.stored, work.entry.repository
    return work.climbed(rungs.repository_check(work.rungs, work.engine, stored.label, repository))


@contextmanager
def scratch_server(work: Verifying) -> Iterator[None]:
    """Nothing is left of earlier verifications that were killed, and after the block nothing of this one.

    Raises:
        Unsafe: a server could not be ended.
    """
    if work.scratch is None:
        yield
        return
    for removed in work.scratch.clean():
        get_run_logger().warning("removed %s", removed)
    try:
        yield
    finally:
        work.scratch.remove()


@task(name=ladder.RESTORE, task_run_name="restore {work.entry.id}", **_LOOK)
def restore(work: Verifying) -> State:
    """The backup is a stopped server that has answered once, or whole files; another try has a folder of its own."""

    def climb(scratch: ScratchServer) -> Rung:
        work.folder = scratch.open()
        tell = tell_restored()
        return rungs.restore(work.rungs, work.engine, scratch, work.folder, work.to, tell, work.entry.repository)

    return work.in_copy(ladder.RESTORE, climb)


@task(name=ladder.PAGES, task_run_name=ladder.PAGES, **_LOOK)
def check_pages(work: Verifying) -> State:
    """It is known whether every page of the stopped copy is as it was written."""
    return work.in_copy(ladder.PAGES, lambda scratch: rungs.pages(work.rungs, work.engine.form, scratch))


@task(name=ladder.STRUCTURE, task_run_name=ladder.STRUCTURE, **_LOOK)
def check_structure(work: Verifying) -> State:
    """It is known whether tables and indexes of the copy fit together."""
    return work.in_copy(ladder.STRUCTURE, lambda scratch: rungs.structure(work.rungs, work.engine.form, scratch))


@task(name=ladder.READING, task_run_name=ladder.READING, **_LOOK)
def read_all(work: Verifying) -> State:
    """It is known whether every row of the copy can be read."""
    return work.in_copy(ladder.READING, lambda scratch: rungs.full_read(work.rungs, work.engine.form, scratch))


@task(name=ladder.SCHEMA, task_run_name=ladder.SCHEMA, **_LOOK)
def compare_schema(work: Verifying) -> State:
    """It is known whether the copy has every object of its source."""

    def climb(scratch: ScratchServer) -> Rung:
        wanted = work.expected
        facts = wanted.facts if wanted.steady else None
        return rungs.schema(work.rungs, work.engine.form, facts, scratch.database(work.name), wanted.why)

    return work.in_copy(ladder.SCHEMA, climb)


@task(name=ladder.COUNTS, task_run_name=ladder.COUNTS, **_LOOK)
def compare_counts(work: Verifying) -> State:
    """It is known whether each table of the copy has about the rows of its source."""
    bands = rungs.Bands(work.expected.facts.rows if work.expected.facts is not None else {})

    def climb(scratch: ScratchServer) -> Rung:
        return rungs.counts(work.rungs, work.engine.form, bands, scratch.database(work.name))

    return work.in_copy(ladder.COUNTS, climb)


@task(name=ladder.SEQUENCES, task_run_name=ladder.SEQUENCES, **_LOOK)
def check_sequences(work: Verifying) -> State:
    """It is known whether any sequence of the copy is behind its column."""
    return work.in_copy(ladder.SEQUENCES, lambda scratch: rungs.sequences(work.rungs, work.engine.form, scratch))


@task(name=ladder.FOREIGN_KEYS, task_run_name=ladder.FOREIGN_KEYS, **_LOOK)
def check_foreign_keys(work: Verifying) -> State:
    """It is known whether every foreign key of the copy leads somewhere."""
    return work.in_copy(ladder.FOREIGN_KEYS, lambda scratch: rungs.foreign_keys(work.rungs, work.engine.form, scratch))


@task(name=ladder.EXPECTATIONS, task_run_name=ladder.EXPECTATIONS, **_LOOK)
def check_expectations(work: Verifying, evaluate: Callable[[str, Path], Rung] | None) -> State:
    """It is known whether the copy meets the service's expectations.

    Args:
        work: the verification.
        evaluate: evaluates them on the database of an address, with a private folder; None where there are none.
    """

    def climb(scratch: ScratchServer) -> Rung:
        def look() -> Finding:
            if evaluate is None:
                return Finding(RungOutcome.LEFT_OUT, "the plan names no expectations")
            found = evaluate(scratch.address(work.name), work.folder)
            return Finding(found.outcome, found.said, found.facts)

        return ladder.climb(ladder.EXPECTATIONS, work.engine.form, work.rungs, look)

    return work.in_copy(ladder.EXPECTATIONS, climb)


@task(name=ladder.HEARTBEAT, task_run_name=ladder.HEARTBEAT, **_LOOK)
def measure_rpo(work: Verifying) -> State:
    """The RPO is measured, where heartbeats came back."""

    def climb(scratch: ScratchServer) -> Rung:
        copy, rpo_s = scratch.database(work.name), work.plan.objectives.rpo_s
        return rungs.heartbeat(work.rungs, work.engine.form, work.target, copy, rpo_s)

    return work.in_copy(ladder.HEARTBEAT, climb)


def conclude(work: Verifying) -> None:
    """What was found is in the catalogue, in an artifact, and sent as an event.

    Raises:
        Unsafe: a rung is broken.
        Refused: the repository is not the one that was written any more; nothing is on record.
        LeaseLost: the backup may have been expired meanwhile; nothing is on record, as nothing is proven.
        Retryable: the ledger does not answer; nothing is on record.
    """
    work.kept.require()
    found = ladder.conclude(work.entry.id, holder(), work.began_at, datetime.now(UTC), work.rungs)
    if found.unsound:
        # Of a repository that has gone meanwhile nothing was found out.
        _require_repository(work.estate, work.entry, work.estate.ledger.catalogue.entries(work.request.plan))
    history = record(work, found)
    said = verdict(found)
    told = Told(found, work.plan.objectives, work.remarks, history)
    with only_shown():
        create_markdown_artifact(
            key=f"verification-{work.request.plan}", markdown=report(told, work.redact), description=work.redact(said)
        )
    if found.sound or found.broken:
        emit(_happened(work, found), work.redact)
    if found.broken:
        raise failure(found, said)
    get_run_logger().info("%s: %s", work.entry.id, said)


@task(name="record", task_run_name="put on record", **TRANSIENT)
def record(work: Verifying, found: Verification) -> tuple[Verification, ...]:
    """What was found is in the catalogue; returns the plan's latest verifications. *Idempotent:* yes, by the run.

    Raises:
        Retryable: the ledger does not answer.
    """
    work.estate.ledger.catalogue.note(found)
    return work.estate.ledger.catalogue.verifications(work.request.plan, HISTORY)


def _happened(work: Verifying, found: Verification) -> Happened:
    about = {"plan": work.request.plan, "backup": work.entry.id, "run": found.run_id}
    if found.sound:
        return Happened("slipway.backup.verified", work.estate.file.estate, **about, ends_run=True)
    return Happened("slipway.backup.unsound", work.estate.file.estate, **about, error=verdict(found), ends_run=True)


def _plain(facts: Any, redact: Callable[[str], str]) -> Any:
    """Return the same without secrets."""
    if isinstance(facts, str):
        return redact(facts)
    if isinstance(facts, dict):
        return {name: _plain(value, redact) for name, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [_plain(value, redact) for value in facts]
    return facts
