"""What a statement does to code that does not know of it: takes away, refuses writes, takes rights. Pure."""

import itertools
from collections.abc import Iterator, Sequence

from tasks.migration.sql import Statement, Token

_DESTROYED = (
    "table",
    "column",
    "attribute",
    "schema",
    "view",
    "type",
    "domain",
    "sequence",
    "function",
    "procedure",
    "routine",
    "aggregate",
    "materialized",
    "foreign",
    "owned",
    "extension",
)
_NO_COLUMN = ("constraint", "check", "foreign", "unique", "primary", "exclude")
"""What follows ADD where no column does."""
_FILLED = {"default", "generated", "serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"}
_ALTERED = ("table", "foreign")


def destroys(statement: Statement) -> bool:
    """Return whether a statement takes away, renames, moves or retypes what old code may use."""
    words = [token.word for token in statement.tokens]
    if words[0] == "truncate" or (words[0] == "drop" and words[1:2] and words[1] in _DESTROYED):
        return True
    if words[0] != "alter" or words[1:2] in ([], ["index"]):
        return False
    if words[1] in _ALTERED:
        return any(_takes_away([token.word for token in each]) for each in actions(statement))
    pairs = list(itertools.pairwise(words))
    drops = any(one == "drop" and after in _DESTROYED for one, after in pairs)
    return drops or "rename" in words or ("set", "schema") in pairs


def refused_writes(statement: Statement, unknown: frozenset[str]) -> Iterator[str]:
    """Yield why code that does not know of the statement can no longer write.

    Args:
        statement: any.
        unknown: new columns that nothing fills for such code.
    """
    for action in actions(statement):
        words, outer = [token.word for token in action], outer_words(action)
        column, rest = _altered(action)
        if words[0] == "add" and words[1:2] and words[1] not in _NO_COLUMN and _required(outer):
            yield "asks for a value that old code does not write"
        elif column and rest[:3] == ["set", "not", "null"]:
            yield "refuses the NULL that old code may write"
        elif column and rest[:2] == ["drop", "default"]:
            yield "takes the default that old code may rely on"
        elif words[0] == "add" and _asked_for(action) & unknown:
            yield "asks for a value of a column that old code does not know"


def takes_rights(statement: Statement) -> bool:
    """Return whether a statement takes rights away, or hides rows."""
    if statement.words(1) == ("revoke",):
        return True
    on = (["enable", "row"], ["force", "row"])
    return any([token.word for token in each[:2]] in on for each in actions(statement))


def added_without_value(statement: Statement) -> Iterator[str]:
    """Yield the columns that a statement adds to a table, and that stay NULL unless somebody writes them."""
    for action in actions(statement):
        if action[0].word == "add" and len(action) > 1 and action[1].word not in _NO_COLUMN:
            name = _column(action, 1)
            if name and not _FILLED & set(outer_words(action)):
                yield name


def actions(statement: Statement) -> tuple[tuple[Token, ...], ...]:
    """Return what an ALTER TABLE does, one by one; () for any other statement."""
    start = _behind_table(statement.tokens)
    if start is None:
        return ()
    found: list[list[Token]] = [[]]
    depth = 0
    for token in statement.tokens[start:]:
        depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
        if token.text == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(token)
    return tuple(tuple(each) for each in found if each)


def outer_words(part: Sequence[Token]) -> list[str]:
    """Return the words that stand in no parentheses."""
    depth, found = 0, []
    for token in part:
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0:
            found.append(token.word)
    return found


def table_of(statement: Statement) -> tuple[str, str] | None:
    """Return schema ('' where none is named) and name of the table that a statement is about; None for none."""
    part = statement.tokens
    words = [token.word for token in part]
    if words[0] == "create" and "index" in words[:3]:
        return _name(part, words.index("on") + 1) if "on" in words else None
    for lead in (("alter", "table"), ("drop", "table"), ("truncate", "table"), ("truncate",), ("update",)):
        if statement.words(len(lead)) == lead:
            return _name(part, len(lead))
    for lead in (("delete", "from"), ("insert", "into"), ("merge", "into")):
        if statement.words(2) == lead:
            return _name(part, 2)
    return None


def _takes_away(words: list[str]) -> bool:
    if words[0] == "drop":
        return words[1:2] != ["constraint"]
    if words[0] in ("rename", "detach") or words[:2] == ["set", "schema"]:
        return True
    rest = words[3:] if words[1:2] == ["column"] else words[2:]
    return words[0] == "alter" and (rest[:1] == ["type"] or rest[:3] == ["set", "data", "type"])


def _required(outer: list[str]) -> bool:
    asked = ("not", "null") in itertools.pairwise(outer) or "primary" in outer
    return asked and not _FILLED & set(outer)


def _altered(action: Sequence[Token]) -> tuple[str, list[str]]:
    """Return the column that ALTER COLUMN names, and the words behind it; '' where it is something else."""
    if action[0].word != "alter" or len(action) < 2:
        return "", []
    at = 2 if action[1].word == "column" else 1
    return (action[at].name, [token.word for token in action[at + 1 :]]) if at < len(action) else ("", [])


def _column(action: Sequence[Token], at: int) -> str:
    words = [token.word for token in action]
    at += words[at : at + 1] == ["column"]
    at += 3 * (words[at : at + 3] == ["if", "not", "exists"])
    return action[at].name if at < len(action) else ""


def _asked_for(action: Sequence[Token]) -> set[str]:
    """Return the columns of which 'is not null' is said."""
    words = [token.word for token in action]
    return {action[at].name for at in range(len(words)) if words[at + 1 : at + 4] == ["is", "not", "null"]}


def _behind_table(part: Sequence[Token]) -> int | None:
    words = [token.word for token in part]
    at = next(
        (len(lead) for lead in (["alter", "table"], ["alter", "foreign", "table"]) if words[: len(lead)] == lead), 0
    )
    if not at:
        return None
    at = _at_name(part, at) + 1
    if at < len(part) and part[at].text == ".":
        at += 2
    return at + (at < len(part) and part[at].text == "*")


def _at_name(part: Sequence[Token], at: int) -> int:
    words = [token.word for token in part]
    at += 2 * (words[at : at + 2] == ["if", "exists"])
    return at + (words[at : at + 1] == ["only"])


def _name(part: Sequence[Token], at: int) -> tuple[str, str] | None:
    at = _at_name(part, at)
    if at >= len(part) or not part[at].name:
        return None
    if at + 2 < len(part) and part[at + 1].text == ".":
        return part[at].name, part[at + 2].name
    return "", part[at].name
