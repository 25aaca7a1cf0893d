"""The lab's network: namespaces, bridges and cables, made, cut, mended and removed. Needs root.

A cut is a cable taken out of the switch, or packets dropped in a host's own packet filter: no process is told.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from blocks import shell
from deployments.lab.sites.topology import OPERATOR, SITES, SWITCH, WAN, Leg, Topology
from tasks.common.errors import Refused, Unsafe

NAMESPACES = Path("/run/netns")
"""Where iproute2 keeps the names of namespaces."""
_RESOLVERS = Path("/etc/netns")
_TIMEOUT_S = 20.0
_ENDED_WITHIN_S = 10.0
_FILTER = """\
table inet cuts {
  set from { type ipv4_addr; }
  set to { type ipv4_addr; }
  chain input { type filter hook input priority 0; policy accept; ip saddr @from drop; }
  chain output { type filter hook output priority 0; policy accept; ip daddr @to drop; }
}
"""


class Network:
    """The network of one lab.

    Args:
        topology: what it consists of.
        folder: holds the files that its programs read.
    """

    def __init__(self, topology: Topology, folder: Path) -> None:
        self.topology = topology
        self._folder = folder

    def make(self) -> None:
        """All hosts have their addresses and reach each other. *Idempotent:* no; `remove` comes first.

        Raises:
            Refused: this machine does not let us make namespaces; says why.
        """
        require_namespaces()
        of = self.topology.namespace
        hosts = self.topology.hosts
        self._ip([f"netns add {of(name)}" for name in (SWITCH, *hosts)])
        networks = (WAN, *SITES)
        self._ip([f"link add name {name} type bridge" for name in networks], SWITCH)
        self._ip([f"link set dev {name} up" for name in (*networks, "lo")], SWITCH)
        cables = [(name, leg) for name in hosts for leg in self.topology.legs[name]]
        ends = f"peer name {{}} netns {of(SWITCH)}".format
        self._ip(
            [f"link add name {leg.network} netns {of(name)} type veth {ends(_plug(name, leg))}" for name, leg in cables]
            + [f"link add name {self.topology.uplink} type veth {ends(OPERATOR)}"]
        )
        plugs = [(_plug(name, leg), leg.network) for name, leg in cables] + [(OPERATOR, WAN)]
        self._ip([f"link set dev {plug} master {network} up" for plug, network in plugs], SWITCH)
        for name in hosts:
            self._configure(name)
        operator = self.topology.legs[OPERATOR][0]
        self._ip(
            [f"addr add {operator.address}/26 dev {self.topology.uplink}", f"link set dev {self.topology.uplink} up"]
        )
        self._ip([f"route add {network} via {by}" for network, by in self.topology.way(OPERATOR).items()])

    def remove(self) -> None:
        """No process runs in the lab's namespaces, and nothing of its network is left. *Idempotent:* yes.

        Raises:
            Unsafe: a process did not end.
        """
        names = [path.name for path in _listed(NAMESPACES) if path.name.startswith(f"{self.topology.mark}-")]
        end_all(names)
        for name in names:
            _run(["ip", "netns", "delete", name])
            for file in _listed(_RESOLVERS / name):
                file.unlink()
            with contextlib.suppress(FileNotFoundError):
                (_RESOLVERS / name).rmdir()
        # Its other end went with the switch, unless there never was one.
        uplink = Path("/sys/class/net", self.topology.uplink)
        if uplink.exists():
            try:
                _run(["ip", "link", "delete", self.topology.uplink])
            except Refused:
                # The kernel takes it away a while after the switch is gone, and may just have done so.
                if uplink.exists():
                    raise

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the argument list that runs a command on a host; what it resolves, the lab's DNS server answers."""
        return ["ip", "netns", "exec", self.topology.namespace(host), *argv]

    def processes(self, host: str) -> frozenset[int]:
        """Return the ids of the processes on a host."""
        return processes_in([self.topology.namespace(host)])

    def signal(self, host: str, processes: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
        """Those of the processes that run on the host have been sent the signal. *Idempotent:* yes."""
        kill(processes, [self.topology.namespace(host)], number)

    def unplug(self, host: str) -> None:
        """The host is off the network: its cables are out of the switch. *Idempotent:* yes."""
        self._plugs(host, "down")

    def plug_in(self, host: str) -> None:
        """The host's cables are in the switch. *Idempotent:* yes."""
        self._plugs(host, "up")

    def unplug_site(self, site: str) -> None:
        """The site's network is cut from its edge, and so from everybody else; within it all goes on.

        *Idempotent:* yes.
        """
        self._ip([f"link set dev {_plug(f'edge-{site}', Leg(site, ''))} down"], SWITCH)

    def plug_in_site(self, site: str) -> None:
        """The site's network is joined with its edge. *Idempotent:* yes."""
        self._ip([f"link set dev {_plug(f'edge-{site}', Leg(site, ''))} up"], SWITCH)

    def cut(self, host: str, others: Iterable[str], *, hears: bool = False, says: bool = False) -> None:
        """Packets between the host and the others are dropped; with `hears` or `says`, that one way still works.

        *Idempotent:* yes.

        Args:
            host: where they are dropped.
            others: names of hosts.
            hears: what the others send still arrives.
            says: what the host sends still arrives.
        """
        addresses = [leg.address for other in others for leg in self.topology.legs[other]]
        shown = ", ".join(addresses)
        sets = [name for name, open_ in (("from", hears), ("to", says)) if not open_]
        self._filter(host, "".join(f"add element inet cuts {name} {{ {shown} }}\n" for name in sets))

    def mend(self, host: str) -> None:
        """No packet is dropped on the host, and its cables are in the switch. *Idempotent:* yes."""
        self._filter(host, "flush set inet cuts from\nflush set inet cuts to\n")
        self.plug_in(host)

    def _configure(self, name: str) -> None:
        topology = self.topology
        self._ip(
            ["link set lo up"]
            + [f"addr add {leg.address}/26 dev {leg.network}" for leg in topology.legs[name]]
            + [f"link set dev {leg.network} up" for leg in topology.legs[name]]
            + [f"route add {network} via {by}" for network, by in topology.way(name).items()],
            name,
        )
        resolver = _RESOLVERS / topology.namespace(name) / "resolv.conf"
        resolver.parent.mkdir(parents=True, exist_ok=True)
        # A server that does not answer is given up soon; there is no other one.
        resolver.write_text(f"nameserver {topology.address('dns')}\noptions timeout:1 attempts:2\n")
        self._filter(name, _FILTER)
        settings = ["net.ipv4.ip_unprivileged_port_start=0"]
        if name.startswith("edge-"):
            settings.append("net.ipv4.ip_forward=1")
        _run(self.command(name, ["sysctl", "-q", "-w", *settings]))

    def _plugs(self, host: str, state: str) -> None:
        self._ip([f"link set dev {_plug(host, leg)} {state}" for leg in self.topology.legs[host]], SWITCH)

    def _ip(self, lines: Sequence[str], host: str = "") -> None:
        file = self._folder / "ip.batch"
        file.write_text("".join(f"{line}\n" for line in lines))
        within = ["-n", self.topology.namespace(host)] if host else []
        _run(["ip", *within, "-batch", str(file)])

    def _filter(self, host: str, rules: str) -> None:
        file = self._folder / "rules.nft"
        file.write_text(rules)
        _run(self.command(host, ["nft", "-f", str(file)]))


def require_namespaces() -> None:
    """This machine lets us make network namespaces.

    Raises:
        Refused: it does not, or a program is missing; says why.
    """
    for argv in (["nft", "--version"], ["ip", "-V"]):
        _run(argv)
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    # *Source:* capabilities(7): CAP_NET_ADMIN is 12, CAP_SYS_ADMIN is 21.
    if os.getuid() != 0 or not effective >> 12 & 1 or not effective >> 21 & 1:
        raise Refused(
            "the two sites need network namespaces, which only root may make, with CAP_NET_ADMIN and CAP_SYS_ADMIN",
            on="this machine",
            next_action="run it as root on a machine of your own (in a container: docker run --privileged); "
            "everything else of Slipway works without them",
        )


def processes_in(namespaces: Sequence[str]) -> frozenset[int]:
    """Return the ids of the processes in network namespaces; one that does not exist has none."""
    wanted = {_identity(NAMESPACES / name) for name in namespaces} - {None}
    numbers = [folder for folder in Path("/proc").iterdir() if folder.name.isdecimal()] if wanted else []
    return frozenset(int(folder.name) for folder in numbers if _identity(folder / "ns" / "net") in wanted)


def end_all(namespaces: Sequence[str]) -> None:
    """No process runs in the namespaces. They are killed: what they have written is thrown away with the lab.

    *Idempotent:* yes.

    Raises:
        Unsafe: one did not end.
    """
    deadline = time.monotonic() + _ENDED_WITHIN_S
    while left := processes_in(namespaces):
        if time.monotonic() > deadline:
            raise Unsafe(
                "processes of the two sites do not end",
                on=", ".join(map(str, sorted(left))),
                state="they hold the lab's namespaces",
                next_action="look what they wait for; end them by hand",
            )
        kill(left, namespaces)
        time.sleep(0.05)


def kill(processes: Iterable[int], namespaces: Sequence[str], number: signal.Signals = signal.SIGKILL) -> None:
    """Those of the processes that are still in the namespaces have been sent the signal. *Idempotent:* yes."""
    handles = {}
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            handles[pid] = os.pidfd_open(pid)
    try:
        # Asked again once the handles are held: a number cannot go to a stranger any more without being seen here.
        for pid in processes_in(namespaces) & handles.keys():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handles[pid], number)
    finally:
        for handle in handles.values():
            os.close(handle)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _plug(host: str, leg: Leg) -> str:
    """Return the name of a cable's end in the switch; at most 15 characters."""
    return f"{host}.{leg.network}"


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _run(argv: Sequence[str]) -> None:
    done = shell.run(argv, cwd=Path("/"), timeout_s=_TIMEOUT_S, redact=str)
    if done.exit_code:
        raise Refused(
            f"{argv[0]} could not change the lab's network",
            on=" ".join(argv),
            state="the lab's network is not whole",
            next_action="read its last lines; 'slipway sites down', then start the sites again",
            facts={"last lines": "\n".join(done.tail)},
        )
