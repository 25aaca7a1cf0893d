"""What does not belong into its phase: found in the files, without a database. Pure.

Only cleanup destroys; the code that runs must run on with what prepare has done; rows are changed in batches.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.common.migrations import Phase
from tasks.migration.files import Written
from tasks.migration.sql import Statement, statements
from tasks.migration.written import shown

_DESTROYED = ("table", "column", "schema", "view", "type", "domain", "sequence", "function", "materialized")


@dataclass(frozen=True)
class Finding:
    """One thing that does not belong where it is.

    Args:
        path: the file, from the folder of migrations.
        line: from 1.
        rule: its name.
        message: what was found, and what to do.
    """

    path: str
    line: int
    rule: str
    message: str


def lint(written: Written) -> tuple[Finding, ...]:
    """Return what does not belong into its phase."""
    found: list[Finding] = []
    for phase in (Phase.PREPARE, Phase.EXECUTE):
        path = f"{phase}.sql"
        made: set[str] = set()
        for each in statements(written.sql.get(path, "")):
            made |= _made(each)
            rules = [] if made & _changed(each) else _rules(each, phase)
            found += [Finding(f"{written.name}/{path}", each.line, *rule) for rule in rules]
    return tuple(found)


def _made(statement: Statement) -> set[str]:
    """Return the table that a statement makes: nobody uses it yet, and what blocks its users blocks nobody."""
    words = [token.word for token in statement.tokens]
    if words[:2] != ["create", "table"]:
        return set()
    return {statement.tokens[5 if words[2:5] == ["if", "not", "exists"] else 2].name}


def _changed(statement: Statement) -> set[str]:
    """Return the table that an index is for, or whose shape is changed; () where it has a schema, to be sure."""
    words = [token.word for token in statement.tokens]
    at = 2 if words[:2] == ["alter", "table"] else words.index("on") + 1 if _indexes(words) and "on" in words else None
    if at is None or at >= len(words) or (at + 1 < len(words) and statement.tokens[at + 1].text == "."):
        return set()
    return {statement.tokens[at].name}


def _indexes(words: list[str]) -> bool:
    return words[:2] == ["create", "index"] or words[:3] == ["create", "unique", "index"]


def _rules(statement: Statement, phase: Phase) -> Iterator[tuple[str, str]]:
    words = [token.word for token in statement.tokens]
    text = shown(statement)
    if destructive(words):
        yield "destroys-before-cleanup", f"'{text}' takes something away that running code may use: move it to cleanup"
    if words[:1] in (["update"], ["delete"]):
        yield "rows-in-one-transaction", f"'{text}' locks all its rows until its end: describe it as a backfill"
    if phase is Phase.PREPARE:
        yield from _blocking(words, text)


def _blocking(words: list[str], text: str) -> Iterator[tuple[str, str]]:
    if _indexes(words) and "concurrently" not in words[:4]:
        yield "index-blocks-writers", f"'{text}' blocks writers while it is built: CREATE INDEX CONCURRENTLY"
    if words[:2] != ["alter", "table"] or "add" not in words:
        return
    if {"check", "references"} & set(words) and ("not", "valid") not in itertools.pairwise(words):
        yield "constraint-scans-under-lock", f"'{text}' reads all rows under a lock: NOT VALID, and VALIDATE later"
    if "unique" in words and "using" not in words:
        yield "unique-builds-under-lock", f"'{text}' builds an index under a lock: build it concurrently, USING INDEX"


def destructive(words: list[str]) -> bool:
    """Return whether a statement takes away, renames or retypes what old code may use.

    Args:
        words: of the statement, in lower case; '' for what is no word.
    """
    if words[:1] == ["truncate"] or (words[:1] == ["drop"] and words[1] in _DESTROYED):
        return True
    if words[:1] != ["alter"]:
        return False
    drops = any(one == "drop" and after in _DESTROYED for one, after in itertools.pairwise(words))
    return drops or "rename" in words or (words[1] == "table" and "type" in words)
