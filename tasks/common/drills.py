"""Experiments as data, and the clusters of an estate that may be practised on (DR-4).

*Source:* hypothesis, method and rollbacks of the Chaos Toolkit's experiment; probes with a phase of Litmus.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.common.model import DriverSpec, Problem, StrictModel, Unit, near, quantity, refuse
from tasks.common.secrets import SecretRef
from tasks.common.units import (
    ADDRESS_PATTERN,
    SYSTEM_ID_PATTERN,
    Duration,
    Expected,
    Name,
    PositiveDuration,
    Variable,
)


class Mode(StrEnum):
    """What a drill is practised on."""

    COPY = "isolated-copy"
    """A cluster that no user reaches."""
    LIVE = "live"
    """The one that serves: after an approval, in business hours."""
    DRY_RUN = "dry-run"
    """Nothing: the plan is printed."""


class Outcome(StrEnum):
    """What becomes of a cluster with a fault in it."""

    RECOVERS = "recovers-by-itself"
    """The same leader takes writes again, and nobody has done anything."""
    FAILS_OVER = "fails-over"
    """Another node takes writes, and nobody has done anything."""
    PERSON = "a-person-must-act"
    """Users wait until somebody does something: a sound outcome, where it was expected."""


class Figure(StrEnum):
    """What a probe looks at."""

    WRITES = "writes"
    READS = "reads"
    REQUESTS = "requests"
    WRITABLE = "writable-nodes"
    ANSWERING = "answering-nodes"

    @property
    def unit(self) -> Unit:
        """Return the unit of its bounds: a share of what the client has sent, or a number of nodes."""
        return Unit.COUNT if self in (Figure.WRITABLE, Figure.ANSWERING) else Unit.PERCENT


class Phase(StrEnum):
    """When a probe must hold."""

    BEFORE = "before"
    DURING = "during"
    """When the outcome is there, with the fault still in place."""
    AFTER = "after"


def _one_bound_at_least(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"required": ["at_least"]}, {"required": ["at_most"]}]


class Tolerance(StrictModel):
    """A figure, and what it may be."""

    model_config = ConfigDict(json_schema_extra=_one_bound_at_least)

    name: str = Field(min_length=1, description="what it shows, for reports")
    figure: Figure = Field(description="what is looked at: a share of what the client sends, or a number of nodes")
    at_least: str | float | None = Field(default=None, description="lower bound: '99%' of a share, 1 of nodes")
    at_most: str | float | None = Field(default=None, description="upper bound, in the same unit")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        given = {"at_least": self.at_least, "at_most": self.at_most}
        expected = "a percentage, such as 99%" if self.figure.unit is Unit.PERCENT else "a plain number"
        found = [
            Problem((key,), f"{value:g}" if isinstance(value, float) else repr(value), expected)
            for key, value in given.items()
            if value is not None and not _fits(value, self.figure.unit)
        ]
        if all(value is None for value in given.values()):
            found.append(Problem(("at_least",), "neither at_least nor at_most", "one of them, or both"))
        refuse(type(self).__name__, found)
        return self

    def holds(self, value: float) -> bool:
        """Return whether a value, in the figure's unit, is within the bounds."""
        low, high = (
            None if each is None else quantity(each, self.figure.unit) for each in (self.at_least, self.at_most)
        )
        return (low is None or value >= low) and (high is None or value <= high)

    @property
    def bounds(self) -> str:
        """Return 'at least 99%, at most 100%'."""
        given = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(
            f"{word} {f'{value:g}' if isinstance(value, float) else value}"
            for word, value in given
            if value is not None
        )


def _fits(value: str | float, unit: Unit) -> bool:
    try:
        quantity(value, unit)
    except Expected:
        return False
    return True


class Probe(Tolerance):
    """A part of the hypothesis: a figure that must be within its bounds at some phases of the drill."""

    when: list[Phase] = Field(default=list(Phase), min_length=1, description="phases in which it must hold")


class AbortRule(Tolerance):
    """A bound that ends the drill early, with the fault undone, when it is broken for too long."""

    for_s: PositiveDuration = Field(alias="for", description="broken for so long without a break: the drill is aborted")


class Hypothesis(StrictModel):
    """What is believed, and what must be seen for it to be true."""

    says: str = Field(min_length=1, description="the belief, in one sentence")
    probes: list[Probe] = Field(min_length=1, description="what must be seen before, during and after the fault")


class FaultSpec(StrictModel):
    """What is done, and to whom."""

    on: str = Field(
        min_length=1,
        description="leader, standby (one of them), every (node), the name of a node, or cluster: no node is meant",
    )
    actions: list[DriverSpec] = Field(
        min_length=1,
        description="faults, in this order, and undone in the opposite one; {data} in a setting is that fact of the "
        "node, and a list's item '{others.ip}' that fact of every other node",
    )


