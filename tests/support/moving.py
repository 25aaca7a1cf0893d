"""Two or three sites in memory, and runs that move the users between them, killed wherever a test wants."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.context import Context
from blocks.memory.moves import MemoryMoves
from blocks.memory.sites import MemoryCluster, MemoryDns, MemoryDoor
from blocks.memory.world import MemorySite, MemoryWorld
from tasks.common.failovers import Scope
from tasks.common.moves import DECIDED, ENDED, PROMOTING, Closed, Move, MoveKind, MoveNote, last_target, open_move
from tasks.common.sites import ClusterRole, Region, RegionRole
from tasks.failover.carry import OpenSite, Tools, carry_out, look
from tasks.failover.decide import decide
from tasks.failover.model import Decision, Phase, Rules, Step, Wish
from tests.support.grants import holding

NAME = "shop.example.org"
RULES = Rules("shop", Scope.REGIONAL, rpo_s=300.0, names=(NAME,), ttl_s=5, system_id="1")
ADDRESSES = {"a": ("10.1.0.1",), "b": ("10.2.0.1",), "c": ("10.3.0.1",)}
ADDRESSES |= {"north": ADDRESSES["a"], "south": ADDRESSES["b"]}
ZONES = {"a": "eu", "b": "eu", "c": "eu"}


class Killed(BaseException):
    """The run is dead: nothing that it had in its hands is done any more."""


def two_sites(first: str = "a", second: str = "b", *, third: bool = False) -> MemoryWorld:
    """Return a world whose users are at the first site, which the second (and c) follow."""
    world = MemoryWorld(names={NAME: (list(ADDRESSES[first]), RULES.ttl_s)})
    world.sites[first] = MemorySite(f"{first}:5432", ClusterRole.PRIMARY, door_open=True)
    for name in (second, "c") if third else (second,):
        world.sites[name] = MemorySite(f"{name}:5432", ClusterRole.STANDBY, follows=f"{first}:5432")
    world.write(first, "first")
    world.stream()
    return world


@dataclass
class Stand:
    """A world with its record, and the runs that work on it.

    Args:
        world: of the sites.
        moves: what is on record.
        rules: of the failover.
        before: called before each call of a driver that changes something, with its number from 1 and its name.
        after: called after each one that has returned.
        pause: called where a run waits.
        catch_up_s: how long a run waits for what may come about yet.
        calls: of the run that works now.
        written: ids of the writes that users got an acknowledgement for.
    """

    world: MemoryWorld
    moves: MemoryMoves = field(default_factory=MemoryMoves)
    rules: Rules = RULES
    zones: dict[str, str] = field(default_factory=lambda: dict(ZONES))
    before: Callable[[int, str], None] = lambda number, name: None
    after: Callable[[int, str], None] = lambda number, name: None
    validate: Callable[[str], str] = lambda site: "users get answers"
    pause: Callable[[float], object] = lambda pause_s: None
    catch_up_s: float = 0.0
    calls: int = 0
    runs: int = 0
    written: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The drivers see this world."""
        MemoryWorld.worlds["stand"] = self.world

    def tools(self) -> Tools:
        """Return drivers that count their calls, for one run."""
        context = Context(base=Path("/"), grant=holding(self.runs))
        sites = {}
        for number, (name, site) in enumerate(self.world.sites.items(), 1):
            role = RegionRole.PRIMARY if name == "a" else RegionRole.STANDBY
            region = Region(name, role, self.zones[name], 100.0, number)
            cluster = MemoryCluster(MemoryCluster.Settings(world="stand", site=name), context)
            door = MemoryDoor(MemoryDoor.Settings(world="stand", site=name), context)
            host, port = site.at.split(":")
            sites[name] = OpenSite(
                region, _Counted(cluster, self), _Counted(door, self), ADDRESSES[name], (host, int(port))
            )
        dns = _Counted(MemoryDns(MemoryDns.Settings(world="stand"), context), self)
        return Tools(sites, dns, self.rules, self.validate, self.pause, self.catch_up_s, 0.0, set())

    def use(self) -> None:
        """Users write wherever they get in; never at two sites.

        *Idempotent:* no.
        """
        takers = self.world.takers()
        assert len(takers) <= 1, f"two writable sites: {takers} after {self.world.changes}"
        for name in takers:
            write_id = f"w{len(self.written)}"
            if self.world.write(name, write_id):
                self.written.append(write_id)
        self.world.stream()

    def decide(self, wish: Wish) -> Decision:
        """Return what a new run would do."""
        history = self.moves.history(self.rules.name, 50)
        run_id = f"run-{self.runs}"
        return decide(wish, look(self.tools()), self.rules, run_id, open_move(history), last_target(history))

    def run(self, wish: Wish) -> Decision:
        """A run does what is wished, or raises.

        *Idempotent:* no.
        """
        self.runs, self.calls = self.runs + 1, 0
        run_id, tools = f"run-{self.runs}", self.tools()
        decision = self.decide(wish)
        move = decision.move
        self.note(move, run_id, DECIDED, move.facts) if not decision.carried_on else None
        for phase in Phase:
            carry_out(phase, self.current(move), tools, lambda step: self._on_step(step, move, run_id))
        self.note(move, run_id, ENDED, {"closed": Closed.REACHED.value})
        return decision

    def current(self, move: Move) -> Move:
        """Return the move as it is on record now."""
        noted = any(n.kind == PROMOTING and n.move_id == move.id for n in self.moves.history(self.rules.name, 50))
        return replace(move, promoting=noted)

    def note(self, move: Move, run_id: str, kind: str, facts: Any) -> None:
        """It is on record."""
        self.moves.note(MoveNote(move.id, run_id, self.rules.name, kind, datetime.now(UTC), facts))

    @contextmanager
    def _on_step(self, step: Step, move: Move, run_id: str) -> Iterator[list[str]]:
        if step.phase is Phase.PROMOTE:
            self.note(move, run_id, PROMOTING, {})
        said: list[str] = []
        yield said
        self.steps.append(f"{step}: {'; '.join(said)}")


class _Counted:
    """A driver whose changes are counted, and can be cut off before or after they have happened."""

    _CHANGES = frozenset({"fence", "promote", "follow", "close", "open", "point", "switch_over", "fail_over"})

    def __init__(self, driver: Any, stand: Stand) -> None:
        self._driver, self._stand = driver, stand

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name not in self._CHANGES:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            stand = self._stand
            stand.calls += 1
            number = stand.calls
            stand.before(number, name)
            result = found(*arguments, **named)
            stand.use()
            stand.after(number, name)
            return result

        return call


def wish(kind: MoveKind, **more: Any) -> Wish:
    """Return a wish of a person."""
    return Wish(kind, by="ada", **more)
