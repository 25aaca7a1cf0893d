"""What the checking programs print, and digests of definitions."""

import pytest

from tasks.verification.fingerprint import differences, fingerprint
from tasks.verification.reading import SHOWN, read_amcheck, read_checksums, without_contents

SOUND = ["Checksum operation completed", "Files scanned:   948", "Blocks scanned:  2867", "Bad checksums:  0"]
BAD = (
    'pg_checksums: error: checksum verification failed in file "/c/base/5/1259", block {}: calculated checksum 1 but '
    "block contains 2"
)


def test_sound_pages_are_counted() -> None:
    found = read_checksums(SOUND, 0)
    assert (found.problems, found.count, found.looked_at["blocks scanned"]) == ((), 0, 2867)


def test_bad_pages_are_named_the_first_ones_of_many() -> None:
    found = read_checksums([*(BAD.format(block) for block in range(50)), "Blocks scanned: 60", "Bad checksums: 50"], 1)
    assert (found.count, len(found.problems), found.problems[0]) == (50, SHOWN, "/c/base/5/1259: block 0")


@pytest.mark.parametrize("lines", [[], ["Blocks scanned:  0"], ["pg_checksums: error: cluster must be shut down"]])
def test_program_that_has_looked_at_nothing_finds_a_problem(lines: list[str]) -> None:
    assert read_checksums(lines, 0 if "error" not in "".join(lines) else 1).count == 1


def test_amcheck_names_the_place_with_what_is_wrong_there() -> None:
    lines = [
        'btree index "db.public.i":',
        '    ERROR:  heap tuple (0,9) from table "t" lacks matching index tuple within index "i"',
        'heap table "db.public.t", block 3, offset 1:',
        "    xmin 7 precedes relation freeze threshold",
    ]
    found = read_amcheck(lines, 2)
    assert found.count == 2
    assert found.problems[0].startswith('btree index "db.public.i": ERROR:  heap tuple (0,9)')
    assert found.problems[1] == 'heap table "db.public.t", block 3, offset 1: xmin 7 precedes relation freeze threshold'


def test_amcheck_that_fails_without_a_word_finds_a_problem() -> None:
    assert read_amcheck([], 0).count == 0
    assert read_amcheck([], 1).problems == ("pg_amcheck ended with exit code 1",)
    assert read_amcheck(["pg_amcheck: error: connection to server failed"], 1).count == 1


def test_lines_that_may_quote_a_row_are_not_shown() -> None:
    lines = [
        'pg_restore: error: COPY failed for table "t": ERROR:  invalid input syntax for type integer: "secret"',
        'CONTEXT:  COPY t, line 1, column id: "secret"',
        "DETAIL:  Key (mail)=(secret) is duplicated.",
        "pg_restore: error: could not close data file: corrupted",
    ]
    assert without_contents(lines) == "pg_restore: error: could not close data file: corrupted"


def same(kind: str, one: str, other: str) -> bool:
    return fingerprint([(kind, "x", one)]) == fingerprint([(kind, "x", other)])


def test_definition_that_only_has_other_brackets_and_casts_is_the_same() -> None:
    first = "CHECK (((state)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))"
    second = "CHECK (((state)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))"
    assert same("constraint", first, second)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("constraint", "CHECK ((a > 1))", "CHECK ((a > 2))"),
        ("constraint", "CHECK ((a = 'x y'::text))", "CHECK ((a = 'xy'::text))"),
        ("constraint", "CHECK ((a = '(x)'::text))", "CHECK ((a = 'x'::text))"),
        ("column", "integer t", "bigint t"),
        ("column", "numeric(5,2) f", "numeric(6,2) f"),
        ("function", "select (1)", "select 1"),
    ],
)
def test_definition_that_means_something_else_is_another(kind: str, one: str, other: str) -> None:
    assert not same(kind, one, other)


def test_differences_have_names() -> None:
    found = differences({"a": "1", "b": "1"}, {"b": "2", "c": "1"})
    assert (found.missing, found.additional, found.changed) == (("a",), ("c",), ("b",))
    assert not differences({"a": "1"}, {"a": "1"})
