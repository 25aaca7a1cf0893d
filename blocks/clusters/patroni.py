"""A site's database cluster under Patroni."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field

from blocks.clusters import postgresql_node
from blocks.clusters.patroni_api import PatroniApi
from blocks.clusters.patroni_view import Seen, cluster_of, followed
from blocks.clusters.postgresql_node import Said
from blocks.context import Context
from blocks.fence import held
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.model import Argv, StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.sites import Cluster, ClusterRole, Node, NodeState, Upstream
from tasks.common.units import Name, PositiveDuration, show_duration

T = TypeVar("T")
NOBODY = {"host": None, "port": None, "primary_slot_name": None, "restore_command": "/bin/false"}
"""A standby cluster that follows nobody: its nodes wait for a log that never comes.

*Source:* Patroni's standby_cluster.rst; a paused cluster would start a primary again that was one.
"""
_LOOK_EVERY_S = 0.25
_ADDRESS = r"^[^\s:]+:\d{1,5}$"


class Member(StrictModel):
    """One node of the cluster."""

    api: str = Field(pattern=r"^https?://", description="where its Patroni answers: 'http://10.1.0.11:8008'")
    database: str = Field(pattern=_ADDRESS, description="where its PostgreSQL answers: '10.1.0.11:5432'")

    @property
    def host(self) -> str:
        """Return the database's host."""
        return self.database.rpartition(":")[0]

    @property
    def port(self) -> int:
        """Return the database's port."""
        return int(self.database.rpartition(":")[2])


