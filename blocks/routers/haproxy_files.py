"""What HAProxy finds again after a reload or a restart: two map files and one server-state file a slot."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from blocks.files import replacing, system_errors
from blocks.routers.haproxy_api import Server, parse_servers
from blocks.routers.haproxy_config import Exposed, Names
from tasks.rollout.model import Admission

_SHARE_HEAD = "# Written by Slipway: green's share of new requests in thousandths of a per cent; blue gets the rest."
_HEALTH_HEAD = "# Written by Slipway: the path of each server's health check."


def create_maps(exposed: Iterable[Exposed], state: Path) -> None:
    """The map files exist, which HAProxy needs to start. *Idempotent:* yes; what is there is kept.

    Raises:
        Refused: the folder is not there or cannot be written to.
    """
    for each in exposed:
        names = Names(each.service, each.environment, state)
        if not names.share_map.exists():
            write_share_map(names, {})
        if not names.health_map.exists():
            write_health_map(names, {})


def write_share_map(names: Names, entries: Mapping[str, str]) -> None:
    """The share map's file holds exactly the entries, on the disk too. *Idempotent:* yes."""
    _write(names.share_map, _SHARE_HEAD, entries)


def write_health_map(names: Names, entries: Mapping[str, str]) -> None:
    """The health map's file holds exactly the entries, on the disk too. *Idempotent:* yes."""
    _write(names.health_map, _HEALTH_HEAD, entries)


def write_servers(path: Path, text: str) -> None:
    """The server-state file holds the text, on the disk too. *Idempotent:* yes."""
    with system_errors("HAProxy's state cannot be persisted", path), replacing(path) as file:
        file.write(f"{text}\n".encode())


def read_map(path: Path) -> dict[str, str] | None:
    """Return what a map file holds; None if it is not there or not readable as one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        entries = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        return dict(entries)
    except (OSError, ValueError):
        return None


def read_servers(path: Path) -> dict[str, Server] | None:
    """Return what a server-state file holds, by server; nothing if it is not there, None if it is not readable."""
    try:
        return parse_servers(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None


def same_members(one: Mapping[str, Server], other: Mapping[str, Server]) -> bool:
    """Return whether both have the same members with the same addresses and admissions, whatever is up."""
    return _members(one) == _members(other)


def _members(servers: Mapping[str, Server]) -> dict[str, tuple[str, Admission]]:
    return {s.name: (s.address, s.admission) for s in servers.values() if s.admission is not Admission.OUT}


def _write(path: Path, head: str, entries: Mapping[str, str]) -> None:
    text = "\n".join([head, *(f"{key} {value}" for key, value in sorted(entries.items()))])
    with system_errors("HAProxy's state cannot be persisted", path), replacing(path) as file:
        file.write(f"{text}\n".encode())
