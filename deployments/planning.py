"""What a release would do, step by step, from what is observed now. Nothing is changed."""

from dataclasses import dataclass

from blocks.estate import OpenEstate, open_estate
from blocks.job import SERVICE_FILE, previous_release
from flows.rollout import AT_ONCE
from tasks.common.gates import COVERAGE, REHEARSED, SCANS, TESTS
from tasks.common.load import load_service
from tasks.common.service import Promotion
from tasks.common.units import show_percent
from tasks.release.approval import wanted_before
from tasks.release.request import ReleaseRequest
from tasks.rollout.model import Observed
from tasks.rollout.way import find_way, preview


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
    prepare += [f"scan: {scan.tool}, fails on {', '.join(scan.stopping) or 'nothing'}" for scan in service.scan]
    prepare.append("publish the artefact under its digest")
    parts = [Part(f"prepare {name}", prepare)]
    *before, last = estate.path_to(request.environment)
    for environment in before:
        steps = _rollout(estate, request.service, environment, commit.sha[:12], AT_ONCE)
        steps.append(f"{len(service.smoke)} smoke tests through the router")
        steps += [f"end-to-end: {command.name}" for command in service.end_to_end]
        parts.append(Part(f"rehearse in {environment}", steps))
    settings = estate.file.environments[last]
    gates = [TESTS, *([COVERAGE] if service.test.coverage is not None else []), SCANS]
    gates += [REHEARSED + environment for environment in before]
    steps = [f"gate: {name}" for name in [*gates, *(gate.name for gate in [*service.gates, *settings.gates])]]
    if wanted_before(service.approval, settings.approval, None):
        steps.append("ask a person before the start; the run is suspended until the answer")
    steps += _rollout(estate, request.service, last, commit.sha[:12], service.promotion)
    shares = [share for share in (service.approval.before if service.approval else []) if not isinstance(share, str)]
    steps += [f"on the way: ask a person before {show_percent(share)} of the traffic" for share in shares]
    steps += [
        "validate: settle, watch the limits",
        *(f"feature: {check.label}" for check in service.validation.critical_features),
    ]
    return [*parts, Part(f"promote in {last} ({service.promotion.strategy})", steps)]


def _rollout(estate: OpenEstate, service: str, environment: str, release: str, promotion: Promotion) -> list[str]:
    site = estate.site(service, environment)
    observed = Observed(site.runtime.observe(), site.router.observe())
    previous = previous_release(estate, service, environment, release)
    return preview(observed, find_way(observed, release, previous, promotion, site.environment))
