"""When the old shape may go, and which code still needs it: decided from what was released, never remembered. Pure.

*Source:* GitLab's post-deployment migrations are a point of no return for releases (gitlab#418834), held apart by hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tasks.common.units import show_duration, show_percent
from tasks.migration.catalogue import Attempt, Observed
from tasks.migration.plan import Action, Fill, Run


@dataclass(frozen=True)
class Served:
    """A release that came to serve an environment alone, as is on record.

    Args:
        release: its name.
        at: when it was put on record; aware.
        carries: names of the migrations that its commit has; None where that cannot be read.
    """

    release: str
    at: datetime
    carries: frozenset[str] | None


@dataclass(frozen=True)
class Place:
    """What is released in an environment, seen at one moment.

    Args:
        serving: share of the traffic by release, in per cent; only those that have any.
        served: what came to serve, the newest first, as far back as the rollback window goes.
        at_work: runs that are not over, in words.
        unseen: what could not be seen, and why; nothing is known then. '' where all was.
    """

    serving: Mapping[str, float]
    served: Sequence[Served]
    at_work: Sequence[str] = ()
    unseen: str = ""


@dataclass(frozen=True)
class Unmet:
    """One condition of a cleanup that is not met.

    Args:
        what: the condition, and the migration that it is of where it is of one.
        state: what is there instead.
        next_action: what a person does about it.
        firm: whether nobody can answer for it.
    """

    what: str
    state: str
    next_action: str
    firm: bool = False


def contracted(observed: Observed) -> frozenset[str]:
    """Return the migrations whose cleanup has removed something, or may have: code without them needs what is gone."""
    return frozenset(each.standing.name for each in observed.attempts if _is_contracted(each))


def _is_contracted(attempt: Attempt) -> bool:
    # A transaction that did not get its locks has no step on record, and has removed nothing: only undo is over then.
    begun = any(step.phase is Phase.CLEANUP for step in attempt.steps)
    return bool(attempt.compiled.steps(Phase.CLEANUP)) and (begun or attempt.standing.has_done(Phase.CLEANUP))


def removed_by(actions: Sequence[Action], observed: Observed) -> tuple[str, ...]:
    """Return the migrations of which a plan begins to remove the old shape; what was begun only goes on."""
    names = [each.at.name for each in actions if isinstance(each, Run | Fill) and each.at.phase is Phase.CLEANUP]
    return tuple(dict.fromkeys(name for name in names if name not in contracted(observed)))


def unmet(
    names: Sequence[str], observed: Observed, place: Place, window_s: float, now: datetime, apply: str
) -> tuple[Unmet, ...]:
    """Return every condition that is not met of removing the old shape of some migrations; () where it may go.

    Args:
        names: of the migrations, whose cleanup removes something.
        observed: the database.
        place: what is released on it.
        window_s: how long after the last release without them a rollback to it is possible.
        now: aware.
        apply: command that brings them through validate.
    """
    found = [each for name in names for each in _not_validated(name, observed.attempt(name), apply)]
    if place.unseen:
        what = "it is known what was released"
        return (*found, Unmet(what, place.unseen, "mend what does not answer, then run this again"))
    for name in names:
        found += _not_released(name, place)
    found += _not_complete(place)
    for name in names:
        found += _within_window(name, place, window_s, now)
    return tuple(found)


def _not_validated(name: str, attempt: Attempt | None, apply: str) -> list[Unmet]:
    if attempt is not None and attempt.standing.has_done(Phase.VALIDATE):
        return []
    done = attempt.standing.done if attempt is not None else None
    state = f"through {done}" if done is not None else "nothing of it is done"
    return [Unmet(f"{name} is validated", state, apply)]


def _not_released(name: str, place: Place) -> list[Unmet]:
    what, action = f"the newest release has {name}", "release a commit that has it"
    if not place.served:
        return [Unmet(what, "no release is on record here", action)]
    newest = place.served[0]
    if newest.carries is None:
        return [Unmet(what, f"what {newest.release[:7]} has cannot be read", "mend its repository, or release anew")]
    if name not in newest.carries:
        return [Unmet(what, f"{newest.release[:7]} does not have it", action)]
    return []


def _not_complete(place: Place) -> list[Unmet]:
    what = "no release is under way"
    found = [
        Unmet(what, each, "let it end; 'slipway status' shows it, and reconciling ends one that has died")
        for each in place.at_work
    ]
    newest = place.served[0].release if place.served else ""
    if newest and set(place.serving) != {newest}:
        shares = ", ".join(f"{name[:7]} {show_percent(share)}" for name, share in place.serving.items())
        state = f"{shares or 'nothing'} serves; the newest on record is {newest[:7]}"
        found.append(Unmet("the newest release serves alone", state, "finish it, or roll it back: 'slipway status'"))
    return found


def _within_window(name: str, place: Place, window_s: float, now: datetime) -> list[Unmet]:
    """Return the newest release without the migration, where it has served within the rollback window."""
    until = now
    for each in place.served:
        if (each.carries is None or name not in each.carries) and each is not place.served[0]:
            over = until + timedelta(seconds=window_s)
            if over <= now:
                return []
            state = f"{each.release[:7]}, which does not have it, served until {until:%Y-%m-%d %H:%M} UTC"
            what = f"nobody needs to go back behind {name} ({show_duration(window_s)})"
            return [Unmet(what, state, f"run this again after {over:%Y-%m-%d %H:%M} UTC")]
        until = each.at
    return []


def still_used(name: str, attempt: Attempt | None, place: Place) -> tuple[Unmet, ...]:
    """Return what keeps a migration from being undone: code that serves may use what is validated.

    Args:
        name: of the migration.
        attempt: what its history says.
        place: what is released on its database.
    """
    if attempt is None or not attempt.standing.has_done(Phase.VALIDATE):
        return ()
    if place.unseen:
        what = "it is known what was released"
        return (Unmet(what, place.unseen, "mend what does not answer, then run this again"),)
    found = [Unmet("no release is under way", each, "let it end: 'slipway status' shows it") for each in place.at_work]
    newest = place.served[0] if place.served else None
    if newest is not None and (newest.carries is None or name in newest.carries):
        state = f"{newest.release[:7]} " + ("has it" if newest.carries is not None else "may have it")
        found.append(
            Unmet(f"no code that serves has {name}", state, "go back to a release without it: slipway rollback")
        )
    return tuple(found)


def require_met(found: Sequence[Unmet], on: str, accepted: str) -> None:
    """Every condition is met, or a person answers for those that are not.

    Raises:
        Refused: lists all that are not.
    """
    left = [each for each in found if each.firm or not accepted]
    if not left:
        return
    answer = "" if all(each.firm for each in left) else "; a person who answers for it adds --accept-contract 'why'"
    raise Refused(
        f"{_count(len(left))} not met",
        on=on,
        next_action=f"do what each says{answer}",
        facts={each.what: f"{each.state}\ndo: {each.next_action}" for each in left},
    )


def accepted_words(found: Sequence[Unmet], by: str, why: str, now: datetime) -> str:
    """Return what goes on record of conditions that a person answers for; '' where all are met."""
    if not found or not why:
        return ""
    told = "; ".join(f"{each.what}: {each.state}" for each in found)
    return f"{now:%Y-%m-%d %H:%M} UTC, {by or 'unknown'} (not authenticated): {why}. Not met: {told}"


def require_way_back(gone: frozenset[str], carries: frozenset[str] | None, release: str, on: str) -> None:
    """A release fits a database whose old shape is gone in part: it has every migration that has removed something.

    Args:
        gone: migrations that have.
        carries: those that the release has; None where that cannot be read.
        release: its name.
        on: service and environment.

    Raises:
        Refused: it needs what is gone, or nobody can tell.
    """
    if not gone:
        return
    if carries is None:
        raise Refused(
            f"nobody can tell whether {release[:7]} needs what migrations have removed",
            on=on,
            next_action="mend its repository; or release forward: a commit that has them",
            facts={"have removed the old shape": ", ".join(sorted(gone))},
        )
    missing = sorted(gone - carries)
    if missing:
        raise Refused(
            f"{release[:7]} does not have {', '.join(missing)}, which {_have(missing)} removed what it needs",
            on=on,
            next_action="release forward: mend or revert the fault in a commit that has every migration, and release "
            "that; or return to a release that has them",
            facts=dict.fromkeys(missing, "its cleanup was begun; there is no way back behind it"),
        )


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _count(number: int) -> str:
    return "1 condition is" if number == 1 else f"{number} conditions are"
