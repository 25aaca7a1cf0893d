"""Whether a drill may begin: everything that must hold before anything is broken, judged at once. Pure.

*Source:* reference/backup-dr, section 4: healthy cluster, fresh verified backup, allow-listed cluster; and DR-4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.common.drills import DrillCluster, Drills, Experiment, Mode
from tasks.common.errors import Refused
from tasks.common.schedules import Window
from tasks.common.units import show_age
from tasks.drill.journal import Entry
from tasks.drill.model import NodeSeen, NodeState


@dataclass(frozen=True)
class Situation:
    """What was seen before a drill.

    Args:
        now: the moment; aware.
        nodes: each, asked directly; none for an application without a database.
        backup_ended_at: when the newest backup that was verified had ended; aware; None where there is none.
        at_work: who holds a place where no release may be running, by place.
        left: what other drills have left in the undo journal.
        damaged: entries of the journal that cannot be read.
        unknown: what could not be looked at, and why, by what it is.
    """

    now: datetime
    nodes: Sequence[NodeSeen] = ()
    backup_ended_at: datetime | None = None
    at_work: Mapping[str, str] | None = None
    left: Sequence[Entry] = ()
    damaged: Sequence[str] = ()
    unknown: Mapping[str, str] | None = None


def problems(
    experiment: Experiment, cluster: DrillCluster, drills: Drills, windows: Mapping[str, Window], seen: Situation
) -> tuple[str, ...]:
    """Return everything that stands in the way; nothing where the drill may begin.

    Args:
        experiment: what is to be done.
        cluster: what it is to be done to.
        drills: what the estate says of drills.
        windows: those of the estate, by name.
        seen: the situation.
    """
    found = [f"{what} could not be looked at: {why}" for what, why in sorted((seen.unknown or {}).items())]
    found += _of_mode(experiment, cluster, drills, windows, seen.now)
    found += _of_nodes(cluster, seen.nodes) if "nodes" not in (seen.unknown or {}) else []
    if cluster.backup is not None and "backup" not in (seen.unknown or {}):
        found += _of_backup(cluster.backup, drills, seen)
    found += [f"{who} is at work on {place}: no drill beside it" for place, who in sorted((seen.at_work or {}).items())]
    found += [f"a fault of an earlier drill is not undone: {each}" for each in seen.left]
    found += [f"an entry of the undo journal cannot be read: {each}" for each in seen.damaged]
    return tuple(found)


def require(found: Sequence[str], on: str) -> None:
    """Nothing stands in the way.

    Raises:
        Refused: something does; all of it is listed.
    """
    if found:
        raise Refused(
            f"the drill may not begin: {len(found)} things stand in the way"
            if len(found) > 1
            else f"the drill may not begin: {found[0]}",
            on=on,
            next_action="put right what is listed, then start it again ('slipway reap --all' undoes what is left over)",
            facts={"in the way": "\n".join(found)} if len(found) > 1 else None,
        )


def _of_mode(
    experiment: Experiment, cluster: DrillCluster, drills: Drills, windows: Mapping[str, Window], now: datetime
) -> list[str]:
    if experiment.mode is Mode.LIVE:
        found = [] if cluster.live else [f"{experiment.cluster} is no live cluster, and the mode is 'live'"]
        if not any(windows[name].holds(now) for name in drills.business_hours):
            hours = ", ".join(drills.business_hours) or "none (drills.business_hours names none)"
            found.append(f"it is {now:%a %H:%M} {now.tzname()}, outside of business hours: {hours}")
        return found
    if cluster.live and experiment.mode is Mode.COPY:
        return [f"users are on {experiment.cluster}, and the mode is 'isolated-copy'"]
    return []


def _of_nodes(cluster: DrillCluster, nodes: Sequence[NodeSeen]) -> list[str]:
    if not cluster.nodes:
        return []
    found = [f"node {each.name} does not answer: {each.why}" for each in nodes if each.state is NodeState.SILENT]
    found += [f"node {name} was not looked at" for name in sorted(set(cluster.nodes) - {each.name for each in nodes})]
    found += [
        f"node {each.name} is of the cluster {each.system_id}, and {cluster.id} is the one that may be practised on"
        for each in nodes
        if each.state is not NodeState.SILENT and each.system_id != cluster.id
    ]
    writable = sorted(each.name for each in nodes if each.state is NodeState.WRITABLE)
    if len(writable) != 1:
        found.append(
            f"{' and '.join(writable) or 'no node'} {'take' if len(writable) > 1 else 'takes'} writes, not one"
        )
    return found


def _of_backup(plan: str, drills: Drills, seen: Situation) -> list[str]:
    if seen.backup_ended_at is None:
        return [f"no backup of {plan} was ever verified"]
    age_s = (seen.now - seen.backup_ended_at).total_seconds()
    if age_s > drills.backup_verified_within_s:
        bound = show_age(drills.backup_verified_within_s)
        return [f"the newest verified backup of {plan} is {show_age(age_s)} old, more than {bound}"]
    return []
