"""SQL expressions as text: which columns they mention, and the same expression over columns of other names. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.common.units import Expected
from tasks.migration.sql import BadSql, Kind, Token, tokens

_STEADY = frozenset({"now", "statement_timestamp", "transaction_timestamp", "cast", "coalesce", "nullif", "array"})
_WITHOUT_EQUALITY = ("json", "xml", "point", "box", "circle", "line", "lseg", "path", "polygon", "aclitem")
"""Types that cannot be compared with =, or whose = compares something else, such as the area."""


def _expression(text: str) -> str:
    try:
        found = list(tokens(text))
    except BadSql as bad:
        raise Expected(f"an SQL expression: {bad.expected}", text) from None
    depth = 0
    for token in found:
        depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
        if token.kind is Kind.COMMENT or token.text == ";" or depth < 0:
            raise Expected("one SQL expression without comments", text)
    if depth or not found:
        raise Expected("one whole SQL expression", text)
    return text.strip()


def _named(text: str) -> str:
    if not text or len(text.encode()) > 63 or "\0" in text:
        raise Expected("a name of 1 to 63 bytes", text)
    if text.startswith("_slipway_"):
        raise Expected("a name that does not begin with '_slipway_', which is for what migrations make", text)
    return text


Sql = Annotated[str, AfterValidator(_expression)]
"""An SQL expression over the columns of a row."""
Identifier = Annotated[str, AfterValidator(_named)]
"""A name, unquoted, exactly as the catalogue has it."""
SqlType = Annotated[
    str, AfterValidator(_expression), Field(description="a type of the database, such as 'varchar(40)'")
]


def mentioned(text: str, names: Collection[str], table: str = "") -> tuple[str, ...]:
    """Return those of the columns that an expression mentions, sorted. One too many does no harm.

    Args:
        text: the expression.
        names: of the columns.
        table: that they belong to: who mentions its whole row mentions them all.
    """
    found = [token.name for token in tokens(text)]
    whole = any(
        name == table and [each.text for each in after] in ([".", "*"], [")"], []) for name, after in _followed(text)
    )
    return tuple(sorted(names if table and whole else {name for name in found if name in names}))


def _followed(text: str) -> Iterator[tuple[str, Sequence[Token]]]:
    found = list(tokens(text))
    for position, token in enumerate(found):
        after = found[position + 1 : position + 3]
        yield token.name, after[:1] if after and after[0].text == ")" else after


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return an expression with other names, or other expressions, in the places of columns.

    Names of types, functions and qualified names stay.

    Args:
        text: the expression, as PostgreSQL writes it.
        names: what to put, as SQL, by unquoted name.
    """
    found = list(tokens(text))
    made, behind = [], 0
    for position, token in enumerate(found):
        before = found[position - 1].text if position else ""
        after = found[position + 1].text if position + 1 < len(found) else ""
        called = after == "(" and token.kind is Kind.WORD
        if token.name in names and before not in (".", "::") and not called:
            made += [text[behind : token.start], names[token.name]]
            behind = token.end
    return "".join([*made, text[behind:]])


def is_steady(default: str) -> bool:
    """Return whether a default has one value for all rows of one statement, so that adding it need not rewrite them."""
    found = [token for token in tokens(default) if token.kind is not Kind.COMMENT]
    calls = [one.name for one, after in pairwise(found) if after.text == "(" and one.name]
    # What stands behind '::' is a type, which may have a length: varchar(40).
    types = {after.name for one, after in pairwise(found) if one.text == "::"}
    return all(each in _STEADY or each in types for each in calls) and all(
        token.kind is not Kind.WORD or token.word not in ("select",) for token in found
    )


def comparable(reference: str, type_: str) -> str:
    """Return a column, as SQL, in a form in which IS DISTINCT FROM tells whether it was changed."""
    return f"{reference}::text" if type_.lower().startswith(_WITHOUT_EQUALITY) else reference


def literal(text: str) -> str:
    """Return a text as an SQL literal."""
    doubled = text.replace("'", "''")
    if "\\" in doubled:
        escaped = doubled.replace("\\", "\\\\")
        return f" E'{escaped}'"
    return f"'{doubled}'"


def short(*parts: str) -> str:
    """Return a name of at most 63 bytes; one that is shortened ends in a sum of the whole."""
    name = "_".join(parts)
    if len(name.encode()) <= 63:
        return name
    total = 0
    for byte in name.encode():
        total = (total * 257 + byte) % 36**6
    return name.encode()[:54].decode(errors="ignore") + f"_{total:08x}"
