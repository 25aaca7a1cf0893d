"""The @task functions of a release: thin, and the only module here that imports Prefect."""

import json
from pathlib import Path

from prefect import task
from prefect.logging import get_run_logger

from blocks import shell
from blocks.files import read_made
from blocks.job import Job
from blocks.work import Work
from tasks.common.errors import Refused, SlipwayError, Unsafe
from tasks.common.model import Command, HttpCheck
from tasks.common.steps import ONCE, TRANSIENT
from tasks.common.units import show_percent
from tasks.release.model import Artifact
from tasks.release.ports import HttpResult, OnLine

_LOOK_BACK = 1000
_REPORT_AT_MOST_BYTES = 64 * 2**20


def log_lines() -> OnLine:
    """Return a function that writes a command's lines to the run's log."""
    return get_run_logger().info


@task(name="check out", task_run_name="check out {job.commit.short}", **TRANSIENT)
def check_out(job: Work) -> Path:
    """The commit's tree is in the run's folder; returns its path. *Idempotent:* yes."""
    with job.journal.timed("check-out", job.commit.short, commit=job.commit.sha, subject=job.commit.subject):
        job.check_out()
    return job.tree


@task(name="fetch history", task_run_name="history of {job.commit.short}", **TRANSIENT)
def fetch_history(job: Work) -> Path:
    """A repository with the commit and its ancestors is in the run's folder; returns its path. *Idempotent:* yes."""
    with job.journal.timed("history", job.commit.short):
        return job.history()


@task(name="build", task_run_name="build {job.commit.short}", **ONCE)
def build(job: Work, tree: Path) -> Artifact:
    """The artefact is in the run's folder; the same commit gives the same digest (REL-2). *Idempotent:* yes."""
    with job.journal.timed("build", job.commit.short) as facts:
        artifact = job.estate.builder.build(
            tree, job.service.build, job.commit, job.archive, env={}, on_line=log_lines()
        )
        facts.update(digest=artifact.digest, size_bytes=artifact.size_bytes, files=artifact.files)
    get_run_logger().info("built %s, %d files, %d bytes", artifact.digest, artifact.files, artifact.size_bytes)
    job.artifact = artifact
    return artifact


@task(name="command", task_run_name="{kind}: {command.name}", **ONCE)
def run_command(job: Work, kind: str, command: Command, tree: Path, env: dict[str, str]) -> None:
    """The command ended with exit code 0. *Idempotent:* as the command is.

    Raises:
        Refused: it did not, or took too long; the facts carry its last lines.
    """
    with job.journal.timed(kind, command.name) as facts:
        done = shell.run(
            command.command,
            cwd=tree,
            timeout_s=command.timeout_s,
            redact=job.redact,
            env={**command.env, **env},
            path=job.estate.context.path,
            on_line=log_lines(),
            guest=job.estate.context.guest,
        )
        facts.update(exit_code=done.exit_code)
        if done.exit_code:
            raise Refused(
                f"{kind} '{command.name}' failed with exit code {done.exit_code}",
                on=f"{job.service.service} {job.commit.short}",
                state="production was not touched",
                next_action=job.again,
                facts={"last lines": "\n".join(done.tail[-20:])},
            )


def run_tests(job: Work, tree: Path) -> None:
    """Every test step passed, and enough of the code was covered.

    Raises:
        Refused: one failed, or too little was covered.
    """
    env = job.test_env()
    for step in job.service.test.steps:
        run_command(job, "test", step, tree, env)
    if job.service.test.coverage is not None:
        _require_coverage(job, tree / job.service.test.coverage.report, job.service.test.coverage.at_least)


