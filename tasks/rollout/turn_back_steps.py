"""How a rollout that fails is turned back. Apart from `steps` only because of its size; the same layer."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.exceptions import Pause
from prefect.logging import get_run_logger

from blocks.job import Job
from tasks.common.errors import UNCHANGED, SlipwayError, Unsafe
from tasks.common.lease import LeaseLost
from tasks.rollout.steps import Rollout, advance
from tasks.rollout.strategies import stable_stage


@contextmanager
def turned_back_on_failure(job: Job, rollout: Rollout) -> Iterator[None]:
    """Whatever goes wrong inside the block, also a cancelled run: the former release serves again (REL-12).

    `job.turned_back` then names the environment, unless nothing served there before. Nothing is turned back where the
    run is suspended to wait for an answer, nor where its lease is lost: then another run decides what serves. And a
    release that served already, as is recorded, is left where it was.

    Raises:
        Unsafe: going back failed as well, or there is no former release; a person must look.
        LeaseLost: another run has taken over.
    """
    try:
        yield
    except Pause:
        raise
    except BaseException as error:
        if rollout.moved:
            job.moved.add(str(rollout))
        if isinstance(error, LeaseLost) or _untouched(rollout):
            raise
        if rollout.standing and not rollout.moved:
            if isinstance(error, SlipwayError):
                error.state = f"{rollout.workload.release[:7]} serves all traffic of {rollout} as before"
            raise
        # Where nothing is left to move no driver is asked, and none would refuse: a run that was paused would put a
        # roll-back on record after another one has ended it.
        job.require_lease(str(rollout))
        why = error.what if isinstance(error, SlipwayError) else str(error) or type(error).__name__
        turn_back(rollout, why, error)
        now = f"nothing serves in {rollout}, as before"
        if rollout.roles.stable_release is not None:
            job.turned_back.add(str(rollout))
            now = f"{rollout.roles.stable_release[:7]} serves all traffic of {rollout} again"
        if isinstance(error, SlipwayError):
            error.state = now if error.state == UNCHANGED else f"{error.state}; {now}"
            error.next_action = f"nothing at once; before the next try: {error.next_action}"
        raise
    job.moved.add(str(rollout))


def _untouched(rollout: Rollout) -> bool:
    """Return whether there is certainly nothing to turn back; where that cannot be seen, there may be."""
    try:
        return rollout.untouched
    except SlipwayError as problem:
        get_run_logger().warning("%s: turned back without having looked: %s", rollout, problem.what)
        return False


def turn_back(rollout: Rollout, why: str, cause: BaseException | None = None) -> None:
    """The former release serves alone, and nothing of the candidate runs. *Idempotent:* yes.

    Raises:
        Unsafe: there is no former release, another one is stable by now, or going back failed.
        LeaseLost: another run has taken over.
    """
    stable = rollout.roles.stable_release
    with _told_as_unsafe(rollout, why, cause):
        observed = rollout.observe()
    if stable is None and observed.routing.weights.get(rollout.roles.candidate_slot, 0.0) == 0:
        get_run_logger().error("%s: nothing served before, and nothing serves now: %s", rollout, why)
        return
    if stable is None:
        raise Unsafe(
            f"the first release failed, and there is none to go back to: {why}",
            on=str(rollout.site.target),
            state=f"{rollout.workload.release[:7]} was left as it is",
            next_action="mend the cause and release again, or stop the instances by hand",
        ) from cause
    found = rollout.found_stable(observed)
    if found != stable:
        raise Unsafe(
            f"somebody else has released here meanwhile, so nothing is turned back: {why}",
            on=str(rollout.site.target),
            state=f"stable was {stable[:7]}, and is {(found or 'none')[:7]}; the traffic was left as it is",
            next_action="'slipway status' shows what serves; 'slipway releases list' shows who released",
        ) from cause
    get_run_logger().error("%s: going back to %s: %s", rollout, stable[:7], why)
    rollout.journal.note("roll-back", str(rollout), to=stable, reason=why)
    with _told_as_unsafe(rollout, why, cause):
        advance(rollout, stable_stage(rollout.site.environment.replicas), going_back=True)


@contextmanager
def _told_as_unsafe(rollout: Rollout, why: str, cause: BaseException | None) -> Iterator[None]:
    """Whatever fails in the middle of a roll-back leaves a state that nobody knows; but for a lost lease."""
    try:
        yield
    except LeaseLost:
        raise
    except Exception as problem:
        ours = problem if isinstance(problem, SlipwayError) else None
        raise Unsafe(
            f"the roll-back failed: {ours.what if ours else f'{type(problem).__name__}: {problem}'}",
            on=str(rollout.site.target),
            state=f"unknown; the roll-back was started because: {why}",
            next_action=f"mend it{f' ({ours.next_action})' if ours else ''}, then run the release or a rollback again",
            facts=ours.facts if ours else None,
        ) from cause
