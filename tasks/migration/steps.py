"""The @task functions of migrations: thin, and with `ending_steps` the only modules here that import Prefect."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from blocks.migrations.folder import read_folder
from blocks.migrations.released import texts_of
from tasks.common.errors import Refused
from tasks.common.lease_steps import holder
from tasks.common.migrations import DatabaseSpec, Phase
from tasks.common.steps import ONCE, only_shown
from tasks.migration import plan, report, require
from tasks.migration.catalogue import Observed
from tasks.migration.conduct import Conductor, OnHold, Progress
from tasks.migration.declared import for_database
from tasks.migration.files import Written, load_migrations
from tasks.migration.plan import Action
from tasks.migration.ports import Engine, MigrationTarget
from tasks.migration.request import MigrateRequest, UndoRequest

_SHOW_EVERY_S = 2.0


@dataclass
class Migrating:
    """What a run of `migrate` or `undo-migration` works with.

    Args:
        estate: the estate.
        request: what is asked for.
        run_id: the flow run.
        spec: what the estate file says of the database.
        target: the database.
        written: the migrations of the folder.
        engine: the right to change the database; None where it is only looked at.
        begun: what was done of each migration when this run came to it.
        current: the migration at work.
        actions: what is to be done, as it was planned before anything was.
        backup: id of the backup that there is.
        removes: the migrations whose old shape this run removes.
        accepted: who answers for conditions that are not met; ''.
    """

    estate: OpenEstate
    request: MigrateRequest | UndoRequest
    run_id: str
    spec: DatabaseSpec
    target: MigrationTarget
    written: tuple[Written, ...] = ()
    engine: Engine | None = None
    begun: dict[str, Phase | None] = field(default_factory=dict)
    current: str = ""
    actions: tuple[Action, ...] = ()
    backup: str = ""
    removes: tuple[str, ...] = ()
    accepted: str = ""

    def __str__(self) -> str:
        """Return 'campus in production', as task names show it."""
        return f"{self.request.service} in {self.request.environment}"

    @property
    def wanted(self) -> require.Wanted:
        """Return which database it has to be."""
        return require.Wanted.of(self.spec, room=True)

    def of(self, name: str) -> Written:
        """Return a migration of the folder.

        Raises:
            Refused: there is none of that name.
        """
        for each in self.written:
            if each.name == name:
                return each
        raise Refused(
            f"there is no migration {name!r}",
            on=str(self),
            next_action=f"use one of: {', '.join(each.name for each in self.written) or 'none is there'}",
        )


def open_work(estate: OpenEstate, request: MigrateRequest | UndoRequest) -> Migrating:
    """Return what a run works with; nothing was looked at.

    Raises:
        Refused: the estate names no such database.
    """
    spec = estate.migrated(request.service, request.environment)
    target = estate.migrations(request.service, request.environment)
    backup = request.backup if isinstance(request, MigrateRequest) else ""
    return Migrating(estate, request, holder(), spec, target, backup=backup)


@task(name="read migrations", task_run_name="read the migrations of {work}", **ONCE)
def read_migrations(work: Migrating) -> None:
    """The migrations are read, from a folder or from the repository.

    Raises:
        Refused: there are none, or some have mistakes; all are listed, with file and line.
    """
    work.written = written_of(work.estate, work.request)


def written_of(estate: OpenEstate, request: MigrateRequest | UndoRequest) -> tuple[Written, ...]:
    """Return the migrations of a folder, or of a commit of the service's repository."""
    if request.folder:
        return load_migrations(read_folder(Path(request.folder)), request.folder)
    texts, where = texts_of(estate, request.service, request.commit)
    if not texts:
        raise Refused(
            f"{request.service} has no migrations",
            on=where,
            next_action="name their folder in slipway.yaml: 'migrations: migrations', and put one into it",
        )
    return load_migrations(texts, where)


@task(name="look", task_run_name="look at the database of {work}", **ONCE)
def look(work: Migrating) -> tuple[str, ...]:
    """The database is the right one, folder and history fit, and there is room; returns what is to be migrated.

    Nothing is changed. The plan is an artifact.

    Raises:
        Refused: something does not hold; what, and what to do.
    """
    assert isinstance(work.request, MigrateRequest), "undo looks for itself"
    observed, on = work.target.observe(), str(work)
    require.require_right(observed, work.wanted, on)
    require.require_in_line(observed, work.written, on)
    upto = work.of(work.request.upto).name if work.request.upto else None
    names: list[str] = []
    actions: list[Action] = []
    for each in work.written:
        if upto is not None and each.name > upto:
            break
        attempt = observed.attempt(each.name)
        require.require_not_undoing(attempt, on)
        compiled = for_database(each, observed, names).compiled
        todo = plan.plan_apply(attempt, compiled, work.request.through)
        if todo:
            require.require_room(observed, compiled, work.request.through, work.wanted, on)
            names.append(each.name)
            actions += todo
    told = report.warnings(observed, [work.of(name) for name in names], work.request.through)
    for line in told:
        get_run_logger().warning(line)
    _show_plan(work, observed, actions, told)
    work.actions = tuple(actions)
    return tuple(names)


