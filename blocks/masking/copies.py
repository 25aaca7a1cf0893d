"""What marks a database as a copy: only such a one is ever masked.

The mark is set by whoever has just restored it, and names the server and the database that it is valid in. A backup of
a marked copy, or a database made from one, carries the mark along, and it is not valid there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.masking.expressions import FUNCTION, SCHEMA

ON = "the copy that is to be masked"
_TABLES = f"""
    create schema if not exists {SCHEMA};
    create table if not exists {SCHEMA}.mark (
        only_one boolean primary key default true check (only_one), entry text not null, run text not null,
        data_directory text not null, port int not null, database oid not null, marked_at timestamptz not null);
    create table if not exists {SCHEMA}.rules (only_one boolean primary key default true check (only_one),
        digest text not null);
    create table if not exists {SCHEMA}.done (name text primary key, rows bigint not null, at timestamptz not null);
    create table if not exists {SCHEMA}.seen (digest bytea primary key);
    """
_HERE = """
    select current_setting('data_directory'), current_setting('port')::int,
    (select oid from pg_database where datname = current_database())"""
_IN_USE = """
    select case when current_setting('archive_mode') <> 'off' then 'it archives its WAL' end,
    case when pg_is_in_recovery() then 'it is a standby' end,
    case when exists (select from pg_stat_replication) then 'standbys follow it' end,
    case when exists (select from pg_subscription) then 'it subscribes to another server' end"""


@contextmanager
def connected(address: str, state: str) -> Iterator[psycopg.Connection]:
    """Yield a connection in autocommit mode; what PostgreSQL raises becomes an error of ours, without its text.

    Args:
        address: of the copy.
        state: what is true if it fails in the middle.

    Raises:
        Retryable: the database does not answer, or stopped to.
        Refused: the role is no superuser.
        Unsafe: PostgreSQL refused something else.
    """
    try:
        with psycopg.connect(address, connect_timeout=10, autocommit=True) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise Retryable(
            f"the copy's database does not answer: {type(error).__name__}",
            on=ON,
            state=state,
            next_action="see whether its server runs and what its log says, then run this again",
        ) from None
    except psycopg.errors.InsufficientPrivilege:
        raise Refused(
            "the role lacks a right in the copy",
            on=ON,
            state=state,
            next_action="connect to the copy as its superuser: triggers have to rest while it is masked",
        ) from None
    except psycopg.Error as error:
        # Its text quotes rows. The names of tables and constraints do not.
        where = {"table": error.diag.table_name, "column": error.diag.column_name, "rule": error.diag.constraint_name}
        raise Unsafe(
            f"PostgreSQL refused while the copy was masked: {type(error).__name__}",
            on=ON,
            state=state,
            next_action="correct the rule, restore the copy afresh, then mask it",
            facts={name: value for name, value in where.items() if value},
        ) from None


def mark_copy(address: str, *, data_directory: Path | None, entry_id: str, run_id: str) -> None:
    """The database is marked as a copy that was restored from a backup just now. *Idempotent:* yes.

    Args:
        address: of the copy, as superuser.
        data_directory: folder that the caller has restored the server into; the server must be the one that runs
            there. None only where the caller has itself created this database in a server that was there before.
        entry_id: the catalogue's entry that it was restored from.
        run_id: the flow run that did it.

    Raises:
        Refused: another server answers at the address, or it archives, replicates or subscribes, as no copy does.
        Retryable: it does not answer.
    """
    with connected(address, "the database is not marked") as connection:
        here = connection.execute(_HERE).fetchone() or ("", 0, 0)
        if data_directory is not None and Path(here[0]).resolve() != data_directory.resolve():
            raise Refused(
                "another server than the restored one answers at the copy's address",
                on=ON,
                next_action="give the address of the server that was restored",
                facts={"its folder": here[0], "expected": data_directory},
            )
        _refuse_in_use(connection)
        connection.execute(_TABLES)
        connection.execute(FUNCTION)
        connection.execute(
            f"insert into {SCHEMA}.mark (entry, run, data_directory, port, database, marked_at) "  # noqa: S608
            "values (%s, %s, %s, %s, %s, now()) on conflict do nothing",
            [entry_id, run_id, *here],
        )


def refuse_unless_marked(connection: psycopg.Connection) -> None:
    """This database is marked as a copy, the mark is valid here, and it is used as nothing else.

    Raises:
        Refused: one of them is not so; it may be a source.
    """
    there = connection.execute("select to_regclass(%s) is not null", [f"{SCHEMA}.mark"]).fetchone()
    query = f"select data_directory, port, database from {SCHEMA}.mark"  # noqa: S608
    mark = connection.execute(query).fetchone() if there and there[0] else None
    if mark is None or mark != connection.execute(_HERE).fetchone():
        raise Refused(
            "this database is not marked as a copy" if mark is None else "the mark is that of another database",
            on=ON,
            next_action="mask only what a restore has made: the flow 'restore' marks it",
        )
    _refuse_in_use(connection)


def _refuse_in_use(connection: psycopg.Connection) -> None:
    found = [each for each in connection.execute(_IN_USE).fetchone() or () if each]
    if found:
        raise Refused(
            f"this server is no copy: {', '.join(found)}",
            on=ON,
            next_action="give the address of the copy; if it is one, end what was named, which would keep its data",
        )
