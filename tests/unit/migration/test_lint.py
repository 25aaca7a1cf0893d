"""Statements that do not belong into their phase are found, and others are not."""

import pytest

from tasks.migration.files import load_migrations
from tasks.migration.lint import lint
from tests.support.migrating import NAMES, changed


def _rules(**texts: str | None) -> list[tuple[str, int, str]]:
    (written,) = load_migrations(changed(NAMES, **texts), "migrations")
    return [(each.path, each.line, each.rule) for each in lint(written)]


def test_sound_migration_has_no_finding() -> None:
    assert _rules() == []


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("alter table customer drop column first", "destroys-before-cleanup"),
        ("drop table customer", "destroys-before-cleanup"),
        ("truncate customer", "destroys-before-cleanup"),
        ("alter table customer rename to client", "destroys-before-cleanup"),
        ("alter table customer rename column first to f", "destroys-before-cleanup"),
        ("alter table customer alter column id type bigint", "destroys-before-cleanup"),
        ("update customer set first = ''", "rows-in-one-transaction"),
        ("create index i on customer (first)", "index-blocks-writers"),
        ("create unique index i on customer (first)", "index-blocks-writers"),
        ("alter table customer add check (first <> '')", "constraint-scans-under-lock"),
        ("alter table customer add foreign key (id) references other", "constraint-scans-under-lock"),
        ("alter table customer add unique (first)", "unique-builds-under-lock"),
    ],
)
def test_what_breaks_running_code_or_holds_up_users_is_found_in_prepare(statement: str, rule: str) -> None:
    assert _rules(prepare__sql=f"\n{statement};") == [("0001_full_name/prepare.sql", 2, rule)]


@pytest.mark.parametrize(
    "statement",
    [
        "alter table customer add column kind text",
        "alter table customer add check (first <> '') not valid",
        "create index concurrently i on customer (first)",
        "alter table customer add constraint u unique using index i",
        "comment on table customer is 'drop table'",
        "alter table customer alter first drop not null",
    ],
)
def test_what_only_adds_is_let_through(statement: str) -> None:
    assert _rules(prepare__sql=statement) == []


def test_what_holds_up_users_of_a_table_holds_up_nobody_where_the_file_makes_it() -> None:
    made = "create table if not exists fresh (id int);\n"
    rest = "create index i on fresh (id);\nalter table fresh add foreign key (id) references customer (id);"
    assert _rules(prepare__sql=made + rest) == []
    assert [each[1:] for each in _rules(prepare__sql=rest + made)] == [
        (1, "index-blocks-writers"),
        (2, "constraint-scans-under-lock"),
    ]
    other = "create table fresh (id int);\ncreate index i on billing.fresh (id);\ndrop table customer;"
    assert [each[1:] for each in _rules(prepare__sql=other)] == [
        (2, "index-blocks-writers"),
        (3, "destroys-before-cleanup"),
    ]
