"""SQL is split, and its checksum made, as PostgreSQL reads it."""

import pytest

from tasks.migration.normalise import checksum
from tasks.migration.sql import BadSql, Kind, statements, tokens


def _texts(text: str) -> list[str]:
    return [each.text for each in statements(text)]


def _same(one: str, other: str) -> bool:
    return checksum({}, {"prepare.sql": one}) == checksum({}, {"prepare.sql": other})


_KEPT_WHOLE = [
    "select 'a;b'",
    "select 'it''s;'",
    r"select E'it\'s;'",
    r"select 'backslash\'",
    'select ";"',
    'select "a"";"',
    "select $$a;b$$",
    "select $tag$a;$$;b$tag$",
    "select $ä$;$ä$",
    "select U&'d\\0061t;' uescape '!'",
    'select U&";"',
    "select b'1;', x'f;', n';'",
    "select 1 /* ; /* ; */ ; */ + 2",
    "select 1 -- ;\n + 2",
    "create rule r as on insert to t do also (insert into a values (1); insert into b values (2))",
    "create function f() returns int begin atomic select 1; select case when true then 1 end; end",
    "create function f() returns int language sql as 'select 1; select 2'",
    "do $do$ begin perform 1; end $do$",
    "select a$b$c from t$1",
]


@pytest.mark.parametrize("text", _KEPT_WHOLE)
def test_semicolon_within_something_ends_no_statement(text: str) -> None:
    assert _texts(f"{text};\nselect 2;") == [text, "select 2"]


def test_statements_know_their_line_and_the_comment_before() -> None:
    found = statements("-- names\n-- that are missing\n\nselect 1;\n/* other */ select\n2; ;\n-- no more\n")
    assert [(each.line, each.remark) for each in found] == [(4, "names that are missing"), (5, "other")]


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("select\n'a", 2, "a text in quotes that is not closed"),
        ('select "a', 1, "a name in quotes that is not closed"),
        ("select 1 /* /* */", 1, "a comment that is not closed"),
        ("\n\nselect $a$ $b$", 3, "a text after $a$ that is not closed"),
        ("\\set x 1", 1, "a command of psql, or a lone backslash"),
        ("select $", 1, "a lone $"),
        (r"select E'\'", 1, "a text in quotes that is not closed"),
    ],
)
def test_what_is_not_closed_is_told_with_the_line_where_it_began(text: str, line: int, found: str) -> None:
    with pytest.raises(BadSql) as error:
        statements(text)
    assert (error.value.line, error.value.found) == (line, found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=-1", ["a", "=", "-", "1"]),
        ("a@-1", ["a", "@-", "1"]),
        ("a<>b", ["a", "<>", "b"]),
        ("1..10", ["1", "..", "10"]),
        ("1.5e-3+.5", ["1.5e-3", "+", ".5"]),
        ("a::text", ["a", "::", "text"]),
        ("$1+$2", ["$1", "+", "$2"]),
        ("a*/*x*/b", ["a", "*", "/*x*/", "b"]),
        ("ärger_1$x", ["ärger_1$x"]),
    ],
)
def test_tokens_are_cut_as_postgresql_cuts_them(text: str, expected: list[str]) -> None:
    assert [token.text for token in tokens(text)] == expected


def test_names_lose_their_quotes_and_unquoted_ones_their_case() -> None:
    found = list(tokens('Customer "Full ""Name"""'))
    assert [(token.kind, token.name) for token in found] == [(Kind.WORD, "customer"), (Kind.QUOTED, 'Full "Name"')]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select 1", "select 1;"),
        ("select  a,b", "select a , b\n"),
        ("select 1 -- why", "-- header\nselect /* a /* b */ c */ 1"),
        ("select a.b", "select a . b"),
        ("select 1;select 2", "select 1;\n\n;select 2;"),
        ("select a+b", "select a + b"),
    ],
)
def test_comments_and_white_space_do_not_count(one: str, other: str) -> None:
    assert _same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select 'a b'", "select 'a  b'"),
        ("select '-- a'", "select '-- b'"),
        ("select '/* a */'", "select ''"),
        ("select $$a b$$", "select $$a  b$$"),
        ("select $$ -- a\n$$", "select $$ -- b\n$$"),
        ('select "a b"', 'select "a  b"'),
        ('select "A"', 'select "a"'),
        (r"select E'\\ a'", r"select E'\\  a'"),
        ("select E'a'", "select E 'a'"),
        ("select a - -b", "select a --b"),
        ("select a > = b", "select a >= b"),
        ("select ab", "select a b"),
        ("select 1; select 2", "select 2; select 1"),
        ("select 1", ""),
        ("select 'A'", "select 'a'"),
    ],
)
def test_what_changes_the_meaning_counts(one: str, other: str) -> None:
    assert not _same(one, other)


def test_file_that_is_there_counts_also_when_it_is_empty_and_so_do_settings() -> None:
    bare = checksum({}, {})
    assert bare != checksum({}, {"prepare.sql": ""})
    assert bare != checksum({"version": "new"}, {})
    assert checksum({}, {"a.sql": "select 1"}) != checksum({}, {"b.sql": "select 1"})
