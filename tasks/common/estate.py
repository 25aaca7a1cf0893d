"""The estate file: the environments of one place, which drivers make up each, and where the services' sources are."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.common.backup_plans import BackupPlan
from tasks.common.checks import Checks
from tasks.common.drills import Drills, drill_problems
from tasks.common.failovers import FailoverPlan, RegionSpec, failover_problems
from tasks.common.gates import Gate, name_problems, named
from tasks.common.migrations import DatabaseSpec, backup_problems
from tasks.common.model import DriverSpec, Problem, Replicas, StrictModel, near, refuse
from tasks.common.occasion import Occasion, Severity
from tasks.common.preflight import Preflight
from tasks.common.schedules import Schedule, Window, schedule_problems
from tasks.common.secrets import SecretRef
from tasks.common.units import ADDRESS_PATTERN, Duration, Name, Percent, PositiveDuration, Variable
from tasks.common.webhooks import WebhookSource


class Pace(StrictModel):
    """Upper bounds for the waits that a service file asks for, so that a laboratory need not wait for days.

    Nothing but waiting is cut: the stages, their weights and their checks stay as they are.
    """

    soak_at_most_s: Duration = Field(alias="soak_at_most", description="bound for the soak of every stage")
    analysis_every_at_most_s: PositiveDuration = Field(
        alias="analysis_every_at_most", description="bound for the analysis interval"
    )
    settle_at_most_s: Duration = Field(alias="settle_at_most", description="bound for the wait before validation")
    stable_for_at_most_s: Duration = Field(
        alias="stable_for_at_most", description="bound for how long validation watches"
    )


class Environment(StrictModel):
    """One environment: where instances run, how traffic reaches them, how they are measured."""

    url: str = Field(pattern=ADDRESS_PATTERN, description="where users reach the environment, through the router")
    runtime: DriverSpec = Field(description="runs instances")
    router: DriverSpec = Field(description="shares the traffic between instances")
    metrics: DriverSpec = Field(description="answers the queries of metrics")
    replicas: Replicas = Field(description="instances that serve when nothing is going on")
    floor: Percent = Field(default=100.0, description="share of the replicas that must serve at any moment")
    promotes_from: str | None = Field(default=None, description="environment that a release must pass first")
    env: dict[Variable, str] = Field(
        default_factory=dict, description="environment variables of every instance (no secrets)"
    )
    secrets: dict[Variable, SecretRef] = Field(
        default_factory=dict, description="references to secrets, by variable; the service file asks for them"
    )
    databases: dict[Name, DatabaseSpec] = Field(
        default_factory=dict, description="the databases that are migrated, by service; 'slipway migration apply'"
    )
    pace: Pace | None = Field(default=None, description="cuts waits short, for laboratories")
    preflight: Preflight = Field(default=Preflight(), description="what must hold before a release for it begins")
    gates: list[Gate] = Field(
        default_factory=list, description="gates of this environment for every service, besides the service's own"
    )
    lease_s: PositiveDuration = Field(
        default=60.0,
        alias="lease",
        ge=5,
        description="a run that is not heard of for this long has lost its right to change things here",
    )
    when_busy: Literal["queue", "supersede", "refuse"] = Field(
        default="queue",
        description="what a release to here does while another run works here or on the way: waits its turn, cancels "
        "the other (which turns itself back), or ends at once",
    )
    queue_at_most_s: Duration = Field(
        default=3600.0, alias="queue_at_most", description="longest wait for the others; then the release ends"
    )
    after_crash: Literal["roll-back", "resume", "report"] = Field(
        default="roll-back",
        description="what 'reconcile' does with a release whose run has died: rolls it back, starts it once more, or "
        "tells people and changes nothing",
    )
    approval: bool = Field(
        default=False, description="every release is asked about before it starts here, whatever its service file says"
    )

    @model_validator(mode="after")
    def _gates_differ(self) -> Self:
        refuse("Environment", name_problems(named("gates", self.gates)))
        return self


class EstateService(StrictModel):
    """What this estate knows about a service."""

    repository: str = Field(min_length=1, description="git repository: a path, or an address that git can read")
    test_secrets: dict[Variable, SecretRef] = Field(
        default_factory=dict, description="references to secrets, by variable; for the test steps"
    )
    check_env: dict[Variable, str] = Field(
        default_factory=dict,
        description="environment variables of the test steps of checks, which get no secret: such as the address of a "
        "database that anybody may use",
    )


class NotificationChannel(DriverSpec):
    """One way to tell people; a channel that fails never fails the work, and is seen in the run's summary."""

    name: Name = Field(description="what it is called in logs and summaries")
    events: list[Occasion] = Field(default=list(Occasion), min_length=1, description="what it is told about")
    severity_at_least: Severity = Field(default=Severity.INFO, description="what is less severe, it is not told about")
    only: list[Name] = Field(default_factory=list, description="environments that it is told about; every one if empty")


