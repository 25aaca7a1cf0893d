"""A copy, masked: a transaction a table, in batches, resumed where it was interrupted, then searched for addresses."""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from blocks.masking.copies import ON, connected, refuse_unless_marked
from blocks.masking.facts import copy_facts
from blocks.masking.searching import search
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.masking import Masking, split
from tasks.masking.check import problems
from tasks.masking.expressions import ADDRESS, SCHEMA, expression, pads
from tasks.masking.model import CopyFacts, Masked, Survivor

_BATCH_ROWS = 10_000
_SHORTEST_KEY = 16
_STATE = "some tables of the copy may be masked and others not: nobody may use it"
_LOCK = 7_236_401_122
_PRIMARY = """
    select a.attname, format_type(a.atttypid, a.atttypmod) from pg_index i
    join unnest(i.indkey) with ordinality k(number, place) on true
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
    where i.indrelid = %s::regclass and i.indisprimary order by k.place"""
_VIEWS = """
    select c.oid::regclass::text from pg_class c where c.relkind = 'm' and c.relispopulated order by c.oid"""

Table = tuple[str, str]


def mask_copy(address: str, masking: Masking, key: str, say: Callable[[str], None] = lambda text: None) -> Masked:
    """The copy is masked, and no mail address is left in it but those that are allowed.

    Each table is masked in one transaction, so that it is masked as a whole or not at all; those that are done are
    on record in the copy. Triggers and foreign keys rest meanwhile. In the end materialized views are made again,
    masked tables are written afresh with their statistics, since dead rows and statistics hold the old values, and
    every column that can hold text is searched.

    *Idempotent:* yes; what is done already is not done again, and an interrupted call is carried on.

    Args:
        address: of the copy, as superuser.
        masking: the rules.
        key: the secret that `masking.key` stands for.
        say: is told what was done.

    Raises:
        Refused: it is not marked as a copy, the rules do not fit it (everything at once), or it was masked with other
            rules or another key before; nothing was changed.
        Retryable: the database does not answer, or another masking is at work.
        Unsafe: addresses are left, or PostgreSQL refused: nobody may use the copy.
    """
    began = time.monotonic()
    with connected(address, _STATE) as connection:
        refuse_unless_marked(connection)
        facts = _checked(connection, masking, key)
        _take_lock(connection)
        _settle_rules(connection, masking, key)
        connection.execute("set session_replication_role = replica")
        done_before = [row[0] for row in connection.execute(_ours("select name from {}.done order by 1"))]
        masked = {}
        for table, columns in _by_table(masking).items():
            if ".".join(table) not in done_before:
                masked[".".join(table)] = _mask_table(connection, table, columns, masking, facts, pads(key))
                say(f"masked {'.'.join(table)}: {masked['.'.join(table)]} rows")
        _write_afresh(connection, masking)
        survivors, searched = search(connection, masking, pads(key))
        say(f"searched {searched} columns for mail addresses")
    if survivors:
        raise _left(survivors)
    return Masked(masked, done_before, searched, time.monotonic() - began)


def check_masking(address: str, masking: Masking) -> tuple[str, ...]:
    """Return everything that stands against masking a database with these rules; nothing is changed. *Idempotent:* yes.

    The database need not be a copy, so that rules can be tried on the schema before a copy is made.

    Raises:
        Retryable, Refused: it does not answer, or its catalogue may not be read.
    """
    with connected(address, "nothing was changed") as connection:
        return problems(masking, copy_facts(connection, masking))


def _ours(text: LiteralString) -> sql.Composed:
    return sql.SQL(text).format(sql.Identifier(SCHEMA))


def _by_table(masking: Masking) -> Mapping[Table, list[str]]:
    found: dict[Table, list[str]] = {}
    for spot in sorted(masking.masking):
        schema, table, column = split(spot)
        found.setdefault((schema, table), []).append(column)
    return found


def _checked(connection: psycopg.Connection, masking: Masking, key: str) -> CopyFacts:
    facts = copy_facts(connection, masking)
    found = list(problems(masking, facts))
    if len(key) < _SHORTEST_KEY:
        found.append(f"the secret {masking.key} has fewer than {_SHORTEST_KEY} characters")
    if found:
        raise Refused(
            f"{len(found)} {'thing stands' if len(found) == 1 else 'things stand'} against masking this copy",
            on=ON,
            next_action="correct the masking file (docs/how-to/anonymised-staging.md), then run this again",
            facts={"problems": "\n".join(found)},
        )
    return facts


def _take_lock(connection: psycopg.Connection) -> None:
    (taken,) = connection.execute("select pg_try_advisory_lock(%s)", [_LOCK]).fetchone() or (False,)
    if not taken:
        raise Retryable("another masking of this copy is at work", on=ON, next_action="wait for its end")


