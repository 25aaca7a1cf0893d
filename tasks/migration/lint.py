"""What does not belong into its phase: found in the files, without a database. Pure.

Only cleanup destroys; the code that runs must run on with what prepare has done; rows are changed in batches; what is
done can be taken back. What PostgreSQL itself makes of a statement (locks, rewrites) is squawk's to say.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tasks.common.document import Mistake
from tasks.common.migrations import Phase
from tasks.migration import altering
from tasks.migration.catalogue import Catalogue
from tasks.migration.files import SETTINGS, UNDO, Written
from tasks.migration.mongodb_file import MongodbFile, SetValidator
from tasks.migration.operations.raw import RawSql
from tasks.migration.sql import BadSql, Kind, Statement, statements, tokens
from tasks.migration.written import shown

Level = Literal["error", "warning", "note"]
UNDO_MISSING = "undo-missing"
RULES: Mapping[str, str] = {
    "destroys-before-cleanup": "Only cleanup takes away, renames or retypes what running code may use",
    "refuses-old-writes": "Code that does not know a column cannot fill it",
    "takes-rights-before-cleanup": "Only cleanup takes rights away",
    "rows-in-one-transaction": "Rows are changed in batches, and not beside DDL",
    UNDO_MISSING: "What is done before the point of no return can be taken back",
    "mistake": "A file cannot be read, or does not fit the others",
}
"""Our own rules, and what each is about."""

_WRITES = ("update", "delete", "merge")
_NO_WRITE_AFTER = ("for", "key", "on", "do", "before", "after", "or")
"""'for update', 'on delete', 'do update', 'before insert or update' change no rows by themselves."""


@dataclass(frozen=True)
class Finding:
    """One thing that does not belong where it is.

    Args:
        path: the file, from the folder of migrations.
        line: from 1.
        rule: its name.
        message: what was found, and what to do.
        level: an error stops a release, a note is an opinion.
        table: schema ('' where none is named) and name of the table that it is about; None where that is not known.
    """

    path: str
    line: int
    rule: str
    message: str
    level: Level = "error"
    table: tuple[str, str] | None = None


@dataclass(frozen=True)
class Part:
    """SQL that was written by hand.

    Args:
        path: the file that has it, from the folder of migrations.
        phase: that it runs in.
        text: of it.
        undo: whether it takes the phase back.
        line: of the text in its file, where all findings are; None where the text is the whole file.
    """

    path: str
    phase: Phase
    text: str
    undo: bool = False
    line: int | None = None

    def found(self, line: int, rule: str, message: str, level: Level = "error") -> Finding:
        """Return a finding at a line of the text, about the table of the statement there."""
        before = [each for each in statements(self.text) if each.line <= line]
        table = altering.table_of(before[-1]) if before else None
        return Finding(self.path, self.line or line, rule, message, level, table)


def parts(written: Written) -> Iterator[Part]:
    """Yield all SQL of a migration that changes something, its undo among it."""
    if isinstance(written.file, MongodbFile):
        return
    for phase in (Phase.PREPARE, Phase.EXECUTE, Phase.CLEANUP):
        for undo in (False, True):
            file = f"{phase}{UNDO if undo else ''}.sql"
            if file in written.sql:
                yield Part(f"{written.name}/{file}", phase, written.sql[file], undo)
    for operation, line in zip(written.operations, written.lines, strict=True):
        if isinstance(operation, RawSql):
            path, phase = f"{written.name}/{SETTINGS}", Phase(operation.when)
            yield Part(path, phase, operation.run, line=line)
            if operation.undo is not None:
                yield Part(path, phase, operation.undo, undo=True, line=line)


def lint(written: Written) -> tuple[Finding, ...]:
    """Return what does not belong into its phase."""
    if isinstance(written.file, MongodbFile):
        return tuple(_refusing(written.file, written))
    found = [each for part in parts(written) if not part.undo for each in _of(part, written)]
    return (*found, *_without_undo(written))


def of_mistakes(mistakes: Sequence[tuple[str, Mistake]], files: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return what keeps migrations from being read, as findings.

    Args:
        mistakes: by path within the folder of migrations.
        files: the texts that there are, by path.
    """
    missing = {path for path, _ in mistakes if path.endswith(f"{UNDO}.sql") and path not in files}
    return tuple(
        Finding(path, each.line, UNDO_MISSING if path in missing else "mistake", str(each)) for path, each in mistakes
    )