class BlastRadius(StrictModel):
    """How much may be hit."""

    nodes: int = Field(ge=1, le=1000, description="nodes that may be hit at once; a fault on more is refused")
    users: str = Field(min_length=1, description="what users of a live cluster would notice")


class Undo(StrictModel):
    """Who undoes the fault."""

    by: Literal["driver", "person"] = Field(
        default="driver", description="driver: the faults' drivers, also the reaper; person: none of them can"
    )
    how: str = Field(default="", description="what a person does: required where a person does it")

    @model_validator(mode="after")
    def _said(self) -> Self:
        if self.by == "person" and not self.how.strip():
            refuse("Undo", [Problem(("how",), "nothing", "what the person does, such as which restore")])
        return self


class Load(StrictModel):
    """What the client sends while the drill runs, whether or not it is answered."""

    writes_per_s: int = Field(default=50, ge=0, le=1000, description="rows that are written a second; 0 for none")
    reads_per_s: int = Field(default=50, ge=0, le=1000, description="rows that are read a second; 0 for none")
    requests_per_s: int = Field(default=0, ge=0, le=1000, description="requests that are sent to the address for users")
    answered_within_s: PositiveDuration = Field(
        default=2.0, alias="answered_within", le=4, description="who gets no answer in this time has got none"
    )

    @model_validator(mode="after")
    def _sends(self) -> Self:
        if not self.writes_per_s + self.reads_per_s + self.requests_per_s:
            refuse("Load", [Problem(("writes_per_s",), "a client that sends nothing", "something that it sends")])
        return self


class DrillObjectives(StrictModel):
    """What a recovery must achieve."""

    rto_s: PositiveDuration = Field(alias="rto", description="longest time without service")
    rpo_s: Duration = Field(
        default=0.0, alias="rpo", description="oldest acknowledged write that may be lost; 0s: none"
    )


class Experiment(StrictModel):
    """One drill, as a file says it."""

    drill: Name = Field(description="its name")
    title: str = Field(min_length=1, description="what happens, in one sentence")
    cluster: Name = Field(description="what is practised on, under drills.clusters of the estate file")
    mode: Mode = Field(default=Mode.COPY, description="isolated copy, live (by approval, in business hours) or dry run")
    hypothesis: Hypothesis = Field(description="what is believed")
    fault: FaultSpec = Field(description="what is done")
    expect: Outcome = Field(description="what should come of it")
    abort: list[AbortRule] = Field(min_length=1, description="when the drill is ended early")
    blast_radius: BlastRadius = Field(description="how much may be hit")
    longest_s: PositiveDuration = Field(
        alias="longest", le=3600, description="longest time with the fault in place; then it is undone"
    )
    settle_s: PositiveDuration = Field(
        default=120.0, alias="settle", description="longest time from the undoing until every node is well again"
    )
    sustained_s: PositiveDuration = Field(
        default=5.0, alias="sustained", description="so long without a failed operation is recovered"
    )
    undo: Undo = Field(default=Undo(), description="who undoes it")
    person_does: str = Field(
        default="", description="where a person must act: what they do when it is no drill; the report says it"
    )
    load: Load = Field(default=Load(), description="what the client sends")
    objectives: DrillObjectives | None = Field(default=None, description="in place of those of the cluster")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse("Experiment", list(experiment_problems(self)))
        return self


def experiment_problems(experiment: Experiment) -> Sequence[Problem]:
    """Return what does not fit together in an experiment."""
    sent = {
        Figure.WRITES: experiment.load.writes_per_s,
        Figure.READS: experiment.load.reads_per_s,
        Figure.REQUESTS: experiment.load.requests_per_s,
    }
    found = []
    for key, tolerances in (("hypothesis", experiment.hypothesis.probes), ("abort", experiment.abort)):
        for position, each in enumerate(tolerances):
            if sent.get(each.figure) == 0:
                place = (*(("hypothesis", "probes") if key == "hypothesis" else (key,)), position, "figure")
                found.append(
                    Problem(place, f"{each.figure.value!r}, of which load sends none", "a figure that is measured")
                )
    for phase in (Phase.BEFORE, Phase.AFTER):
        if not any(phase in each.when for each in experiment.hypothesis.probes):
            expected = f"a probe {phase}: without one nothing says that all was well then"
            found.append(Problem(("hypothesis", "probes"), f"no probe {phase}", expected))
    if experiment.sustained_s >= experiment.longest_s:
        found.append(Problem(("sustained",), "as long as the whole drill, or longer", "less than 'longest'"))
    for position, rule in enumerate(experiment.abort):
        if rule.for_s >= experiment.longest_s:
            place = ("abort", position, "for")
            found.append(
                Problem(place, "as long as the whole drill, or longer: it never aborts", "less than 'longest'")
            )
    return found