def _settle_rules(connection: psycopg.Connection, masking: Masking, key: str) -> None:
    """The copy knows by which rules it is masked; they are not changed half way."""
    text = masking.model_dump_json(include={"masking"}) + hashlib.sha256(pads(key)["inner"]).hexdigest()
    digest = hashlib.sha256(text.encode()).hexdigest()
    connection.execute(_ours("insert into {}.rules (digest) values (%s) on conflict do nothing"), [digest])
    (there,) = connection.execute(_ours("select digest from {}.rules")).fetchone() or ("",)
    if there != digest:
        raise Refused(
            "masking of this copy has begun with other rules, or another key",
            on=ON,
            next_action="restore it afresh, then mask it",
        )


def _mask_table(
    connection: psycopg.Connection,
    table: Table,
    columns: list[str],
    masking: Masking,
    facts: CopyFacts,
    given: dict[str, bytes],
) -> int:
    """The table is masked as a whole; returns the number of its rows."""
    name = sql.Identifier(*table)
    rules = {split(spot): rule for spot, rule in masking.masking.items()}
    made = []
    for column in columns:
        quoted = sql.Identifier(column).as_string(connection).replace("%", "%%")
        made.append(f"{quoted} = {expression(rules[(*table, column)], quoted, facts.columns[(*table, column)].type)}")
    update = sql.SQL("update {} set ").format(name) + sql.SQL(", ".join(made))
    with connection.transaction():
        connection.execute(sql.SQL("lock table {} in share row exclusive mode").format(name))
        for column in columns:
            _remember(connection, name, sql.Identifier(column), given)
        rows = _in_batches(connection, name, columns, update, given)
        connection.execute(_ours("insert into {}.done values (%s, %s, now())"), [".".join(table), rows])
    return rows


def _remember(
    connection: psycopg.Connection, table: sql.Identifier, column: sql.Identifier, given: dict[str, bytes]
) -> None:
    """The copy knows the keyed hashes of the addresses that stood in a column, so that they are found elsewhere."""
    query = sql.SQL(
        "insert into {0}.seen select distinct {0}.keyed(lower(m[1]), %(inner)s, %(outer)s) from {1}, "
        "regexp_matches({2}::text, %(address)s, 'g') m where {2}::text like '%%@%%' on conflict do nothing"
    )
    connection.execute(query.format(sql.Identifier(SCHEMA), table, column), {**given, "address": ADDRESS})


def _in_batches(
    connection: psycopg.Connection,
    table: sql.Identifier,
    columns: list[str],
    update: sql.Composed,
    given: dict[str, bytes],
) -> int:
    """All rows are updated once: by ranges of the primary key, or at once where there is none that stays."""
    key = connection.execute(_PRIMARY, [table.as_string(connection)]).fetchall()
    if not key or {column for column, _ in key} & set(columns):
        return connection.execute(update, given).rowcount
    names = sql.SQL(", ").join(sql.Identifier(column) for column, _ in key)
    as_text = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column, _ in key)
    after: sql.Composable = sql.SQL("true")
    rows, last = 0, False
    while not last:
        query = sql.SQL("select {} from {} where {} order by {} limit 1 offset {}")
        found = connection.execute(query.format(as_text, table, after, names, sql.Literal(_BATCH_ROWS - 1))).fetchone()
        last = found is None
        upto = after if found is None else sql.SQL("{} and {}").format(after, _compared(names, "<=", found, key))
        rows += connection.execute(update + sql.SQL(" where ") + _escaped(connection, upto), given).rowcount
        if found is not None:
            after = _compared(names, ">", found, key)
    return rows


def _compared(names: sql.Composed, sign: str, values: Any, key: list[Any]) -> sql.Composed:
    typed = [
        sql.SQL("{}::" + kind).format(sql.Literal(value))  # the type comes from PostgreSQL's catalogue
        for value, (_, kind) in zip(values, key, strict=True)
    ]
    return sql.SQL("({}) " + sign + " ({})").format(names, sql.SQL(", ").join(typed))


def _escaped(connection: psycopg.Connection, part: sql.Composable) -> sql.SQL:
    return sql.SQL(part.as_string(connection).replace("%", "%%"))


def _write_afresh(connection: psycopg.Connection, masking: Masking) -> None:
    """No dead row, index or statistic of a masked table holds an old value, and no materialized view."""
    for view in [row[0] for row in connection.execute(_VIEWS)]:
        connection.execute(sql.SQL("refresh materialized view " + view))
        connection.execute(sql.SQL("vacuum (full, analyze) " + view))
    for table in _by_table(masking):
        connection.execute(sql.SQL("vacuum (full, analyze) {}").format(sql.Identifier(*table)))


def _left(survivors: list[Survivor]) -> Unsafe:
    lines = [f"{each.where}: {each.rows} rows, keys {', '.join(each.keys) or 'unknown'}" for each in survivors]
    return Unsafe(
        f"mail addresses are left in {len(survivors)} {'column' if len(survivors) == 1 else 'columns'} of the copy",
        on=ON,
        state="the tables that have rules are masked; nobody may use the copy",
        next_action="give these columns a rule, or allow the addresses that are nobody's ('allow_mail'); restore the "
        "copy afresh, then mask it",
        facts={"left": "\n".join(lines)},
    )
