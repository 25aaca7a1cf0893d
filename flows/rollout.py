"""The part that release, rollback and reconcile share: one release on its way into one environment, or out of it."""

from blocks.job import Job
from tasks.analysis.steps import Watch, look_once, watch_metrics
from tasks.common.model import Check
from tasks.common.service import BlueGreen, Promotion
from tasks.release.approval_steps import may_ask, require_approval
from tasks.release.lease_steps import abandoned, free_parked
from tasks.release.model import Kind, Outcome
from tasks.release.open_steps import end_as, reopen
from tasks.release.steps import run_command, smoke
from tasks.rollout.steps import (
    Rollout,
    advance,
    place,
    require_unchanged,
    settle,
    show_progress,
    soaked,
)
from tasks.rollout.strategies import paced_analysis, paced_validation
from tasks.rollout.turn_back_steps import turn_back
from tasks.rollout.way import preview

AT_ONCE = BlueGreen.model_construct(strategy="blue-green", shift="instant", steps=[], watch_s=0.0, checks=[])
"""How a release enters the environments on its way, and how a rollback returns: deploy, prove, shift everything."""

_LOOK_BACK_S = 60.0
"""A release that waits for an answer is judged by its last minute: the schedule of 'reconcile' looks as often."""


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
        soaked=job.soaked(environment),
        recorded=job.is_recorded(environment),
    )


def plan(rollout: Rollout) -> list[str]:
    """Return the steps that are left, one line each, as if each succeeded."""
    return preview(rollout.observe(), rollout.find_way())


def roll_out(job: Job, rollout: Rollout) -> None:
    """The release serves all traffic of its environment: placed, proven without traffic, then stage by stage."""
    assert job.artifact is not None, "an artefact is built or found before it is rolled out"
    digest = job.artifact.digest
    place(rollout, lambda into: job.fetch(digest, into))
    if rollout.proving is not None:
        advance(rollout, rollout.proving)
    for instance in rollout.to_try_out():
        where = f"{rollout}: {instance.slot} {instance.index}"
        smoke(job, where, f"http://{instance.address}", job.service.smoke)
    for reached, stage in enumerate(rollout.way):
        ask(job, rollout, stage.weight_percent)
        show_progress(rollout, reached, str(stage))
        require_unchanged(rollout)
        advance(rollout, stage)
        if stage.soak_s > 0:
            watch(job, rollout, stage.name, stage.soak_s, stage.analysis)
        soaked(rollout, stage)
    show_progress(rollout, len(rollout.way), "all stages reached")


def ask(job: Job, rollout: Rollout, weight_percent: float | None) -> None:
    """A person has said yes, where one must be asked before the release starts here, or gets this share."""
    # Asked first: the rest looks at every instance and at the router.
    if may_ask(job, str(rollout)) and not rollout.done:
        present, stable = rollout.observe().routing.weights.get(rollout.roles.candidate_slot, 0.0), rollout.stable
        serving = stable[1] if stable is not None else None
        require_approval(job, str(rollout), weight_percent, present, serving, lambda: plan(rollout))


def watch(job: Job, rollout: Rollout, name: str, for_s: float, checks: tuple[Check, ...]) -> None:
    """The release was watched under its present traffic, and every check held."""
    watch_metrics(_watch(job, rollout, name, for_s, checks))


def look_at_suspended(job: Job) -> str:
    """Return what is bad about a release that waits for an answer, by the figures of this moment; '' if nothing is."""
    rollout = open_rollout(job, job.environment, job.service.promotion)
    if not rollout.out:
        return ""
    return look_once(_watch(job, rollout, "while it waits", _LOOK_BACK_S, rollout.way[0].analysis))


def _watch(job: Job, rollout: Rollout, name: str, for_s: float, checks: tuple[Check, ...]) -> Watch:
    analysis = paced_analysis(job.service.analysis, rollout.site.environment.pace)
    return Watch(
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


def verify(job: Job, rollout: Rollout) -> None:
    """The environment works for its users: smoke tests and end-to-end tests through its router passed."""
    url = rollout.site.environment.url
    smoke(job, f"{rollout}: through the router", url, job.service.smoke)
    for command in job.service.end_to_end:
        run_command(job, "end-to-end", command, job.tree, {"SLIPWAY_URL": url})


def validate(job: Job, rollout: Rollout) -> None:
    """The release has held under all traffic, and every critical feature works (REL-10)."""
    wanted = paced_validation(job.service.validation, rollout.site.environment.pace)
    settle(rollout, wanted.settle_s)
    watch(job, rollout, "validation", wanted.stable_for_s, tuple(wanted.limits))
    verify_features(job, rollout)


def verify_features(job: Job, rollout: Rollout) -> None:
    """Every critical feature that the service names works through the router."""
    smoke(job, f"{rollout}: critical features", rollout.site.environment.url, job.service.validation.critical_features)


def end_abandoned(job: Job) -> None:
    """No run that died while it worked here is left open: a release other than the one that comes now is taken back."""
    for record in abandoned(job):
        unfinished = reopen(job.estate, record)
        for environment, lease in job.leases.items():
            unfinished.hold(environment, lease)
        if job.record.kind is Kind.RELEASE and record.kind is Kind.RELEASE and record.release != job.release:
            take_back(unfinished, f"its run has died, and run {job.record.id[:8]} begins")
        else:
            end_as(unfinished, Outcome.INTERRUPTED, f"its run has died, and run {job.record.id[:8]} carries on")
        free_parked(unfinished)


def take_back(unfinished: Job, why: str) -> Outcome:
    """Where a run has died with its release half way in, the former release serves alone, and this is on record.

    Where nothing served before, what there is goes on serving. Returns the outcome. *Idempotent:* yes.

    Raises:
        Unsafe: the roll-back failed; a person must look.
    """
    outcome = Outcome.FAILED
    for environment in reversed(unfinished.environments):
        if unfinished.artifact is None or unfinished.has(f"rehearse in {environment}"):
            continue
        rollout = open_rollout(unfinished, environment, AT_ONCE)
        if rollout.standing:
            continue
        if rollout.out and rollout.stable is not None:
            turn_back(rollout, why)
            outcome = Outcome.ROLLED_BACK
        elif rollout.out:
            outcome = Outcome.INTERRUPTED
    end_as(unfinished, outcome, why)
    return outcome
