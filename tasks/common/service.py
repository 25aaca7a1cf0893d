"""The service file, slipway.yaml in the application's repository: how to build, test, scan, run and promote it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.common.gates import Gate, name_problems, named
from tasks.common.model import (
    Argv,
    Check,
    Command,
    HttpCheck,
    Metric,
    Place,
    Probes,
    Problem,
    Resources,
    StrictModel,
    near,
    refuse,
)
from tasks.common.units import Day, Duration, Expected, Name, Percent, PositiveDuration, Variable, write_percent

Severity = Literal["critical", "high", "medium", "low"]
ReportFormat = Literal["sarif", "detect-secrets", "pip-audit", "npm-audit"]
FindingKey = tuple[str, str, str | None]
"""Tool, rule and path of an accepted finding."""
ExitCode = Annotated[int, Field(ge=0, le=255)]
_AUDITS: tuple[ReportFormat, ...] = ("pip-audit", "npm-audit")


class Build(StrictModel):
    """What turns the checked-out tree into the artefact."""

    command: Argv | None = Field(default=None, description="program and arguments; none where the tree is enough")
    timeout_s: PositiveDuration = Field(
        default=600.0, alias="timeout", description="ended, with its children, after this long"
    )
    include: list[str] = Field(default=["**"], min_length=1, description="glob patterns of the files in the artefact")
    exclude: list[str] = Field(default_factory=list, description="glob patterns of files to leave out")


class Coverage(StrictModel):
    """The least line coverage that the tests must reach."""

    report: str = Field(min_length=1, description="JSON report that coverage.py writes, relative to the tree")
    at_least: Percent = Field(description="share of the lines that the tests must run through")


class Test(StrictModel):
    """Unit and integration tests."""

    __test__ = False

    steps: list[Command] = Field(
        min_length=1, description="run one after the other; the first failure stops the release"
    )
    coverage: Coverage | None = Field(default=None, description="read after the steps, where it is given")
    secrets: list[Variable] = Field(default_factory=list, description="secrets, by variable, that the tests need")


class Scan(StrictModel):
    """One security scanner that writes SARIF or a known JSON format (SCN-1, SCN-2)."""

    tool: Name = Field(description="the scanner's name, in reports")
    command: Argv = Field(description="program and arguments; '{output}' is replaced by the report's path")
    format: ReportFormat = Field(default="sarif", description="format of its report")
    over: Literal["tree", "history"] = Field(
        default="tree",
        description="folder that it runs in: the commit's files, or a clone with the commit and all its ancestors",
    )
    report: Literal["file", "stdout"] = Field(default="file", description="where the tool writes its report")
    findings_exit: list[ExitCode] = Field(
        default=[0, 1], min_length=1, description="exit codes that mean 'ran to the end'"
    )
    fail_on: list[Severity] | None = Field(
        default=None,
        description="findings of these severities stop the release; without it critical and high ones, "
        "and in dependencies (pip-audit, npm-audit) medium ones, too",
    )
    timeout_s: PositiveDuration = Field(
        default=300.0, alias="timeout", description="a scanner that takes longer has not passed"
    )

    @property
    def stopping(self) -> tuple[Severity, ...]:
        """Return the severities that stop a release, the format's own where the file names none."""
        if self.fail_on is not None:
            return tuple(self.fail_on)
        return ("critical", "high", "medium") if self.format in _AUDITS else ("critical", "high")


class AcceptedFinding(StrictModel):
    """A finding that stops no release until a day: somebody has judged it, and says why (SCN-2)."""

    tool: Name = Field(description="the scanner that finds it, as 'scan' names it")
    rule: str = Field(min_length=1, description="the finding's rule, exactly as the report shows it")
    path: str | None = Field(
        default=None,
        min_length=1,
        description="the finding's file or package, exactly as the report shows it; without it anywhere",
    )
    reason: str = Field(min_length=10, description="why it may stay, for whoever reads the report")
    until: Day = Field(description="last day on which it is accepted; from the next day on it counts again (UTC)")


