"""The gates before a rollout: those that are always there, that of the database, the service's, the environment's."""

from blocks.job import Job
from flows.checks import LOOK_BACK_S, figure_sources
from tasks.common.errors import SlipwayError
from tasks.common.gates import MIGRATED
from tasks.gate.model import Names, Verdict, Wanted
from tasks.gate.steps import Gating
from tasks.migration.release_steps import fit_or_why_not, has_database
from tasks.rollout.steps import Rollout


def open_gating(job: Job, rollout: Rollout) -> Gating:
    """Return what must be open before the rollout may start; nothing is read yet."""
    slot, release = rollout.candidate
    target, test = rollout.site.target, job.service.test
    return Gating(
        phase=str(rollout),
        gates=[*job.service.gates, *rollout.site.environment.gates],
        wanted=Wanted(
            tests=tuple(step.name for step in test.steps),
            coverage_at_least=test.coverage.at_least if test.coverage is not None else None,
            scans=tuple(scan.tool for scan in job.service.scan),
            environments=tuple(job.path[:-1]),
            end_to_end=tuple(command.name for command in job.service.end_to_end),
        ),
        evidence=lambda: job.estate.ledger.evidence(job.record.id),
        sources=figure_sources(job.estate, rollout.site),
        names=Names(target.service, target.environment, release, slot, LOOK_BACK_S, job.commit.sha),
        journal=job.journal,
        further=lambda: migrated(job, target.environment),
    )


def migrated(job: Job, environment: str) -> tuple[Verdict, ...]:
    """Return whether the database is as the commit needs it; nothing where the estate names none."""
    source = f"the database of {job.service.service} in {environment}"
    if not has_database(job, environment):
        return ()
    found = fit_or_why_not(job, environment)
    if isinstance(found, SlipwayError):
        return (Verdict(MIGRATED, False, None, "all of them", source, found.what, found.next_action),)
    figure, bound = float(len(found.names) - len(found.unready)), f"all {len(found.names)}"
    why = "; ".join(f"{each.what}: {each.state}" for each in found.problems)
    mend = "; then: ".join(dict.fromkeys(each.next_action for each in found.problems))
    return (Verdict(MIGRATED, not why, figure, bound, source, why or f"{bound} are through validate", mend),)
