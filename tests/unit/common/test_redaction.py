import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.common.redaction import MASK, Redactor

PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)
SECRETS = st.text(st.one_of(st.sampled_from('ab"\\ %[]*re'), PRINTABLE, st.characters(codec="utf-8")), min_size=4)
TEXTS = st.text(st.one_of(st.sampled_from('ab"\\ %[]*re\n'), st.characters()))
SECRET = "s3kr/t+w\"rd'\\%é~"


def is_hidden_by_design(secret: str) -> bool:
    """White space at the ends is not counted, and the mask itself is no secret."""
    return len(secret.strip()) >= 4 and secret.strip() != MASK


@given(SECRETS, st.lists(TEXTS, min_size=2, max_size=4))
def test_a_known_value_is_never_left_in_a_text(secret: str, around: list[str]) -> None:
    assume(is_hidden_by_design(secret))
    assert secret not in Redactor([secret]).redact(secret.join(around))


@given(st.lists(SECRETS.filter(is_hidden_by_design), min_size=2, max_size=3), TEXTS)
def test_adjacent_and_repeated_values_leave_none_of_them(secrets: list[str], text: str) -> None:
    redacted = Redactor(secrets).redact(text + "".join(secrets) * 2 + text.join(secrets))
    assert not [secret for secret in secrets if secret in redacted]


@given(st.text(st.sampled_from("abc"), min_size=6, max_size=12), st.integers(1, 5), TEXTS)
def test_overlapping_values_leave_neither(text: str, cut: int, around: str) -> None:
    secrets = [text[: max(4, len(text) - cut)], text[min(cut, len(text) - 4) :]]
    redacted = Redactor(secrets).redact(around + text + around)
    assert not [secret for secret in secrets if secret in redacted]


@given(st.lists(st.text(), max_size=3), TEXTS)
def test_redacting_twice_changes_nothing_and_nothing_raises(secrets: list[str], text: str) -> None:
    redactor = Redactor(secrets)
    once = redactor.redact(text + "".join(secrets))
    assert redactor.redact(once) == once


@given(st.lists(st.sampled_from(['password="', "token=", "://", ":", "@", "Bearer ", "eyJ", ".", "-", '"', "a" * 20])))
def test_redacting_shapes_twice_changes_nothing(pieces: list[str]) -> None:
    redactor = Redactor(["a:aa", '="aa', "oken"])
    once = redactor.redact("".join(pieces))
    assert redactor.redact(once) == once


def test_two_values_that_overlap_leave_no_half_of_either() -> None:
    assert Redactor(["abcdef", "defghi"]).redact("x abcdefghi y") == f"x {MASK} y"


def test_a_value_that_overlaps_itself_leaves_no_half() -> None:
    assert Redactor(["abcabc"]).redact("x abcabcabc y") == f"x {MASK} y"


def test_a_text_is_given_up_when_its_mask_would_spell_the_secret() -> None:
    assert Redactor(["redacted"]).redact("the word redacted in full") == "***"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_known_value_is_hidden_in_each_encoding(form: str) -> None:
    redacted = Redactor([SECRET]).redact(f"before {form} after")
    assert redacted.replace("=", "") == f"before {MASK} after"


