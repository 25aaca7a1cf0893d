"""A database that is migrated, in memory: its history is kept as the real ones keep it, and statements are noted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock

from pydantic import Field

from blocks.context import Context
from tasks.common.errors import Refused
from tasks.common.migrations import PHASES, MigrationState, Phase, Standing
from tasks.common.model import StrictModel
from tasks.migration.batching import NEWEST, Sample
from tasks.migration.catalogue import Attempt, Catalogue, Column, Constraint, Identity, Observed, Relation, StepDone
from tasks.migration.health import Measures
from tasks.migration.model import Backfill, Compiled, Ddl, Limits, Step, Table
from tasks.migration.ports import BackfillSeen, BatchDone, Engine, MutexLost, Spot


@dataclass
class _Fill:
    bound: int
    over: int = 0
    size: int = 0
    newest: tuple[Sample, ...] = ()


@dataclass
class MemoryWorld:
    """What is in the database.

    Args:
        rows: of each table, by name.
        measures: how its server is.
        log: the statements that were run, in order.
    """

    rows: dict[str, int] = field(default_factory=dict)
    measures: Measures = field(default_factory=Measures)
    log: list[str] = field(default_factory=list)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    fills: dict[Spot, _Fill] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    holder: str = ""


class MemoryMigrations:
    """Implements `MigrationTarget`. Expressions are taken for repeatable, unless they call random().

    Args:
        settings: the rows that there are.
        context: not used.
    """

    class Settings(StrictModel):
        """Settings of the driver `memory`."""

        rows: dict[str, int] = Field(default_factory=dict, description="rows of each table")

    def __init__(self, settings: Settings, context: Context) -> None:
        del context
        self.world = MemoryWorld(dict(settings.rows))

    @property
    def on(self) -> str:
        """Return which one it is."""
        return "memory"

    def observe(self) -> Observed:
        """Return what is there now. *Idempotent:* yes."""
        key = Constraint("key", "primary key", ("id",), "PRIMARY KEY (id)")
        relations = {
            ("public", name): Relation(
                "public", name, "table", (Column("id", "integer", not_null=True),), (key,), rows=rows
            )
            for name, rows in self.world.rows.items()
        }
        attempts = tuple(self.world.attempts[name] for name in sorted(self.world.attempts))
        return Observed(Identity("memory"), Catalogue(0, relations), attempts, engine=self.world.holder)

    def measure(self, tables: Sequence[Table]) -> Measures:
        """Return how the server is just now. *Idempotent:* yes."""
        del tables
        return self.world.measures

    def volatile(self, table: Table, expressions: Mapping[str, str]) -> Sequence[str]:
        """Return what in the expressions has another value each time. *Idempotent:* yes."""
        del table
        return ["random()"] if any("random()" in each for each in expressions.values()) else []

    @contextmanager
    def locked(self, run_id: str, within_s: float) -> Iterator[Engine]:
        """This engine alone may change the database within the block."""
        if not self.world.lock.acquire(timeout=within_s):
            raise Refused(
                "another engine is at work on this database",
                on=self.on,
                next_action="let it end, then run this again",
                facts={"at work": self.world.holder},
            )
        self.world.holder = run_id
        engine = MemoryEngine(self, run_id)
        try:
            yield engine
        finally:
            engine.close()
            self.world.holder = ""
            self.world.lock.release()


class MemoryEngine:
    """Implements `Engine`.

    Args:
        target: the database.
        run_id: the flow run.
    """

    def __init__(self, target: MemoryMigrations, run_id: str) -> None:
        self._target, self._world, self._run_id, self._open = target, target.world, run_id, True

    def close(self) -> None:
        """It changes nothing more."""
        self._open = False

    def begin(self, compiled: Compiled, backup: str, run_id: str) -> None:
        """The migration is under way on record. *Idempotent:* yes."""
        self._require_open()
        found = self._world.attempts.get(compiled.name)
        if found is None:
            standing = Standing(
                compiled.name,
                MigrationState.UNDER_WAY,
                None,
                compiled.version,
                compiled.no_return,
                began_at=datetime.now(UTC),
                backup=backup,
                run_id=run_id,
            )
            self._world.attempts[compiled.name] = Attempt(standing, compiled)
        elif found.standing.state in (MigrationState.UNDER_WAY, MigrationState.FAILED):
            self._stands(compiled.name, state=MigrationState.UNDER_WAY)
            self._world.attempts[compiled.name] = replace(self._world.attempts[compiled.name], problem="")
        else:
            raise Refused(
                f"the migration is {found.standing.state}", on=compiled.name, next_action="look at its status"
            )

    def note(self, name: str, *, backup: str = "", accepted: str = "") -> None:
        """What was asked before a phase is on record. *Idempotent:* yes."""
        standing = self._attempt(name).standing
        told = {"backup": backup or standing.backup, "accepted": accepted or standing.accepted}
        self._stands(name, run_id=self._run_id, **told)

    def run(self, at: Spot, step: Step, limits: Limits, left_s: float) -> int:
        """The step is done and on record. *Idempotent:* yes."""
        del limits, left_s
        attempt = self._attempt(at.name)
        self._pass_return(at)
        done = attempt.step(at.phase, at.number)
        if done is None or done.state != "done":
            self._world.log += step.statements if isinstance(step, Ddl) else [step.what or step.kind]
            self._note(StepDone(at.phase, at.number, "done", 0, datetime.now(UTC), datetime.now(UTC)), at.name)
        return 0

    def open_backfill(self, at: Spot, step: Backfill) -> BackfillSeen:
        """It is on record up to which key it goes. *Idempotent:* yes."""
        self._attempt(at.name)
        self._pass_return(at)
        if step.table.name not in self._world.rows:
            raise Refused(f"there is no table {step.table}", on=str(at), next_action="make it before")
        loose = self._target.volatile(step.table, step.set_)
        if loose and not step.where:
            raise Refused(
                f"the backfill of {step.table} could not be repeated: {', '.join(loose)}",
                on=str(at),
                next_action="give it a 'where' that a filled row no longer meets",
            )
        filling = self._world.fills.setdefault(at, _Fill(self._world.rows[step.table.name]))
        if self._attempt(at.name).step(at.phase, at.number) is None:
            state = "done" if filling.bound == 0 else "begun"
            self._note(StepDone(at.phase, at.number, state, 0, datetime.now(UTC)), at.name)
        finished = filling.over >= filling.bound
        return BackfillSeen(("id",), filling.bound, filling.over, filling.over, filling.size, finished, filling.newest)

    def batch(self, at: Spot, step: Backfill, size: int, limits: Limits) -> BatchDone:
        """The next rows are changed, and the cursor is behind them."""
        del step, limits
        self._attempt(at.name)
        filling = self._world.fills[at]
        over = min(size, filling.bound - filling.over)
        filling.over, filling.size = filling.over + over, size
        filling.newest = (Sample(0.001, over, over), *filling.newest)[:NEWEST]
        last = filling.over >= filling.bound
        self._world.log.append(f"{at}: {over} rows")
        state = "done" if last else "begun"
        self._note(StepDone(at.phase, at.number, state, 0, seconds=0.001, rows=filling.over), at.name)
        return BatchDone(over, over, 0.001, last)

    def end_phase(self, name: str, phase: Phase) -> None:
        """All of the phase is done on record. *Idempotent:* yes."""
        self._attempt(name)
        last = phase is PHASES[-1]
        state = MigrationState.APPLIED if last else MigrationState.UNDER_WAY
        self._stands(name, done=phase, state=state, ended_at=datetime.now(UTC) if last else None)

    def begin_undo(self, name: str, keep: Phase | None, run_id: str) -> None:
        """It is on record that the migration is being undone, and how far. *Idempotent:* yes."""
        if self._attempt(name).standing.past_return:
            raise Refused("its point of no return is passed", on=name, next_action="write a new migration")
        self._stands(name, state=MigrationState.UNDOING, run_id=run_id, done=keep)

    def undo(self, at: Spot, position: int, step: Step, limits: Limits) -> int:
        """One step of what takes a step back is done and on record. *Idempotent:* yes."""
        del limits
        done = self._attempt(at.name).step(at.phase, at.number)
        if done is not None and done.undone <= position:
            self._world.log += step.statements if isinstance(step, Ddl) else [step.what or step.kind]
            self._note(replace(done, undone=position + 1), at.name)
        return 0

    def end_undo(self, name: str, keep: Phase | None) -> None:
        """It is on record that the migration is undone. *Idempotent:* yes."""
        attempt = self._attempt(name)
        kept = () if keep is None else PHASES[: PHASES.index(keep) + 1]
        gone = [at for at in self._world.fills if at.name == name and at.phase not in kept]
        for at in gone:
            del self._world.fills[at]
        if keep is None:
            del self._world.attempts[name]
            return
        steps = tuple(each for each in attempt.steps if each.phase in kept)
        self._world.attempts[name] = replace(attempt, steps=steps)
        self._stands(name, state=MigrationState.UNDER_WAY, done=keep)

    def fail(self, name: str, problem: str) -> None:
        """The migration has failed on record. *Idempotent:* yes."""
        if self._attempt(name).standing.state is not MigrationState.UNDOING:
            self._stands(name, state=MigrationState.FAILED)
        self._world.attempts[name] = replace(self._world.attempts[name], problem=problem)

    def _pass_return(self, at: Spot) -> None:
        found = self._attempt(at.name).standing.no_return
        if found is not None and PHASES.index(at.phase) >= PHASES.index(found):
            self._stands(at.name, past_return=True)

    def _attempt(self, name: str) -> Attempt:
        self._require_open()
        if name not in self._world.attempts:
            raise Refused("nothing of the migration is on record", on=name, next_action="begin it")
        return self._world.attempts[name]

    def _require_open(self) -> None:
        if not self._open:
            raise MutexLost("this engine's hold on the database is gone", on="memory", next_action="run this again")

    def _stands(self, name: str, **changes: object) -> None:
        attempt = self._world.attempts[name]
        standing = replace(attempt.standing, **changes)  # type: ignore[arg-type]
        self._world.attempts[name] = replace(attempt, standing=standing)

    def _note(self, done: StepDone, name: str) -> None:
        attempt = self._world.attempts[name]
        others = [each for each in attempt.steps if (each.phase, each.number) != (done.phase, done.number)]
        steps = sorted([*others, done], key=lambda each: (PHASES.index(each.phase), each.number))
        self._world.attempts[name] = replace(attempt, steps=tuple(steps))
