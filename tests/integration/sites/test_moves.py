"""The planner over the lab's two sites: switchover, failover and failback under writes, and what they cost users.

Times are logged (--log-cli-level=INFO), and not asserted: a busy machine is no fault.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.moves import MemoryMoves
from blocks.visitor import HttpVisitor
from deployments.lab.sites.topology import APPLICATION_NAME, DATABASE_NAME, LEADER_PORT
from tasks.common.failovers import Scope
from tasks.common.model import HttpCheck
from tasks.common.moves import DECIDED, ENDED, PROMOTING, Closed, Move, MoveKind, MoveNote, last_target, open_move
from tasks.common.sites import Region, RegionRole
from tasks.failover.carry import OpenSite, Tools, carry_out, look
from tasks.failover.decide import decide, show_loss
from tasks.failover.model import Phase, Rules, Step, Wish
from tests.support.processes import wait_until
from tests.support.sites import Sites, now

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
_CHECK = HttpCheck.model_validate({"path": "/health/ready", "expect": 200})


@dataclass
class Mover:
    """Runs over the real drivers, with a record in memory."""

    sites: Sites
    moves: MemoryMoves = field(default_factory=MemoryMoves)
    runs: int = 0

    def tools(self) -> Tools:
        rules = Rules("campus", Scope.REGIONAL, 300.0, (DATABASE_NAME, APPLICATION_NAME), 5)
        opened = {
            name: OpenSite(
                Region(name, RegionRole.PRIMARY if name == "a" else RegionRole.STANDBY, "lab", 50.0, number),
                self.sites.cluster(name),
                self.sites.door(name),
                (self.sites.edge(name),),
                (self.sites.edge(name), LEADER_PORT),
            )
            for number, name in enumerate(("a", "b"), 1)
        }
        visitor = HttpVisitor(HttpVisitor.Settings(), Context(base=Path("/")))

        def validate(site: str) -> str:
            url, address = f"http://{APPLICATION_NAME}", self.sites.edge(site)
            wait_until(
                lambda: not visitor.visit(url, address, [_CHECK])[0].problem, what=f"campus at {site}", within_s=60
            )
            return "campus answers"

        return Tools(opened, self.sites.dns(), rules, validate, time.sleep, 60.0, 300.0, set())

    def move(self, wish: Wish) -> None:
        """The wish is done."""
        self.runs += 1
        run_id, tools = f"run-{self.runs}", self.tools()
        history = self.moves.history("campus", 9)
        found = decide(wish, look(tools), tools.rules, run_id, open_move(history), last_target(history))
        _log.info("%s; lost: %s (%s)", found.move, show_loss(found.loss), found.loss.how)
        self._note(found.move, run_id, DECIDED, found.move.facts)
        move = found.move

        @contextmanager
        def on_step(step: Step) -> Iterator[list[str]]:
            nonlocal move
            began, said = time.monotonic(), list[str]()
            if step.phase is Phase.PROMOTE:
                self._note(move, run_id, PROMOTING, {})
                move = replace(move, promoting=True)
            yield said
            _log.info("  %.1f s  %s: %s", time.monotonic() - began, step, "; ".join(said))

        for phase in Phase:
            carry_out(phase, move, tools, on_step)
        self._note(move, run_id, ENDED, {"closed": Closed.REACHED.value})

    def _note(self, move: Move, run_id: str, kind: str, facts: object) -> None:
        self.moves.note(MoveNote(move.id, run_id, "campus", kind, datetime.now(UTC), facts))  # type: ignore[arg-type]


def test_users_move_there_and_back_and_after_a_lost_site_and_back(sites: Sites, tmp_path: Path) -> None:
    mover = Mover(sites)
    (tmp_path / "planned").mkdir()
    with sites.watching(tmp_path / "planned") as watching, sites.writing(tmp_path / "planned") as writing:
        for to in ("b", "a"):
            began = now()
            mover.move(Wish(MoveKind.SWITCHOVER, to=to, by="a test"))
            writing.wait_for_success(now())
            _log.info("switchover to %s: no write for %.1f s", to, writing.longest_gap_s(began))
    watching.require_never_two()
    missing = {write.id for write in writing.acknowledged()} - sites.rows("a")
    assert not missing, f"{len(missing)} acknowledged rows are lost"
    sites.door("b").open()
    sites.wait_whole()
    (tmp_path / "lost").mkdir()
    with sites.writing(tmp_path / "lost") as writing:
        wait_until(lambda: sites.cluster("b").observe().streaming, what="site B to receive")
        began, since = now(), datetime.now(UTC)
        sites.lab.network.unplug_site("a")
        mover.move(Wish(MoveKind.FAILOVER, by="a test", down_since=since))
        writing.wait_for_success(now())
        _log.info("site A gone: no write for %.1f s", writing.longest_gap_s(began))
        sites.lab.network.plug_in_site("a")
        assert sites.door("a").observe().shut, "it stays shut when the site comes back"
        began = now()
        mover.move(Wish(MoveKind.FAILBACK, to="a", by="a test"))
        writing.wait_for_success(now())
        _log.info("failback: no write for %.1f s", writing.longest_gap_s(began))
        after = {write.id for write in writing.acknowledged() if write.began > began}
    assert after and not after - sites.rows("a"), "nothing that was written after the failover is lost"
    sites.door("b").open()
    sites.wait_whole()
