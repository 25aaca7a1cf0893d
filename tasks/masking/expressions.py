"""Rules as SQL expressions, and the key that they are derived with. Pure: text and bytes.

The keyed hash is HMAC-SHA256, written with PostgreSQL's own sha256(): no extension is needed in the copy.

*Source:* RFC 2104, 2 (HMAC).
"""

import hashlib
import hmac
import re

from tasks.common.masking import DAY_S, MASKED_DOMAIN, Email, Fixed, Hash, Null, PersonName, Rule, ShiftDate

SCHEMA = "slipway_copy"
KEYED = f"{SCHEMA}.keyed(%s, %%(inner)s, %%(outer)s)"
FUNCTION = f"""
    create or replace function {SCHEMA}.keyed(value text, inner_pad bytea, outer_pad bytea) returns bytea
    language sql immutable strict parallel safe set search_path = pg_catalog
    return sha256(outer_pad || sha256(inner_pad || convert_to(value, 'UTF8')))"""
_INSIDE = r"""[:space:]@<>"',;:(){}\[\]|\\/="""
ADDRESS = rf"([^{_INSIDE}]+@[^{_INSIDE}]+\.[^{_INSIDE}.]+)"
"""What is shaped like a mail address: wider than what can be delivered, without the full stop that ends a sentence."""
MASKED = rf"^u[0-9a-f]{{16}}@{re.escape(MASKED_DOMAIN)}$"
"""What the rule email makes."""
# fmt: off
NAMES = (
    "Ada", "Alex", "Andrea", "Ari", "Ash", "Bela", "Billie", "Blake", "Bo", "Cameron", "Casey", "Chris", "Dana",
    "Devon", "Drew", "Eden", "Eli", "Ellis", "Emery", "Finley", "Frances", "Gabi", "Glen", "Gray", "Harper",
    "Hayden", "Ira", "Jackie", "Jamie", "Jean", "Jesse", "Jo", "Jordan", "Jules", "Kai", "Kelly", "Kerry",
    "Kim", "Kit", "Lane", "Lee", "Leslie", "Logan", "Lou", "Lynn", "Marion", "Max", "Morgan", "Nico", "Noa",
    "Paris", "Pat", "Quinn", "Ray", "Robin", "Rowan", "Sam", "Sasha", "Shea", "Sky", "Terry", "Toni", "Val",
    "Wren",
)
# fmt: on
_BLOCK_BYTES = 64
_PURPOSE = b"slipway masking 1"


def pads(key: str) -> dict[str, bytes]:
    """Return what the keyed hash is given in place of the key: the inner and the outer pad."""
    derived = hmac.new(key.encode(), _PURPOSE, hashlib.sha256).digest().ljust(_BLOCK_BYTES, b"\0")
    return {"inner": bytes(each ^ 0x36 for each in derived), "outer": bytes(each ^ 0x5C for each in derived)}


def keyed(key: str, value: str) -> bytes:
    """Return what the SQL function returns for a value."""
    derived = hmac.new(key.encode(), _PURPOSE, hashlib.sha256).digest()
    return hmac.new(derived, value.encode(), hashlib.sha256).digest()


def expression(rule: Rule, column: str, kind: str) -> str:
    """Return the masked value of a column, in terms of the column; NULL and empty text stay.

    Args:
        rule: how it is masked.
        column: its quoted name.
        kind: its type.
    """
    if isinstance(rule, Null):
        return "null"
    made = _made(rule, column, kind)
    empty = "" if isinstance(rule, ShiftDate | Fixed) else f" or {column}::text = ''"
    return f"case when {column} is null{empty} then {column} else ({made})::{kind} end"


def _made(rule: Rule, column: str, kind: str) -> str:
    match rule:
        case Email():
            return f"'u' || left(encode({KEYED % f'lower({column}::text)'}, 'hex'), 16) || '@{MASKED_DOMAIN}'"
        case Hash():
            length = re.search(r"\((\d+)\)$", kind)
            return f"left(encode({KEYED % f'{column}::text'}, 'hex'), {min(32, int(length[1]) if length else 32)})"
        case PersonName():
            names = ", ".join(f"'{name}'" for name in NAMES)
            return f"(array[{names}])[1 + {_number(column)} %% {len(NAMES)}]"
        case ShiftDate():
            days = f"(1 + {_number(column)} %% {round(rule.up_to_s / DAY_S)})"
            sign = f"(1 - 2 * (get_byte({KEYED % f'{column}::text'}, 3) & 1))"
            return f"{column} + {sign} * {days} * interval '1 day'"
        case Fixed():
            escaped = rule.value.replace("'", "''").replace("%", "%%")
            return f"'{escaped}'"
        case Null():
            return "null"


def _number(column: str) -> str:
    value = KEYED % f"{column}::text"
    return f"(get_byte({value}, 0) * 65536 + get_byte({value}, 1) * 256 + get_byte({value}, 2))"