class PatroniCluster:
    """Implements `SiteCluster` with Patroni.

    Args:
        settings: where its nodes are, and who asks.
        context: resolves references; with a grant, it may be changed.
    """

    class Settings(StrictModel):
        """Settings of the driver `patroni`."""

        cluster: Name = Field(description="Patroni's scope; other than that of any other site")
        members: dict[str, Member] = Field(min_length=1, description="nodes by Patroni's name, which no other site has")
        observer: SecretRef = Field(
            description="reference to 'postgresql://USER:PASSWORD@/DATABASE': a role in pg_monitor that may execute "
            "pg_read_file(text, bigint, bigint, boolean); asked on each node"
        )
        user: str = Field(default="", description="of restapi.authentication; '' where it has none")
        password: SecretRef | None = Field(default=None, description="reference to its password")
        slot: str = Field(default="", description="replication slot that this site uses at the site that it follows")
        patronictl: Argv | None = Field(
            default=None, description="program and '-c FILE': used where Patroni answers on no node, but its etcd does"
        )
        within_s: PositiveDuration = Field(
            default=60.0, alias="within", description="longest wait until a change has come about"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._members = dict(sorted(settings.members.items()))

    @property
    def where(self) -> str:
        """Return which cluster it is: 'campus-a at 10.1.0.11, 10.1.0.12'."""
        return f"{self._settings.cluster} at {', '.join(member.host for member in self._members.values())}"

    def observe(self) -> Cluster:
        """Return the cluster as it is now, each node asked directly, all at once.

        Raises:
            Retryable: neither a node nor what keeps its configuration answers.
        """
        seen = self._look()
        if seen.silent:
            raise Retryable(
                "nothing of the cluster answers",
                on=self.where,
                state="what it does is not known",
                next_action="look whether the site can be reached from here",
            )
        return cluster_of(self._settings.cluster, seen)

    def switch_over(self, to: str) -> None:
        """The node leads, the former leader follows it, and nothing was lost. *Idempotent:* yes.

        Raises:
            Refused: no such node, or it is not ready to lead.
            Retryable: it did not come about in time; a leader there is.
            Unsafe: nobody leads.
        """
        cluster, node = self._candidate(to)
        leader = cluster.leader
        if leader == node:
            return
        if leader is None:
            raise Refused("nobody leads", on=self.where, next_action=f"fail over to {to} in place of switching over")
        self._lead(to, "switchover", leader.name, {"leader": leader.name, "candidate": to})

    def fail_over(self, to: str = "") -> None:
        """A node leads that is not the one that is gone. *Idempotent:* yes; a leader that works is left alone.

        Raises:
            Refused: no node is fit to lead, or no such node.
            Retryable: it did not come about in time.
            Unsafe: it is not known who leads.
        """
        cluster = self.observe()
        leader = cluster.leader
        if leader is not None and leader.state is NodeState.RUNNING and to in ("", leader.name):
            return
        if to:
            self._candidate(to)
        fit = [node for node in cluster.nodes if node.state is NodeState.RUNNING and node.name in (to or node.name)]
        # With synchronous replication only who has it all is fit; where it is not used, who has most.
        chosen = max(fit, key=lambda node: (node.synchronous, node.lsn or 0), default=None)
        if chosen is None:
            raise Refused("no node is fit to lead", on=self.where, next_action="start one, or restore from a backup")
        self._lead(chosen.name, "failover", chosen.name, {"candidate": chosen.name})

    def fence(self) -> None:
        """Nobody of the cluster takes writes, and none will by itself, nor after a restart. *Idempotent:* yes.

        Raises:
            Retryable: it could not be brought about, or not be shown of every node.
            Unsafe: a node takes writes though it was told not to.
        """
        self._held()
        self._api().patch({"standby_cluster": NOBODY}, state="it is not fenced: nodes may take writes")
        self._await_quiet(ClusterRole.FENCED)

    def promote(self) -> None:
        """The cluster takes writes: one writable leader. *Idempotent:* yes; a primary is left alone.

        Raises:
            Refused: no node is fit to lead.
            Retryable: it did not come about in time.
            Unsafe: two nodes take writes.
        """
        cluster = self.observe()
        if not any(node.state in (NodeState.RUNNING, NodeState.STARTING) for node in cluster.nodes):
            raise Refused(
                "no node is fit to lead",
                on=self.where,
                next_action="start one, or restore from a backup",
                facts=_states(cluster),
            )
        if cluster.role is not ClusterRole.PRIMARY:
            self._held()
            self._api().patch({"standby_cluster": None}, state="it was not promoted")

        def writes(seen: Cluster) -> bool:
            leader = seen.leader
            return seen.role is ClusterRole.PRIMARY and leader is not None and seen.writable == (leader.name,)

        seen = self._wait(writes)
        if seen is not None and len(seen.writable) > 1:
            raise Unsafe(
                "two nodes take writes",
                on=self.where,
                state=f"both have what the other does not: {', '.join(seen.writable)}",
                next_action="stop PostgreSQL on the one that Patroni does not call the leader, now",
            )
        if seen is not None:
            self._late("the cluster was not seen to take writes", seen)

    def follow(self, source: Upstream, *, rebuild: bool = False) -> None:
        """The cluster follows the source, and has begun to receive. *Idempotent:* yes.

        Raises:
            Refused: other data, or histories that have parted and no `rebuild`; it takes no writes then.
            Retryable: it did not come about in time, or the source does not answer.
        """
        theirs = self._of_source(source)
        cluster = self.observe()
        if cluster.system_id and cluster.system_id != source.system_id:
            raise Refused(
                "the cluster has data of another system",
                on=self.where,
                next_action="check which clusters belong together; a cluster of other data is built anew, not followed",
                facts={"its system": cluster.system_id, f"that of {source.site}": source.system_id},
            )
        if cluster.role is ClusterRole.PRIMARY or cluster.writable:
            self.fence()
            cluster = self.observe()
        if not rebuild:
            self._require_one_history(cluster, source, theirs)
        self._held()
        follows: dict[str, object] = {"host": source.host, "port": source.port, "restore_command": None}
        follows["primary_slot_name"] = self._settings.slot or None
        self._api().patch({"standby_cluster": follows}, state="it follows whom it followed before")

        def receives(seen: Cluster) -> bool:
            return seen.role is ClusterRole.STANDBY and seen.follows == str(source) and seen.streaming

        late = self._wait(receives)
        if late is not None:
            self._late(f"the cluster was not seen to receive from {source.site}", late)

    def _candidate(self, name: str) -> tuple[Cluster, Node]:
        cluster = self.observe()
        node = next((node for node in cluster.nodes if node.name == name), None)
        if node is None:
            raise Refused(f"no node named {name!r}", on=self.where, next_action=f"one of: {', '.join(self._members)}")
        if node.state is not NodeState.RUNNING:
            raise Refused(
                f"{name} is not ready to lead: {node.state}",
                on=self.where,
                next_action="start it, or choose another one",
                facts=_states(cluster),
            )
        return cluster, node

    def _lead(self, name: str, what: str, asked: str, body: dict[str, str]) -> None:
        self._held()
        refusal = self._api().ask_for(what, asked, body)
        if refusal:
            raise Refused(
                f"Patroni does not begin the {what}",
                on=self.where,
                next_action="do what it says, then try again",
                facts={"Patroni": refusal},
            )
        late = self._wait(
            lambda seen: seen.leader is not None and seen.leader.name == name and (seen.leader.writable or seen.follows)
        )
        if late is None:
            return
        if late.leader is None:
            raise Unsafe(
                "nobody leads, or it is not known who",
                on=self.where,
                state="users cannot write",
                next_action=f"look at the nodes' logs; then fail over to one that runs: {_states(late)}",
            )
        self._late(f"{name} was not seen to lead", late)

    def _await_quiet(self, role: ClusterRole) -> None:
        def quiet(seen: Cluster) -> bool:
            return seen.role is role and not seen.writable and not seen.silent

        late = self._wait(quiet)
        if late is None:
            return
        if late.writable and late.role is role:
            raise Unsafe(
                f"{', '.join(late.writable)} takes writes, though told not to",
                on=self.where,
                state="the configuration says that nobody of the cluster takes writes; the node does not obey",
                next_action="stop PostgreSQL on it by hand (kill -9 of the postmaster if it must be), then fence again",
                facts=_states(late),
            )
        self._late("it could not be shown that nobody of the cluster takes writes", late)

    def _late(self, what: str, seen: Cluster) -> NoReturn:
        raise Retryable(
            f"{what} within {show_duration(self._settings.within_s)}",
            on=self.where,
            state=f"role {seen.role}; writable: {', '.join(seen.writable) or 'none'}; "
            f"not known of: {', '.join(seen.silent) or 'none'}",
            next_action="look at the nodes that did not answer, and at Patroni's log; then do the same again",
            facts={**_states(seen), **({"problem": seen.problem} if seen.problem else {})},
        )

    def _wait(self, wanted: Callable[[Cluster], object]) -> Cluster | None:
        """Return None as soon as it is as wanted, else how it was at last.

        Raises:
            Retryable: nothing of the cluster answered at last.
        """
        deadline = time.monotonic() + self._settings.within_s
        while True:
            error: SlipwayError | None = None
            try:
                seen = self.observe()
                if wanted(seen):
                    return None
            except Retryable as silent:
                error = silent
            if time.monotonic() > deadline:
                if error is not None:
                    raise error
                return seen
            time.sleep(_LOOK_EVERY_S)

    def _of_source(self, source: Upstream) -> Said:
        said = _run(postgresql_node.ask(self._address(), source.host, source.port))
        if said is None:
            raise Retryable(
                f"the database of {source.site} does not answer",
                on=str(source),
                state="what was to follow it follows whom it followed before",
                next_action="look whether that site takes writes, and whether it can be reached from here",
            )
        return said

    def _require_one_history(self, cluster: Cluster, source: Upstream, theirs: Said) -> None:
        ours, lsn = cluster.timeline, cluster.lsn
        if ours is None or lsn is None:
            raise Retryable(
                "no node says how far it is, so whether the histories have parted is not known",
                on=self.where,
                state="it takes no writes, and follows whom it followed before",
                next_action="start a node; or have it rebuilt",
            )
        try:
            file = _run(postgresql_node.history(self._address(), source.host, source.port, theirs.timeline))
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise Retryable(
                f"the database of {source.site} does not say its history: {type(error).__name__}",
                on=str(source),
                state="nothing was changed",
                next_action="let the observing role execute pg_read_file(text, bigint, bigint, boolean)",
            ) from None
        parted = postgresql_node.parted_at(file, theirs.timeline, ours, lsn)
        if parted is not None:
            raise Refused(
                "the histories have parted: the cluster has what the source never had",
                on=self.where,
                state="it takes no writes, and follows whom it followed before",
                next_action="look what is in it after that position; then follow with 'rebuild', which throws it away",
                facts={"parted at": parted, "the cluster is at": lsn, "bytes": lsn - parted},
            )

    def _held(self) -> None:
        held(self._context.grant, self.where)

    def _api(self) -> PatroniApi:
        settings = self._settings
        login = (settings.user, self._context.secrets.resolve(settings.password)) if settings.password else None
        urls = {name: member.api.rstrip("/") for name, member in self._members.items()}
        return PatroniApi(settings.cluster, urls, login, settings.patronictl or [], self._context.path)

    def _address(self) -> str:
        address = self._context.secrets.resolve(self._settings.observer)
        try:
            self._context.secrets.redactor.add(str(conninfo_to_dict(address).get("password") or ""))
        except psycopg.Error:
            raise Refused(
                "the address of the observing role cannot be read (it is not shown, as it may hold a password)",
                on=self._settings.observer,
                next_action="write it as postgresql://USER:PASSWORD@/DATABASE, percent-encoded",
            ) from None
        return address

    def _look(self) -> Seen:
        api, address = self._api(), self._address()

        async def look() -> Seen:
            members = self._members.items()
            reports, said, config = await asyncio.gather(
                asyncio.gather(*(api.report(name) for name in self._members)),
                asyncio.gather(*(postgresql_node.ask(address, member.host, member.port) for _, member in members)),
                api.config(),
            )
            follows = followed(config)
            host, _, port = follows.rpartition(":")
            source = await postgresql_node.ask(address, host, int(port)) if follows else None
            names = list(self._members)
            return Seen(
                dict(zip(names, reports, strict=True)), dict(zip(names, said, strict=True)), config, follows, source
            )

        return _run(look())


def _states(cluster: Cluster) -> dict[str, str]:
    return {node.name: f"{node.state}, {node.role}" for node in cluster.nodes}


def _run(work: Coroutine[Any, Any, T]) -> T:
    # A thread of its own, as the caller's may run an event loop already.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()
