"""What every door of a site must do, whichever it is."""

import contextlib
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.doors.haproxy import KEY, HaproxyDoor
from blocks.memory.sites import MemoryDoor
from blocks.memory.world import MemorySite, MemoryWorld
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import Grant, LeaseLost
from tasks.common.sites import Door
from tasks.failover.ports import SiteDoor
from tests.support.grants import DEFAULT, lost
from tests.support.needs import need
from tests.support.processes import free_port, running, short_folder, wait_until

_CONFIG = """\
global
  stats socket {folder}/haproxy.sock mode 600 level admin
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout server-fin 1s
frontend users
  bind 127.0.0.1:{port}
  tcp-request connection reject if {{ str({key}),map({folder}/door.map,closed) -m str closed }}
  default_backend site
backend site
  server one 127.0.0.1:{behind}
"""


@dataclass(frozen=True)
class World:
    """A door under test, the same one opened with another grant, who tries to get in, and what can go wrong."""

    door: SiteDoor
    under: Callable[[Grant | None], SiteDoor]
    enter: Callable[[], bool]
    """Return whether a user who comes now gets in."""
    stay: Callable[[], Callable[[], bool]]
    """A user gets in and stays; returns who says whether that user is still in."""
    give_up: Callable[[], None]
    """A user gets in, asks, and goes away before the site has answered, which it never does."""
    half_close: Callable[[], None]
    """Nobody new gets in; who was in was not cut: there the run was killed that closed the door."""
    restart: Callable[[], None]
    silence: Callable[[], None]


@pytest.fixture(params=["memory", pytest.param("haproxy", marks=pytest.mark.server)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield _memory(tmp_path)
        return
    with short_folder() as folder, _haproxy(folder) as made:
        yield made


def _memory(folder: Path) -> World:
    name = uuid.uuid4().hex
    site = MemorySite("a:5432", door_open=True)
    MemoryWorld.worlds[name] = MemoryWorld(sites={"a": site})

    def opened(grant: Grant | None) -> SiteDoor:
        return MemoryDoor(MemoryDoor.Settings(world=name, site="a"), Context(folder, grant=grant))

    def silence() -> None:
        site.door_answers = False

    def half_close() -> None:
        site.door_open, site.inside = False, 1

    def stay() -> Callable[[], bool]:
        return lambda: site.door_open or site.inside > 0

    def give_up() -> None:
        site.inside = 1

    return World(opened(DEFAULT), opened, lambda: site.door_open, stay, give_up, half_close, lambda: None, silence)


@contextlib.contextmanager
def _haproxy(folder: Path) -> Iterator[World]:
    port = free_port()
    (folder / "door.map").write_text(f"{KEY} open\n")
    settings = HaproxyDoor.Settings(
        socket=str(folder / "haproxy.sock"), map=str(folder / "door.map"), backends=["site"]
    )

    def opened(grant: Grant | None) -> SiteDoor:
        return HaproxyDoor(settings, Context(folder, grant=grant))

    with contextlib.ExitStack() as stack, _echoes() as behind:
        (folder / "haproxy.cfg").write_text(_CONFIG.format(folder=folder, port=port, behind=behind, key=KEY))
        processes: list[subprocess.Popen[bytes]] = []

        def start() -> None:
            argv = [str(need("haproxy")), "-db", "-f", str(folder / "haproxy.cfg")]
            processes.append(stack.enter_context(running(argv, log=folder / "haproxy.log")))
            wait_until(lambda: _answers(folder / "haproxy.sock"), what="HAProxy")

        def restart() -> None:
            processes[-1].kill()
            processes[-1].wait()
            start()

        start()
        yield World(
            opened(DEFAULT),
            opened,
            lambda: _gets_in(port),
            lambda: _staying(port),
            lambda: _given_up(port),
            lambda: _half_close(folder),
            restart,
            lambda: _stop(processes[-1]),
        )
        processes[-1].send_signal(signal.SIGCONT)


@contextlib.contextmanager
def _echoes() -> Iterator[int]:
    """Somebody sends back whatever is said, for the length of a `with`; but to 'hush' there is no answer and no end."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=echo, args=[connection], daemon=True).start()

        def echo(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while said := connection.recv(100):
                    if said == b"hush":
                        ended.wait()
                        return
                    connection.sendall(said)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()


def _answers(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(place)) == 0


def _half_close(folder: Path) -> None:
    (folder / "door.map").write_text(f"{KEY} closed\n")
    with socket.socket(socket.AF_UNIX) as told:
        told.connect(str(folder / "haproxy.sock"))
        told.sendall(f"set map {folder / 'door.map'} {KEY} closed\n".encode())
        assert not told.recv(1000).strip()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGSTOP)
    state = Path(f"/proc/{process.pid}/stat")
    wait_until(lambda: state.read_text().rpartition(") ")[2].startswith("T"), what="HAProxy to stand still")


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.settimeout(5)
    return connection


def _says(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        connection.sendall(b"hello")
        return connection.recv(100) == b"hello"
    return False


def _gets_in(port: int) -> bool:
    with contextlib.suppress(OSError):
        return _says(_connected(port))
    return False


def _staying(port: int) -> Callable[[], bool]:
    connection = _connected(port)
    assert _says(connection)
    return lambda: _says(connection)


def _given_up(port: int) -> None:
    with _connected(port) as connection:
        assert _says(connection)
        connection.sendall(b"hush")


def test_closed_door_lets_nobody_in_and_an_open_one_does(world: World) -> None:
    assert world.enter()
    world.door.close()
    assert world.door.observe() == Door(open=False)
    assert not world.enter()
    world.door.open()
    assert world.door.observe() == Door(open=True)
    assert world.enter()


def test_closing_cuts_who_is_in(world: World) -> None:
    is_in = world.stay()
    world.door.close()
    assert not is_in()


def test_closing_does_not_wait_for_a_silent_site_to_answer_who_has_gone_away(world: World) -> None:
    world.give_up()
    world.door.close()
    assert world.door.observe() == Door(open=False)


def test_door_behind_which_somebody_still_is_is_not_taken_for_closed(world: World) -> None:
    is_in = world.stay()
    world.half_close()
    found = world.door.observe()
    assert is_in()
    assert found.open is None
    assert not found.shut
    assert "1 connections from before" in found.problem
    world.door.close()
    assert not is_in()
    assert world.door.observe().shut


@pytest.mark.parametrize("is_open", [False, True])
def test_restart_leaves_the_door_as_it_is(world: World, is_open: bool) -> None:
    (world.door.open if is_open else world.door.close)()
    world.restart()
    assert world.door.observe() == Door(open=is_open)
    assert world.enter() is is_open


def test_doing_it_twice_is_doing_it_once(world: World) -> None:
    for _ in range(2):
        world.door.close()
    assert world.door.observe().shut
    for _ in range(2):
        world.door.open()
    assert world.door.observe().open


def test_nothing_is_changed_without_a_lease(world: World) -> None:
    with pytest.raises(Refused):
        world.under(None).close()
    with pytest.raises(LeaseLost):
        world.under(lost()).close()
    assert world.enter()
    assert world.door.observe() == Door(open=True)


def test_door_that_does_not_answer_is_not_taken_for_closed(world: World) -> None:
    world.door.close()
    world.silence()
    with pytest.raises(Retryable):
        world.door.observe()
    with pytest.raises(Retryable):
        world.door.close()
