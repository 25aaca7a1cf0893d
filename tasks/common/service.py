"""The service file, slipway.yaml in the application's repository: how to build, test, scan, run and promote it."""

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.common.model import Check, Command, HttpCheck, Metric, Probes, Resources, StrictModel
from tasks.common.units import Duration, Name, Percent

Severity = Literal["critical", "high", "medium", "low"]


class Build(StrictModel):
    """What turns the checked-out tree into the artefact."""

    command: list[str] | None = Field(default=None, description="program and arguments; none where the tree is enough")
    timeout_s: Duration = Field(default=600.0, alias="timeout")
    include: list[str] = Field(default=["**"], min_length=1, description="glob patterns of the files in the artefact")
    exclude: list[str] = Field(default_factory=list, description="glob patterns of files to leave out")


class Coverage(StrictModel):
    """The least line coverage that the tests must reach."""

    report: str = Field(description="JSON report that coverage.py writes, relative to the tree")
    at_least: Percent


class Test(StrictModel):
    """Unit and integration tests."""

    __test__ = False

    steps: list[Command] = Field(min_length=1)
    coverage: Coverage | None = None
    secrets: list[str] = Field(default_factory=list, description="secrets, by variable, that the tests need")


class Scan(StrictModel):
    """One security scanner that writes SARIF or a known JSON format."""

    tool: Name
    command: list[str] = Field(min_length=1, description="'{output}' is replaced by the report's path")
    format: Literal["sarif", "detect-secrets"] = "sarif"
    report: Literal["file", "stdout"] = Field(default="file", description="where the tool writes its report")
    findings_exit: list[int] = Field(default=[0, 1], description="exit codes that mean 'ran to the end'")
    fail_on: list[Severity] = Field(default=["critical", "high"])
    timeout_s: Duration = Field(default=300.0, alias="timeout")


class Run(StrictModel):
    """How one instance is run."""

    command: list[str] = Field(min_length=1, description="program and arguments, started in the unpacked artefact")
    port_variable: str = Field(default="PORT", description="environment variable that gets the port to listen on")
    env: dict[str, str] = Field(default_factory=dict, description="environment variables (no secrets)")
    secrets: list[str] = Field(default_factory=list, description="secrets, by variable, that the estate must supply")
    probes: Probes
    drain_s: Duration = Field(default=15.0, alias="drain", description="longest wait for open requests before a stop")
    resources: Resources = Resources()


class BlueGreenStep(StrictModel):
    """A share of the traffic and how long to watch it."""

    weight: Percent
    soak_s: Duration = Field(alias="soak")


class BlueGreen(StrictModel):
    """Deploy to the idle colour, shift at once or in steps, watch, keep the old colour as standby (REL-5)."""

    strategy: Literal["blue-green"]
    shift: Literal["instant", "gradual"] = "instant"
    steps: list[BlueGreenStep] = Field(
        default=[
            BlueGreenStep.model_construct(weight=10.0, soak_s=300.0),
            BlueGreenStep.model_construct(weight=30.0, soak_s=300.0),
            BlueGreenStep.model_construct(weight=50.0, soak_s=600.0),
        ],
        description="the shares before 100 %; only read when the shift is gradual",
    )
    watch_s: Duration = Field(default=900.0, alias="watch", description="how long to watch at 100 %")
    checks: list[Check] = Field(description="must hold at every step and during the watch")


class CanaryStage(StrictModel):
    """A share of the traffic, how long to soak, and what must hold (REL-6)."""

    weight: Percent
    soak_s: Duration = Field(alias="soak")
    checks: list[Check] = Field(min_length=1)


class Canary(StrictModel):
    """Grow the candidate's share of the traffic stage by stage, judged at each (REL-6)."""

    strategy: Literal["canary"]
    stages: list[CanaryStage] = Field(min_length=1, description="weights rise; the last one is 100%")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        weights = [stage.weight for stage in self.stages]
        if any(later <= earlier for earlier, later in itertools.pairwise(weights)):
            raise ValueError(f"expected weights that rise from stage to stage; found {weights}")
        if weights[-1] != 100:
            raise ValueError(f"expected the last stage at 100%; found {weights[-1]:g}%")
        return self


class Rolling(StrictModel):
    """Replace instances batch by batch (REL-8)."""

    strategy: Literal["rolling"]
    batch: int = Field(default=1, ge=1, description="instances replaced at a time")
    max_surge: Percent | None = Field(default=None, description="instances above the wanted number, rounded up")
    max_unavailable: Percent | None = Field(default=None, description="instances below the wanted number, rounded down")
    soak_s: Duration = Field(default=10.0, alias="soak", description="how long each batch is watched")
    checks: list[Check] = Field(min_length=1)


Promotion = Annotated[BlueGreen | Canary | Rolling, Field(discriminator="strategy")]


class Analysis(StrictModel):
    """How the checks of a rollout are evaluated."""

    every_s: Duration = Field(default=10.0, alias="every", gt=0, description="one analysis interval")
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


class ServiceFile(StrictModel):
    """slipway.yaml: everything that Slipway needs to know about one service."""

    service: Name
    description: str = ""
    build: Build = Build()
    test: Test
    scan: list[Scan] = Field(min_length=1)
    run: Run
    smoke: list[HttpCheck] = Field(min_length=1)
    end_to_end: list[Command] = Field(default_factory=list, description="SLIPWAY_URL tells them where staging is")
    metrics: dict[str, Metric]
    analysis: Analysis = Analysis()
    promotion: Promotion
    validation: Validation

    @model_validator(mode="after")
    def _checks_fit_metrics(self) -> Self:
        problems = []
        for where, check in self.checks():
            metric = self.metrics.get(check.metric)
            if metric is None:
                problems.append(f"{where}: unknown metric {check.metric!r}; known: {', '.join(sorted(self.metrics))}")
                continue
            try:
                check.bound(metric.unit)
            except ValueError as error:
                problems.append(f"{where}: {check.metric} is measured in {metric.unit}: {error}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def checks(self) -> list[tuple[str, Check]]:
        """Return every check of the file with the place that it stands in."""
        places: list[tuple[str, list[Check]]] = [
            ("analysis.rollback_when_not", self.analysis.rollback_when_not),
            ("validation.limits", self.validation.limits),
        ]
        if isinstance(self.promotion, Canary):
            places += [(f"promotion.stages.{n}.checks", s.checks) for n, s in enumerate(self.promotion.stages)]
        else:
            places.append(("promotion.checks", self.promotion.checks))
        return [(f"{where}.{n}", check) for where, checks in places for n, check in enumerate(checks)]
