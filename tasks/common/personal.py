"""Columns whose names are those of personal data. A guess from names: it finds what is named well, and no more."""

import itertools
import re

_WORDS = frozenset(
    {
        "email",
        "mail",
        "phone",
        "telephone",
        "mobile",
        "fax",
        "surname",
        "firstname",
        "lastname",
        "fullname",
        "forename",
        "nickname",
        "address",
        "street",
        "zip",
        "postcode",
        "postal",
        "birth",
        "birthday",
        "birthdate",
        "dob",
        "ssn",
        "passport",
        "iban",
        "bic",
        "password",
        "passwd",
        "secret",
        "token",
        "username",
        "login",
        "gender",
        "ip",
        "picture",
        "photo",
        "avatar",
        "salary",
    }
)
_PAIRS = frozenset(
    {"first name", "last name", "full name", "middle name", "given name", "family name", "maiden name", "user name"}
)
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def looks_personal(column: str) -> bool:
    """Return whether the column's name is one of personal data: 'email', 'first_name', 'homeAddress2', 'ip_address'.

    Numbers that refer to something else ('address_id') are not.
    """
    words = [word.lower() for word in _PARTS.findall(column)]
    if words and words[-1] in ("id", "ids", "count", "type"):
        return False
    pairs = {" ".join(pair) for pair in itertools.pairwise(words)}
    return bool(_WORDS.intersection(words) or _PAIRS.intersection(pairs))
