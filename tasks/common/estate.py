"""The estate file: the environments of one place, which drivers make up each, and where the services' sources are."""

from typing import Self

from pydantic import Field, model_validator

from tasks.common.model import DriverSpec, Replicas, StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import Duration, Name, Percent


class Pace(StrictModel):
    """Upper bounds for the waits that a service file asks for, so that a laboratory need not wait for days.

    Nothing but waiting is cut: the stages, their weights and their checks stay as they are.
    """

    soak_at_most_s: Duration = Field(alias="soak_at_most")
    analysis_every_at_most_s: Duration = Field(alias="analysis_every_at_most")
    settle_at_most_s: Duration = Field(alias="settle_at_most")
    stable_for_at_most_s: Duration = Field(alias="stable_for_at_most")


class Environment(StrictModel):
    """One environment: where instances run, how traffic reaches them, how they are measured."""

    url: str = Field(pattern=r"^https?://", description="where users reach the environment, through the router")
    runtime: DriverSpec
    router: DriverSpec
    metrics: DriverSpec
    replicas: Replicas = Field(description="instances that serve when nothing is going on")
    floor: Percent = Field(default=100.0, description="share of the replicas that must serve at any moment")
    promotes_from: str | None = Field(default=None, description="environment that a release must pass first")
    env: dict[str, str] = Field(default_factory=dict, description="environment variables of every instance")
    secrets: dict[str, SecretRef] = Field(
        default_factory=dict, description="by variable; the service file asks for them"
    )
    pace: Pace | None = None


class EstateService(StrictModel):
    """What this estate knows about a service."""

    repository: str = Field(description="git repository: a path, or an address that git can read")
    test_secrets: dict[str, SecretRef] = Field(default_factory=dict, description="by variable; for the test steps")


class Estate(StrictModel):
    """The estate file: one place where services run."""

    estate: Name
    workspace: str = Field(description="folder for check-outs and build output")
    tools: list[str] = Field(
        default_factory=list, description="folders put in front of PATH for builds, tests and scans"
    )
    ledger: DriverSpec
    store: DriverSpec
    source: DriverSpec = DriverSpec(driver="git")
    builder: DriverSpec = DriverSpec(driver="archive")
    keep_releases: int = Field(default=10, ge=2, description="artefacts kept a service (REL-12)")
    environments: dict[Name, Environment] = Field(min_length=1)
    services: dict[Name, EstateService] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_predecessors(self) -> Self:
        for name, environment in self.environments.items():
            before = environment.promotes_from
            if before is not None and (before not in self.environments or before == name):
                known = ", ".join(sorted(set(self.environments) - {name}))
                raise ValueError(f"environments.{name}.promotes_from: no environment {before!r}; known: {known}")
        return self