class Estate(StrictModel):
    """One place where services run."""

    estate: Name = Field(description="the estate's name")
    workspace: str = Field(min_length=1, description="folder for check-outs and build output")
    tools: list[str] = Field(
        default_factory=list, description="folders put in front of PATH for builds, tests and scans"
    )
    ledger: DriverSpec = Field(description="keeps the evidence of what was done")
    store: DriverSpec = Field(description="keeps artefacts")
    source: DriverSpec = Field(default=DriverSpec(driver="git"), description="reads the services' repositories")
    builder: DriverSpec = Field(default=DriverSpec(driver="archive"), description="turns a tree into an artefact")
    keep_releases: int = Field(default=10, ge=2, description="artefacts kept a service (REL-12)")
    environments: dict[Name, Environment] = Field(min_length=1, description="by name")
    services: dict[Name, EstateService] = Field(min_length=1, description="by name, as their service files have it")
    notifications: list[NotificationChannel] = Field(
        default_factory=list, description="who is told when a release ends, waits for approval or is reconciled"
    )
    webhooks: dict[Name, WebhookSource] = Field(
        default_factory=dict, description="who may start flows by a delivery to /webhooks/NAME of 'slipway receive'"
    )
    receiver: str = Field(
        default="http://127.0.0.1:4281",
        pattern=ADDRESS_PATTERN,
        description="where the Prefect server reaches the inside address of 'slipway receive', which tells of alarms",
    )
    schedules: dict[Name, Schedule] = Field(
        default_factory=dict, description="flows that start by the clock; 'slipway apply' makes a deployment of each"
    )
    windows: dict[Name, Window] = Field(
        default_factory=dict, description="times of the week, for schedules that may only start within them"
    )
    backups: dict[Name, BackupPlan] = Field(
        default_factory=dict, description="what is backed up, how, how long it is kept, and what a restore must achieve"
    )
    regions: dict[Name, RegionSpec] = Field(
        default_factory=dict, description="places that services run in, by name (DR-3)"
    )
    failovers: dict[Name, FailoverPlan] = Field(
        default_factory=dict, description="what moves to another site, by name; 'slipway failover NAME'"
    )
    checks: Checks = Field(default=Checks(), description="how the commands of pull requests are kept apart")
    drills: Drills | None = Field(default=None, description="what failures may be practised on; nothing if left out")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        order = order_problems({name: each.promotes_from for name, each in self.environments.items()})
        channels = [(each.name, each.only) for each in self.notifications]
        windows = schedule_problems({name: each.only_in for name, each in self.schedules.items()}, self.windows)
        drills = drill_problems(self.drills, self.backups, self.windows, self.services, self.environments)
        moves = failover_problems(self.failovers, self.regions, self.services, self.environments)
        databases = [
            (("environments", environment, "databases", service), database)
            for environment, each in self.environments.items()
            for service, database in each.databases.items()
        ]
        copies = backup_problems(databases, self.backups)
        refuse("Estate", [*order, *channel_problems(channels, self.environments), *windows, *drills, *moves, *copies])
        return self


def channel_problems(channels: Sequence[tuple[str, Sequence[str]]], environments: Collection[str]) -> list[Problem]:
    """Return the channels that have the name of another one, or that name an unknown environment.

    Args:
        channels: the name of each, and the environments that it is told about.
        environments: those that there are.
    """
    found = []
    times = Counter(name for name, _ in channels)
    for number, (name, only) in enumerate(channels):
        if name and times[name] > 1:
            place = ("notifications", number, "name")
            found.append(Problem(place, f"the name {name!r} {times[name]} times", "another name for each channel"))
        for position, each in enumerate(only):
            if each not in environments:
                unknown = f"the unknown environment {each!r}{near(each, environments)}"
                expected = f"one of: {', '.join(sorted(environments))}"
                found.append(Problem(("notifications", number, "only", position), unknown, expected))
    return found


def order_problems(before: Mapping[str, str | None]) -> list[Problem]:
    """Return the environments that promote from one that is unknown, or from themselves, also by way of others.

    Args:
        before: the environment that each environment promotes from, by name.
    """
    found = []
    for name, first in before.items():
        place = ("environments", name, "promotes_from")
        if first is not None and first not in before:
            others = sorted(set(before) - {name})
            expected = f"one of: {', '.join(others)}" if others else "no such key, as there is no other environment"
            found.append(Problem(place, f"the unknown environment {first!r}{near(first, others)}", expected))
        elif name in (circle := _path(name, before))[1:]:
            found.append(Problem(place, f"a circle: {' from '.join(circle)}", "a way that ends"))
    return found


def _path(name: str, before: Mapping[str, str | None]) -> list[str]:
    path = [name]
    while (earlier := before.get(path[-1])) is not None and earlier not in path:
        path.append(earlier)
    return [*path, earlier] if earlier == name else path
