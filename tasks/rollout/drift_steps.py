"""Looks for drift, and stops what a dead run has left half made. Apart from `steps` only because of its size."""

from collections.abc import Collection

from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from tasks.common.lease import scope_of
from tasks.common.lease_steps import held
from tasks.common.model import Drift
from tasks.rollout.drift import find_drift, half_made
from tasks.rollout.model import Observed

_GRACE_S = 15.0


def look_for_drift(estate: OpenEstate, service: str, environment: str) -> tuple[Drift, ...]:
    """Return what is not as it was left, where no run is at work; nothing is changed.

    Which release should serve is only known of environments that releases end in: the others are passed through.

    Raises:
        Retryable: the ledger, the runtime or the router does not answer.
    """
    if _at_work(estate, service, environment):
        return ()
    site = estate.site(service, environment)
    last = all(each.promotes_from != environment for each in estate.file.environments.values())
    recorded = estate.ledger.succeeded(service, environment, 1) if last else ()
    return find_drift(
        site.target,
        Observed(site.runtime.observe(), site.router.observe()),
        recorded[0].release if recorded else None,
        site.environment.replicas,
    )


def stop_half_made(estate: OpenEstate, service: str, environment: str, kept: Collection[str]) -> list[str]:
    """Instances without traffic, of releases that never succeeded, are stopped; returns one line for each.

    Nothing is stopped where a run is at work, or is suspended to wait for an answer: they are its candidates.

    *Idempotent:* yes.

    Args:
        estate: where.
        service: whose.
        environment: where.
        kept: releases that can be returned to: their instances are standbys, and stay.

    Raises:
        Refused: somebody is at work there.
        Retryable: the ledger, the runtime or the router does not answer.
    """
    if _at_work(estate, service, environment):
        return []
    site = estate.site(service, environment)
    if not half_made(Observed(site.runtime.observe(), site.router.observe()), kept):
        return []
    with held(estate, service, environment) as site:
        # Asked again with the lease in hand: before that, somebody may just have given them traffic.
        found = half_made(Observed(site.runtime.observe(), site.router.observe()), kept)
        for instance in found:
            site.router.drain(instance.slot, [instance.index], _GRACE_S)
            site.runtime.stop(instance.slot, [instance.index], _GRACE_S)
    lines = [f"{site.target}: stopped {i.slot} {i.index} of {i.release[:7]}, which had no traffic" for i in found]
    for line in lines:
        get_run_logger().warning(line)
    return lines


def _at_work(estate: OpenEstate, service: str, environment: str) -> bool:
    lease = estate.ledger.leases.find(scope_of(service, environment))
    return lease is not None and lease.live
