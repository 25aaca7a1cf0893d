"""What a release and a rollback ask of the database: it is as their code needs it. A part of `steps`."""

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import task
from prefect.logging import get_run_logger

from blocks.job import Job
from blocks.migrations.released import CARRIES, carried, texts_of
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.steps import TRANSIENT
from tasks.migration import contract, fit, require
from tasks.migration.catalogue import Observed
from tasks.migration.contract import Unmet
from tasks.migration.files import Written, load_migrations


@dataclass(frozen=True)
class Fit:
    """How a database fits a commit.

    Args:
        on: the service in its environment.
        names: of the migrations that the commit has.
        unready: those that are not through validate.
        left_behind: those that the commit does not have, and that have removed what it needs.
        apply: command that brings the commit's migrations through validate.
    """

    on: str
    names: tuple[str, ...]
    unready: tuple[Unmet, ...]
    left_behind: tuple[Unmet, ...]
    apply: str

    @property
    def problems(self) -> tuple[Unmet, ...]:
        """Return everything that keeps the commit from users."""
        return (*self.left_behind, *self.unready)


def has_database(job: Job, environment: str) -> bool:
    """Return whether the estate names a database of the service there."""
    return job.service.service in job.estate.file.environments[environment].databases


def look_at_fit(job: Job, environment: str) -> Fit:
    """Return how the database fits the commit that is released; it is on record, and nothing is changed.

    Raises:
        Refused: it is another database than the estate says, or the commit's migrations have mistakes.
        Retryable: the database, or the repository, does not answer.
    """
    service = job.service.service
    with job.journal.timed(CARRIES, environment) as facts:
        written = _written(job)
        on, apply = f"{service} in {environment}", f"slipway migration apply {service} --in {environment}"
        found = _fit(_observed(job, environment), written, on, f"{apply} --commit {job.commit.short}")
        facts.update(carries=list(found.names), blocking=len(found.problems))
        if found.problems:
            facts["problem"] = "; ".join(f"{each.what}: {each.state}" for each in found.problems)
    return found


def fit_or_why_not(job: Job, environment: str) -> Fit | SlipwayError:
    """Return what `look_at_fit` does, or why that cannot be said: a gate stays closed then."""
    try:
        return look_at_fit(job, environment)
    except SlipwayError as error:
        return error


def _fit(observed: Observed, written: Sequence[Written], on: str, apply: str) -> Fit:
    names = tuple(each.name for each in written)
    return Fit(on, names, fit.unready(observed, written, apply), fit.left_behind(observed, names), apply)


def _written(job: Job) -> tuple[Written, ...]:
    texts, where = texts_of(job.estate, job.service.service, job.commit.sha)
    return load_migrations(texts, where) if texts else ()


def _observed(job: Job, environment: str) -> Observed:
    service = job.service.service
    spec = job.estate.migrated(service, environment)
    observed = job.estate.migrations(service, environment).observe()
    require.require_identity(observed.identity, require.Wanted.of(spec), f"{service} in {environment}")
    return observed


@task(name="database", task_run_name="{environment}: the database is ready", **TRANSIENT)
def require_ready(job: Job, environment: str) -> None:
    """The database is as the commit needs it, where the estate names one. *Idempotent:* yes; nothing is changed.

    Raises:
        Refused: lists every migration that is not through validate, or that the commit does not have and would need.
        Retryable: the database, or the repository, does not answer.
    """
    if not has_database(job, environment):
        return
    found = look_at_fit(job, environment)
    if found.problems:
        raise Refused(
            "the database is not as this commit needs it",
            on=found.on,
            state=f"nothing was changed in {environment}",
            next_action="; then: ".join(dict.fromkeys(each.next_action for each in found.problems)),
            facts={each.what: each.state for each in found.problems},
        )
    get_run_logger().info("%s: all %d migrations are validated", found.on, len(found.names))


@task(name="way back", task_run_name="{job.environment}: the database has a way back", **TRANSIENT)
def require_way_back(job: Job, accepted: str = "") -> None:
    """No migration has removed what the release that is returned to needs, or a person answers for it.

    *Idempotent:* yes; nothing is changed.

    Args:
        job: the rollback.
        accepted: why it is returned to all the same; '' where nobody answers for that.

    A database that does not answer is no reason to keep users from a release that has all that what serves has.

    Raises:
        Refused: it needs what is gone, or nobody can tell.
        Retryable: the database does not answer, and the release has fewer migrations than what serves.
    """
    if not has_database(job, job.environment):
        return
    on = f"{job.service.service} in {job.environment}"
    try:
        _require_way_back(job, on)
    except SlipwayError as error:
        if not accepted:
            error.next_action += "; a person who answers for it adds --accept-contract 'why'"
            raise
        job.journal.note("accepted", "a way back behind a contract", reason=accepted, state=error.what)
        get_run_logger().warning("%s; accepted: %s", error.what, accepted)


def _require_way_back(job: Job, on: str) -> None:
    try:
        gone = contract.contracted(_observed(job, job.environment))
    except Retryable as silent:
        if not _has_what_serves(job):
            raise
        get_run_logger().warning("%s; %s has every migration that what serves has", silent.what, job.release[:7])
        return
    contract.require_way_back(gone, carried(job.estate, job.record) if gone else None, job.release, on)


def _has_what_serves(job: Job) -> bool:
    newest = job.estate.ledger.succeeded(job.service.service, job.environment, 1)
    here, there = carried(job.estate, job.record), [carried(job.estate, each) for each in newest]
    return here is not None and all(each is not None and each <= here for each in there)
