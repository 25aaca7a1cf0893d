"""Statements that do not belong into their phase are found, and others are not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.migration.catalogue import Catalogue, Relation
from tasks.migration.files import load_migrations, read_migrations
from tasks.migration.lint import Finding, lint, of_mistakes, parts, sized
from tasks.migration.sql import BadSql, statements
from tests.support.migrating import NAMES, changed

_COLUMN = "alter table customer add column full_name text;"
_SOUND = changed(
    NAMES, prepare__sql=_COLUMN, validate__sql="-- unnamed\nselect id from customer where full_name is null;"
)


def _found(**texts: str | None) -> tuple[Finding, ...]:
    (written,) = load_migrations(changed(_SOUND, **texts), "migrations")
    return lint(written)


def _rules(**texts: str | None) -> list[tuple[str, int, str]]:
    return [(each.path, each.line, each.rule) for each in _found(**texts)]


def test_sound_migration_has_no_finding() -> None:
    assert _rules() == []


_DESTROYS = [
    "alter table customer drop column first",
    "alter table customer drop first",
    "alter table only public.customer add column x int, drop if exists first cascade",
    "alter table customer rename to client",
    "alter table customer rename column first to f",
    "alter table customer alter column id type bigint",
    "alter table customer alter id set data type bigint using id::bigint",
    "alter table customer set schema old",
    "alter table customer detach partition customer_2020",
    "alter type mood rename value 'sad' to 'blue'",
    "alter type address drop attribute street",
    "alter view customers set schema old",
    "drop table customer",
    "drop view customers",
    "drop function f()",
    "truncate customer",
]
_REFUSES = [
    "alter table customer add column kind text not null",
    'alter table customer add if not exists kind text collate "C" not null',
    "alter table customer add column x int, add column kind int primary key",
    "alter table customer alter column first set not null",
    "alter table customer alter first drop default",
    f"{_COLUMN.rstrip(';')}, add constraint named check (full_name is not null) not valid",
    "alter table customer add column kind text check (kind is not null)",
]
_ROWS = [
    "update customer set first = ''",
    "delete from customer",
    "merge into customer using other on true when matched then delete",
    "with gone as (delete from customer returning *) select 1",
    "do $x$ begin update customer set first = ''; end $x$",
    "insert into people (id) select id from customer",
]


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        *((each, "destroys-before-cleanup") for each in _DESTROYS),
        *((each, "refuses-old-writes") for each in _REFUSES),
        *((each, "rows-in-one-transaction") for each in _ROWS),
        ("revoke all on customer from campus", "takes-rights-before-cleanup"),
        ("alter table customer enable row level security", "takes-rights-before-cleanup"),
    ],
)
def test_what_breaks_running_code_or_holds_up_users_is_found_in_prepare(statement: str, rule: str) -> None:
    assert _rules(prepare__sql=f"\n{statement};") == [("0001_full_name/prepare.sql", 2, rule)]


@pytest.mark.parametrize(
    "statement",
    [
        "alter table customer add column kind text",
        "alter table customer add column kind text not null default ''",
        "alter table customer add column n bigint generated always as identity",
        "alter table customer add column n bigserial",
        "alter table customer add column type text",
        "alter table customer add check (first is not null) not valid",
        "alter table customer add constraint u unique using index i",
        "alter table customer drop constraint if exists old",
        "alter index i rename to j",
        "create index concurrently i on customer (first)",
        "comment on table customer is 'drop table'",
        "alter table customer alter first drop not null",
        "create function f() returns trigger language plpgsql as $$ begin update customer set first = ''; end $$",
        "create trigger t before insert or update on customer for each row execute function f()",
        "do $$ begin perform 1 from customer for update; end $$",
        "insert into kind (name) values ('a') on conflict (name) do update set name = 'a'",
    ],
)
def test_what_only_adds_is_let_through(statement: str) -> None:
    assert _rules(prepare__sql=statement) == []


def test_rule_about_a_new_column_is_let_through_where_a_trigger_fills_it() -> None:
    trigger = "create or replace trigger t before insert on customer for each row execute function f();"
    rule = "alter table customer add check (full_name is not null) not valid;"
    assert _rules(prepare__sql=_COLUMN + trigger + rule) == []
    assert [each[2] for each in _rules(prepare__sql=_COLUMN + rule)] == ["refuses-old-writes"]


@pytest.mark.parametrize("statement", [*_DESTROYS, "alter table customer alter column full_name set not null"])
def test_cleanup_may_destroy(statement: str) -> None:
    assert _rules(cleanup__sql=statement) == []


@pytest.mark.parametrize("statement", _ROWS)
def test_rows_are_not_changed_beside_the_ddl_of_cleanup_either(statement: str) -> None:
    assert [each[2] for each in _rules(cleanup__sql=statement)] == ["rows-in-one-transaction"]


def test_execute_may_copy_rows_and_not_change_them_in_one_transaction() -> None:
    assert _rules(execute__sql="insert into people (id) select id from customer;") == []
    assert [each[2] for each in _rules(execute__sql="update customer set first = '';")] == ["rows-in-one-transaction"]


def test_undo_that_says_nothing_is_found_and_a_comment_is_something() -> None:
    assert _rules(prepare__undo__sql="  \n") == [("0001_full_name/prepare.undo.sql", 1, "undo-missing")]
    assert _rules(execute__undo__sql="") == [("0001_full_name/execute.undo.sql", 1, "undo-missing")]
    assert _rules(prepare__undo__sql="-- the column does no harm\n") == []


def test_files_that_cannot_be_read_are_findings_and_a_missing_undo_has_its_rule() -> None:
    files = changed(_SOUND, prepare__undo__sql=None, cleanup__sql="drop table 'x")
    written, mistakes = read_migrations(files)
    found = [(each.path, each.rule, each.level) for each in of_mistakes(mistakes, files)]
    assert (written, sorted(found)) == (
        (),
        [
            ("0001_full_name/cleanup.sql", "mistake", "error"),
            ("0001_full_name/prepare.undo.sql", "undo-missing", "error"),
        ],
    )


_BY_HAND = """\
description: by hand
operations:
  - operation: drop table
    table: old
  - operation: raw sql
    run: |
      drop table customer;
  - operation: raw sql
    run: drop table other
    when: cleanup
