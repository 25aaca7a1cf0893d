"""Clients of two versions while a migration of declared operations goes through a real database, step by step."""

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql
from pydantic import TypeAdapter

from blocks.context import Context
from blocks.migrations.postgresql import PostgresqlMigrations
from blocks.postgresql import find_binaries
from blocks.secrets import Secrets
from tasks.common.migrations import Phase
from tasks.migration.catalogue import Catalogue
from tasks.migration.model import Check, Compiled, Limits, quoted
from tasks.migration.operations import AnyOperation, compile_operations
from tasks.migration.plan import Action, Begin, BeginUndo, EndPhase, EndUndo, Fill, Run, TakeBack, plan_apply, plan_undo
from tasks.migration.ports import Contended, Engine

RUN = "11111111-2222-3333-4444-555555555555"
LIMITS = Limits(settle_s=0.0)
_OPERATIONS: TypeAdapter[list[Any]] = TypeAdapter(list[AnyOperation])

Client = psycopg.Connection
Step = Callable[["Sides"], None]


@dataclass
class Sides:
    """One client of each version, and a third who looks at the tables as they are.

    Args:
        old: of the shape before.
        new: of the shape after.
        root: of neither.
    """

    old: Client
    new: Client
    root: Client


def rows(client: Client, query: str) -> list[tuple[Any, ...]]:
    """Return what a query returns."""
    return client.execute(query.encode()).fetchall()


def run_all(client: Client, statements: Sequence[str]) -> None:
    """The statements were run."""
    for each in statements:
        client.execute(each.encode())


def refused(client: Client, statement: str) -> str:
    """Return the SQLSTATE with which a statement is refused; fails where it is not."""
    try:
        client.execute(statement.encode())
    except psycopg.Error as error:
        return error.sqlstate or "none"
    raise AssertionError(f"it was taken: {statement}")


@dataclass
class Scenario:
    """A change of a schema, and what has to hold on the way.

    Args:
        name: of the scenario, as an identifier.
        before: the schema and its rows, as SQL.
        operations: as they stand in migration.yaml.
        old: statements that old clients may run at any time before cleanup, again and again; `{n}` is a number that
            was not used before.
        new: likewise of new clients, from the moment that their version is open, for good.
        during: what holds while both are there.
        after: what holds when only the new shape is left; `old` of the sides is then another new client.
        version: the schema that new clients name.
    """

    name: str
    before: str
    operations: str
    old: Sequence[str] = ()
    new: Sequence[str] = ()
    during: Step | None = None
    after: Step | None = None
    version: str = "v2"
    path: str = ""


@dataclass
class Place:
    """A database on its way.

    Args:
        address: of it.
        folder: for the driver.
        name: of the migration.
        version: the schema that new clients name.
    """

    address: str
    folder: Path
    name: str = "0002_change"
    version: str = "v2"
    path: str = ""
    notes: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    target: PostgresqlMigrations = field(init=False)

    def __post_init__(self) -> None:
        file = self.folder / f"address-{self.address.rpartition('/')[2]}"
        file.write_text(self.address)
        context = Context(base=self.folder, secrets=Secrets(self.folder))
        self.target = PostgresqlMigrations(PostgresqlMigrations.Settings(address=f"file:{file.name}"), context)

    def catalogue(self) -> Catalogue:
        return self.target.observe().catalogue

    def shape(self) -> Catalogue:
        """Return what is there, without what counts rows and bytes, and without the history's schema."""
        found = self.catalogue()
        relations = {
            key: replace(
                each, rows=0, size_bytes=0, indexes=tuple(replace(index, size_bytes=0) for index in each.indexes)
            )
            for key, each in found.relations.items()
        }
        return replace(found, relations=relations, schemas=found.schemas - {"slipway"})

    def compiled(self, operations: str) -> Compiled:
        wanted = _OPERATIONS.validate_python(yaml.safe_load(operations))
        made = compile_operations(self.name, wanted, self.version, self.catalogue(), self.older)
        self.notes = made.notes
        return Compiled(name=self.name, checksum="0" * 64, phases=made.phases, version=self.version, limits=LIMITS)

    def actions(self, compiled: Compiled, through: Phase) -> tuple[Action, ...]:
        return plan_apply(self.target.observe().attempt(compiled.name), compiled, through)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        with self.target.locked(RUN, 10.0) as engine:
            yield engine

    def apply(self, compiled: Compiled, through: Phase = Phase.CLEANUP) -> None:
        with self.engine() as engine:
            for action in self.actions(compiled, through):
                act(engine, action)

    def undo(self, compiled: Compiled, engine: Engine) -> None:
        for action in plan_undo(self.target.observe().attempt(compiled.name)):
            act(engine, action)

    def is_open(self) -> bool:
        return self.version in self.catalogue().schemas

    @contextmanager
    def client(self, path: str = "") -> Iterator[Client]:
        with psycopg.connect(self.address, autocommit=True) as connection:
            if path:
                connection.execute(f"SET search_path = {path}".encode())
            connection.execute("SET lock_timeout = '5s'")
            yield connection

    @contextmanager
    def sides(self, *, contracted: bool = False) -> Iterator[Sides]:
        new = self.path or self.version
        with self.client(new if contracted else "") as old, self.client(new) as fresh, self.client() as root:
            yield Sides(old, fresh, root)

    def dump(self) -> str:
        """Return the schema as pg_dump writes it, without the history's."""
        command = [str(find_binaries() / "pg_dump"), "--schema-only", "--exclude-schema=slipway", self.address]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        lines = [each for each in out.splitlines() if each and not each.startswith(("--", "\\"))]
        return "\n".join(lines)


