"""The history of a database's migrations: tables of their own, in the schema `slipway`, made by themselves."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tasks.common.errors import Refused
from tasks.common.migrations import PHASES, MigrationState, Phase, Standing
from tasks.migration.catalogue import Attempt, StepDone
from tasks.migration.model import Compiled

VERSION = 2
"""Of the tables below; a newer one is left alone."""
SCHEMA = "slipway"

_BOOTSTRAP = """
create schema if not exists slipway;
create table slipway.migration_store (
    version int primary key,
    made_at timestamptz not null default now()
);
create table slipway.migrations (
    id bigint generated always as identity primary key,
    name text not null,
    attempt int not null,
    checksum text not null,
    state text not null check (state in ('under way', 'undoing', 'applied', 'failed', 'undone')),
    done text,
    version text not null,
    no_return text,
    past_return boolean not null default false,
    compiled jsonb not null,
    rollback text not null,
    backup text not null,
    accepted text not null default '',
    run_id text not null,
    problem text not null default '',
    began_at timestamptz not null default now(),
    changed_at timestamptz not null default now(),
    ended_at timestamptz,
    unique (name, attempt)
);
create unique index migrations_in_force on slipway.migrations (name) where state <> 'undone';
create table slipway.migration_steps (
    migration bigint not null references slipway.migrations,
    phase text not null,
    number int not null,
    what text not null,
    state text not null check (state in ('begun', 'done')),
    undone int not null default 0,
    rows bigint not null default 0,
    over bigint not null default 0,
    seconds double precision not null default 0,
    began_at timestamptz not null default now(),
    ended_at timestamptz,
    run_id text not null,
    filling jsonb,
    cursor text[],
    primary key (migration, phase, number)
);
create table slipway.migration_batches (
    migration bigint not null,
    phase text not null,
    step int not null,
    number bigint not null,
    upto text[] not null,
    size int not null,
    over bigint not null,
    changed bigint not null,
    seconds double precision not null,
    at timestamptz not null default clock_timestamp(),
    run_id text not null,
    primary key (migration, phase, step, number),
    foreign key (migration, phase, step) references slipway.migration_steps (migration, phase, number)
);
"""
_UPGRADES = {2: "alter table slipway.migrations add column accepted text not null default ''"}
"""What brings the tables of the version before to a version."""
_ATTEMPTS = """
select * from slipway.migrations where state <> 'undone' order by name collate "C"
"""
_STEPS = """
select s.* from slipway.migration_steps s join slipway.migrations m on m.id = s.migration where m.state <> 'undone'
"""


def version(connection: psycopg.Connection) -> int:
    """Return the version of the history's tables; 0 where there are none."""
    row = connection.execute("select to_regclass('slipway.migration_store') is not null").fetchone()
    if row != (True,):
        return 0
    found = connection.execute("select max(version) from slipway.migration_store").fetchone()
    return int(found[0]) if found and found[0] is not None else 0


def require_known(found: int, on: str, known: int = VERSION) -> None:
    """The history is not of a newer version.

    Args:
        found: its version.
        on: what errors call the database.
        known: the newest one that can be read.

    Raises:
        Refused: it is.
    """
    if found > known:
        raise Refused(
            "the history of migrations was written by a newer Slipway",
            on=on,
            next_action="run that version, or a newer one",
            facts={"version of the history": found, "known here": known},
        )


def prepare(connection: psycopg.Connection, on: str) -> None:
    """The history's tables are there, of this version; made in one transaction. *Idempotent:* yes.

    Args:
        connection: of the engine that holds the mutex.
        on: what errors call the database.

    Raises:
        Refused: they are of a newer version.
        psycopg.Error: the role may not make them.
    """
    with connection.transaction():
        found = version(connection)
        require_known(found, on)
        if found == 0:
            connection.execute(_BOOTSTRAP)
        for each in range(found + 1, VERSION + 1) if found else ():
            connection.execute(_UPGRADES[each].encode())
        if found < VERSION:
            connection.execute("insert into slipway.migration_store (version) values (%s)", [VERSION])


def attempts(connection: psycopg.Connection, on: str) -> tuple[Attempt, ...]:
    """Return the newest attempt at each migration that was not undone, in the order of names."""
    found = version(connection)
    require_known(found, on)
    if found == 0:
        return ()
    with connection.cursor(row_factory=dict_row) as cursor:
        steps: dict[int, list[StepDone]] = {}
        for row in cursor.execute(_STEPS).fetchall():
            steps.setdefault(row["migration"], []).append(_step(row))
        rows = cursor.execute(_ATTEMPTS).fetchall()
    return tuple(_attempt(row, tuple(steps.get(row["id"], ()))) for row in rows)


def add(connection: psycopg.Connection, compiled: Compiled, backup: str, run_id: str) -> None:
    """The migration is on record as under way, as a new attempt."""
    connection.execute(
        """
        insert into slipway.migrations
            (name, attempt, checksum, state, version, no_return, compiled, rollback, backup, run_id)
        select %(name)s, coalesce(max(attempt), 0) + 1, %(checksum)s, 'under way', %(version)s, %(no_return)s,
               %(compiled)s, %(rollback)s, %(backup)s, %(run_id)s
          from slipway.migrations where name = %(name)s
        """,
        {
            "name": compiled.name,
            "checksum": compiled.checksum,
            "version": compiled.version,
            "no_return": compiled.no_return,
            "compiled": Jsonb(compiled.model_dump(mode="json", by_alias=True)),
            "rollback": rollback_script(compiled),
            "backup": backup,
            "run_id": run_id,
        },
    )


def rollback_script(compiled: Compiled) -> str:
    """Return what takes the migration back, for people: the undo of each step, the last one first (MIG-2)."""
    lines = []
    for phase, number, step in reversed(list(compiled.all_steps())):
        if not compiled.can_undo(phase):
            lines.append(f"-- {phase}, step {number + 1}: past the point of no return")
        elif step.undo is None:
            lines.append(f"-- {phase}, step {number + 1}: nothing takes it back: {step.what}")
        for each in step.undo or ():
            told = getattr(each, "statements", None) or (f"-- {each.kind}: {each.what}",)
            lines += [one if one.startswith("--") else f"{one};" for one in told]
    return "\n".join(lines)


def _attempt(row: Mapping[str, Any], steps: tuple[StepDone, ...]) -> Attempt:
    standing = Standing(
        name=row["name"],
        state=MigrationState(row["state"]),
        done=Phase(row["done"]) if row["done"] else None,
        version=row["version"],
        no_return=Phase(row["no_return"]) if row["no_return"] else None,
        past_return=row["past_return"],
        began_at=row["began_at"],
        ended_at=row["ended_at"],
        backup=row["backup"],
        run_id=row["run_id"],
        # A history of version 1 has none: who only looks changes no table.
        accepted=row.get("accepted", ""),
    )
    ordered = sorted(steps, key=lambda each: (PHASES.index(each.phase), each.number))
    return Attempt(standing, Compiled.model_validate(row["compiled"]), tuple(ordered), row["problem"])


def _step(row: Mapping[str, Any]) -> StepDone:
    return StepDone(
        phase=Phase(row["phase"]),
        number=row["number"],
        state=row["state"],
        undone=row["undone"],
        began_at=row["began_at"],
        ended_at=row["ended_at"],
        seconds=row["seconds"],
        rows=row["rows"],
    )
