"""What a release would do, step by step, from what is observed now. Nothing is changed."""

from dataclasses import dataclass

from blocks.estate import Site, open_estate
from blocks.job import SERVICE_FILE
from flows.rollout import AT_ONCE
from tasks.common.load import load_service
from tasks.common.service import Promotion
from tasks.common.units import show_duration
from tasks.release.request import ReleaseRequest
from tasks.rollout.model import Observed
from tasks.rollout.plan import converge, describe, promoted, roles
from tasks.rollout.strategies import limits, proving_stage, remaining, stages
from tasks.rollout.view import expected_after


@dataclass(frozen=True)
class Part:
    """One part of the plan: a title, and its steps in order."""

    title: str
    steps: list[str]


def plan_release(request: ReleaseRequest) -> list[Part]:
    """Return the parts of a release as it would go if every step succeeded.

    Raises:
        Refused: what the release itself would be refused for: unknown commit, wrong files, no safe way.
    """
    estate = open_estate(request.estate)
    estate.site(request.service, request.environment)
    source = estate.source(request.service)
    commit = source.resolve(request.commit)
    service = load_service(source.read_file(commit, SERVICE_FILE), f"{SERVICE_FILE} of {commit.short}")
    name = f"{request.service} {commit.short} '{commit.subject}'"
    prepare = ["preflight: every driver answers, secrets are there, stable is healthy", f"check out {commit.sha}"]
    prepare.append(f"build: {' '.join(service.build.command or ['archive of the tree'])}")
    prepare += [f"test: {step.name}: {' '.join(step.command)}" for step in service.test.steps]
    prepare += [f"scan: {scan.tool}, fails on {', '.join(scan.fail_on)}" for scan in service.scan]
    prepare.append("publish the artefact under its digest")
    parts = [Part(f"prepare {name}", prepare)]
    *before, last = estate.path_to(request.environment)
    for environment in before:
        steps = _rollout(estate.site(request.service, environment), commit.sha[:12], AT_ONCE)
        steps.append(f"{len(service.smoke)} smoke tests through the router")
        steps += [f"end-to-end: {command.name}" for command in service.end_to_end]
        parts.append(Part(f"rehearse in {environment}", steps))
    steps = _rollout(estate.site(request.service, last), commit.sha[:12], service.promotion)
    steps += [
        "validate: settle, watch the limits",
        *(f"feature: {check.label}" for check in service.validation.critical_features),
    ]
    return [*parts, Part(f"promote in {last} ({service.promotion.strategy})", steps)]


def _rollout(site: Site, release: str, promotion: Promotion) -> list[str]:
    settings = site.environment
    observed = Observed(site.runtime.observe(), site.router.observe())
    if promoted(observed, release, settings.replicas):
        return [f"nothing to move: {release[:7]} serves all traffic already"]
    who = roles(observed, release)
    bounds = limits(promotion, settings.replicas, settings.floor)
    table = stages(promotion, settings.replicas, settings.pace, first_release=who.stable_release is None)
    steps = ["place the artefact on the hosts"]
    way = remaining(table, observed, who)
    if observed.routing.weights.get(who.candidate_slot, 0.0) == 0:
        way = (proving_stage(table, settings.replicas, bounds, first_release=who.stable_release is None), *way)
    for stage in way:
        for step in converge(observed, stage, who, bounds):
            steps.append(describe(step))
            observed = expected_after(observed, step)
        steps.append(f"reached: {stage}")
        if stage.soak_s:
            checks = ", ".join(check.metric for check in stage.analysis) or "at-once checks only"
            steps.append(f"watch for {show_duration(stage.soak_s)}: {checks}")
    return steps
