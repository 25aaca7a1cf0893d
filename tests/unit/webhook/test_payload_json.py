"""JSON that two readers could take for different things is refused, and all other JSON is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.webhook.model import Malformed
from tasks.webhook.payload_json import DEEPEST, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(JSON, st.booleans())
def test_plain_json_is_read_as_it_was_written(value: object, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def test_levels_are_counted_and_what_is_at_the_bound_is_read() -> None:
    for opened, closed in (("[", "]"), ('{"a":', "}")):
        inside = "" if opened == "[" else "1"
        assert parse((opened * DEEPEST + inside + closed * DEEPEST).encode())
        with pytest.raises(Malformed, match=f"more than {DEEPEST} levels"):
            parse((opened * (DEEPEST + 1) + inside + closed * (DEEPEST + 1)).encode())


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (b"NaN", "NaN, which is no JSON"),
        (b"Infinity", "Infinity, which is no JSON"),
        (b"-Infinity", "-Infinity, which is no JSON"),
        (b"1e999", "a number that is too large"),
        (b"-1e999", "a number that is too large"),
        (b"7" * 5000, "ValueError"),
        (b'{"a": 1, "a": 1}', "a key twice"),
        (b'{"a": 1, "\\u0061": 2}', "a key twice"),
        (b'[{"b": {"a": 1, "a": 1}}]', "a key twice"),
        (b'"\\ud800"', "half a character"),
        (b'"\\udc00\\ud800"', "half a character"),
        (b'{"\\udfff": 1}', "half a character"),
        (b'["a\\u0000b"]', "a NUL"),
        (b'"a\0b"', "JSONDecodeError"),
        (b'"\xed\xa0\x80"', "UnicodeDecodeError"),
        (b'"\xc0\xaf"', "UnicodeDecodeError"),
        (b"\xef\xbb\xbf1", "JSONDecodeError"),
        (b"01", "JSONDecodeError"),
        (b"1 // a comment", "JSONDecodeError"),
        (b"'a'", "JSONDecodeError"),
        (b"[" * 100_000 + b"]" * 100_000, "RecursionError"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_anything_else_is_refused_wherever_it_stands_and_it_is_said_why(inside: bytes, why: str) -> None:
    for body in (inside, b'{"ref": "x", "more": [' + inside + b"]}"):
        with pytest.raises(Malformed, match=why):
            parse(body)


def test_beginning_of_a_body_that_names_its_encoding_otherwise_is_not_guessed_at() -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
        with pytest.raises(Malformed):
            parse('{"a": 1}'.encode(encoding))