@pytest.mark.parametrize("user", ["a", "ab", "abc", "abcd"])
def test_a_password_inside_a_longer_base64_text_is_hidden(user: str) -> None:
    secret = "correct-horse-battery"
    encoded = base64.b64encode(f"{user}:{secret}:tail".encode()).decode()
    # Six bits a character: these are the characters that hold bits of the secret only.
    before = len(f"{user}:") * 8
    first, last = -(-before // 6), (before + len(secret) * 8) // 6
    assert Redactor([secret]).redact(f"header {encoded}") == f"header {encoded[:first]}{MASK}{encoded[last:]}"


def test_each_line_of_a_value_of_several_lines_is_hidden() -> None:
    redactor = Redactor(["first line\n  second line\nx\n"])
    assert redactor.redact("the second line, then the first line, then x") == f"the {MASK}, then the {MASK}, then x"


def test_a_value_of_short_lines_is_hidden_as_a_whole() -> None:
    assert Redactor(["abc\ndef"]).redact("abc\ndef") == MASK


def test_a_value_that_is_no_valid_text_is_hidden() -> None:
    assert Redactor(["\udce9abc"]).redact("x \udce9abc") == f"x {MASK}"


def test_a_common_word_is_hidden_too_once_it_was_declared_a_secret() -> None:
    assert Redactor(["true"]).redact("ready=true") == f"ready={MASK}"


def test_values_under_four_characters_are_left_alone() -> None:
    assert Redactor(["no", " 1 ", ""]).redact("no 1 day") == "no 1 day"


@pytest.mark.parametrize(
    ("dsn", "password"),
    [
        ("postgresql://app:hunter2-hunter2@db/app", "hunter2-hunter2"),
        ("postgresql://app:p%40ss-word@db/app", "p@ss-word"),
        ("host=db password=hunter2-hunter2 user=app", "hunter2-hunter2"),
        ("host=db password='two words' user=app", "two words"),
    ],
)
def test_the_password_inside_an_address_is_hidden_on_its_own(dsn: str, password: str) -> None:
    assert Redactor([dsn]).redact(f"PGPASS is {password}.") == f"PGPASS is {MASK}."


def test_a_password_that_is_the_users_name_leaves_the_name_readable() -> None:
    redactor = Redactor(["postgresql://campus-app:campus-app@db/campus"])
    assert redactor.redact("released campus-app") == "released campus-app"


KEY = "A" * 40


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        (f"ghp_{KEY}_", KEY),
        (f"github_pat_{KEY}", KEY),
        (f"glpat-{KEY}", KEY),
        ("xoxb-123456789012-abc", "123456789012"),
        ("see eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0", "c2lnbmF0"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "MIIE"),
        ("postgresql://app:hunter2@db/app", "hunter2"),
        ("postgresql://app:hun@ter2@db/app", "ter2"),
        ("redis://:hunter2@cache", "hunter2"),
        ("PGPASSWORD=hunter2 psql", "hunter2"),
        ("password = 'two words'", "words"),
        ('password="two \\" words"', "words"),
        ('{"db_password": "two words", "x": 1}', "words"),
        ("{'password': 'hunter2'}", "hunter2"),
        ("AWS_SECRET_ACCESS_KEY=hunter2", "hunter2"),
        ("/hook?token=hunter2&x=1", "hunter2"),
        ("psql --password hunter2", "hunter2"),
        ("X-Api-Key: hunter2", "hunter2"),
        ("Authorization: Basic aHVudGVyMg==", "aHVudGVyMg"),
        ("'Authorization': 'Bearer hunter2'", "hunter2"),
        (f"curl: Bearer {KEY}", KEY),
    ],
)
def test_what_is_shaped_like_a_secret_is_hidden(text: str, hidden: str) -> None:
    redacted = Redactor().redact(text)
    assert hidden not in redacted
    assert MASK in redacted


@pytest.mark.parametrize(
    "text",
    [
        "a secret is missing: aws-secret:prod/db#password",
        "prefect-secret:pager and env:PASSWORD",
        "invalid token: unexpected end",
        "http://127.0.0.1:8080/path?mail=a@b",
        "12:30:01 INFO released campus@3f2c1a9",
        "a bearer of news",
    ],
)
def test_what_an_operator_has_to_read_stays(text: str) -> None:
    assert Redactor(["unrelated-secret"]).redact(text) == text


@pytest.mark.parametrize(
    "piece",
    ["a", "eyJ-", "eyJaaaaaaaa.", "://a:", "password=", 'password="', '"password": "', "-----BEGIN PRIVATE ", "glpat-",
     "Bearer a", "authorization: ", "github_pat_", "ghp_a", "hunter", "\\", "token" + " " * 9],
)  # fmt: skip
def test_no_shape_makes_a_long_line_explode(piece: str) -> None:
    line = piece * (2**18 // len(piece))
    redactor = Redactor(["hunter2-hunter2", "aaab" * 3])
    # A quadratic search of so much takes many minutes: that this ends at all is what is shown.
    assert len(redactor.redact(line)) <= len(line) * 2


def test_a_line_full_of_the_secret_is_hidden() -> None:
    assert Redactor(["aaaa"]).redact("a" * 2**18) == MASK
