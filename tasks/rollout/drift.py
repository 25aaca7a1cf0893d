"""Finds what is not as the records have left it: somebody changed it by hand, or something died for good."""

from collections.abc import Collection

from tasks.common.model import Drift, Target
from tasks.common.units import show_percent
from tasks.rollout.capacity import FULL, thousandths
from tasks.rollout.model import Admission, Health, Instance, Observed


def find_drift(where: Target, observed: Observed, recorded: str | None, replicas: int) -> tuple[Drift, ...]:
    """Return what differs, where no run is at work.

    Args:
        where: service and environment.
        observed: what runs and what is routed now.
        recorded: the release that was last recorded as successful here; None: nothing is recorded about this place.
        replicas: instances that serve when nothing is going on.
    """
    found = [*_routing(where, observed), *_instances(where, observed, replicas)]
    if recorded is not None:
        found += _release(where, observed, recorded)
    return tuple(found)


def half_made(observed: Observed, kept: Collection[str]) -> tuple[Instance, ...]:
    """Return the instances that have no traffic and that nobody will miss: of releases that never succeeded.

    Args:
        observed: what runs and what is routed now.
        kept: releases that can be returned to; their instances are standbys.
    """
    weights = observed.routing.weights
    return tuple(i for i in observed.instances if weights.get(i.slot, 0.0) == 0 and i.release not in kept)


def _routing(where: Target, observed: Observed) -> list[Drift]:
    found = []
    if not observed.routing.persisted:
        found.append(
            Drift(
                where,
                "the router does not do what its files say: somebody has told it something by hand",
                "what it does is what a restart brings back",
                "find out who did it; a release or rollback to what should serve puts both right",
            )
        )
    known = {i.address for i in observed.instances}
    for member in observed.routing.members:
        if member.address not in known:
            found.append(
                Drift(
                    where,
                    f"the router has a member at {member.address} that is no instance",
                    "members that the runtime knows",
                    "find out who added it; a release or rollback takes it out",
                )
            )
    return found


def _instances(where: Target, observed: Observed, replicas: int) -> list[Drift]:
    weights = observed.routing.weights
    serving = [slot for slot, weight in weights.items() if weight > 0]
    found = []
    for instance in observed.instances:
        if instance.slot in serving and instance.health in (Health.DEAD, Health.FAILING):
            found.append(
                Drift(
                    where,
                    f"{instance.slot} {instance.index} ({instance.release[:7]}) is {instance.health}",
                    "ready",
                    "read its log; releasing the same commit again replaces it",
                )
            )
    up = [m for m in observed.routing.members if m.slot in serving and m.up and m.admission is Admission.IN]
    if serving and len(up) < replicas:
        found.append(
            Drift(
                where,
                f"{len(up)} instances serve",
                f"{replicas}",
                "release the same commit again: it starts what is missing",
            )
        )
    return found


def _release(where: Target, observed: Observed, recorded: str) -> list[Drift]:
    shares: dict[tuple[str, ...], float] = {}
    for slot, weight in observed.routing.weights.items():
        if weight > 0:
            there = tuple(sorted({i.release for i in observed.instances if i.slot == slot})) or ("nothing",)
            shares[there] = shares.get(there, 0.0) + weight
    if list(shares) == [(recorded,)] and thousandths(shares[recorded,]) == FULL:
        return []
    found = ", ".join(
        f"{' and '.join(name[:7] for name in names)} {show_percent(weight)}" for names, weight in sorted(shares.items())
    )
    return [
        Drift(
            where,
            found or "nothing serves",
            f"{recorded[:7]} {show_percent(100.0)}, as was last recorded",
            "find out who moved the traffic; 'slipway rollback' brings back what is recorded",
        )
    ]
