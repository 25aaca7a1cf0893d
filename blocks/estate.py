"""An estate that is open for work: its file, read strictly, and the drivers that it names."""

import os
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from blocks import DRIVERS, driver_class, open_driver
from blocks.context import Context
from blocks.guest import Guest
from blocks.secrets import Secrets
from tasks.analysis.ports import MetricSource
from tasks.backup.ports import BackupEngine
from tasks.challenge.ports import SourceServer, Subject
from tasks.common.backup_plans import BackupPlan, RestoreTarget
from tasks.common.errors import Refused
from tasks.common.estate import Environment, Estate, EstateService, NotificationChannel
from tasks.common.lease import Grant
from tasks.common.load import load_estate
from tasks.common.migrations import DatabaseSpec
from tasks.common.model import DriverSpec, Target
from tasks.common.service import ServiceFile
from tasks.gate.ports import AnswerSource
from tasks.migration.partition_ports import PartitionTarget
from tasks.migration.ports import MigrationTarget
from tasks.notify.ports import Channel, Notifier
from tasks.preflight.ports import Network
from tasks.release.model import Artifact
from tasks.release.ports import ArtifactStore, Builder, Ledger, Prober, Source
from tasks.restore.ports import TargetServer
from tasks.rollout.model import Workload
from tasks.rollout.ports import Router, Runtime
from tasks.scan.ports import Scanner
from tasks.verification.ports import Database, ScratchServer
from tasks.webhook.ports import Forge

VARIABLE = "SLIPWAY_ESTATE"


class Site:
    """One service in one environment: the runtime, router and metrics that make it up.

    Args:
        environment: what the estate file says of it.
        context: surroundings of its drivers.
        target: which service and environment it is.
        grant: the right to change it; without it, it is only observed.
    """

    def __init__(self, environment: Environment, context: Context, target: Target, grant: Grant | None = None) -> None:
        self.environment = environment
        self.target = target
        here = replace(context, target=target, grant=grant)
        self.runtime: Runtime = open_driver("runtime", environment.runtime, here)
        self.router: Router = open_driver("router", environment.router, here)
        self.metrics: MetricSource = open_driver("metrics", environment.metrics, here)

    def __str__(self) -> str:
        """Return 'production', as task names show it."""
        return self.target.environment

    def workload(self, service: ServiceFile, release: str, artifact: Artifact) -> Workload:
        """Return the release as this site's runtime needs to know it.

        Raises:
            Refused: the estate does not supply a secret that the service file asks for.
        """
        missing = sorted(set(service.run.secrets) - set(self.environment.secrets))
        if missing:
            raise Refused(
                f"the estate supplies no {', '.join(missing)}",
                on=str(self.target),
                next_action=f"add them under environments.{self.target.environment}.secrets of the estate file",
            )
        return Workload(
            service=service.service,
            release=release,
            digest=artifact.digest,
            command=tuple(service.run.command),
            port_variable=service.run.port_variable,
            env={**self.environment.env, **service.run.env},
            secrets={name: self.environment.secrets[name] for name in service.run.secrets},
            probes=service.run.probes,
            drain_s=service.run.drain_s,
            resources=service.run.resources,
        )


