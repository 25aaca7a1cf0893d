"""The @task functions of a rollout: thin, and the only module here that imports Prefect."""

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from blocks.estate import Site
from blocks.journal import Journal
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.service import Promotion
from tasks.common.steps import ONCE, TRANSIENT, only_shown, patiently
from tasks.common.units import show_duration, show_percent
from tasks.rollout.model import (
    Admit,
    AwaitReady,
    Drain,
    Instance,
    Limits,
    Observed,
    Roles,
    Shift,
    Stage,
    Start,
    Step,
    Stop,
    Workload,
)
from tasks.rollout.plan import converge, describe, roles
from tasks.rollout.ports import Endpoint
from tasks.rollout.way import Way, find_way, to_try_out

_ALL_PERCENT = 100.0
_SAME_STEP_AT_MOST = 3
"""A step that observation asks for again after it was applied so often is not going to help."""

Kept = Callable[[str], tuple[Workload, Callable[[Path], None]]]
"""Gives a kept release's workload, and a function that fetches its archive into a file."""


@dataclass(eq=False)
class Rollout:
    """One release on its way into one site. Slots and stages are decided from what is observed when it is made.

    Args:
        site: where to.
        workload: the candidate.
        promotion: the strategy.
        journal: evidence goes here.
        kept: how to start a release that served before (a lost stable instance must be replaced).
        workspace: folder for fetched archives.
        previous: the release that was last recorded as stable here; only asked where observation has no answer.
        soaked: names of the stages that this same run has watched to their end before it was suspended.
        recorded: this very release is the one that was last recorded as successful here.

    `standing` says that it served alone here, as is recorded, before this rollout began: what fails now is no reason to
    take it away from users.
    """

    site: Site
    workload: Workload
    promotion: Promotion
    journal: Journal
    kept: Kept
    workspace: Path
    previous: str | None = None
    soaked: Collection[str] = ()
    recorded: bool = False
    roles: Roles = field(init=False)
    limits: Limits = field(init=False)
    way: tuple[Stage, ...] = field(init=False)
    proving: Stage | None = field(init=False)
    progress_id: UUID | None = field(default=None, init=False)
    reached: Stage | None = field(default=None, init=False)
    moved: bool = field(default=False, init=False)
    standing: bool = field(init=False)

    def __post_init__(self) -> None:
        """Decide what is whose, and what is left to do."""
        found = self.find_way()
        self.roles, self.limits, self.way, self.proving = found.roles, found.limits, found.left, found.proving
        self.standing = found.done and self.recorded

    def find_way(self) -> Way:
        """Return what is left to do, by what is observed at this moment."""
        settings, release = self.site.environment, self.workload.release
        return find_way(self.observe(), release, self.previous, self.promotion, settings, self.soaked)

    def __str__(self) -> str:
        """Return 'production', as task names show it."""
        return str(self.site)

    @property
    def done(self) -> bool:
        """Return whether the candidate serves alone by now, so that nothing is left to move."""
        return self.find_way().done

    @property
    def out(self) -> bool:
        """Return whether there is anything of the candidate: instances, or traffic for its slot."""
        weights = self.observe().routing.weights
        return bool(self.candidates()) or weights.get(self.roles.candidate_slot, 0.0) > 0

    @property
    def untouched(self) -> bool:
        """Return whether there is nothing to turn back: no candidate, and stable whole and alone."""
        observed, (slot, release) = self.observe(), self.candidate
        if self.moved or self.stable is None or any((i.slot, i.release) == (slot, release) for i in observed.instances):
            return False
        whole = [i for i in observed.instances if (i.slot, i.release) == self.stable]
        alone = observed.routing.weights.get(self.roles.stable_slot, 0.0) == _ALL_PERCENT
        return alone and len(whole) >= self.site.environment.replicas

    @property
    def candidate(self) -> tuple[str, str]:
        """Return slot and release of the candidate."""
        return self.roles.candidate_slot, self.roles.candidate_release

    @property
    def stable(self) -> tuple[str, str] | None:
        """Return slot and release of the stable release; None at the very first release."""
        release = self.roles.stable_release
        return (self.roles.stable_slot, release) if release is not None else None

    def found_stable(self, observed: Observed) -> str | None:
        """Return the release that is stable by what was observed."""
        return roles(observed, self.workload.release, self.roles.stable_release).stable_release

    def share_of(self, step: Shift) -> float:
        """Return the candidate's share after a shift, in per cent."""
        return step.weights.get(self.roles.candidate_slot, 0.0)

    def candidates(self) -> tuple[Instance, ...]:
        """Return the candidate's instances, as they run now."""
        slot, release = self.candidate
        return tuple(i for i in self.site.runtime.observe() if (i.slot, i.release) == (slot, release))

    def to_try_out(self) -> tuple[Instance, ...]:
        """Return the instances that must pass the smoke tests now; none where this run has shown it before."""
        return () if self.soaked else to_try_out(self.candidates(), self.proving)

    def observe(self) -> Observed:
        """Return what runs and what is routed, read from the runtime and the router at this moment."""
        return patiently(lambda: Observed(self.site.runtime.observe(), self.site.router.observe()))

    def plan(self, stage: Stage) -> tuple[Step, ...]:
        """Return the steps between now and the stage."""
        return converge(self.observe(), stage, self.roles, self.limits)


