"""What the labs of one machine share: its programs, its namespaces and its addresses."""

import contextlib
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from deployments.lab.sites.network import NAMESPACES, Network, processes_in
from deployments.lab.sites.topology import SWITCH, Topology
from tasks.common.errors import Refused

MARK = "slw"
"""What the marks of all labs begin with."""
_LOCK = Path("/run/slipway-sites.lock")
_LABS = 256
_PROGRAMS = ("etcd", "haproxy", "pdns_server", "setpriv")


def sweep() -> tuple[str, ...]:
    """Nothing is left of sites whose supervisor has ended; returns their marks. *Idempotent:* yes.

    Raises:
        Unsafe: a process did not end.
    """
    switches = sorted(NAMESPACES.glob(f"{MARK}??????-{SWITCH}")) if NAMESPACES.is_dir() else []
    dead = [path.name.partition("-")[0] for path in switches if not processes_in([path.name])]
    for mark in dead:
        Network(Topology(0, mark), NAMESPACES).remove()
    return tuple(dead)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Nobody else on this machine looks for dead sites, or chooses addresses, for the length of a `with`."""
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def free_number() -> int:
    """Return the number of a lab whose addresses nobody on this machine has.

    Raises:
        Refused: all are taken.
    """
    for number in range(_LABS):
        with socket.socket() as probe:
            try:
                probe.bind((Topology(number, "").address("operator"), 0))
            except OSError:
                return number
    raise Refused("all networks for sites are taken", on="198.18.0.0/16", next_action="end some: slipway sites down")


def require_programs(*others: Path) -> None:
    """The programs that the sites consist of are installed, and so are the other files.

    Raises:
        Refused: one is missing; says which.
    """
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in _PROGRAMS if not shutil.which(name, path=path)]
    missing += [str(file) for file in others if not file.exists()]
    if missing:
        raise Refused(
            f"the two sites need what is not installed: {', '.join(missing)}",
            on="this machine",
            next_action="'make programs' installs what they need",
        )
