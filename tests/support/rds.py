"""A fake of Amazon RDS, made from its documentation: as much of it as moto lacks, for promotions between regions."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tests.support.http_server import Request, answering, plain

A, B = "eu-central-1", "eu-west-1"
_ITEMS = {
    "DBInstances": "DBInstance",
    "DBClusters": "DBCluster",
    "DBClusterMembers": "DBClusterMember",
    "GlobalClusters": "GlobalClusterMember",
    "GlobalClusterMembers": "GlobalClusterMember",
    "StatusInfos": "DBInstanceStatusInfo",
}


def arn(kind: str, region: str, name: str) -> str:
    """Return an ARN: kind 'db' or 'cluster'."""
    return f"arn:aws:rds:{region}:123456789012:{kind}:{name}"


@dataclass
class FakeRds:
    """Instances, and Aurora clusters in one Aurora global database.

    Args:
        sources: instances of region B by name, and the ARN of what each follows; '' for nobody.
        writer: ARN of the writer of the Aurora global database.
        slow: looks that a promotion takes.
        called: operations that change something, in order.
    """

    sources: dict[str, str] = field(default_factory=lambda: {"campus-b": arn("db", A, "campus-a")})
    writer: str = arn("cluster", A, "shop-a")
    members: tuple[str, ...] = (arn("cluster", A, "shop-a"), arn("cluster", B, "shop-b"))
    slow: int = 2
    called: list[str] = field(default_factory=list)
    to: str = ""

    def answer(self, request: Request) -> Iterable[bytes]:
        """Return the answer to a request."""
        asked = {name: values[0] for name, values in parse_qs(request.body.decode(errors="replace")).items()}
        handle = getattr(self, f"_{asked.get('Action', '').lower()}", None)
        if handle is None:
            return plain(404, "<ErrorResponse><Error><Code>InvalidAction</Code></Error></ErrorResponse>")
        action = asked["Action"]
        body = _xml({f"{action}Result": handle(asked)})
        return plain(200, f"<{action}Response>{body}</{action}Response>", "Content-Type: text/xml")

    def _describedbinstances(self, asked: Mapping[str, str]) -> dict[str, Any]:
        name = asked.get("DBInstanceIdentifier", "")
        if not name:
            return {"DBInstances": [_instance("shop-b-1", B)]}
        self._pass_on()
        source = self.sources[name]
        found = _instance(name, B)
        if source:
            status = {"StatusType": "read replication", "Normal": "true", "Status": "replicating"}
            found |= {"ReadReplicaSourceDBInstanceIdentifier": source, "StatusInfos": [status]}
        return {"DBInstances": [found]}

    def _describedbclusters(self, asked: Mapping[str, str]) -> dict[str, Any]:
        name = asked["DBClusterIdentifier"]
        here = arn("cluster", B, name)
        writes = "true" if self.writer == here else "false"
        member = {"DBInstanceIdentifier": "shop-b-1", "IsClusterWriter": writes}
        return {"DBClusters": [{"DBClusterArn": here, "DBClusterMembers": [member]}]}

    def _describeglobalclusters(self, asked: Mapping[str, str]) -> dict[str, Any]:
        self._pass_on()
        members = [
            {
                "DBClusterArn": each,
                "IsWriter": "true" if each == self.writer else "false",
                "SynchronizationStatus": "connected",
            }
            for each in self.members
        ]
        found: dict[str, Any] = {
            "GlobalClusterIdentifier": asked["GlobalClusterIdentifier"],
            "GlobalClusterResourceId": "cluster-0123456789",
            "GlobalClusterMembers": members,
        }
        if self.to:
            found["FailoverState"] = {"Status": "failing-over", "ToDbClusterArn": self.to}
        return {"GlobalClusters": [found]}

    def _promotereadreplica(self, asked: Mapping[str, str]) -> dict[str, Any]:
        return self._begin("PromoteReadReplica", asked["DBInstanceIdentifier"])

    def _failoverglobalcluster(self, asked: Mapping[str, str]) -> dict[str, Any]:
        what = "FailoverGlobalCluster" + (" with a loss" if asked.get("AllowDataLoss") == "true" else "")
        return self._begin(what, asked["TargetDbClusterIdentifier"])

    def _begin(self, what: str, to: str) -> dict[str, Any]:
        self.called.append(what)
        self.to = to
        return {}

    def _pass_on(self) -> None:
        """A promotion that has begun has come one look nearer to its end."""
        if not self.to:
            return
        self.slow -= 1
        if self.slow <= 0:
            if self.to in self.sources:
                self.sources[self.to] = ""
            else:
                self.writer = self.to
            self.to = ""


@contextlib.contextmanager
def running_fake_rds() -> Iterator[tuple[FakeRds, str]]:
    """Yield the fake, and where it answers, for the length of a `with`."""
    fake = FakeRds()
    with answering(fake.answer) as url:
        yield fake, url


def _instance(name: str, region: str) -> dict[str, Any]:
    return {"DBInstanceIdentifier": name, "DBInstanceArn": arn("db", region, name), "DBInstanceStatus": "available"}


def _xml(value: Any, inside: str = "") -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{name}>{_xml(each, name)}</{name}>" for name, each in value.items())
    if isinstance(value, list):
        return "".join(f"<{_ITEMS[inside]}>{_xml(each)}</{_ITEMS[inside]}>" for each in value)
    return escape(str(value))