def act(engine: Engine, action: Action) -> None:
    """One action is done; a lock that is not to be had is asked for again."""
    for _ in range(40):
        with suppress(Contended):
            _act(engine, action)
            return
    raise AssertionError(f"no lock: {action}")


def _act(engine: Engine, action: Action) -> None:
    match action:
        case Begin(compiled):
            engine.begin(compiled, "", RUN)
        case Run(at, step):
            engine.run(at, step, LIMITS, 60.0)
        case Fill(at, step):
            finished, sizes = engine.open_backfill(at, step).finished, chain([3] * 10, repeat(1000))
            # Small ones only at first: rows that clients add below the largest key would be more than they go over.
            while not finished:
                finished = engine.batch(at, step, next(sizes), LIMITS).finished
        case EndPhase(name, phase, _):
            engine.end_phase(name, phase)
        case BeginUndo(name, keep):
            engine.begin_undo(name, keep, RUN)
        case TakeBack(at, position, step):
            engine.undo(at, position, step, LIMITS)
        case EndUndo(name, keep):
            engine.end_undo(name, keep)


class Traffic:
    """A client that runs its statements again and again until it is told to stop, and remembers the first error."""

    def __init__(self, place: Place, statements: Sequence[str], path: str, first: int) -> None:
        self._place, self._statements, self._path, self._number = place, statements, path, first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.error: Exception | None = None
        self.rounds = 0

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert self.error is None, f"a client of {self._path or 'the old shape'} saw an error: {self.error}"

    def _work(self) -> None:
        try:
            with self._place.client(self._path) as client:
                while not self._stop.is_set() or not self.rounds:
                    self._number += 1
                    for each in self._statements:
                        client.execute(sql.SQL(each.replace("{n}", str(self._number))))
                    self.rounds += 1
        except Exception as error:
            self.error = error


def contents(client: Client, catalogue: Catalogue) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, as text."""
    found = {}
    for (schema, name), relation in sorted(catalogue.relations.items()):
        if relation.kind == "table":
            columns = ", ".join(f"{quoted(each.name)}::text" for each in relation.columns)
            found[f"{schema}.{name}"] = sorted(
                rows(client, f"SELECT {columns} FROM {quoted(schema)}.{quoted(name)}"), key=str
            )
    return found


def check(scenario: Scenario, database: Callable[[], str], folder: Path) -> Place:
    """The scenario holds: stopped and taken back after every step, then begun again and finished, under traffic."""
    place = prepared(scenario, database(), folder)
    before, shape = place.dump(), place.shape()
    compiled = place.compiled(scenario.operations)
    with place.client() as root, place.engine() as engine:
        original = contents(root, shape)
        steps = place.actions(compiled, Phase.VALIDATE)
        for count in [number for number, each in enumerate(steps, 1) if changes(each)]:
            for action in steps[:count]:
                act(engine, action)
            place.undo(compiled, engine)
            assert place.shape() == shape, f"taken back after {count} of {len(steps)} actions: {steps[count - 1]}"
            assert contents(root, shape) == original, f"rows differ after {count} actions: {steps[count - 1]}"
        assert place.dump() == before
        _keeps_what_old_clients_write(scenario, place, database(), steps, engine)
        assert place.dump() == before
        _finishes(scenario, place, steps, engine, compiled)
    return place


def changes(action: Action) -> bool:
    """Return whether a database is another one after an action than before."""
    return isinstance(action, Fill) or (isinstance(action, Run) and not isinstance(action.step, Check))


def prepared(scenario: Scenario, address: str, folder: Path) -> Place:
    """Return a database in the scenario's first shape."""
    place = Place(address, folder, version=scenario.version, path=scenario.path)
    with place.client() as root:
        root.execute(scenario.before.encode())
    return place


def _keeps_what_old_clients_write(
    scenario: Scenario, place: Place, other: str, steps: Sequence[Action], engine: Engine
) -> None:
    """What old clients wrote all the way through is there after an undo, as if there had been no migration."""
    control = prepared(scenario, other, place.folder)
    with place.client() as old, control.client() as alone:
        for count, action in enumerate(steps):
            act(engine, action)
            for statement in scenario.old:
                text = statement.replace("{n}", str(900 + count)).encode()
                old.execute(text)
                alone.execute(text)
        for action in plan_undo(place.target.observe().attempt(place.name)):
            act(engine, action)
        shape = control.catalogue()
        assert contents(old, shape) == contents(alone, shape)


def _finishes(scenario: Scenario, place: Place, steps: Sequence[Action], engine: Engine, compiled: Compiled) -> None:
    """Both sides are at work while it is begun again and finished; the old one until cleanup, the new one for good."""
    new_path = scenario.path or scenario.version
    todo = list(steps)
    with Traffic(place, scenario.old or ["SELECT 1"], "", 10_000) as old:
        while todo and not place.is_open():
            act(engine, todo.pop(0))
        with Traffic(place, scenario.new or ["SELECT 1"], new_path, 20_000) as new:
            for action in todo:
                act(engine, action)
            if scenario.during is not None:
                with place.sides() as sides:
                    scenario.during(sides)
            old.stop()
            for action in place.actions(compiled, Phase.CLEANUP):
                act(engine, action)
            new.stop()
    left = [each for each in place.dump().splitlines() if "_slipway_" in each]
    assert not left, f"something was left: {left}"
    if scenario.after is not None:
        with place.sides(contracted=True) as sides:
            scenario.after(sides)