@task(name="step", task_run_name="{rollout}: {text}", **TRANSIENT)
def apply_step(rollout: Rollout, step: Step, text: str) -> None:
    """One step of a plan has been taken, and noted; `text` describes it in the task's name.

    *Idempotent:* yes, as every driver call that it makes is.
    """
    get_run_logger().info("%s: %s", rollout, text)
    with rollout.journal.timed("step", text, environment=str(rollout)):
        _act(rollout, step)


def _act(rollout: Rollout, step: Step) -> None:
    runtime, router = rollout.site.runtime, rollout.site.router
    match step:
        case Start(slot, release, indexes):
            runtime.start(slot, indexes, _startable(rollout, release))
        case AwaitReady(slot, indexes):
            runtime.await_ready(slot, indexes, rollout.workload.probes.ready_within_s)
        case Admit(slot, indexes):
            router.admit(_endpoints(rollout, slot, indexes))
        case Shift(weights):
            # Before the call: one that breaks off may have moved it all the same.
            rollout.moved = rollout.moved or rollout.share_of(step) > 0
            router.shift(weights)
        case Drain(slot, indexes):
            cut = router.drain(slot, indexes, rollout.workload.drain_s)
            if cut:
                get_run_logger().warning("%s: %d open requests were cut when the drain time was over", rollout, cut)
        case Stop(slot, indexes):
            runtime.stop(slot, indexes, rollout.workload.drain_s)
        case _:
            assert_never(step)


def _startable(rollout: Rollout, release: str) -> Workload:
    """Return the workload of a release, its files placed."""
    if release == rollout.workload.release:
        return rollout.workload
    workload, fetch = rollout.kept(release)
    archive = rollout.workspace / f"{workload.digest.removeprefix('sha256:')[:16]}.tar.gz"
    fetch(archive)
    rollout.site.runtime.place(workload, archive)
    return workload


def _endpoints(rollout: Rollout, slot: str, indexes: tuple[int, ...]) -> list[Endpoint]:
    path = rollout.workload.probes.readiness.path
    found = {i.index: i.address for i in rollout.site.runtime.observe() if i.slot == slot}
    missing = [index for index in indexes if index not in found]
    if missing:
        raise Retryable(
            f"instances {missing} of {slot} are gone",
            on=str(rollout.site.target),
            state="they were ready a moment ago, and get no traffic",
            next_action="nothing: they are started again",
        )
    return [Endpoint(slot, index, found[index], path) for index in indexes]


@task(name="place", task_run_name="{rollout}: place release", **TRANSIENT)
def place(rollout: Rollout, fetch: Callable[[Path], None]) -> None:
    """The artefact, its digest checked, is on the hosts. *Idempotent:* yes."""
    archive = rollout.workspace / "deploy.tar.gz"
    with rollout.journal.timed("place", str(rollout), digest=rollout.workload.digest):
        fetch(archive)
        rollout.site.runtime.place(rollout.workload, archive)