def _require_coverage(job: Work, report: Path, at_least: float) -> None:
    guest = job.estate.context.guest
    try:
        text = read_made(report, _REPORT_AT_MOST_BYTES, guest.uid if guest else None)
        covered = float(json.loads(text)["totals"]["percent_covered"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(
            f"the coverage report cannot be read: {error}",
            on=report.name,
            state="the tests passed; production was not touched",
            next_action="let a test step write it: coverage json -o FILE",
        ) from error
    job.journal.note("coverage", report.name, covered_percent=covered, at_least_percent=at_least)
    get_run_logger().info("coverage %s, at least %s wanted", show_percent(covered), show_percent(at_least))
    if covered < at_least:
        raise Refused(
            f"the tests cover {show_percent(covered)}, less than {show_percent(at_least)}",
            on=f"{job.service.service} {job.commit.short}",
            state="production was not touched",
            next_action="add tests, or lower test.coverage.at_least in the service file with a reason",
        )


@task(name="publish", task_run_name="publish {artifact.short}", **TRANSIENT)
def publish(job: Job, artifact: Artifact) -> None:
    """The artefact is in the store, under its digest. *Idempotent:* yes."""
    with job.journal.timed("publish", artifact.digest, size_bytes=artifact.size_bytes):
        stored = job.estate.store.put(job.archive)
        if stored != artifact.digest:
            raise Unsafe(
                "the archive has changed since it was built",
                on=str(job.archive),
                state=f"built as {artifact.digest}, stored as {stored}; nothing was deployed",
                next_action="look at what writes to the workspace, then release again",
            )


@task(name="smoke", task_run_name="{where}: requests and answers", **TRANSIENT)
def smoke(job: Job, where: str, base_url: str, checks: list[HttpCheck]) -> None:
    """Every request got the answer that it must get, refusals included (REL-9). *Idempotent:* as the requests are.

    Raises:
        Refused: lists every check that failed.
    """
    with job.journal.timed("smoke", where) as facts:
        results = job.estate.prober.probe(base_url, checks)
        failed = [result for result in results if not result.passed]
        facts.update(passed=len(results) - len(failed), failed=[_line(result) for result in failed])
        get_run_logger().info(
            "%s: %d of %d requests got the right answer", where, len(results) - len(failed), len(results)
        )
        if failed:
            raise Refused(
                f"{len(failed)} of {len(results)} smoke tests failed",
                on=f"{where} at {base_url}",
                state="no traffic was moved for this release by this step",
                next_action="compare the answers with the service file's expectations; mend the release",
                facts={result.check.label: result.problem for result in failed},
            )


def _line(result: HttpResult) -> str:
    return f"{result.check.label}: {result.problem}"


def finish(job: Job, phase: str) -> None:
    """That the phase is over is on record: a run that is suspended after it does not go through it again.

    Raises:
        Retryable: the ledger did not take it.
    """
    job.journal.note("phase", phase)
    job.journal.require_kept()


@task(name="keep", task_run_name="keep the last {job.estate.file.keep_releases} releases", **ONCE)
def prune(job: Job) -> None:
    """Artefacts beyond the last ones kept are gone from store and hosts (REL-12). *Idempotent:* yes.

    Never fails a release that already serves: a problem is logged, and the next release tries again.
    """
    try:
        removed = _prune(job)
    except SlipwayError as problem:
        get_run_logger().warning("old artefacts could not be removed: %s", problem)
        return
    if removed:
        job.journal.note("prune", "old artefacts", removed=removed)


def _prune(job: Job) -> list[str]:
    ledger, store, name = job.estate.ledger, job.estate.store, job.service.service
    past = ledger.records(name, None, _LOOK_BACK)
    running = {i.release for environment in job.path for i in job.site(environment).runtime.observe()}
    keep = {record.digest for record in past if record.release in running}
    for environment in job.estate.file.environments:
        keep |= {record.digest for record in ledger.succeeded(name, environment, job.estate.file.keep_releases)}
    if job.artifact is not None:
        keep.add(job.artifact.digest)
    # Only what the ledger knows as this service's is ever removed: others may share the store.
    gone = sorted(({record.digest for record in past if record.digest} - keep) & set(store.digests()))
    for digest in gone:
        store.delete(digest)
    kept = {record.release for record in past if record.digest in keep} | running | {job.release}
    for environment in job.path:
        job.site(environment).runtime.forget(kept)
    return gone