class DrillNode(StrictModel):
    """One server of a cluster."""

    address: SecretRef = Field(description="reference to its own address, asked directly whether it takes writes")
    entrance: SecretRef | None = Field(
        default=None,
        description="reference to the address at which its site's users come in: a node that takes writes behind a "
        "closed entrance takes none of theirs",
    )
    facts: dict[Variable, str] = Field(
        default_factory=dict,
        description="what faults need to know of it, by name: data folder, namespace, address in the network",
    )


class Guarded(StrictModel):
    """Where no release may be running while a drill runs."""

    service: Name = Field(description="the service")
    environment: Name = Field(description="its environment")


class DrillCluster(StrictModel):
    """A cluster, or an application, that may be practised on. What is not listed here is never touched."""

    id: str | None = Field(
        default=None,
        pattern=SYSTEM_ID_PATTERN,
        description="its system identifier, as pg_controldata shows it: every node must have it",
    )
    live: bool = Field(default=False, description="users are on it: only drills of the mode 'live' run there")
    address: SecretRef | None = Field(
        default=None, description="reference to the database's address as users reach it: by name, through the router"
    )
    url: str | None = Field(
        default=None, pattern=ADDRESS_PATTERN, description="address of the application, as users reach it"
    )
    namespace: str = Field(
        default="",
        description="network namespace of this machine that the client sends from, with a resolver of its own "
        "(/etc/netns); '' for none: it sends from where Slipway runs",
    )
    nodes: dict[Name, DrillNode] = Field(default_factory=dict, description="its servers, by name")
    facts: dict[Variable, str] = Field(
        default_factory=dict, description="what faults need to know where no node is meant: ports of instances, say"
    )
    backup: str | None = Field(default=None, description="plan whose newest verified backup must be fresh")
    releases: list[Guarded] = Field(default_factory=list, description="where no release may be running")
    objectives: DrillObjectives = Field(description="what a recovery must achieve")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        found = []
        if self.nodes and self.id is None:
            found.append(Problem(("id",), "nothing", "the system identifier of the cluster (pg_controldata shows it)"))
        if self.nodes and self.address is None:
            found.append(Problem(("address",), "nothing", "the address of the database, as users reach it"))
        if self.address is None and self.url is None:
            found.append(Problem(("url",), "neither address nor url", "what the client of a drill sends to"))
        refuse("DrillCluster", found)
        return self


class Drills(StrictModel):
    """What may be practised, and where drills keep what they do."""

    experiments: str = Field(
        default="drills", min_length=1, description="folder with the experiments, a YAML file each"
    )
    journal: str = Field(
        default="drills/journal",
        min_length=1,
        description="folder for faults that are not undone yet; on a disk that stays",
    )
    evidence: str = Field(
        default="drills/evidence", min_length=1, description="folder for the logs of every operation that clients send"
    )
    business_hours: list[Name] = Field(
        default_factory=list, description="windows in which live drills may run; without any, none may"
    )
    backup_verified_within_s: PositiveDuration = Field(
        default=86400.0,
        alias="backup_verified_within",
        description="how old the newest verified backup of a cluster may be, from the end of the backup itself",
    )
    approval_within_s: PositiveDuration = Field(
        default=3600.0, alias="approval_within", description="how long a live drill waits for an answer"
    )
    clusters: dict[Name, DrillCluster] = Field(min_length=1, description="what may be practised on, by name")


def drill_problems(
    drills: Drills | None,
    plans: Collection[str],
    windows: Collection[str],
    services: Collection[str],
    environments: Collection[str],
) -> list[Problem]:
    """Return what an estate's drills name and what there is not."""
    if drills is None:
        return []
    found = [
        *_unknown(("drills", "business_hours"), "window", dict(enumerate(drills.business_hours)), windows),
    ]
    for name, cluster in drills.clusters.items():
        place = ("drills", "clusters", name)
        if cluster.backup is not None:
            found += _unknown(place, "backup plan", {"backup": cluster.backup}, plans)
        for position, each in enumerate(cluster.releases):
            found += _unknown((*place, "releases", position), "service", {"service": each.service}, services)
            where = {"environment": each.environment}
            found += _unknown((*place, "releases", position), "environment", where, environments)
    return found


def _unknown(
    place: tuple[str | int, ...], what: str, named: Mapping[Any, str], known: Collection[str]
) -> list[Problem]:
    expected = f"one of: {', '.join(sorted(known))}" if known else f"a {what} that the estate file describes"
    return [
        Problem((*place, key), f"the unknown {what} {name!r}{near(name, known)}", expected)
        for key, name in named.items()
        if name not in known
    ]