class Run(StrictModel):
    """How one instance is run."""

    command: Argv = Field(description="program and arguments, started in the unpacked artefact")
    port_variable: Variable = Field(default="PORT", description="environment variable that gets the port to listen on")
    env: dict[Variable, str] = Field(default_factory=dict, description="environment variables (no secrets)")
    secrets: list[Variable] = Field(
        default_factory=list, description="secrets, by variable, that the estate must supply"
    )
    probes: Probes = Field(description="how an instance is asked for its health")
    drain_s: Duration = Field(default=15.0, alias="drain", description="longest wait for open requests before a stop")
    resources: Resources = Field(default=Resources(), description="limits of one instance")


class BlueGreenStep(StrictModel):
    """A share of the traffic and how long to watch it."""

    weight: Percent = Field(description="the new colour's share of the traffic")
    soak_s: Duration = Field(alias="soak", description="how long to watch it")


class BlueGreen(StrictModel):
    """Deploy to the idle colour, shift at once or in steps, watch, keep the old colour as standby (REL-5)."""

    strategy: Literal["blue-green"] = Field(description="blue-green: two colours, one of which serves")
    shift: Literal["instant", "gradual"] = Field(default="instant", description="all the traffic at once, or in steps")
    steps: list[BlueGreenStep] = Field(
        default=[
            BlueGreenStep.model_construct(weight=10.0, soak_s=300.0),
            BlueGreenStep.model_construct(weight=30.0, soak_s=300.0),
            BlueGreenStep.model_construct(weight=50.0, soak_s=600.0),
        ],
        min_length=1,
        description="the rising shares before 100 %; only for a gradual shift",
    )
    watch_s: Duration = Field(default=900.0, alias="watch", description="how long to watch at 100 %")
    checks: list[Check] = Field(description="must hold at every step and during the watch")

    @model_validator(mode="after")
    def _steps(self) -> Self:
        problems = step_problems([step.weight for step in self.steps])
        if self.shift == "instant" and "steps" in self.model_fields_set:
            problems.append(
                Problem(("steps",), "steps for an instant shift", "'shift: gradual' beside them, or no steps")
            )
        refuse("BlueGreen", problems)
        return self


class CanaryStage(StrictModel):
    """A share of the traffic, how long to soak, and what must hold (REL-6)."""

    weight: Percent = Field(description="the candidate's share of the traffic")
    soak_s: Duration = Field(alias="soak", description="how long the candidate is watched with it")
    checks: list[Check] = Field(min_length=1, description="must hold during the stage")


class Canary(StrictModel):
    """Grow the candidate's share of the traffic stage by stage, judged at each (REL-6)."""

    strategy: Literal["canary"] = Field(description="canary: a growing share, judged stage by stage")
    stages: list[CanaryStage] = Field(min_length=1, description="weights rise; the last one is 100%")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        refuse("Canary", stage_problems([stage.weight for stage in self.stages]))
        return self


class Rolling(StrictModel):
    """Replace instances batch by batch (REL-8)."""

    strategy: Literal["rolling"] = Field(description="rolling: instances are replaced in place, batch by batch")
    batch: int = Field(default=1, ge=1, description="instances replaced at a time")
    max_surge: Percent | None = Field(default=None, description="instances above the wanted number, rounded up")
    max_unavailable: Percent | None = Field(default=None, description="instances below the wanted number, rounded down")
    soak_s: Duration = Field(default=10.0, alias="soak", description="how long each batch is watched")
    checks: list[Check] = Field(min_length=1, description="must hold after every batch")

    @model_validator(mode="after")
    def _can_move(self) -> Self:
        if self.max_surge == 0 and self.max_unavailable == 0:
            expected = "more than 0%, as max_surge is 0% too and nothing could ever be replaced"
            refuse("Rolling", [Problem(("max_unavailable",), "0%", expected)])
        return self


Promotion = Annotated[BlueGreen | Canary | Rolling, Field(discriminator="strategy")]


class Analysis(StrictModel):
    """How the checks of a rollout are evaluated."""

    every_s: PositiveDuration = Field(default=10.0, alias="every", description="one analysis interval")
    wait_for_data_s: Duration = Field(
        default=600.0, alias="wait_for_data", description="no data this long after the soak is a failure, never a pass"
    )
    rollback_when_not: list[Check] = Field(
        default_factory=list, description="checks that roll back at once, at any stage, when they are broken"
    )


