"""Slipway's own events on the Prefect server, for automations that users make. Pure.

docs/reference/events.md documents both tables, and a test compares them.
"""

from collections.abc import Callable
from dataclasses import dataclass

EVENTS = {
    "slipway.release.promoted": "A release serves its last environment, and has held there.",
    "slipway.release.failed": "A release has ended, and its last environment was not changed.",
    "slipway.release.rolled-back": "A release has ended, and the former release serves again.",
    "slipway.release.unsafe": "A release has ended, and what serves is not known to be good.",
    "slipway.release.interrupted": "A release has died or lost its lease; as a rule another run goes on.",
    "slipway.release.approval-wanted": "A release waits for a person's answer.",
    "slipway.rollback.promoted": "A rollback has ended, and the kept release serves.",
    "slipway.rollback.failed": "A rollback has ended, and nothing was changed.",
    "slipway.rollback.rolled-back": "A rollback has ended, and what served before it serves again.",
    "slipway.rollback.unsafe": "A rollback has ended, and what serves is not known to be good.",
    "slipway.rollback.interrupted": "A rollback has died or lost its lease; as a rule another run goes on.",
    "slipway.backup.verified": "A backup was restored, and what came back is right.",
    "slipway.backup.unsound": "A verification has found something wrong; its error names the rung.",
    "slipway.reconcile.drift": "A place is not as it was left, and no run is at work there.",
    "slipway.reconcile.unsettled": "Something could not be brought to an end: a person must look.",
    "slipway.backup.taken": "There is a new backup, in every repository of its plan, read there after it was written.",
    "slipway.backup.failed": "A run of `backup` has failed; nothing was expired after what has failed.",
    "slipway.backup.challenged": "A verification was challenged; its error names damage that it did not find.",
    "slipway.restore.approval-wanted": "A restore waits for a person's answer.",
    "slipway.restore.finished": "A restored server answers on the address of its target.",
    "slipway.restore.failed": "A restore has failed, or was rejected; its error says why.",
    "slipway.failover.approval-wanted": "A failover, switchover or failback waits for a person's answer.",
    "slipway.failover.finished": "Users are served by the site that `region` names.",
    "slipway.failover.failed": "A failover, switchover or failback has failed, or was rejected; its error says why.",
    "slipway.site.down": "A quorum of vantage points finds a site or its database down; `failover` starts by it.",
    "slipway.site.up": "A quorum of vantage points finds a site well again that was down.",
    "slipway.drill.approval-wanted": "A live drill waits for a person's answer.",
    "slipway.drill.passed": "A drill went as expected and met its objectives; every fault is undone.",
    "slipway.drill.failed": "A drill did not begin, or did not go as it should; its error says why.",
}
"""When each of them is sent, by name."""

PAYLOAD = {
    "estate": "the estate's name",
    "service": "which service",
    "environment": "which environment",
    "release": "the release's name: the first twelve characters of the commit",
    "commit": "the whole hash of the commit",
    "plan": "name of the backup plan",
    "backup": "the backup's id in the catalogue",
    "failover": "name of the failover",
    "kind": "failover, switchover or failback; of a site: what was found",
    "region": "the site: where users are served, or what was found down",
    "points": "how many vantage points have found it",
    "quorum": "how many it takes",
    "since": "since when, by the clock of the watch",
    "drill": "name of the drill",
    "run": "id of the run that it is about, or of the outage",
    "error": "one line: why it ended so, or what was found",
}
"""What each value of a payload is. All are text, and empty where there is none."""

ERROR_AT_MOST = 500


@dataclass(frozen=True)
class Happened:
    """Something that users' automations may want to know; the names of the last values are those of `PAYLOAD`.

    Args:
        name: one of `EVENTS`.
        ends_run: it is the end of `run`, which has one end: an event that is sent twice counts once.
    """

    name: str
    estate: str
    service: str = ""
    environment: str = ""
    release: str = ""
    commit: str = ""
    plan: str = ""
    backup: str = ""
    failover: str = ""
    kind: str = ""
    region: str = ""
    points: str = ""
    quorum: str = ""
    since: str = ""
    drill: str = ""
    run: str = ""
    error: str = ""
    ends_run: bool = False

    def __post_init__(self) -> None:
        """Refuse a name that is not documented.

        Raises:
            ValueError: it is none of `EVENTS`.
        """
        if self.name not in EVENTS:
            raise ValueError(f"{self.name} is not among the events of tasks/common/events.py")

    @property
    def of_a_run(self) -> bool:
        """Return whether `run` is a run's id; else it is an outage's."""
        return not self.name.startswith("slipway.site.")

    @property
    def resource(self) -> dict[str, str]:
        """Return what it has happened to, as labels.

        The id is 'slipway.service.campus.production', 'slipway.backup.lab.campus-db',
        'slipway.failover.lab.campus' or 'slipway.estate.lab'.
        """
        labels = {"slipway.estate": self.estate}
        if self.plan:
            return {
                "prefect.resource.id": f"slipway.backup.{self.estate}.{self.plan}",
                "prefect.resource.name": f"backups of {self.plan}",
                **labels,
                "slipway.plan": self.plan,
            }
        if self.failover:
            return {
                "prefect.resource.id": f"slipway.failover.{self.estate}.{self.failover}",
                "prefect.resource.name": f"failover of {self.failover}",
                **labels,
                "slipway.failover": self.failover,
            }
        if not self.service:
            return {
                "prefect.resource.id": f"slipway.estate.{self.estate}",
                "prefect.resource.name": self.estate,
                **labels,
            }
        return {
            "prefect.resource.id": f"slipway.service.{self.service}.{self.environment}",
            "prefect.resource.name": f"{self.service} in {self.environment}",
            **labels,
            "slipway.service": self.service,
            "slipway.environment": self.environment,
        }

    def payload(self, redact: Callable[[str], str]) -> dict[str, str]:
        """Return the payload without secrets; redacted before it is cut, so that no half of a secret is left."""
        found = {name: redact(getattr(self, name)) for name in PAYLOAD}
        first = (found["error"].strip().splitlines() or [""])[0]
        return {**found, "error": first[:ERROR_AT_MOST]}
