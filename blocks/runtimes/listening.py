"""Who holds a TCP port of this machine."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"


def is_taken(port: int) -> bool:
    """Return whether an instance that is to listen on the port of 127.0.0.1 would fail, as somebody else does."""
    with socket.socket() as probe:
        # As servers do; else connections of an instance that has just ended would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def holder(port: int) -> str:
    """Return 'pid 4711 (nginx)' for the process that listens on the port, or 'not known' if that cannot be found out.

    The command line is not shown, since other people's programs may have secrets there.
    """
    for pid in listeners(port):
        with contextlib.suppress(OSError):
            return f"pid {pid} ({Path('/proc', str(pid), 'comm').read_text(encoding='utf-8').strip()})"
    return "not known"


def listeners(port: int) -> Iterator[int]:
    """Yield the number of each process that listens on the port of this machine.

    *Source:* proc(5), /proc/net/tcp: local address, state and inode of every socket.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(descriptor.readlink()) in sockets for descriptor in (process / "fd").iterdir()):
                yield int(process.name)


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
