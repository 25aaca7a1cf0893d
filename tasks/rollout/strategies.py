"""Strategies as data: each returns the stages that a promotion goes through; plan.py finds the way between them."""

import dataclasses
from typing import assert_never

from tasks.common.estate import Pace
from tasks.common.model import Check
from tasks.common.service import Analysis, BlueGreen, Canary, Promotion, Rolling, Validation
from tasks.common.units import show_percent
from tasks.rollout.capacity import FULL, percent, thousandths
from tasks.rollout.model import Limits, Observed, Roles, Stage


def stages(
    promotion: Promotion, replicas: int, pace: Pace | None = None, *, first_release: bool = False
) -> tuple[Stage, ...]:
    """Return the stages of a promotion, in order; only their soaks are cut to the pace.

    The very first release has no stable side to share the traffic with, so every strategy becomes a single stage: all
    candidates, all traffic, the last stage's soak, and those of its checks that need nothing to compare with.

    Args:
        promotion: what the service file asks for.
        replicas: instances that serve when nothing is going on, from 1.
        pace: the environment's upper bounds for waits.
        first_release: no release serves yet (`Roles.stable_release` is None).
    """
    match promotion:
        case BlueGreen():
            table = blue_green(promotion, replicas)
        case Canary():
            table = canary(promotion, replicas)
        case Rolling():
            table = rolling(promotion, replicas)
        case _:
            assert_never(promotion)
    if first_release:
        table = (_first_release(table, replicas),)
    if pace is None:
        return table
    return tuple(dataclasses.replace(s, soak_s=min(s.soak_s, pace.soak_at_most_s)) for s in table)


def blue_green(promotion: BlueGreen, replicas: int) -> tuple[Stage, ...]:
    """Return a full candidate beside a full stable side, which stays as the standby for an instant switch back.

    *Source:* requirements, REL-5.
    """
    gradual = [(_weight(step.weight), step.soak_s) for step in promotion.steps] if promotion.shift == "gradual" else []
    checks = tuple(promotion.checks)
    return tuple(
        Stage(f"blue-green {show_percent(weight)}", replicas, replicas, weight, soak_s, checks)
        for weight, soak_s in [*gradual, (100.0, promotion.watch_s)]
    )


def canary(promotion: Canary, replicas: int) -> tuple[Stage, ...]:
    """Return candidates in proportion to their weight, at least one, beside a full stable side.

    Stable stays whole through the soak at 100 %, so that rolling back is one shift; a last stage retires it.

    *Source:* requirements, REL-6.
    """
    table = []
    for step in promotion.stages:
        weight = _weight(step.weight)
        candidates = max(1, _share_of(replicas, weight, up=True))
        name = f"canary {show_percent(weight)}"
        table.append(Stage(name, candidates, replicas, weight, step.soak_s, tuple(step.checks)))
    return (*table, Stage("retire stable", replicas, 0, 100.0))


def rolling(promotion: Rolling, replicas: int) -> tuple[Stage, ...]:
    """Return batches: k candidates take the place of k stable instances, and k of `replicas` shares of the traffic.

    *Source:* requirements, REL-8.
    """
    surge, unavailable = _slack(promotion, replicas)
    batch = surge + unavailable
    done = [min(k, replicas) for k in range(batch, replicas + batch, batch)]
    checks = tuple(promotion.checks)
    return tuple(
        Stage(
            f"batch {n} of {len(done)}", k, replicas - k, percent(round(FULL * k / replicas)), promotion.soak_s, checks
        )
        for n, k in enumerate(done, start=1)
    )


def proving_stage(table: tuple[Stage, ...], replicas: int, bounds: Limits, *, first_release: bool = False) -> Stage:
    """Return the first stage without its traffic: candidates that can be smoke-tested before a user meets them.

    Stable carries everything meanwhile, so it is kept as whole as the ceiling allows.
    """
    candidates = table[0].candidate
    stable = 0 if first_release else min(replicas, bounds.ceiling - candidates)
    return Stage("prove without traffic", candidates, stable, 0.0)


def stable_stage(replicas: int) -> Stage:
    """Return the goal of every roll-back: stable whole and alone."""
    return Stage("stable", 0, replicas, 0.0)


