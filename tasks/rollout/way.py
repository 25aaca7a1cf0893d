"""What is left to do of a rollout, decided from what is observed: for the release itself, and to show it beforehand."""

from collections.abc import Collection
from dataclasses import dataclass

from tasks.common.estate import Environment
from tasks.common.service import Promotion
from tasks.common.units import show_duration
from tasks.rollout.capacity import thousandths
from tasks.rollout.model import Health, Instance, Limits, Observed, Roles, Stage
from tasks.rollout.plan import converge, describe, promoted, roles
from tasks.rollout.strategies import limits, proving_stage, remaining, stages
from tasks.rollout.view import expected_after


@dataclass(frozen=True)
class Way:
    """Whose slots are whose, what must hold, and the stages that are left.

    Args:
        roles: candidate and stable.
        limits: instances that must serve, and that may exist.
        left: the stages to go through, in order.
        proving: the stage to try the candidate out in before the first of them; None once it has traffic.
        done: the release holds all traffic already; there is nothing to move.
    """

    roles: Roles
    limits: Limits
    left: tuple[Stage, ...]
    proving: Stage | None
    done: bool


def find_way(
    observed: Observed,
    release: str,
    previous: str | None,
    promotion: Promotion,
    environment: Environment,
    soaked: Collection[str] = (),
) -> Way:
    """Return what is left to do.

    Args:
        observed: what runs and what is routed now.
        release: the candidate.
        previous: the release that was last recorded as stable here; only asked where observation has no answer.
        promotion: the strategy.
        environment: where.
        soaked: names of the stages that this same run has watched to their end before it was suspended. The one that
            is still in force is not watched again; any other is not skipped, whatever is remembered.
    """
    whose = roles(observed, release, previous)
    bounds = limits(promotion, environment.replicas, environment.floor)
    first = whose.stable_release is None
    table = stages(promotion, environment.replicas, environment.pace, first_release=first)
    if promoted(observed, release, environment.replicas):
        return Way(whose, bounds, table[-1:], None, done=True)
    left = remaining(table, observed, whose)
    weight = thousandths(observed.routing.weights.get(whose.candidate_slot, 0.0))
    if len(left) > 1 and left[0].name in soaked and weight == thousandths(left[0].weight_percent):
        left = left[1:]
    proving = None if weight > 0 else proving_stage(table, environment.replicas, bounds, first_release=first)
    return Way(whose, bounds, left, proving, done=False)


def to_try_out(candidates: Collection[Instance], proving: Stage | None) -> tuple[Instance, ...]:
    """Return the candidate's instances that must pass the smoke tests before the release goes on its way.

    Before its first traffic that is all of them. Once it has traffic, as when a killed run is carried on, one may still
    be on its way up, started by the run that died: it listens to nobody yet, and gets no traffic before it is ready.

    Args:
        candidates: the candidate's instances, as they run now.
        proving: the stage that they were tried out in; None once the release has traffic.
    """
    return tuple(each for each in candidates if proving is not None or each.health is Health.READY)


def preview(observed: Observed, way: Way) -> list[str]:
    """Return the steps of a rollout as it would go from here if every step succeeded, one line each.

    Raises:
        Refused: no safe step leads to one of the stages.
    """
    if way.done:
        return [f"nothing to move: {way.roles.candidate_release[:7]} serves all traffic already"]
    steps = ["place the artefact on the hosts"]
    for stage in (*filter(None, [way.proving]), *way.left):
        for step in converge(observed, stage, way.roles, way.limits):
            steps.append(describe(step))
            observed = expected_after(observed, step)
        steps.append(f"reached: {stage}")
        if stage.soak_s:
            checks = ", ".join(check.metric for check in stage.analysis) or "at-once checks only"
            steps.append(f"watch for {show_duration(stage.soak_s)}: {checks}")
    return steps