def carry_through(work: Migrating, name: str, phase: Phase) -> None:
    """A migration is through a phase. *Idempotent:* yes: what is on record is not done again.

    Raises:
        OnHold: the server is not well enough; it is to be looked at again later.
        Refused, Retryable: as the engine says.
    """
    held = _carry_through(work, name, phase)
    if held is not None:
        raise held


@task(name="migrate phase", task_run_name="{name}: {phase}", **ONCE)
def _carry_through(work: Migrating, name: str, phase: Phase) -> OnHold | None:
    """Return what holds it; None where it is through. A hold is no failure, and is not shown as one."""
    work.current = name
    written = work.of(name)
    observed = work.target.observe()
    attempt = observed.attempt(name)
    work.begun.setdefault(name, attempt.standing.done if attempt is not None else None)
    try:
        todo = plan.plan_apply(attempt, for_database(written, observed).compiled, phase)
        if todo and attempt is not None:
            _note(work, name, phase)
        for action in todo:
            _conductor(work).do(action, written.file.limits, work.target.observe().attempt(name))
    except OnHold as hold:
        return hold
    return None


def _note(work: Migrating, name: str, phase: Phase) -> None:
    """What this phase relies on is on record, before it is begun."""
    assert work.engine is not None, "only within `alone`"
    backup = work.backup if phase in (Phase.EXECUTE, Phase.CLEANUP) else ""
    accepted = work.accepted if phase is Phase.CLEANUP and name in work.removes else ""
    if backup or accepted:
        work.engine.note(name, backup=backup, accepted=accepted)


@task(name="undo", task_run_name="{name}: undo", **ONCE)
def undo(work: Migrating, name: str, keep: Phase | None = None) -> None:
    """A migration is taken back, but for what is to be kept. *Idempotent:* yes.

    Raises:
        Refused: it cannot be undone.
    """
    observed = work.target.observe()
    require.require_right(observed, work.wanted, str(work))
    attempt = require.require_undoable(observed, name, str(work))
    for each in plan.not_taken_back(attempt, keep):
        get_run_logger().warning("%s: nothing takes this back, and it stays: %s", name, each.what)
    for action in plan.plan_undo(attempt, keep):
        _conductor(work).do(action, attempt.compiled.limits, attempt)


@contextmanager
def alone(work: Migrating) -> Iterator[None]:
    """This run alone changes the database within the block.

    Raises:
        Refused: another engine is at work on it.
    """
    with work.target.locked(work.run_id, work.spec.wait_s) as engine:
        work.engine = engine
        try:
            yield
        finally:
            work.engine = None


def show_status(work: Migrating) -> None:
    """Where each migration stands is an artifact."""
    with only_shown():
        create_markdown_artifact(
            key=f"migrations-{work.request.service}-{work.request.environment}",
            markdown=report.status_report(work.target.observe(), work.written),
            description=f"migrations of {work}",
        )


def _conductor(work: Migrating) -> Conductor:
    assert work.engine is not None, "only within `alone`"
    return Conductor(
        work.engine,
        work.target,
        say=get_run_logger().info,
        wait=time.sleep,
        chance=random.random,
        health=work.spec.health,
        show=_shows(),
        backup=work.backup,
        run_id=work.run_id,
    )


def _shows() -> Callable[[Progress], None]:
    """Return what shows the progress of a backfill in the Prefect UI, at most every few seconds, and at its end."""
    log, shown_s = get_run_logger(), float("-inf")
    artifact: object = None

    def show(progress: Progress) -> None:
        nonlocal shown_s, artifact
        if time.monotonic() - shown_s < _SHOW_EVERY_S and not progress.finished:
            return
        shown_s, text = time.monotonic(), report.progress_text(progress)
        log.info(text)
        with only_shown():
            if isinstance(artifact, UUID):
                update_progress_artifact(artifact, progress.percent, text)
            else:
                artifact = create_progress_artifact(progress.percent, key="migration-backfill", description=text)

    return show


def _show_plan(work: Migrating, observed: Observed, actions: list[Action], told: tuple[str, ...]) -> None:
    text = "\n\n".join(
        [
            report.status_report(observed, work.written),
            "\n".join(f"- {each}" for each in told),
            f"```\n{report.plan_report(actions)}\n```",
        ]
    )
    with only_shown():
        create_markdown_artifact(
            key=f"migration-plan-{work.request.service}-{work.request.environment}",
            markdown=work.estate.context.secrets.redact(text),
            description=f"what is done with {work}",
        )
