"""YAML without surprises: lines, limits, and what is refused before anything is looked at."""

import pytest

from tasks.common.document import DEEPEST, LONGEST_TEXT, MOST_VALUES, read, scalar, show_place


def said(text: str) -> list[str]:
    return [f"{each.line}: {each}" for each in read(text).mistakes]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("22:22", "22:22"),
        ("0755", "0755"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("+1", "+1"),
        (".5", ".5"),
        (".nan", ".nan"),
        ("1e999", "1e999"),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("١٢", "١٢"),
    ],
)
def test_plain_value_is_a_number_or_truth_value_only_where_nobody_can_doubt_it(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quoted_value_is_always_text() -> None:
    assert read("a: '1'\nb: \"true\"\nc: ''\nd: |\n  7\n").data == {"a": "1", "b": "true", "c": "", "d": "7\n"}


def test_keys_are_always_text() -> None:
    assert read("on: 1\n22: 2\nnull: 3\n").data == {"on": 1, "22": 2, "null": 3}


def test_every_place_knows_its_line() -> None:
    document = read("a:\n  b:\n    - 1\n    - c: 2\n\n      d: >-\n        text\n")
    assert document.line(("a", "b", 0)) == 3
    assert document.line(("a", "b", 1, "c")) == 4
    assert document.line(("a", "b", 1, "d")) == 6
    assert document.line(("a", "b", 1, "missing")) == 4
    assert document.line(("missing",)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: c: d\n", "2: YAML: found a ':' where none can stand; expected quotes around text with ': ' in it"),
        ("a:\n\t- b\n", "2: YAML: found a character that no value can start with (a tab?); expected spaces"),
        ("a: 1\n---\nb: 2\n", "2: YAML: found a second document after '---'; expected one document a file"),
        ("a: 1\nb\nc: 2\n", "3: YAML: found a line without ':'; expected 'key: value'"),
        ("a: 'b\nc: 2\n", "3: YAML: found the end of the file inside quotes; expected closing quotes"),
        ("a:\n  - b\n c: 2\n", "3: YAML: found a line whose indent fits nothing above; expected keys of one mapping"),
        ("a: [b\nc: 2\n", "2: YAML: found a list or mapping in brackets that is not closed; expected the closing"),
        ("a: *b\n", "1: YAML: found an alias without its anchor; expected '&name' before '*name' refers to it"),
        ("a: @b\n", "1: YAML: found a character that no value can start with (a tab?); expected spaces, or quotes"),
        ("a: %b\n", "1: YAML: found a character that no value can start with (a tab?); expected spaces, or quotes"),
        ("a: 1\nb: \x07\n", "2: YAML: found the unprintable character"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', "2: YAML: found an escape or a version that stands for nothing; expected plain"),
        ("[" * 100_000, f"1: YAML: found more than {DEEPEST} levels; expected at most {DEEPEST} levels"),
        ("a" * (LONGEST_TEXT + 1), f"1: YAML: found {LONGEST_TEXT + 1} characters; expected at most {LONGEST_TEXT}"),
        ("a: 1\na: 2\n", "2: a: found the key a second time (first in line 1); expected it once"),
        ("? [a]\n: 1\n", "1: the file: found a key that is no text; expected text as the key"),
        ('"\\0": 1\n', "1: the file: found a key that is no text; expected text as the key"),
        ('a: "\\uD800"\n', "1: a: found a character that no text can hold; expected text"),
        (
            "a: &x {b: 1}\nc:\n  <<: *x\n",
            "3: c: found '<<', which would merge keys unseen; expected the keys themselves",
        ),
        (
            "a: !!python/object/apply:os.abort []\n",
            "1: a: found the tag 'tag:yaml.org,2002:python/object/apply:os.abort'",
        ),
        ("a: !!int '3'\n", "1: a: found the tag 'tag:yaml.org,2002:int'; expected plain values without tags"),
        ("a: &x\n  - *x\n", "1: a[0]: found an alias of something that it is a part of; expected values that end"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(text: str, expected: str) -> None:
    (found,) = said(text)
    assert found.startswith(expected)


def test_mistake_in_a_value_leaves_the_rest_readable() -> None:
    document = read("a: !!int 3\nb: 2\n")
    assert document.data == {"a": None, "b": 2}
    assert document.unreadable == {("a",)}


def test_first_of_two_equal_keys_stands() -> None:
    assert read("a: 1\na: 2\n").data == {"a": 1}


def test_aliases_may_be_used() -> None:
    assert read("a: &x [1, 2]\nb: *x\n").data == {"a": [1, 2], "b": [1, 2]}


def test_aliases_that_would_unfold_to_billions_of_values_are_refused_early() -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    found = said("\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]", *levels]))
    assert any(f"found more than {MOST_VALUES} values, aliases unfolded; expected fewer" in each for each in found)
    assert len(found) < 50


def test_aliases_that_would_unfold_to_more_levels_than_allowed_are_refused() -> None:
    levels = [f"a{n}: &a{n} [[*a{n - 1}]]" for n in range(1, 30)]
    assert any("levels, aliases unfolded" in each for each in said("\n".join(["a0: &a0 [x]", *levels])))


def test_unprintable_characters_of_keys_are_escaped() -> None:
    assert show_place(("env", "a\x1b[31mb", 3)) == "env.'a\\x1b[31mb'[3]"
    assert show_place(()) == "the file"
    assert len(show_place(("x" * 500,))) < 70