class OpenEstate:
    """The estate file with everything that it names, opened when asked for.

    Args:
        file: the estate.
        base: the estate file's folder.
    """

    def __init__(self, file: Estate, base: Path) -> None:
        self.file = file
        self.context = Context(base=base, secrets=Secrets(base), path=tuple(str(base / tool) for tool in file.tools))
        self.ledger: Ledger = open_driver("ledger", file.ledger, self.context)
        self.store: ArtifactStore = open_driver("store", file.store, self.context)
        self.builder: Builder = open_driver("builder", file.builder, self.context)
        self.scanner: Scanner = open_driver("scanner", DriverSpec(driver="report"), self.context)
        self.prober: Prober = open_driver("prober", DriverSpec(driver="http"), self.context)
        self.figures: AnswerSource = open_driver("figures", DriverSpec(driver="http"), self.context)
        self.network: Network = open_driver("network", DriverSpec(driver="sockets"), self.context)
        self.notifiers: tuple[Channel, ...] = tuple(self._channel(each) for each in file.notifications)

    def _channel(self, spec: NotificationChannel) -> Channel:
        notifier: Notifier = open_driver("notifier", spec, self.context)
        return Channel(spec.name, notifier, frozenset(spec.events), frozenset(spec.only), spec.severity_at_least)

    def forges(self) -> dict[str, Forge]:
        """Return the forges that are told how runs went, by the name of their source.

        Raises:
            Refused: the address of one is not encrypted, or its token cannot be read.
        """
        wanted = {name: source.reports for name, source in self.file.webhooks.items()}
        return {name: open_driver("forge", spec, self.context) for name, spec in wanted.items() if spec is not None}

    def for_guest(self, guest: Guest) -> "OpenEstate":
        """Return the same estate, whose builder and scanner start their commands as the guest."""
        same = copy(self)
        same.context = replace(self.context, guest=guest)
        same.builder = open_driver("builder", self.file.builder, same.context)
        # Scanners run side by side: the end of one is not the end of the others.
        beside = replace(self.context, guest=replace(guest, alone=False))
        same.scanner = open_driver("scanner", DriverSpec(driver="report"), beside)
        return same

    @property
    def workspace(self) -> Path:
        """Return the folder for check-outs and build output."""
        return self.context.resolve(self.file.workspace)

    def service(self, name: str) -> EstateService:
        """Return what the estate knows about a service.

        Raises:
            Refused: it does not know it.
        """
        if name not in self.file.services:
            raise Refused(
                f"the estate {self.file.estate} has no service {name!r}",
                on="the request",
                next_action=f"use one of: {', '.join(sorted(self.file.services))}",
            )
        return self.file.services[name]

    def source(self, service: str) -> Source:
        """Return where the service's commits come from."""
        settings = {**self.file.source.settings, "repository": self.service(service).repository}
        context = replace(self.context, target=Target(service, "", self.file.estate))
        source: Source = open_driver("source", DriverSpec(driver=self.file.source.driver, **settings), context)
        return source

    def site(self, service: str, environment: str, grant: Grant | None = None) -> Site:
        """Return a service's site; without a grant, one that is only observed.

        Raises:
            Refused: the estate has no such environment or service.
        """
        self.service(service)
        if environment not in self.file.environments:
            raise Refused(
                f"the estate {self.file.estate} has no environment {environment!r}",
                on="the request",
                next_action=f"use one of: {', '.join(sorted(self.file.environments))}",
            )
        target = Target(service, environment, self.file.estate)
        return Site(self.file.environments[environment], self.context, target, grant)

    def migrated(self, service: str, environment: str) -> DatabaseSpec:
        """Return what the estate file says of a service's database.

        Raises:
            Refused: it has no such database.
        """
        found = self.file.environments.get(environment)
        if found is None or service not in found.databases:
            raise Refused(
                f"the estate {self.file.estate} names no database of {service} in {environment}",
                on="the request",
                next_action=f"describe it under environments.{environment}.databases.{service} of the estate file",
            )
        return found.databases[service]

    def migrations(self, service: str, environment: str) -> MigrationTarget:
        """Return a service's database, to be migrated.

        Raises:
            Refused: the estate names none.
        """
        spec = self.migrated(service, environment).connection
        target: MigrationTarget = open_driver("migrations", spec, self.context)
        return target

    def partitions(self, service: str, environment: str) -> PartitionTarget:
        """Return a service's database, whose partitions are looked after.

        Raises:
            Refused: the estate names none, or its kind has no partitions.
        """
        spec = self.migrated(service, environment).connection
        if spec.driver not in DRIVERS["partitions"]:
            raise Refused(
                f"databases of the driver {spec.driver} have no partitions",
                on=f"{service} in {environment}",
                next_action="take 'partitions' out of the estate file there",
            )
        target: PartitionTarget = open_driver("partitions", spec, self.context)
        return target

    def backup(self, plan: str) -> BackupEngine:
        """Return the engine of a backup plan.

        Raises:
            Refused: the estate has no such plan.
        """
        engine: BackupEngine = open_driver("backup", self.backup_plan(plan).engine, self.context)
        return engine

    def database(self, plan: str) -> Database | None:
        """Return the source that a plan's copies are compared with; None where the plan names none."""
        how = self.backup_plan(plan).verification
        return open_driver("database", how.database, self.context) if how and how.database else None

    def scratch(self, plan: str) -> ScratchServer | None:
        """Return the server that a plan's copies are restored into; None where the plan names none."""
        how = self.backup_plan(plan).verification
        return open_driver("scratch", how.scratch, self.context) if how is not None else None

    def subject(self, plan: str) -> Subject:
        """Return the engine of a backup plan, as it is challenged.

        Raises:
            Refused: the estate has no such plan, or nobody has said how its engine is challenged.
        """
        spec = self.backup_plan(plan).engine
        if spec.driver not in DRIVERS["challenge"]:
            raise Refused(
                f"backups of {spec.driver} cannot be challenged",
                on=f"the plan {plan}",
                next_action=f"challenge a plan with one of: {', '.join(sorted(DRIVERS['challenge']))}",
            )
        subject: Subject = open_driver("challenge", spec, self.context)
        return subject

    def challenge_source(self, plan: str) -> SourceServer | None:
        """Return a server for a throw-away copy of the source, where a plan's copies are restored; None: there is none.

        Raises:
            Refused: the estate has no such plan, or its scratch server cannot be a source.
        """
        how = self.backup_plan(plan).verification
        return open_driver("challenge-source", how.scratch, self.context) if how is not None else None

    def challenge_place(self, plan: str) -> Path:
        """Return the folder for copies that are damaged: that of the plan's scratch server, else one of the workspace.

        Raises:
            Refused: the estate has no such plan.
        """
        how = self.backup_plan(plan).verification
        folder = how.scratch.settings.get("folder") if how is not None else None
        return self.context.resolve(str(folder)) if folder else self.workspace / "challenges"

    def target(self, plan: str, name: str, grant: Grant | None = None) -> TargetServer:
        """Return where a plan's backups may be restored into; without a grant, it is only observed.

        Raises:
            Refused: the estate has no such plan, or the plan no such target.
        """
        spec = self.target_spec(plan, name).server
        target: TargetServer = open_driver("target", spec, replace(self.context, grant=grant))
        return target

    def target_spec(self, plan: str, name: str) -> RestoreTarget:
        """Return what the estate file says of a target of a plan.

        Raises:
            Refused: the estate has no such plan, or the plan no such target.
        """
        targets = self.backup_plan(plan).targets
        if name not in targets:
            raise Refused(
                f"the plan {plan} has no target {name!r}",
                on="the request",
                next_action=f"use one of: {', '.join(sorted(targets))}"
                if targets
                else f"describe it under backups.{plan}.targets of the estate file",
            )
        return targets[name]

    def backup_plan(self, plan: str) -> BackupPlan:
        """Return what the estate file says of a backup plan.

        Raises:
            Refused: the estate has no such plan.
        """
        if plan not in self.file.backups:
            raise Refused(
                f"the estate {self.file.estate} has no backup plan {plan!r}",
                on="the request",
                next_action=f"use one of: {', '.join(sorted(self.file.backups))}"
                if self.file.backups
                else "describe it under backups of the estate file",
            )
        return self.file.backups[plan]

    def path_to(self, environment: str) -> Sequence[str]:
        """Return the environments that a release passes on its way, the wanted one last."""
        path: list[str] = []
        step: str | None = environment
        while step is not None and step in self.file.environments and step not in path:
            path.insert(0, step)
            step = self.file.environments[step].promotes_from
        return path or [environment]


def settings_model(port: str, driver: str) -> type[BaseModel] | None:
    """Return the strict model of a driver's settings; None where there is no such driver."""
    return driver_class(port, driver).Settings if driver in DRIVERS[port] else None


def open_estate(reference: str = "") -> OpenEstate:
    """Return the estate of a file; without a reference, of the file that SLIPWAY_ESTATE names.

    Raises:
        Refused: there is no such file, or it has mistakes (all are listed, with their lines).
    """
    name = reference or os.environ.get(VARIABLE, "")
    if not name:
        raise Refused(
            "no estate is given",
            on="this command",
            next_action=f"start the lab with 'slipway up', or set {VARIABLE} to the path of your estate file",
        )
    path = Path(name).absolute()
    return OpenEstate(load_estate(_text_of(path), str(path), settings_model, DRIVERS), path.parent)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(
            f"the estate file cannot be read: {error.strerror}",
            on=str(path),
            next_action=f"check the path, or {VARIABLE}; the lab's estate file is written by 'slipway up'",
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Refused(
            f"the estate file is no text: line {line} is not UTF-8",
            on=str(path),
            next_action=f"check the path, or {VARIABLE}; save the file as UTF-8 if it is the right one",
        ) from None
