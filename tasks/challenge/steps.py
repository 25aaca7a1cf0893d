"""The @task functions of challenges: thin, and the only module here that imports Prefect."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prefect import task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from blocks.challenges import workplace
from blocks.estate import OpenEstate
from blocks.lease_keeper import KeptLease, await_lease
from blocks.scratch.rooms import clear_dead
from tasks.challenge.choice import no_source_because, older_than, target_of
from tasks.challenge.climb_steps import Challenging, Evaluate, Source, climb, variant, verifying_source
from tasks.challenge.judge import judge_control, judge_trial, left_out, undecided
from tasks.challenge.model import Fault, StoredFile
from tasks.challenge.ports import SourceServer
from tasks.challenge.request import ChallengeRequest
from tasks.common.backups import RestoreTo
from tasks.common.challenges import Control, Trial
from tasks.common.errors import Refused, SlipwayError
from tasks.common.lease import scope_of
from tasks.common.lease_steps import holder
from tasks.common.steps import ONCE
from tasks.common.units import show_duration
from tasks.verification import steps as verification
from tasks.verification.model import Moment
from tasks.verification.steps import Verifying

_PATIENCE_S = 3600.0
_SLACK_S = 2.0
"""So much more than an archive that works takes is allowed to one that does not."""
_SILENT_WITHIN_S = 120.0
_TICK_S = 0.1
_CHANCE = random.SystemRandom()
_COPY, _SOURCE = "the undamaged copy", "a backup of the unspoiled throw-away database"


@contextmanager
def challenging(estate: OpenEstate, request: ChallengeRequest, evaluate: Evaluate | None) -> Iterator[Challenging]:
    """Within the block nobody else changes the plan's backups; nothing is left of dead runs, nor of this one after it.

    Raises:
        Refused: another run has the plan for too long, there is no such plan, or it cannot be challenged here.
        Retryable: the ledger does not answer.
    """
    ttl_s, log = estate.backup_plan(request.plan).lease_s, get_run_logger()
    estate.ledger.prepare()
    leases = estate.ledger.leases
    lease = await_lease(leases, scope_of("backup", request.plan), holder(), ttl_s, _PATIENCE_S, log.info)
    kept = KeptLease(leases, lease, ttl_s, log.warning)
    try:
        for removed in clear_dead(estate.challenge_place(request.plan)):
            log.warning("removed %s", removed)
        work = Challenging(estate, request, evaluate, kept)
        try:
            yield work
        finally:
            work.place.leave()
    finally:
        kept.give_up()


@task(name="copy", task_run_name="copy what is damaged later: {work.entry.id}", **ONCE)
def copy_repository(work: Challenging) -> None:
    """The newest backup, one before it, and what they need are copied; it is known what the source is now.

    Raises:
        Refused, Retryable: the repository cannot be read, or there is no space for its copy.
    """
    label = work.entry.stored.label
    stored = work.engine.stored()
    if label not in {each.label for each in stored}:
        raise Refused(
            "the newest backup of the catalogue is not in its repository",
            on=work.entry.id,
            next_action=f"take a new one: 'slipway backup {work.request.plan}'",
        )
    # Before: WAL that arrives while the rest is copied is not in the copy.
    seen = work.verifying(work.engine, work.entry)
    verification.observe_source(seen)
    work.moment, work.compared = seen.source, seen.expected
    work.older = older_than(label, stored)
    older = [work.older.label] if work.older is not None else []
    work.place.copy(work.repository, work.subject.parts([label, *work.entry.stored.needs, *older]))


@task(name="control: copy", task_run_name=_COPY, **ONCE)
def climb_undamaged(work: Challenging) -> State:
    """It is known whether the undamaged copy is sound: if not, finding damage proves nothing."""
    began = time.monotonic()
    with variant(work) as (_, _, engine):
        rungs = climb(work, work.verifying(engine, work.entry))
    return work.controlled(judge_control(_COPY, rungs, time.monotonic() - began))


@task(name="damage a copy", task_run_name="{fault}", **ONCE)
def damage_copy(work: Challenging, fault: Fault) -> State | None:
    """It is known by which rung this damage to a copy of the repository is found, if by any."""
    if work.in_vain:
        return None
    with variant(work) as (repository, home, engine):

        def make() -> str | None:
            return _damage(work, fault, repository, home)

        return work.tried(_try(work, fault, make, lambda: work.verifying(engine, work.entry)))


@contextmanager
def throw_away_source(work: Challenging) -> Iterator[None]:
    """Within the block the newest backup is served as a database of its own that may be spoiled; not after it.

    Raises:
        Unsafe: its server could not be ended.
    """
    how = work.plan.verification
    work.no_source = no_source_because(work.form, restored=how is not None)
    server = work.estate.challenge_source(work.request.plan) if not work.no_source and not work.in_vain else None
    if server is None or how is None:
        yield
        return
    try:
        serve_source(work, server, how.name or "")
        yield
    finally:
        work.source = None
        server.remove()


@task(name="serve", task_run_name="serve a throw-away copy of {work.entry.id}", **ONCE)
def serve_source(work: Challenging, server: SourceServer, name: str) -> None:
    """The newest backup is served, and can be backed up into an empty repository; or it is said why it cannot."""
    try:
        with variant(work) as (_, _, engine):
            engine.restore(RestoreTo(label=work.entry.stored.label), server.open(), lambda _: None)
            server.replay(engine.form)
        if work.subject.archives:
            # The repository is not prepared yet: what fails now would be tried again a minute later.
            server.archive((), truly=False)
        server.serve()
        repository, home = work.place.folder("repository"), work.place.folder("home")
        engine = work.subject.of_source(repository, home, server.served(name))
        command = work.subject.archive_command(home)
        if command:
            server.archive(command)
        work.source = Source(server, engine, name, command)
    except SlipwayError as error:
        work.controlled(Control(_SOURCE, False, error.what, 0.0))


@task(name="control: source", task_run_name=_SOURCE, **ONCE)
def climb_unspoiled(work: Challenging) -> State | None:
    """It is known whether a backup of the throw-away database is sound while nothing is spoiled."""
    source, began = work.source, time.monotonic()
    if source is None:
        return None
    try:
        rungs = climb(work, verifying_source(work, source, source.back_up(work.request.plan, work.driver)))
    except SlipwayError as error:
        return work.controlled(Control(_SOURCE, False, error.what, time.monotonic() - began))
    return work.controlled(judge_control(_SOURCE, rungs, time.monotonic() - began))


@task(name="spoil the source", task_run_name="{fault}", **ONCE)
def spoil_source(work: Challenging, fault: Fault) -> State | None:
    """It is known by which rung this damage to a database that is backed up afterwards is found, if by any."""
    source = work.source
    if work.in_vain:
        return None
    if source is None:
        return work.tried(left_out(fault, work.expected(fault), work.no_source))
    if fault is Fault.ARCHIVE_SILENT:
        return work.tried(_try_silence(work, source))
    spoil = {Fault.KEY_BROKEN: source.server.break_foreign_key, Fault.TABLE_GONE: source.server.drop_table}[fault]

    def climber() -> Verifying:
        return verifying_source(work, source, source.back_up(work.request.plan, work.driver))

    return work.tried(_try(work, fault, lambda: spoil(source.name) or None, climber))


def _damage(work: Challenging, fault: Fault, repository: Path, home: Path) -> str | None:
    """The copy is damaged; returns how, None where this damage cannot be made."""
    label = work.entry.stored.label
    if fault is Fault.SWAPPED:
        ours, theirs = work.subject.folder(label), work.subject.folder(work.older.label) if work.older else None
        if ours is None or theirs is None or work.older is None:
            return None
        workplace.swap(repository, theirs, ours)
        return f"{label} holds what {work.older.label} does"
    file = target_of(fault, work.subject.files(repository, home, work.entry.stored), _any)
    if file is None:
        return None
    if fault is Fault.FLIPPED:
        offset = _CHANCE.randrange(file.size_bytes)
        workplace.flip(repository, file.path, offset)
        return f"{file.path}: one bit of byte {offset}"
    if fault is Fault.TRUNCATED:
        workplace.truncate(repository, file.path, file.size_bytes // 2)
        return f"{file.path}: {file.size_bytes // 2} of {file.size_bytes} bytes left"
    workplace.drop_file(repository, file.path)
    return f"{file.path}: removed"


def _any(files: Sequence[StoredFile]) -> StoredFile:
    return _CHANCE.choice(files)


def _try(work: Challenging, fault: Fault, make: Callable[[], str | None], climber: Callable[[], Verifying]) -> Trial:
    """Return what became of a damage that is made now."""
    began, done = time.monotonic(), ""
    should = work.expected(fault)
    try:
        made = make()
        if made is None:
            return left_out(fault, should, work.left_out_because(fault))
        done = made
        return judge_trial(fault, done, should, climb(work, climber()), time.monotonic() - began)
    except SlipwayError as error:
        return undecided(fault, done, should, error.what, time.monotonic() - began)
    except Exception as error:
        # A check that crashes has found nothing; its text may hold anything.
        return undecided(fault, done, should, f"unexpected {type(error).__name__}", time.monotonic() - began)


def _try_silence(work: Challenging, source: Source) -> Trial:
    """Return whether it is found that WAL arrives nowhere while the server says that it does."""
    fault = Fault.ARCHIVE_SILENT
    if not work.subject.archives or source.entry is None:
        return left_out(fault, work.expected(fault), work.left_out_because(fault))
    climbing = verifying_source(work, source, source.entry)

    def make() -> str:
        climbing.source, rpo_s = _silence(source)
        objectives = work.plan.objectives.model_copy(update={"rpo_s": rpo_s})
        climbing.plan = work.plan.model_copy(update={"objectives": objectives})
        return (
            "the archive command reports success and hands WAL to nobody; the server says that it has archived; "
            f"the objective was narrowed to {show_duration(rpo_s)} for this"
        )

    return _try(work, fault, make, lambda: climbing)


def _silence(source: Source) -> tuple[Moment, float]:
    """Return where the server was when it had claimed to archive for longer than an objective, and this objective.

    Nobody waits for the plan's own: it is narrowed to what the archive has just met, and some seconds. Afterwards the
    archive works again.
    """
    source.server.switch(source.name)
    now, reaches = source.server.database(source.name).moment(), source.engine.reaches()
    if reaches is None:
        raise Refused("nothing of the throw-away database was archived", on=source.name, next_action="report this")
    rpo_s = max((now.at - reaches).total_seconds(), 0.0) + _SLACK_S
    deadline = time.monotonic() + _SILENT_WITHIN_S
    source.server.archive(source.command, truly=False)
    try:
        while now.archived_at is None or (now.archived_at - reaches).total_seconds() <= rpo_s:
            if time.monotonic() > deadline:
                raise Refused("the server's counters are not green", on=source.name, next_action="report this")
            time.sleep(_TICK_S)
            source.server.switch(source.name)
            now = source.server.database(source.name).moment()
    finally:
        source.server.archive(source.command)
    return now, rpo_s
