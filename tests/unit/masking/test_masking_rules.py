"""Rules of masking, names that look personal, and the key: all without a database."""

import hashlib
import hmac
import re

import pytest

from tasks.common.masking import Fixed
from tasks.common.personal import looks_personal
from tasks.masking.expressions import ADDRESS, expression, keyed, pads


@pytest.mark.parametrize(
    "name",
    ["email", "first_name", "lastName", "homeAddress2", "e_mail", "ip_address", "PHONE", "zip_code", "birth_date",
     "password_hash", "user_name", "staff_email"],
)  # fmt: skip
def test_name_of_personal_data_is_found(name: str) -> None:
    assert looks_personal(name)


@pytest.mark.parametrize(
    "name", ["address_id", "title", "name", "description", "phone_count", "emailed_at", "shipment"]
)
def test_other_name_is_left_alone(name: str) -> None:
    assert not looks_personal(name)


def test_pads_give_the_hash_that_the_key_gives() -> None:
    given = pads("a-key-of-some-length")
    inner = hashlib.sha256(given["inner"] + b"value").digest()
    assert hashlib.sha256(given["outer"] + inner).digest() == keyed("a-key-of-some-length", "value")
    assert (
        keyed("a-key-of-some-length", "value") != hmac.new(b"a-key-of-some-length", b"value", hashlib.sha256).digest()
    )


def test_fixed_value_cannot_leave_its_literal() -> None:
    made = expression(Fixed(rule="fixed", value="'; drop table x; -- 5%"), '"a"', "text")
    assert made == """case when "a" is null then "a" else ('''; drop table x; -- 5%%')::text end"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("write to a.b+c@d-e.example.org.", "a.b+c@d-e.example.org"),
        ('{"to": "a@b.org"}', "a@b.org"),
        ("mailto:a@b.org?x", "a@b.org?x"),
        ("<Müller@bücher.example>", "Müller@bücher.example"),
    ],
)
def test_address_is_found_in_what_surrounds_it(text: str, found: str) -> None:
    match = re.search(ADDRESS.replace("[:space:]", r"\s"), text)
    assert match is not None and match[1] == found


@pytest.mark.parametrize("text", ["@handle", "a@b", "3 @ 5.20", "user@"])
def test_what_is_no_address_is_left_alone(text: str) -> None:
    assert re.search(ADDRESS.replace("[:space:]", r"\s"), text) is None