def advance(rollout: Rollout, stage: Stage, *, going_back: bool = False) -> None:
    """The site is as the stage wants it: observed, one step taken, observed again, until nothing is left to do.

    *Idempotent:* yes; after a crash at any point the same call carries on.

    Args:
        rollout: what is moved.
        stage: where to.
        going_back: traffic may stay with the candidate for as long as nobody else answers.

    Raises:
        Retryable, Refused, Unsafe: as the drivers say.
        Unsafe: the same step is asked for again and again.
    """
    taken: Counter[str] = Counter()
    while plan := rollout.plan(stage):
        step = plan[0]
        text = describe(step)
        taken[text] += 1
        if taken[text] > _SAME_STEP_AT_MOST:
            raise Unsafe(
                f"'{text}' does not take effect",
                on=str(rollout.site.target),
                state=f"it was taken {_SAME_STEP_AT_MOST} times, and is still needed",
                next_action="look at the runtime's and the router's logs; 'slipway status' shows what is observed",
            )
        # A start that is not ready in time has had its time: trying the wait again would only double it.
        apply = apply_step.with_options(retries=0) if isinstance(step, AwaitReady) else apply_step
        apply(rollout, step, text)
        if not going_back and isinstance(step, Shift) and rollout.share_of(step) > stage.weight_percent:
            raise Refused(
                "stable stopped answering, so all traffic went to the candidate before it was judged",
                on=str(rollout.site.target),
                state=f"{rollout.workload.release[:7]} serves, as nobody else did",
                next_action="find out why stable stopped: its logs, and 'slipway status'",
            )
    rollout.reached = stage
    rollout.journal.note("stage", str(stage), environment=str(rollout), weight_percent=stage.weight_percent)


def soaked(rollout: Rollout, stage: Stage) -> None:
    """That the stage was watched to its end is on record: a run that is suspended after it does not watch it again."""
    rollout.journal.note("soaked", stage.name, environment=str(rollout))


def show_progress(rollout: Rollout, reached: int, text: str) -> None:
    """The rollout's progress is shown in the Prefect UI: `reached` of its stages, and what it is about now."""
    percent = 100.0 * reached / len(rollout.way)
    target = rollout.site.target
    shown = f"{target.service} {rollout.workload.release[:7]} to {target.environment}: {text}"
    with only_shown():
        if rollout.progress_id is None:
            key = f"rollout-{target.service}-{target.environment}"
            made = create_progress_artifact(percent, key=key, description=shown)
            assert isinstance(made, UUID), "called from synchronous code"
            rollout.progress_id = made
        else:
            update_progress_artifact(rollout.progress_id, progress=percent, description=shown)


def require_unchanged(rollout: Rollout) -> None:
    """The ledger takes evidence, and nobody else has moved traffic or released here, so the rollout may go on.

    Raises:
        Retryable: the ledger does not answer.
        Refused: what is observed is not what this rollout has left.
    """
    rollout.journal.require_kept()
    observed = rollout.observe()
    stable, found = rollout.roles.stable_release, rollout.found_stable(observed)
    weight = observed.routing.weights.get(rollout.roles.candidate_slot, 0.0)
    wanted = rollout.reached.weight_percent if rollout.reached is not None else weight
    if (found, weight) != (stable, wanted):
        raise Refused(
            "somebody else has changed what serves here",
            on=str(rollout.site.target),
            state=f"left: stable {stable}, {show_percent(wanted)} candidate; "
            f"found: stable {found}, {show_percent(weight)} candidate",
            next_action="find out who did it ('slipway releases list', the router's log), then run this again",
        )


@task(name="settle", task_run_name="{rollout}: let it settle for {for_s} s", **ONCE)
def settle(rollout: Rollout, for_s: float) -> None:
    """The time that figures need to settle after a switch is over (REL-10)."""
    get_run_logger().info("%s: waiting %s for the figures to settle", rollout, show_duration(for_s))
    time.sleep(for_s)
