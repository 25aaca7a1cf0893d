"""The hosts of the two sites, and their addresses. Pure.

Each site is a network of its own behind its edge, which routes and is the entrance for users. The sites meet in a wide
area network, in which the DNS server, the users and whoever watches are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

WAN = "wan"
"""The network between the sites."""
SWITCH = "switch"
"""The namespace that the cables of all hosts end in: a bridge a network."""
OPERATOR = "operator"
"""This machine itself, in the wide area network."""
LEDGER = "ledger"
"""The host of Slipway's own database, outside of both sites: without it nothing moves."""
DOMAIN = "campus.test"
"""The zone that the lab's DNS server is the authority of; the top level is reserved for tests (RFC 2606)."""
APPLICATION_NAME = DOMAIN
DATABASE_NAME = f"db.{DOMAIN}"
MEMBERS: Mapping[str, Sequence[str]] = {"a": ("a1", "a2", "a3"), "b": ("b1", "b2")}
"""Database nodes by site. No name is at both: Patroni would take one for the other, and wait for nobody."""
SITES = tuple(MEMBERS)

DATABASE_PORT = 5432
"""Of a node, and of an edge for users: there the primary that takes writes, wherever it is in the site."""
LEADER_PORT = 5433
"""Of an edge, for the other site: the leader, in a standby cluster, too."""
PATRONI_PORT = 8008
ETCD_PORT = 2379
APPLICATION_PORT = 80
INSTANCE_PORT = 8000
HEALTH_PORT = 8009
"""Of an edge: answers 200 on /primary while a node of the site takes writes."""
DNS_PORT = 53
DNS_API_PORT = 8081

# Set aside for tests of network devices (RFC 2544): nobody's network, so that none is hidden behind the lab.
_BLOCK = "198.18"
_OFFSETS = {WAN: 0, "a": 64, "b": 128}
_BITS = 26


@dataclass(frozen=True)
class Leg:
    """A host's place in a network: 'a' or 'b', or the wide area network."""

    network: str
    address: str


@dataclass(frozen=True)
class Topology:
    """All hosts of one lab.

    Args:
        number: of the lab on this machine, 0 to 255; labs have different addresses.
        mark: the lab's own sign, in the names of its namespaces.
    """

    number: int
    mark: str
    legs: Mapping[str, Sequence[Leg]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "legs", self._legs())

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return every host that has a namespace."""
        return tuple(name for name in self.legs if name != OPERATOR)

    def namespace(self, host: str) -> str:
        """Return the name of a host's namespace, as 'ip netns' shows it."""
        return f"{self.mark}-{host}"

    @property
    def uplink(self) -> str:
        """Return the name of this machine's interface in the wide area network; at most 15 characters."""
        return self.mark

    def address(self, host: str, network: str = "") -> str:
        """Return a host's address: the first one, or that in the network."""
        return next(leg.address for leg in self.legs[host] if network in ("", leg.network))

    def network(self, name: str) -> str:
        """Return a network as '198.18.0.64/26'."""
        return f"{_BLOCK}.{self.number}.{_OFFSETS[name]}/{_BITS}"

    @property
    def everything(self) -> str:
        """Return the network that all of the lab is in."""
        return f"{_BLOCK}.{self.number}.0/24"

    def way(self, host: str) -> Mapping[str, str]:
        """Return a host's routes: the gateway by the network that is behind it."""
        here = {leg.network for leg in self.legs[host]}
        if WAN not in here:
            return {"default": self.address(f"edge-{next(iter(here))}", next(iter(here)))}
        return {self.network(site): self.address(f"edge-{site}", WAN) for site in SITES if site not in here}

    def _legs(self) -> dict[str, Sequence[Leg]]:
        def leg(network: str, position: int) -> Leg:
            return Leg(network, f"{_BLOCK}.{self.number}.{_OFFSETS[network] + position}")

        legs: dict[str, Sequence[Leg]] = {
            name: (leg(WAN, position),) for position, name in enumerate((OPERATOR, "dns", "client", "watch", LEDGER), 1)
        }
        for index, site in enumerate(SITES):
            legs[f"edge-{site}"] = (leg(WAN, 10 + index), leg(site, 1))
            inside = (*MEMBERS[site], f"etcd-{site}", f"app-{site}")
            legs.update({name: (leg(site, position),) for position, name in enumerate(inside, 2)})
        return legs
