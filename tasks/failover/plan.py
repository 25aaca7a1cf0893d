"""The steps from what is seen to the site that is to serve, and what must be true before each of them. Pure.

A plan is made from what is seen and never from what was done, so that a run that was killed after any step is carried
on by making the plan again. The old site is fenced first, always: between its fence and the promotion nobody takes
writes, and at no moment do two sites.
"""

from dataclasses import replace

from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.moves import Move, MoveKind
from tasks.common.sites import ClusterRole
from tasks.failover.model import Act, Phase, Rules, Seen, SiteSeen, Step

_UNFENCED = "nothing was promoted; {} is as it was found"


def plan(move: Move, seen: Seen, rules: Rules) -> tuple[Step, ...]:
    """Return what is left to do, in order. The last look as a user is always among it."""
    old, new = seen.sites[move.source], seen.sites[move.target]
    steps = [*([] if _promoted(move, new) else _made_ready(move, old, new))]
    steps += _fenced(move, old)
    if not _promoted(move, new):
        if move.planned:
            steps.append(Step(Phase.CATCH_UP, Act.CATCH_UP, new.name, old.name))
        steps.append(Step(Phase.PROMOTE, Act.PROMOTE, new.name))
    if new.door is None or new.door.open is not True:
        steps.append(Step(Phase.LET_IN, Act.OPEN_DOOR, new.name))
    names = tuple(name for name in rules.names if not _points(seen, name, new, rules))
    if names:
        steps.append(Step(Phase.POINT, Act.POINT, new.name, names=names))
    steps.append(Step(Phase.VALIDATE, Act.VALIDATE, new.name))
    return (*steps, *_followers(move, seen, old, new))


def guard(step: Step, move: Move, seen: Seen, rules: Rules) -> None:
    """The step may be done now, by what was just seen.

    Raises:
        Refused: it may not; nothing is changed by it.
        Unsafe: two sites may take writes: a person must look.
    """
    match step.act:
        case Act.PROMOTE:
            _may_promote(step, move, seen, rules)
        case Act.OPEN_DOOR | Act.POINT:
            _may_let_in(step, move, seen)
        case Act.FOLLOW:
            _may_follow(step, move, seen)
        case Act.FENCE | Act.CLOSE_DOOR:
            if step.site == move.target and move.promoting and seen.sites[step.site].leads:
                raise _wrong_way(step, move)


def way_back(move: Move) -> Move:
    """Return the move by which the site that served serves again, of one that has promoted nobody."""
    untold = not move.promoting
    back = replace(move, kind=MoveKind.FAILOVER, source=move.target, target=move.source, promoting=False, unfenced="")
    return replace(back, way_back=True, untold=untold)


def require_fenced(move: Move, seen: Seen) -> None:
    """It is shown that nobody can write at the old site, or a person has taken the risk in writing.

    Raises:
        Refused: neither.
    """
    old = seen.sites[move.source]
    if old.fenced or (move.unfenced and not move.planned) or (move.untold and not old.leads):
        return
    facts = {"its door": _door_said(old), "its database": _cluster_said(old)}
    raise Refused(
        f"it cannot be shown that {old.name} takes no writes any more: to promote now may make two writable sites",
        on=str(move),
        state=_UNFENCED.format(move.target),
        next_action=f"cut {old.name} off by hand (its machines' power, its uplink, its router), or repair what does "
        "not answer, then run this again; if you know that it takes no writes: --accept-unfenced 'how you know'",
        facts=facts,
    )


def caught_up(move: Move, seen: Seen) -> bool | None:
    """Return whether the new site has everything that the old one has written; None where one of them did not say."""
    old, new = seen.sites[move.source].cluster, seen.sites[move.target].cluster
    if old is None or new is None or old.lsn is None or new.lsn is None or not old.stopped_writing:
        return None
    # Positions of histories that have parted say nothing about each other.
    return new.lsn >= old.lsn and new.timeline == old.timeline


def _promoted(move: Move, new: SiteSeen) -> bool:
    # A site that came back as the primary that it was is no promoted one: only the record tells them apart.
    return new.leads and (move.promoting or not move.planned)


def _made_ready(move: Move, old: SiteSeen, new: SiteSeen) -> list[Step]:
    """Return the steps that make a site that was failed over from a standby again."""
    if move.kind is not MoveKind.FAILBACK or old.stopped_writing:
        return []
    steps = []
    if new.cluster is None or new.cluster.role is not ClusterRole.STANDBY or new.cluster.follows != old.primary_at:
        if not new.shut:
            steps.append(Step(Phase.READY, Act.CLOSE_DOOR, new.name, best_effort=True))
        if not new.stopped_writing:
            steps.append(Step(Phase.READY, Act.FENCE, new.name))
        steps.append(Step(Phase.READY, Act.FOLLOW, new.name, old.name, rebuild=True))
    return [*steps, Step(Phase.READY, Act.NEARLY_CAUGHT_UP, new.name, old.name)]


def _fenced(move: Move, old: SiteSeen) -> list[Step]:
    steps = []
    if not old.shut:
        steps.append(Step(Phase.FENCE, Act.CLOSE_DOOR, old.name, best_effort=True))
    if not old.stopped_writing:
        steps.append(Step(Phase.FENCE, Act.FENCE, old.name, best_effort=not move.planned))
    return steps


