"""Drivers. This file is the single list of them: a new target is one module and one line here.

A driver is a class with a strict `Settings` model and a constructor `(settings, context)`. Modules are imported when a
driver is opened, so that nobody pays for an SDK that is not used.
"""

from importlib import import_module
from typing import Any, Protocol

from blocks.context import Context
from tasks.common.errors import Refused
from tasks.common.model import DriverSpec, StrictModel

DRIVERS: dict[str, dict[str, str]] = {
    "runtime": {
        "supervisord": "blocks.runtimes.supervisord:SupervisordRuntime",
        "memory": "blocks.memory.runtime:MemoryRuntime",
    },
    "router": {
        "haproxy": "blocks.routers.haproxy:HaproxyRouter",
        "memory": "blocks.memory.router:MemoryRouter",
    },
    "metrics": {
        "prometheus": "blocks.metrics.prometheus:PrometheusMetrics",
        "memory": "blocks.memory.metrics:MemoryMetrics",
    },
    "store": {
        "folder": "blocks.stores.folder:FolderStore",
        "s3": "blocks.stores.s3:S3Store",
        "memory": "blocks.memory.store:MemoryStore",
    },
    "ledger": {
        "postgresql": "blocks.ledger:PostgresqlLedger",
        "memory": "blocks.memory.ledger:MemoryLedger",
    },
    "source": {
        "git": "blocks.sources.git:GitSource",
        "memory": "blocks.memory.source:MemorySource",
    },
    "builder": {
        "archive": "blocks.builders.archive:ArchiveBuilder",
        "memory": "blocks.memory.builder:MemoryBuilder",
    },
    "scanner": {
        "report": "blocks.scanners.report:ReportScanner",
        "memory": "blocks.memory.scanner:MemoryScanner",
    },
    "prober": {
        "http": "blocks.prober:HttpProber",
        "memory": "blocks.memory.prober:MemoryProber",
    },
    "figures": {
        "http": "blocks.figures:HttpFigures",
        "memory": "blocks.memory.figures:MemoryFigures",
    },
    "network": {
        "sockets": "blocks.network:SocketNetwork",
        "memory": "blocks.memory.network:MemoryNetwork",
    },
    "notifier": {
        "webhook": "blocks.notifications.webhook:WebhookNotifier",
        "pagerduty": "blocks.notifications.pagerduty:PagerDutyNotifier",
        "signed-webhook": "blocks.notifications.signed_webhook:SignedWebhookNotifier",
        "smtp": "blocks.notifications.smtp:SmtpNotifier",
        "memory": "blocks.memory.notifier:MemoryNotifier",
    },
    "database": {
        "postgresql": "blocks.databases.postgresql:PostgresqlDatabase",
        "memory": "blocks.memory.database:MemoryDatabase",
    },
    "scratch": {
        "postgresql": "blocks.scratch.postgresql:PostgresqlScratch",
        "folder": "blocks.scratch.folder:FolderScratch",
        "memory": "blocks.memory.scratch:MemoryScratch",
    },
    "target": {
        "postgresql": "blocks.targets.postgresql:PostgresqlTarget",
        "folder": "blocks.targets.folder:FolderTarget",
        "memory": "blocks.memory.target:MemoryTarget",
    },
    "cluster": {
        "patroni": "blocks.clusters.patroni:PatroniCluster",
        "rds": "blocks.clusters.rds:RdsCluster",
        "memory": "blocks.memory.sites:MemoryCluster",
    },
    "door": {
        "haproxy": "blocks.doors.haproxy:HaproxyDoor",
        "memory": "blocks.memory.sites:MemoryDoor",
    },
    "visitor": {
        "http": "blocks.visitor:HttpVisitor",
        "memory": "blocks.memory.visitor:MemoryVisitor",
    },
    "dns": {
        "powerdns": "blocks.dns.powerdns:PowerDns",
        "route53": "blocks.dns.route53:Route53Dns",
        "memory": "blocks.memory.sites:MemoryDns",
    },
    "forge": {
        "github-status": "blocks.forges.github_status:GithubStatus",
        "gitlab-status": "blocks.forges.gitlab_status:GitlabStatus",
        "memory": "blocks.memory.forge:MemoryForge",
    },
    "backup": {
        "pgbackrest": "blocks.backups.pgbackrest:PgBackRestEngine",
        "pg_basebackup": "blocks.backups.basebackup:BaseBackupEngine",
        "barman-cloud": "blocks.backups.barman_cloud:BarmanCloudEngine",
        "pg_dump": "blocks.backups.pg_dump:PgDumpEngine",
        "restic": "blocks.backups.restic:ResticEngine",
        "redis": "blocks.backups.redis_snapshot:RedisEngine",
        "memory": "blocks.memory.backups:MemoryEngine",
    },
    "challenge": {
        "pgbackrest": "blocks.challenges.pgbackrest:PgBackRestSubject",
        "pg_basebackup": "blocks.challenges.basebackup:BaseBackupSubject",
        "pg_dump": "blocks.challenges.sealed:PgDumpSubject",
        "restic": "blocks.challenges.restic:ResticSubject",
        "redis": "blocks.challenges.sealed:RedisSubject",
    },
    "fault": {
        "kill": "blocks.faults.kill:Kill",
        "stop": "blocks.faults.stop:Stop",
        "link-down": "blocks.faults.link_down:LinkDown",
        "cut": "blocks.faults.cut:Cut",
        "fill": "blocks.faults.fill:Fill",
        "freeze": "blocks.faults.freeze:Freeze",
        "read-only": "blocks.faults.read_only:ReadOnly",
        "destroy-data": "blocks.faults.destroy_data:DestroyData",
        "flip-bytes": "blocks.faults.flip_bytes:FlipBytes",
        "mistake": "blocks.faults.mistake:Mistake",
        "memory": "blocks.memory.fault:MemoryFault",
    },
    "nodes": {
        "postgresql": "blocks.drills.nodes:PostgresqlNodes",
        "memory": "blocks.memory.nodes:MemoryNodes",
    },
    "migrations": {
        "postgresql": "blocks.migrations.postgresql:PostgresqlMigrations",
        "mongodb": "blocks.migrations.mongodb:MongodbMigrations",
        "memory": "blocks.memory.migrations:MemoryMigrations",
    },
    "partitions": {
        "postgresql": "blocks.migrations.postgresql:PostgresqlMigrations",
        "memory": "blocks.memory.partitions:MemoryPartitions",
    },
    "challenge-source": {
        "postgresql": "blocks.challenges.source:PostgresqlSource",
    },
}
"""Port, driver's name, 'module:class'."""


class DriverClass(Protocol):
    """What every driver class offers."""

    Settings: type[StrictModel]

    def __call__(self, settings: Any, context: Context) -> Any:
        """Return the driver."""
        ...


def driver_class(port: str, name: str) -> DriverClass:
    """Return a driver's class.

    Raises:
        Refused: there is no such driver for the port.
    """
    known = DRIVERS[port]
    if name not in known:
        raise Refused(
            f"no {port} driver named {name!r}",
            on="the estate file",
            next_action=f"use one of: {', '.join(sorted(known))}",
        )
    module, _, attribute = known[name].partition(":")
    found: DriverClass = getattr(import_module(module), attribute)
    return found


def open_driver(port: str, spec: DriverSpec, context: Context) -> Any:
    """Return the driver that an estate file names, its settings checked strictly.

    Raises:
        Refused: there is no such driver for the port.
        pydantic.ValidationError: the settings are wrong (the estate file's loader has reported that before).
    """
    driver = driver_class(port, spec.driver)
    return driver(driver.Settings.model_validate(spec.settings), context)
