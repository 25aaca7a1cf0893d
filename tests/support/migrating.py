"""A migration's folder as text, and its way through a real database without Prefect."""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from blocks.context import Context
from blocks.migrations.postgresql import PostgresqlMigrations
from blocks.postgresql import find_binaries
from blocks.secrets import Secrets
from tasks.common.migrations import Phase
from tasks.migration.catalogue import Attempt
from tasks.migration.conduct import Conductor, Progress
from tasks.migration.files import Written, load_migrations
from tasks.migration.health import HealthLimits
from tasks.migration.plan import Action, plan_apply, plan_undo
from tasks.migration.ports import Engine, MigrationTarget

RUN = "11111111-2222-3333-4444-555555555555"
NAMES = {
    "0001_full_name/migration.yaml": """
description: one column for the whole name
settle: 0s
backfill:
  - table: customer
    set:
      full_name: first || ' ' || last
    where: full_name is null
    pause: 0s
""",
    "0001_full_name/prepare.sql": """
alter table customer add column full_name text;
alter table customer add constraint named check (full_name is not null) not valid;
create index concurrently customer_full_name on customer (full_name);
""",
    "0001_full_name/prepare.undo.sql": """
drop index concurrently if exists customer_full_name;
alter table customer drop column if exists full_name;
""",
    "0001_full_name/execute.undo.sql": "-- the column goes with prepare\n",
    "0001_full_name/validate.sql": """
-- customers whose name is not made of its parts
select id from customer where full_name <> first || ' ' || last;
alter table customer validate constraint named;
""",
    "0001_full_name/cleanup.sql": "alter table customer drop column first, drop column last;\n",
}
CUSTOMERS = """
create table customer (id int primary key, first text not null, last text not null);
insert into customer select n, 'first' || n, 'last' || n from generate_series(1, {rows}) n;
analyze customer;
"""


def changed(files: Mapping[str, str], **texts: str | None) -> dict[str, str]:
    """Return the files with some texts of the first migration replaced, added or (None) left out.

    Names are given with '__' for '.': prepare__sql.
    """
    folder = next(iter(files)).partition("/")[0]
    found = dict(files)
    for name, text in texts.items():
        path = f"{folder}/{name.replace('__', '.')}"
        if text is None:
            found.pop(path)
        else:
            found[path] = text
    return found


def fill(address: str, script: str) -> None:
    """The statements were run."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(script.encode())


def rows(address: str, query: str) -> list[tuple[object, ...]]:
    """Return what a query returns."""
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def target_of(address: str, folder: Path, **settings: object) -> PostgresqlMigrations:
    """Return the driver of a database."""
    file = folder / "address"
    file.write_text(address)
    context = Context(base=folder, secrets=Secrets(folder))
    return PostgresqlMigrations(PostgresqlMigrations.Settings(address="file:address", **settings), context)  # type: ignore[arg-type]


class Stopped(Exception):
    """A test ends the work here."""


@dataclass
class Way:
    """Migrations on their way through a database.

    Args:
        target: the database.
        written: the migrations.
    """

    target: MigrationTarget
    written: tuple[Written, ...]
    said: list[str] = field(default_factory=list)
    shown: list[Progress] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    health: HealthLimits = field(default_factory=lambda: HealthLimits(autovacuum=False))

    def attempt(self, name: str = "") -> Attempt | None:
        return self.target.observe().attempt(name or self.written[0].name)

    def plan(self, through: Phase, name: str = "") -> tuple[Action, ...]:
        return plan_apply(self.attempt(name), self._of(name).compiled(), through)

    def apply(self, through: Phase = Phase.VALIDATE, name: str = "", stop_after: int | None = None) -> int:
        """Return how many actions were done; after `stop_after` of them the work stops, as if it were killed."""
        with self.target.locked(RUN, 10.0) as engine:
            return self._do(engine, self.plan(through, name), stop_after)

    def undo(self, name: str = "", stop_after: int | None = None, keep: Phase | None = None) -> int:
        with self.target.locked(RUN, 10.0) as engine:
            return self._do(engine, plan_undo(self.attempt(name), keep), stop_after)

    def _do(self, engine: Engine, actions: tuple[Action, ...], stop_after: int | None) -> int:
        limits = self.written[0].compiled().limits
        conductor = self.conductor(engine)
        for number, action in enumerate(actions):
            if number == stop_after:
                raise Stopped
            name = getattr(action, "name", None) or getattr(getattr(action, "at", None), "name", "")
            conductor.do(action, limits, self.attempt(name))
        return len(actions)

    def conductor(self, engine: Engine, show: Callable[[Progress], None] | None = None) -> Conductor:
        return Conductor(
            engine,
            self.target,
            say=self.said.append,
            wait=self.waits.append,
            chance=lambda: 0.5,
            health=self.health,
            show=show or self.shown.append,
            run_id=RUN,
        )

    def _of(self, name: str) -> Written:
        return next(each for each in self.written if name in ("", each.name))


def way(address: str, folder: Path, files: Mapping[str, str] = NAMES, **settings: object) -> Way:
    """Return the way of the files through a database."""
    return Way(target_of(address, folder, **settings), load_migrations(files, "migrations"))


def schema_of(address: str) -> str:
    """Return the schema as pg_dump writes it, without the history's own, comments and its random keys."""
    command = [str(find_binaries() / "pg_dump"), "--schema-only", "--exclude-schema=slipway", f"--dbname={address}"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = (line for line in out.splitlines() if line and not line.startswith(("--", "\\restrict", "\\unrestrict")))
    return "\n".join(lines)


def data_of(address: str, table: str = "customer") -> list[tuple[object, ...]]:
    """Return all rows of a table, by its first column."""
    return rows(address, f"select * from {table} order by 1")