def sized(findings: Sequence[Finding], catalogue: Catalogue) -> tuple[Finding, ...]:
    """Return the findings, each telling how large its table is in a database that has it."""
    return tuple(replace(each, message=each.message + _size(each.table, catalogue)) for each in findings)


def _size(table: tuple[str, str] | None, catalogue: Catalogue) -> str:
    if table is None:
        return ""
    schema, name = table
    places = [catalogue.table(name, each) for each in ([schema] if schema else catalogue.search_path)]
    found = next(filter(None, places), None)
    if found is None:
        return ""
    return f" ({name}: about {found.rows:,} rows, {found.size_bytes / 2**20:,.1f} MiB with its indexes)"


def _refusing(file: MongodbFile, written: Written) -> Iterator[Finding]:
    for change, line in zip(file.prepare, written.lines, strict=True):
        if isinstance(change, SetValidator) and change.action == "error":
            told = f"the validator of {change.collection} refuses what old code may write: warn here, refuse in cleanup"
            yield Finding(f"{written.name}/{SETTINGS}", line, "refuses-old-writes", told)


def _of(part: Part, written: Written) -> Iterator[Finding]:
    unknown = _unfilled(written)
    for each in statements(part.text):
        for rule, message in _rules(each, part.phase, unknown):
            yield part.found(each.line, rule, f"'{shown(each)}' {message}")


def _rules(statement: Statement, phase: Phase, unknown: frozenset[str]) -> Iterator[tuple[str, str]]:
    if phase is not Phase.CLEANUP:
        if altering.destroys(statement):
            yield "destroys-before-cleanup", "takes something away that running code may use: move it to cleanup"
        for why in altering.refused_writes(statement, unknown):
            yield "refuses-old-writes", f"{why}: move it to cleanup, or have a default or a trigger fill it"
        if altering.takes_rights(statement):
            yield "takes-rights-before-cleanup", "takes rights away that running code may need: move it to cleanup"
    if _changes_rows(statement):
        yield "rows-in-one-transaction", "locks all its rows until its end: describe it as a backfill"
    elif phase is not Phase.EXECUTE and _copies_rows(statement):
        yield "rows-in-one-transaction", "copies rows while DDL of this phase holds its locks: move it to execute"


def _changes_rows(statement: Statement) -> bool:
    words = [token.word for token in statement.tokens]
    if words[0] == "do":
        return any(_writes(_words(_body(token.text))) for token in statement.tokens if token.kind is Kind.LITERAL)
    return words[0] in _WRITES or (words[0] == "with" and _writes(words))


def _body(literal: str) -> str:
    return literal.split("$", 2)[2].rsplit("$", 2)[0] if literal.startswith("$") else literal[1:-1]


def _words(text: str) -> list[str]:
    try:
        return [token.word for token in tokens(text) if token.kind is not Kind.COMMENT]
    except BadSql:
        return []


def _writes(words: Sequence[str]) -> bool:
    pairs = itertools.pairwise(["", *words])
    return any(word in _WRITES and before not in _NO_WRITE_AFTER for before, word in pairs)


def _copies_rows(statement: Statement) -> bool:
    words = altering.outer_words(statement.tokens)
    return words[:1] in (["insert"], ["with"]) and "insert" in words and "select" in words


def _unfilled(written: Written) -> frozenset[str]:
    """Return the new columns that nothing fills when code writes that does not know them."""
    early = [part for part in parts(written) if not part.undo and part.phase is not Phase.CLEANUP]
    found = [each for part in early for each in statements(part.text)]
    if any(each.words(1) == ("create",) and "trigger" in each.words(4) for each in found):
        return frozenset()
    return frozenset(name for each in found for name in altering.added_without_value(each))


def _without_undo(written: Written) -> Iterator[Finding]:
    for phase in (Phase.PREPARE, Phase.EXECUTE, Phase.CLEANUP):
        path = f"{phase}{UNDO}.sql"
        does = statements(written.sql.get(f"{phase}.sql", "")) or (phase is Phase.EXECUTE and written.file.backfill)
        if does and path in written.sql and not any(tokens(written.sql[path])):
            told = "says nothing: what takes the phase back, or a comment that says why nothing does"
            yield Finding(f"{written.name}/{path}", 1, UNDO_MISSING, told)
    for operation, line in zip(written.operations, written.lines, strict=True):
        if isinstance(operation, RawSql) and operation.when == "prepare" and operation.undo is None:
            told = "raw SQL without an undo: taking the migration back leaves what it did"
            yield Finding(f"{written.name}/{SETTINGS}", line, UNDO_MISSING, told, "warning")