"""


def test_sql_by_hand_among_operations_is_looked_at_and_stands_where_its_operation_does() -> None:
    (written,) = load_migrations({"0001_x/migration.yaml": _BY_HAND}, "migrations")
    found = [(each.path, each.line, each.rule, each.level) for each in lint(written)]
    assert found == [
        ("0001_x/migration.yaml", 5, "destroys-before-cleanup", "error"),
        ("0001_x/migration.yaml", 5, "undo-missing", "warning"),
    ]
    assert [(part.phase, part.line) for part in parts(written)] == [("prepare", 5), ("cleanup", 8)]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("alter table customer drop column first", "(customer: about 3,000 rows, 2.0 MiB with its indexes)"),
        ("delete from only app.customer", "(customer: about 7 rows, 0.0 MiB with its indexes)"),
        ("drop table nobody", ""),
        ("drop view customer", ""),
    ],
)
def test_finding_tells_how_large_its_table_is_where_a_database_is_known(statement: str, told: str) -> None:
    relations = [Relation("public", "customer", "table", rows=3000, size_bytes=2**21)]
    relations.append(Relation("app", "customer", "table", rows=7, size_bytes=1))
    catalogue = Catalogue(150000, {(each.schema, each.name): each for each in relations})
    found = _found(prepare__sql=f"{statement};")
    (larger,) = sized(found, catalogue)
    assert larger.message == f"{found[0].message} {told}".rstrip()


_WORDS = sorted(
    {
        word
        for each in [*_DESTROYS, *_REFUSES, *_ROWS, "(", ")", "[", ";", ",", "as", "foreign"]
        for word in each.split()
    }
)


@given(st.lists(st.sampled_from(_WORDS), max_size=9).map(" ".join))
def test_no_order_of_words_makes_it_fail(text: str) -> None:
    try:
        statements(text)
    except BadSql:
        return
    (written,) = load_migrations(_SOUND, "migrations")
    for path in ("prepare.sql", "execute.sql", "cleanup.sql"):
        lint(replace(written, sql={**written.sql, path: text}))