def _followers(move: Move, seen: Seen, old: SiteSeen, new: SiteSeen) -> list[Step]:
    """Return the steps by which standbys follow the new site: after a failover the old one is left alone."""
    steps = []
    if move.planned and not _follows(old, new):
        steps.append(Step(Phase.FOLLOW, Act.FOLLOW, old.name, new.name, best_effort=True))
    for other in seen.others(old.name, new.name):
        standby = other.cluster is not None and other.cluster.role is ClusterRole.STANDBY
        if standby and not _follows(other, new) and other.region.zone == new.region.zone:
            steps.append(Step(Phase.FOLLOW, Act.FOLLOW, other.name, new.name, best_effort=True))
    return steps


def _follows(site: SiteSeen, source: SiteSeen) -> bool:
    found = site.cluster
    return found is not None and found.role is ClusterRole.STANDBY and found.follows == source.primary_at


def _points(seen: Seen, name: str, new: SiteSeen, rules: Rules) -> bool:
    answer = seen.answers.get(name)
    return answer is not None and answer.addresses == new.addresses and answer.ttl_s == rules.ttl_s


def _may_promote(step: Step, move: Move, seen: Seen, rules: Rules) -> None:
    new = seen.sites[step.site]
    require_fenced(move, seen)
    _no_other_writer(step, move, seen)
    if new.cluster is None:
        raise Retryable(
            f"the database of {new.name} does not answer",
            on=str(move),
            state=f"{move.source} is fenced: nobody takes writes",
            next_action=f"bring {new.name} up, then run this again; or name another site by --to",
        )
    if rules.system_id and new.cluster.system_id != rules.system_id:
        raise Refused(
            f"{new.name} holds the data of another system",
            on=str(move),
            state=f"{move.source} is fenced: nobody takes writes",
            next_action=f"find out what runs there; to have {move.source} serve again: a switchover with --to "
            f"{move.source}",
            facts={"expected": rules.system_id, "found": new.cluster.system_id or "none"},
        )
    if not move.planned or move.promoting:
        return
    source = seen.sites[move.source]
    if not source.stopped_writing:
        raise Refused(
            f"{source.name} may still write what {new.name} would not have",
            on=str(move),
            next_action=f"repair what does not answer at {source.name}, then run this again",
            facts={"its database": _cluster_said(source)},
        )
    if not _follows(new, source) or caught_up(move, seen) is not True:
        raise Refused(
            f"it cannot be shown that {new.name} has everything that {move.source} has written",
            on=str(move),
            state=f"{move.source} takes no writes",
            next_action="run this again when both answer",
            facts={source.name: _cluster_said(source), new.name: _cluster_said(new)},
        )


def _may_let_in(step: Step, move: Move, seen: Seen) -> None:
    new = seen.sites[step.site]
    if new.cluster is None or not new.cluster.serves:
        raise Retryable(
            f"users are not let in at {new.name}: its database does not take writes, or did not say so",
            on=str(move),
            state=f"{move.source} is fenced: nobody takes writes",
            next_action=f"see why the database of {new.name} has no writable leader, then run this again",
        )
    require_fenced(move, seen)
    _no_other_writer(step, move, seen)


def _may_follow(step: Step, move: Move, seen: Seen) -> None:
    site, source = seen.sites[step.site], seen.sites[step.toward]
    if source.cluster is None or not source.cluster.serves:
        raise Refused(
            f"{step.toward} has no writable leader that could be followed",
            on=str(move),
            next_action=f"see what is wrong with the database of {step.toward}, then run this again",
        )
    if step.rebuild and not (site.fenced and seen.pointed_to() == step.toward):
        raise Refused(
            f"{step.site} is not rebuilt: users are sent there, or it may take writes",
            on=str(move),
            next_action=f"see where the names point to and whether the door of {step.site} is shut",
            facts={"names point to": seen.pointed_to() or "unknown", "its door": _door_said(site)},
        )


def _no_other_writer(step: Step, move: Move, seen: Seen) -> None:
    for other in seen.others(step.site, move.source):
        if other.leads and not other.fenced:
            raise Unsafe(
                f"{other.name} is a primary, too",
                on=str(move),
                state=f"{other.name} may take writes; {step.site} was not changed now",
                next_action=f"find out which of {other.name}, {move.source} and {move.target} has the users' data; "
                "fence the others, then run this again",
            )


def _wrong_way(step: Step, move: Move) -> Refused:
    return Refused(
        f"{step.site} was promoted already, and is not fenced",
        on=str(move),
        next_action="report this as a mistake in Slipway",
    )


def _door_said(site: SiteSeen) -> str:
    if site.door is None:
        return f"did not answer{f': {site.problem}' if site.problem else ''}"
    if site.door.open is None:
        return f"is not known: {site.door.problem}"
    return "open" if site.door.open else "shut" if site.door.holds else "shut, and open again after a restart"


def _cluster_said(site: SiteSeen) -> str:
    found = site.cluster
    if found is None:
        return f"did not answer{f': {site.problem}' if site.problem else ''}"
    said = [found.role.value]
    said += [f"{name} takes writes" for name in found.writable]
    said += [f"{name} did not say" for name in found.silent]
    return ", ".join(said)
