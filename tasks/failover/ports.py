"""What a failover needs from the outside: the cluster of a site, its door, and the DNS that users ask.

No call waits longer than the driver's own timeouts allow: one request to one node takes 2 s at most, nodes are asked
side by side, and `observe` ends within 5 s, so that a site that is gone does not eat up the minute of a recovery.
Every method that changes something needs a grant (`Context.grant`) and asks it (`require`) just before each change; it
can raise, besides what is said there: LeaseLost, and Refused where there is no grant.
"""

from collections.abc import Sequence
from typing import Protocol

from tasks.common.model import HttpCheck
from tasks.common.sites import Answer, Cluster, Door, Upstream
from tasks.failover.model import Visited


class SiteCluster(Protocol):
    """The database cluster of one site, and what manages it.

    All calls can be made again after one that was killed half way, by another process, and do the rest. A call that
    returns has been seen to have worked: what changes is read back from the nodes themselves.
    """

    @property
    def where(self) -> str:
        """Return which cluster it is, the same for every process: 'campus-a at 10.1.0.11, 10.1.0.12'."""
        ...

    def observe(self) -> Cluster:
        """Return the cluster as it is now, each node asked directly.

        Nodes that do not answer are in it as UNREACHABLE. Nothing is changed.

        Raises:
            Retryable: nothing of the cluster answers at all: neither a node nor what keeps its configuration.
        """
        ...

    def switch_over(self, to: str) -> None:
        """The node leads, the former leader follows it, and nothing was lost. Within the cluster; planned.

        *Idempotent:* yes; a node that leads already is left alone.

        Raises:
            Refused: no such node, or it is not ready to lead; nothing was changed.
            Retryable: it did not come about in time; a leader there is, or will be.
            Unsafe: nobody leads.
        """
        ...

    def fail_over(self, to: str = "") -> None:
        """A node leads that is not the one that led and is gone. Within the cluster; unplanned.

        *Idempotent:* yes; where a leader works that is not gone, it is left alone (with `to`: and is that node).

        Args:
            to: the node that is to lead; '': whichever what manages the cluster finds fit.

        Raises:
            Refused: no node is fit to lead, or no such node.
            Retryable: it did not come about in time.
            Unsafe: it is not known who leads.
        """
        ...

    def fence(self) -> None:
        """Nobody of the cluster takes writes, and none will by itself, nor after a restart: role FENCED.

        Patroni: a standby cluster that follows nobody, not a paused one. A standby cluster is fenced, too: it stops to
        follow. *Idempotent:* yes.

        Raises:
            Retryable: it could not be brought about, or not be shown; the facts name what did not answer. Nodes may
                take writes still.
            Unsafe: a node takes writes though it was told not to; which one.
        """
        ...

    def promote(self) -> None:
        """The cluster takes writes: role PRIMARY, one writable leader. A fenced or a standby cluster is promoted.

        Whether another site is writable is for who calls: nothing is asked there. It returns when the leader takes
        writes. *Idempotent:* yes; a primary is left alone.

        Raises:
            Refused: no node is fit to lead.
            Retryable: it did not come about in time; calling again does the rest.
            Unsafe: two nodes take writes.
        """
        ...

    def follow(self, source: Upstream, *, rebuild: bool = False) -> None:
        """The cluster is a standby cluster of the source and has begun to receive: role STANDBY, `follows` the source.

        A primary stops to take writes first. It does not wait until the cluster has caught up: that is observed.
        *Idempotent:* yes; also where it follows the source already.

        Args:
            source: who is followed.
            rebuild: what of the cluster's data the source never had may be thrown away; nodes are rewound or filled
                anew. Without it the call is refused where the histories have parted.

        Raises:
            Refused: the data is of another system (system identifier), or the histories have parted and `rebuild` is
                not given; the facts say from where on. The cluster takes no writes then.
            Retryable: it did not come about in time, or the source does not answer.
        """
        ...


class SiteDoor(Protocol):
    """The entrance of users at a site: from outside, and of the site's own applications to its database.

    What is closed lets no user in. What the other site's replication comes by stays open: a planned move closes the
    door before the standby has caught up. A site that cannot be reached otherwise is fenced by closing its door, so it
    is on another machine than the site's databases (a router, an edge).
    """

    @property
    def where(self) -> str:
        """Return which door it is, the same for every process."""
        ...

    def observe(self) -> Door:
        """Return whether it is open, read from what lets users in.

        Raises:
            Retryable: it does not answer.
        """
        ...

    def close(self) -> None:
        """No user gets in, connections that were open are cut, and a restart changes neither.

        *Idempotent:* yes.

        Raises:
            Retryable: it does not answer, or it could not be shown.
        """
        ...

    def open(self) -> None:
        """Users get in, and a restart does not change it. *Idempotent:* yes.

        Raises:
            Retryable: it does not answer, or it could not be shown.
        """
        ...


class Dns(Protocol):
    """The authoritative DNS of the names that users ask for."""

    def observe(self, name: str) -> Answer:
        """Return what the server answers to a client that asks it for the name: by a DNS query where there is a server.

        Raises:
            Retryable: it does not answer.
            Refused: it is not the server of that name.
        """
        ...

    def point(self, name: str, addresses: Sequence[str], ttl_s: int) -> None:
        """The server answers the name with these addresses and no others: read back by a query. *Idempotent:* yes.

        Args:
            name: fully qualified, without a dot at its end.
            addresses: IPv4 and IPv6 addresses, one at least.
            ttl_s: how long resolvers may keep it, 1 to 86400 seconds.

        Raises:
            Refused: the server has no such zone, takes no changes from us, or an address is none; nothing was changed.
            Retryable: it does not answer, or did not take the change in time.
        """
        ...


class Visitor(Protocol):
    """Sends requests as a user does, to the address that the DNS has given."""

    def visit(self, url: str, address: str, checks: Sequence[HttpCheck]) -> tuple[Visited, ...]:
        """Return what came of each request, in order; one that fails is a result, not an error.

        *Idempotent:* as the requests are.

        Args:
            url: the service's, with the name that users ask for.
            address: that the connection is made to, in place of what the machine's own resolver says.
            checks: the requests.
        """
        ...