def finished_stage(promotion: Promotion, replicas: int) -> Stage:
    """Return the goal of every promotion: where its last stage leads, without the watching."""
    return dataclasses.replace(stages(promotion, replicas)[-1], name="finished", soak_s=0.0, analysis=())


def remaining(table: tuple[Stage, ...], observed: Observed, roles: Roles) -> tuple[Stage, ...]:
    """Return the stages from the last one that has been reached, which is soaked once more; all, if none has.

    A run that carries on after a crash need not take traffic away from a candidate that has earned it.
    """
    candidates = [
        i for i in observed.instances if (i.slot, i.release) == (roles.candidate_slot, roles.candidate_release)
    ]
    stable = [i for i in observed.instances if (i.slot, i.release) == (roles.stable_slot, roles.stable_release)]
    weight = thousandths(observed.routing.weights.get(roles.candidate_slot, 0.0))
    reached = [
        n
        for n, stage in enumerate(table)
        if weight >= thousandths(stage.weight_percent)
        and len(candidates) >= stage.candidate
        and len(stable) <= stage.stable
    ]
    first = max(reached, default=0)
    # Between two stages and with instances enough for the later one, as where a release is returned to beside its
    # unfinished successor, the way is never downwards.
    above = [
        n
        for n, stage in enumerate(table)
        if thousandths(stage.weight_percent) >= weight > 0 and len(candidates) >= stage.candidate
    ]
    if above and weight > thousandths(table[first].weight_percent):
        first = above[0]
    return table[first:]


def limits(promotion: Promotion, replicas: int, floor_percent: float) -> Limits:
    """Return what must hold on the way: at least one instance serves, whatever the files say.

    Args:
        promotion: what the service file asks for.
        replicas: instances that serve when nothing is going on, from 1.
        floor_percent: the environment's share of the replicas that must serve at any moment.
    """
    floor = max(1, _share_of(replicas, floor_percent, up=True))
    if isinstance(promotion, Rolling):
        surge, unavailable = _slack(promotion, replicas)
        return Limits(min(floor, replicas - unavailable), replicas + surge)
    return Limits(floor, 2 * replicas)


def paced_analysis(analysis: Analysis, pace: Pace | None) -> Analysis:
    """Return the analysis with its interval cut to the pace."""
    if pace is None:
        return analysis
    return analysis.model_copy(update={"every_s": min(analysis.every_s, pace.analysis_every_at_most_s)})


def paced_validation(validation: Validation, pace: Pace | None) -> Validation:
    """Return the validation with its waits cut to the pace."""
    if pace is None:
        return validation
    return validation.model_copy(
        update={
            "settle_s": min(validation.settle_s, pace.settle_at_most_s),
            "stable_for_s": min(validation.stable_for_s, pace.stable_for_at_most_s),
        }
    )


def _first_release(table: tuple[Stage, ...], replicas: int) -> Stage:
    last = next((stage for stage in reversed(table) if stage.analysis), table[-1])
    return Stage("first release", replicas, 0, 100.0, last.soak_s, tuple(c for c in last.analysis if not _relative(c)))


def _relative(check: Check) -> bool:
    return check.at_most_times_stable is not None or check.at_least_times_stable is not None


def _slack(promotion: Rolling, replicas: int) -> tuple[int, int]:
    """Return how many instances may be added and how many may be missing; never both zero, never all missing.

    *Source:* Kubernetes, Deployment `maxSurge` (rounded up) and `maxUnavailable` (rounded down). Where both come out
    as zero Kubernetes takes one away; here one is added, as users would notice the other.
    """
    if promotion.max_surge is None and promotion.max_unavailable is None:
        surge, unavailable = 0, promotion.batch
    else:
        surge = _share_of(replicas, promotion.max_surge or 0.0, up=True)
        unavailable = _share_of(replicas, promotion.max_unavailable or 0.0, up=False)
    unavailable = min(unavailable, replicas - 1)
    return (surge, unavailable) if surge or unavailable else (1, 0)


def _share_of(count: int, share_percent: float, *, up: bool) -> int:
    product = count * thousandths(share_percent)
    return -(-product // FULL) if up else product // FULL


def _weight(asked_percent: float) -> float:
    """Return the weight in the router's steps; a stage that asks for some traffic gets some."""
    return percent(max(thousandths(asked_percent), 1 if asked_percent > 0 else 0))
