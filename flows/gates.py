"""The gates before a rollout: those that are always there, the service's, and the environment's."""

from blocks.job import Job
from flows.checks import LOOK_BACK_S, figure_sources
from tasks.gate.model import Names, Wanted
from tasks.gate.steps import Gating
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
    )