class Validation(StrictModel):
    """What must hold after production runs the new release (REL-10)."""

    settle_s: Duration = Field(default=30.0, alias="settle", description="wait before the first look")
    limits: list[Check] = Field(min_length=1, description="after settling; broken means roll back")
    stable_for_s: Duration = Field(default=300.0, alias="stable_for", description="the limits must hold this long")
    critical_features: list[HttpCheck] = Field(min_length=1, description="each must work through the load balancer")


class Approval(StrictModel):
    """Where a person must say yes before the release goes on. The run is suspended meanwhile; no process waits."""

    before: list[Literal["start"] | Percent] = Field(
        default=["start"],
        min_length=1,
        description="'start': before anything is placed where it must serve in the end; or shares of the traffic that "
        "the candidate gets with a yes only, as the promotion has them",
    )
    expires_s: PositiveDuration = Field(
        default=86400.0, alias="expires", description="no answer for this long is a no: what is out is rolled back"
    )


class ServiceFile(StrictModel):
    """Everything that Slipway needs to know about one service."""

    service: Name = Field(description="the service's name, as the estate file knows it")
    description: str = Field(default="", description="what the service is, for people")
    build: Build = Field(default=Build(), description="makes the artefact; without it the artefact is the whole tree")
    test: Test = Field(description="must pass before anything is deployed")
    scan: list[Scan] = Field(min_length=1, description="security scanners; all must pass")
    accepted_findings: list[AcceptedFinding] = Field(
        default_factory=list, description="findings that stop no release, each with a reason and a last day"
    )
    run: Run = Field(description="how one instance is run")
    smoke: list[HttpCheck] = Field(
        min_length=1, description="requests sent to every new release before it gets traffic"
    )
    end_to_end: list[Command] = Field(
        default_factory=list, description="run against staging; SLIPWAY_URL tells them where it is"
    )
    metrics: dict[str, Metric] = Field(description="the figures that checks refer to, by name")
    analysis: Analysis = Field(default=Analysis(), description="how the checks are evaluated")
    promotion: Promotion = Field(description="how production gets a new release; the key 'strategy' says which way")
    approval: Approval | None = Field(default=None, description="asks a person; without it nobody is asked")
    validation: Validation = Field(description="what must hold once production runs the new release")
    migrations: str | None = Field(
        default=None, min_length=1, description="folder of the database's migrations, from the repository's root"
    )
    gates: list[Gate] = Field(
        default_factory=list, description="must be open before a release starts where it must serve in the end (REL-11)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("ServiceFile", problems(self))
        return self

    def checks(self) -> list[tuple[str, Check]]:
        """Return every check of the file with the place that it stands in, such as 'validation.limits.0'."""
        return [(".".join(map(str, place)), check) for place, check in self.placed_checks()]

    def placed_checks(self) -> list[tuple[Place, Check]]:
        """Return every check of the file with the keys on the way to it."""
        lists: list[tuple[Place, list[Check]]] = [
            (("analysis", "rollback_when_not"), self.analysis.rollback_when_not),
            (("validation", "limits"), self.validation.limits),
        ]
        if isinstance(self.promotion, Canary):
            lists += [(("promotion", "stages", n, "checks"), s.checks) for n, s in enumerate(self.promotion.stages)]
        else:
            lists.append((("promotion", "checks"), self.promotion.checks))
        return [((*place, n), check) for place, checks in lists for n, check in enumerate(checks)]


CHECK_PLACES: tuple[Place, ...] = (
    ("analysis", "rollback_when_not", "*"),
    ("validation", "limits", "*"),
    ("promotion", "checks", "*"),
    ("promotion", "stages", "*", "checks", "*"),
)
"""Where checks stand in a service file; '*' is any position."""


def problems(file: ServiceFile) -> list[Problem]:
    """Return what is wrong between the parts of a service file: checks against metrics, scanners against reports."""
    found = check_problems(file.metrics, file.placed_checks())
    found += scan_problems((("scan", n), scan) for n, scan in enumerate(file.scan))
    found += name_problems(named("gates", file.gates))
    accepted = [(("accepted_findings", n), (a.tool, a.rule, a.path)) for n, a in enumerate(file.accepted_findings)]
    found += accepted_problems({scan.tool for scan in file.scan}, accepted)
    return found + (approval_problems(file.approval.before, shares(file.promotion)) if file.approval else [])


def shares(promotion: Promotion) -> list[float]:
    """Return the shares of the traffic, in per cent, that an approval can be asked for by name."""
    match promotion:
        case BlueGreen():
            return [*(step.weight for step in promotion.steps if promotion.shift == "gradual"), 100.0]
        case Canary():
            return [stage.weight for stage in promotion.stages]
        case _:
            return []


def approval_problems(before: Sequence[str | float], known: Sequence[float]) -> list[Problem]:
    """Return the shares that an approval is asked for and that the promotion never gives: none but those `known`."""
    expected = f"start{''.join(f', {write_percent(share)}' for share in known)}"
    return [
        Problem(("approval", "before", n), write_percent(share), f"one of: {expected}")
        for n, share in enumerate(before)
        if not isinstance(share, str) and share not in known
    ]


def check_problems(metrics: Mapping[str, Metric | None], checks: Iterable[tuple[Place, Check]]) -> list[Problem]:
    """Return the checks whose metric is unknown, or whose bound is not written in the metric's unit.

    Args:
        metrics: by name; None stands for a metric that is there, but has mistakes of its own.
        checks: with the place of each.
    """
    found = []
    for place, check in checks:
        if check.metric not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            unknown = f"the unknown metric {check.metric!r}{near(check.metric, metrics)}"
            found.append(Problem((*place, "metric"), unknown, f"one of: {known}"))
        elif (metric := metrics[check.metric]) is not None:
            found += _bound_problems(place, check, metric)
    return found


def _bound_problems(place: Place, check: Check, metric: Metric) -> list[Problem]:
    try:
        check.bound(metric.unit)
    except Expected as error:
        bound = "at_most" if check.at_most is not None else "at_least"
        expected = f"{error.expected} (the unit of {check.metric} is {metric.unit})"
        value = getattr(check, bound)
        found = f"the text {value!r}" if isinstance(value, str) else f"the number {value:g}"
        return [Problem((*place, bound), found, expected)]
    return []


def step_problems(weights: Sequence[float]) -> list[Problem]:
    """Return the steps of a blue-green release that do not rise, or that leave nothing for the end."""
    problems = _not_rising("steps", weights)
    if weights and weights[-1] == 100:
        last = len(weights) - 1
        problems.append(Problem(("steps", last, "weight"), "100%", "less than 100%, which follows the last step"))
    return problems


def stage_problems(weights: Sequence[float]) -> list[Problem]:
    """Return the stages of a canary that do not rise, and a last one that is not 100 %."""
    if not weights or weights[-1] == 100:
        return _not_rising("stages", weights)
    last = Problem(("stages", len(weights) - 1, "weight"), write_percent(weights[-1]), "100%, as it is the last stage")
    return [*_not_rising("stages", weights[:-1]), last]


def _not_rising(key: str, weights: Sequence[float]) -> list[Problem]:
    before = [0.0, *weights]
    return [
        Problem((key, n, "weight"), write_percent(weight), f"more than the {write_percent(before[n])} before it")
        for n, weight in enumerate(weights)
        if weight <= before[n]
    ]


def scan_problems(scans: Iterable[tuple[Place, Scan]]) -> list[Problem]:
    """Return the scanners that are not told where to write the report that is read afterwards."""
    return [
        Problem((*place, "command"), "no '{output}'", "'{output}' where the report's path belongs, or 'report: stdout'")
        for place, scan in scans
        if scan.report == "file" and not any("{output}" in part for part in scan.command)
    ]


def accepted_problems(tools: Collection[str], accepted: Iterable[tuple[Place, FindingKey]]) -> list[Problem]:
    """Return the accepted findings of tools that are not run, and those that are accepted twice."""
    found, seen = [], set()
    for place, key in accepted:
        tool, rule, _ = key
        if tool not in tools:
            unknown = f"the unknown scanner {tool!r}{near(tool, tools)}"
            found.append(Problem((*place, "tool"), unknown, f"one of: {', '.join(sorted(tools)) or 'none'}"))
        if key in seen:
            found.append(Problem((*place, "rule"), f"{rule!r} a second time", "each finding once"))
        seen.add(key)
    return found
