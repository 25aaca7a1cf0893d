"""From an experiment and what was observed to the faults themselves, and to a plan that can be printed. Pure."""

import re
from collections.abc import Mapping, Sequence

from tasks.common.drills import DrillCluster, Experiment, Mode
from tasks.common.errors import Refused
from tasks.common.units import show_duration
from tasks.drill.model import Injection, NodeSeen, NodeState

LEADER, STANDBY, EVERY, CLUSTER = "leader", "standby", "every", "cluster"
_FACT = re.compile(r"\{(others\.)?([A-Za-z_][A-Za-z0-9_]*)\}")


def targets(experiment: Experiment, cluster: DrillCluster, nodes: Sequence[NodeSeen]) -> tuple[str, ...]:
    """Return the nodes that the fault is about, by name; '' stands for the cluster itself.

    Raises:
        Refused: there is none of the kind, or more than the blast radius allows.
    """
    on = experiment.fault.on
    by_state = {
        state: sorted(each.name for each in nodes if each.state is state)
        for state in (NodeState.WRITABLE, NodeState.READ_ONLY)
    }
    match on:
        case "cluster":
            found = [""]
        case "leader":
            found = by_state[NodeState.WRITABLE]
        case "standby":
            found = by_state[NodeState.READ_ONLY][:1]
        case "every":
            found = sorted(cluster.nodes)
        case _:
            found = [on] if on in cluster.nodes else []
    if not found:
        raise Refused(
            f"there is no {on!r} to hit",
            on=experiment.drill,
            next_action=f"use leader, standby, every, cluster, or one of: {', '.join(sorted(cluster.nodes)) or 'none'}",
        )
    hit = len(experiment.fault.actions) if found == [""] else len(found)
    if hit > experiment.blast_radius.nodes:
        raise Refused(
            f"{hit} would be hit, and the blast radius allows {experiment.blast_radius.nodes}",
            on=experiment.drill,
            next_action="correct 'fault.on', or allow more under 'blast_radius.nodes' if that is meant",
        )
    return tuple(found)


def injections(experiment: Experiment, cluster: DrillCluster, hit: Sequence[str]) -> tuple[Injection, ...]:
    """Return every fault with nothing left to fill in, in the order of injecting.

    Raises:
        Refused: a fact that a setting asks for is not known; all of them are listed.
    """
    missing: list[str] = []
    found = []
    for name in hit:
        own = {**cluster.facts, **(cluster.nodes[name].facts if name else {})}
        others = [{**cluster.facts, **each.facts} for other, each in sorted(cluster.nodes.items()) if other != name]
        for action in experiment.fault.actions:
            settings = {key: _filled(value, own, others, missing) for key, value in action.settings.items()}
            found.append(Injection(action.driver, settings, name))
    if missing:
        raise Refused(
            "the estate does not say what a fault needs to know",
            on=experiment.drill,
            next_action=f"add under drills.clusters.{experiment.cluster}, in facts or nodes.NAME.facts: "
            f"{', '.join(sorted(set(missing)))}",
        )
    return tuple(found)


def _filled(value: object, own: Mapping[str, str], others: Sequence[Mapping[str, str]], missing: list[str]) -> object:
    if isinstance(value, str):
        return _text(value, own, missing)
    if isinstance(value, dict):
        return {key: _filled(item, own, others, missing) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items: list[object] = []
    for item in value:
        match = _FACT.fullmatch(item) if isinstance(item, str) else None
        if match is not None and match[1]:
            items += [_text(f"{{{match[2]}}}", each, missing) for each in others]
        else:
            items.append(_filled(item, own, others, missing))
    return items


def _text(text: str, facts: Mapping[str, str], missing: list[str]) -> str:
    def fill(match: re.Match[str]) -> str:
        name = match[2]
        if match[1] or name not in facts:
            missing.append(name)
            return ""
        return facts[name]

    return _FACT.sub(fill, text)


def printed(experiment: Experiment, cluster: DrillCluster, found: Sequence[Injection], repeat: int) -> tuple[str, ...]:
    """Return what a drill does, step by step, for people to read before it does it."""
    where = "users are on it: a person is asked first" if experiment.mode is Mode.LIVE else "no user is on it"
    before = [each.name for each in experiment.hypothesis.probes if "before" in each.when]
    objectives = experiment.objectives or cluster.objectives
    steps = [
        f"believe: {experiment.hypothesis.says}",
        f"see that {experiment.cluster} is well and may be practised on ({where})",
        f"send {_load(experiment)}, and see: {', '.join(before)}",
        *(f"write to the undo journal, then inject: {each} {_shown(each.settings)}" for each in found),
        f"wait for: {experiment.expect.value}, for {show_duration(experiment.longest_s)} at most; stop early if: "
        + ", ".join(
            f"{each.name} ({each.bounds} is broken for {show_duration(each.for_s)})" for each in experiment.abort
        ),
        *(f"undo: {each}" for each in reversed(found)),
        f"wait until every node is well again, for {show_duration(experiment.settle_s)} at most",
        f"count what is there, and judge: RTO {show_duration(objectives.rto_s)}, RPO {show_duration(objectives.rpo_s)}",
    ]
    if experiment.undo.by == "person":
        steps.insert(-2, f"a person: {experiment.undo.how}")
    return (*steps, f"do all of it {repeat} times") if repeat > 1 else tuple(steps)


def _load(experiment: Experiment) -> str:
    load = experiment.load
    rates = ((load.writes_per_s, "writes"), (load.reads_per_s, "reads"), (load.requests_per_s, "requests"))
    return ", ".join(f"{rate} {what}" for rate, what in rates if rate) + " a second"


def _shown(settings: Mapping[str, object]) -> str:
    return "(" + ", ".join(f"{key}: {value}" for key, value in sorted(settings.items())) + ")"
