"""A plan is carried out through the ports: locks asked for again, batches sized, health looked at, limits kept. Pure.

Time, chance and waiting come from outside, so that every interruption can be tried.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tasks.common.errors import Retryable
from tasks.common.migrations import HealthLimits
from tasks.migration import batching, health
from tasks.migration.batching import Sample
from tasks.migration.catalogue import Attempt
from tasks.migration.health import Finding
from tasks.migration.model import BuildIndex, Limits, Table
from tasks.migration.patience import Patience, open_for_long
from tasks.migration.plan import Action, Begin, BeginUndo, EndPhase, EndUndo, Fill, Run, TakeBack
from tasks.migration.ports import Engine, MigrationTarget, Spot, TooSlow

T = TypeVar("T")
LOOK_EVERY_S = 2.0
"""So often a backfill looks at the server's health."""


class LimitReached(Retryable):
    """A phase has taken longer than it may; what was done stays, and it goes on from there."""


class OnHold(Exception):
    """The server is not well enough to go on: nothing is wrong, and it is looked at again later."""

    def __init__(self, at: Spot, findings: Sequence[Finding]) -> None:
        self.at, self.findings = at, tuple(findings)
        super().__init__(at, self.findings)

    def __str__(self) -> str:
        """Return what holds it."""
        return f"{self.at}: held: " + "; ".join(f"{each.rule}: {each.why}" for each in self.findings)


@dataclass(frozen=True)
class Progress:
    """How far a backfill has come.

    Args:
        at: which step.
        over: rows that it has gone over.
        rows: estimate of all that there are.
        changed: rows that it has changed.
        rows_per_s: of this run, pauses included.
        size: of the next batch.
        finished: whether it is done.
    """

    at: Spot
    over: int
    rows: int
    changed: int
    rows_per_s: float
    size: int
    finished: bool = False

    @property
    def percent(self) -> float:
        """Return the share that is done, 100 only at the end: the rows are an estimate."""
        return 100.0 if self.finished else min(99.9, 100.0 * self.over / self.rows) if self.rows else 0.0

    @property
    def left_s(self) -> float | None:
        """Return how long the rest will take; None where nobody can tell."""
        return max(0.0, (self.rows - self.over) / self.rows_per_s) if self.rows_per_s and self.rows else None


def _nothing(progress: Progress) -> None:
    del progress


@dataclass
class Conductor:
    """Carries out what was planned.

    Args:
        engine: holds the mutex.
        target: is looked at.
        say: tells people what is done, a line each.
        wait: waits, in seconds.
        chance: gives a number from 0 to 1.
        health: when a backfill holds.
        show: is told how far a backfill has come.
        backup: id of the backup that was taken before; ''.
        run_id: the flow run.
    """

    engine: Engine
    target: MigrationTarget
    say: Callable[[str], None]
    wait: Callable[[float], None]
    chance: Callable[[], float]
    health: HealthLimits = field(default_factory=HealthLimits)
    show: Callable[[Progress], None] = _nothing
    backup: str = ""
    run_id: str = ""
    _told: set[str] = field(default_factory=set)

    def do(self, action: Action, limits: Limits, attempt: Attempt | None) -> None:
        """The action is done and on record. *Idempotent:* yes.

        Args:
            action: what was planned.
            limits: how long things may take.
            attempt: what was on record when it was planned.

        Raises:
            OnHold: the server is not well enough.
            LimitReached: the phase has taken too long.
        """
        match action:
            case Begin():
                self.engine.begin(action.compiled, self.backup, self.run_id)
            case Run():
                left_s = self._left_s(action.at, limits, attempt, 0.0)
                if isinstance(action.step, BuildIndex):
                    self._require_health(action.at, action.step.table)
                rows = self._patiently(lambda: self.engine.run(action.at, action.step, limits, left_s), limits)
                self.say(f"{action.at}: {action.step.what or action.step.kind}" + (f": {rows} rows" if rows else ""))
            case Fill():
                self._fill(action, limits, attempt)
            case EndPhase():
                self._patiently(lambda: self.engine.end_phase(action.name, action.phase), limits)
                self.say(f"{action.name}: {action.phase} is done")
                self.wait(action.settle_s)
            case BeginUndo():
                self._patiently(lambda: self.engine.begin_undo(action.name, action.keep, self.run_id), limits)
            case TakeBack():
                self._patiently(lambda: self.engine.undo(action.at, action.position, action.step, limits), limits)
                self.say(f"{action.at}: taken back: {action.step.what or action.step.kind}")
            case EndUndo():
                self._patiently(lambda: self.engine.end_undo(action.name, action.keep), limits)
                self.say(str(action))

    def _fill(self, action: Fill, limits: Limits, attempt: Attempt | None) -> None:
        at, step = action.at, action.step
        seen = self._patiently(lambda: self.engine.open_backfill(at, step), limits)
        newest: list[Sample] = list(seen.newest)
        size, most = seen.size or step.batch, step.most
        over, changed, finished = seen.over, seen.changed, seen.finished
        began_s, looked_s, worked_s = time.monotonic(), float("-inf"), 0.0
        while not finished:
            self._left_s(at, limits, attempt, worked_s)
            if time.monotonic() - looked_s >= LOOK_EVERY_S:
                self._require_health(at, step.table)
                looked_s = time.monotonic()
            size = batching.next_size(size, newest, step.interval_s, most)
            try:
                done = self._patiently(lambda rows=size: self.engine.batch(at, step, rows, limits), limits)  # type: ignore[misc]
            except TooSlow:
                if size == 1:
                    raise
                # A lower bound lowers the floor of the sizes, too: it does not grow back to what was too slow.
                most = size = batching.after_timeout(size)
                self.say(f"{at}: a batch took too long; the next ones have {size} rows at most")
                continue
            newest = [Sample(done.seconds, done.over, done.changed), *newest][: batching.NEWEST]
            over, changed, finished = over + done.over, changed + done.changed, done.finished
            worked_s += done.seconds
            gone = over - seen.over
            rate = gone / max(time.monotonic() - began_s, 1e-6)
            self.show(Progress(at, over, seen.rows, changed, rate, size, finished))
            if not finished:
                self.wait(step.pause_s)
        self.say(f"{at}: {changed} rows changed, {over} gone over")

    def _require_health(self, at: Spot, table: Table) -> None:
        findings = health.judge(self.target.measure([table]), self.health)
        unmeasured = [each for each in health.unmeasured(findings) if each not in self._told]
        if unmeasured:
            self.say(f"{at}: does not look at {', '.join(unmeasured)}: it cannot be measured here")
            self._told.update(unmeasured)
        found = health.stops(findings)
        if found:
            raise OnHold(at, found)

    def _left_s(self, at: Spot, limits: Limits, attempt: Attempt | None, worked_s: float) -> float:
        """Return what is left of the phase's time."""
        before = [each.seconds for each in attempt.steps if each.phase is at.phase] if attempt is not None else []
        left_s = limits.phase_s - sum(before) - worked_s
        if left_s > 0:
            return left_s
        raise LimitReached(
            f"the phase {at.phase} has taken longer than the {limits.phase_s:g} s that it may",
            on=f"{at} in {self.target.on}",
            state="what was done stays, and is on record; nothing of it is under way",
            next_action="raise 'within' in migration.yaml and run this again, which goes on here; or take it back: "
            f"slipway migration undo {at.name}",
        )

    def _patiently(self, work: Callable[[], T], limits: Limits) -> T:
        return Patience(self.say, self.wait, self.chance, self._blockers).of(work, limits)

    def _blockers(self) -> dict[str, str]:
        return open_for_long(self.target.observe().long)
