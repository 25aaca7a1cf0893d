"""Things that faults break, each of its own, and gone afterwards."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from blocks.memory.fault import BROKEN
from tasks.common.model import DriverSpec
from tests.support.disks import loop_disk, small_disk
from tests.support.needs import missing, need
from tests.support.postgresql import Cluster
from tests.support.processes import wait_until

_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=0.5)
except ConnectionRefusedError:
    pass
"""


@dataclass(frozen=True)
class Thing:
    """Something that a fault breaks.

    Args:
        spec: the fault, as an experiment names it.
        well: whether it is as it should be, as its users see it.
        reversible: whether the driver can undo it.
        vanish: takes away all that the fault is about; None where that cannot be.
    """

    spec: DriverSpec
    well: Callable[[], bool]
    reversible: bool = True
    vanish: Callable[[], None] | None = None


@contextlib.contextmanager
def in_memory() -> Iterator[Thing]:
    yield Thing(DriverSpec(driver="memory", thing="x"), lambda: "x" not in BROKEN)
    BROKEN.discard("x")


def _lives(pid_file: Path) -> bool:
    try:
        state = Path("/proc", pid_file.read_text().strip(), "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return False
    return state not in "ZXTt"


def _end(pid_file: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@contextlib.contextmanager
def process(folder: Path, driver: str) -> Iterator[Thing]:
    """A process that writes its number into a file, with a child."""
    pid_file, start = folder / "it.pid", folder / "start"
    start.write_text(
        f"#!/bin/sh\nsleep 600 &\necho $$ > {pid_file}.new\nmv {pid_file}.new {pid_file}\nexec sleep 600\n"
    )
    start.chmod(0o755)
    subprocess.Popen([str(start)], start_new_session=True)
    wait_until(lambda: _lives(pid_file), what="the process")
    settings = {"start": [str(start)]} if driver == "kill" else {"children": True}
    pids = {int(pid_file.read_text())}

    def well() -> bool:
        with contextlib.suppress(OSError, ValueError):
            pids.add(int(pid_file.read_text()))
        return _lives(pid_file)

    try:
        spec = DriverSpec(driver=driver, pid_file=str(pid_file), **settings)
        yield Thing(spec, well, vanish=(lambda: _end(pid_file)) if driver == "stop" else None)
    finally:
        well()
        for group in pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def _ip(*words: str) -> None:
    subprocess.run([str(need("ip")), *words], check=True, capture_output=True)


@contextlib.contextmanager
def pair() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them, 10.199.0.1 and 10.199.0.2; yields their names."""
    if os.geteuid() != 0:
        missing("only root can make network namespaces")
    names = f"sl{os.getpid()}a", f"sl{os.getpid()}b"
    made = subprocess.run([str(need("ip")), "netns", "add", names[0]], capture_output=True)
    if made.returncode != 0:
        missing("network namespaces cannot be made here")
    try:
        _ip("netns", "add", names[1])
        _ip("-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for number, name in enumerate(names, start=1):
            _ip("-n", name, "addr", "add", f"10.199.0.{number}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", names[0], "route", "add", "10.200.0.0/24", "via", "10.199.0.2")
        _ip("-n", names[1], "addr", "add", "10.200.0.1/24", "dev", "eth0")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def reaches(namespace: str, address: str) -> bool:
    """Return whether something answers at the address, if only by refusing."""
    argv = ["ip", "netns", "exec", namespace, sys.executable, "-S", "-E", "-c", _CONNECT, address]
    return subprocess.run(argv, capture_output=True).returncode == 0


@contextlib.contextmanager
def network(driver: str) -> Iterator[Thing]:
    need("nft")
    with pair() as (here, there):
        settings = {"link": "eth0"} if driver == "link-down" else {"peers": ["10.199.0.2", "10.200.0.0/24"]}
        wait_until(lambda: reaches(here, "10.199.0.2"), what="the cable")

        def vanish() -> None:
            for name in (here, there):
                subprocess.run(["ip", "netns", "del", name], check=True)

        yield Thing(
            DriverSpec(driver=driver, namespace=here, **settings),
            # The second address is behind a route, which the kernel forgets with the link.
            lambda: reaches(here, "10.199.0.2") and reaches(here, "10.200.0.1"),
            vanish=vanish,
        )


@contextlib.contextmanager
def disk(folder: Path, driver: str) -> Iterator[Thing]:
    with small_disk(folder / "disk", 4096) as mounted:
        key = "folder" if driver == "fill" else "mount"

        def well() -> bool:
            try:
                (mounted / "file").write_bytes(b"x" * 8192)
            except OSError:
                return False
            (mounted / "file").unlink()
            return True

        yield Thing(DriverSpec(driver=driver, **{key: str(mounted)}), well)


_WRITE = "import sys; open(sys.argv[1], 'w').write('x')"


@contextlib.contextmanager
def frozen_disk(folder: Path) -> Iterator[Thing]:
    """A file system in a file. Who writes to it may hang for as long as it is frozen: a process of its own does."""
    with loop_disk(folder / "disk", 8) as mounted:
        writers: list[subprocess.Popen[bytes]] = []

        def well() -> bool:
            writer = subprocess.Popen([sys.executable, "-S", "-E", "-c", _WRITE, str(mounted / "file")])
            writers.append(writer)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return writer.wait(1) == 0
            return False

        try:
            yield Thing(DriverSpec(driver="freeze", mount=str(mounted)), well)
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(mounted)], capture_output=True)
            for each in writers:
                each.wait(20)


@contextlib.contextmanager
def data_folder(folder: Path, *, rebuilt: bool) -> Iterator[Thing]:
    data, copy = folder / "data", folder / "copy"
    (data / "base").mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    (data / "base" / "1").write_text("rows")
    subprocess.run(["cp", "-a", str(data), str(copy)], check=True)
    settings = {"rebuild": ["cp", "-aT", str(copy), str(data)]} if rebuilt else {}
    spec = DriverSpec(driver="destroy-data", folder=str(data), **settings)
    yield Thing(spec, (data / "base" / "1").exists, rebuilt)


@contextlib.contextmanager
def table(cluster: Cluster, folder: Path, driver: str) -> Iterator[Thing]:
    address = cluster.database()
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("create table course as select n, repeat('x', 40) as title from generate_series(1, 500) n")
    with cluster.as_superuser(address) as connection:
        connection.execute("checkpoint")
        (path,) = connection.execute("select pg_relation_filepath('course')").fetchone() or ("",)
    (folder / "address").write_text(address)
    if driver == "mistake":
        spec = DriverSpec(
            driver=driver,
            address=f"file:{folder / 'address'}",
            statement="drop table course",
            seen_by="select to_regclass('course') is null",
        )

        def there() -> bool:
            with psycopg.connect(address) as connection:
                return connection.execute("select to_regclass('course') is not null").fetchone() == (True,)

        yield Thing(spec, there, reversible=False)
        return
    file = cluster.data / str(path)
    original = file.read_bytes()
    spec = DriverSpec(
        driver=driver, address=f"file:{folder / 'address'}", data=str(cluster.data), table="course", page=1
    )
    yield Thing(spec, lambda: file.read_bytes() == original)
