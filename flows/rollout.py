"""The part that release and rollback share: one release on its way into one environment."""

from pathlib import Path

from blocks.job import Job
from tasks.analysis.steps import Watch, watch_metrics
from tasks.common.model import Check
from tasks.common.service import BlueGreen, Promotion
from tasks.release.steps import run_command, smoke
from tasks.rollout.steps import Rollout, advance, place, require_unchanged, settle, show_progress
from tasks.rollout.strategies import paced_analysis, paced_validation

AT_ONCE = BlueGreen.model_construct(strategy="blue-green", shift="instant", steps=[], watch_s=0.0, checks=[])
"""How a release enters the environments on its way, and how a rollback returns: deploy, prove, shift everything."""


def open_rollout(job: Job, environment: str, promotion: Promotion) -> Rollout:
    """Return the rollout of a job's artefact into one environment; nothing is changed yet."""
    assert job.artifact is not None, "an artefact is built or found before it is rolled out"
    site = job.site(environment)
    return Rollout(
        site=site,
        workload=site.workload(job.service, job.release, job.artifact),
        promotion=promotion,
        journal=job.journal,
        kept=lambda release: job.kept(site, release),
        workspace=job.folder,
        previous=job.previous(environment),
    )


def roll_out(job: Job, rollout: Rollout) -> None:
    """The release serves all traffic of its environment: placed, proven without traffic, then stage by stage."""
    assert job.artifact is not None, "an artefact is built or found before it is rolled out"
    digest = job.artifact.digest
    place(rollout, lambda into: job.fetch(digest, into))
    proving = rollout.proving_stage()
    if proving is not None:
        advance(rollout, proving)
    for instance in rollout.candidates():
        where = f"{rollout}: {instance.slot} {instance.index}"
        smoke(job, where, f"http://{instance.address}", job.service.smoke)
    for reached, stage in enumerate(rollout.way):
        show_progress(rollout, reached, str(stage))
        require_unchanged(rollout)
        advance(rollout, stage)
        if stage.soak_s > 0:
            watch(job, rollout, stage.name, stage.soak_s, stage.analysis)
    show_progress(rollout, len(rollout.way), "all stages reached")


def watch(job: Job, rollout: Rollout, name: str, for_s: float, checks: tuple[Check, ...]) -> None:
    """The release was watched under its present traffic, and every check held."""
    analysis = paced_analysis(job.service.analysis, rollout.site.environment.pace)
    watch_metrics(
        Watch(
            site=rollout.site,
            name=name,
            metrics=job.service.metrics,
            checks=checks,
            at_once=analysis.rollback_when_not,
            candidate=rollout.candidate,
            stable=rollout.stable,
            every_s=analysis.every_s,
            for_s=for_s,
            wait_for_data_s=analysis.wait_for_data_s,
            journal=job.journal,
        )
    )


def verify(job: Job, rollout: Rollout, tree: Path) -> None:
    """The environment works for its users: smoke tests and end-to-end tests through its router passed."""
    url = rollout.site.environment.url
    smoke(job, f"{rollout}: through the router", url, job.service.smoke)
    for command in job.service.end_to_end:
        run_command(job, "end-to-end", command, tree, {"SLIPWAY_URL": url})


def validate(job: Job, rollout: Rollout) -> None:
    """The release has held under all traffic, and every critical feature works (REL-10)."""
    wanted = paced_validation(job.service.validation, rollout.site.environment.pace)
    settle(rollout, wanted.settle_s)
    watch(job, rollout, "validation", wanted.stable_for_s, tuple(wanted.limits))
    verify_features(job, rollout)


def verify_features(job: Job, rollout: Rollout) -> None:
    """Every critical feature that the service names works through the router."""
    smoke(job, f"{rollout}: critical features", rollout.site.environment.url, job.service.validation.critical_features)
