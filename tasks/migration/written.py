"""Written SQL as typed steps: what runs in one transaction, what must not, and what the engine does itself. Pure."""

from collections.abc import Callable, Iterator, Sequence

from tasks.common.document import Mistake
from tasks.common.migrations import Phase
from tasks.migration.model import BuildIndex, Check, Ddl, DropIndex, Step, Table, ValidateConstraint
from tasks.migration.sql import BadSql, Statement, Token, statements

_LONGEST_WHAT = 60
_READS = ("select", "with", "values", "table")
_REPEATABLE = (["not"], ["default"], ["expression"], ["identity"])
"""What may be dropped a second time."""
_NEVER: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("begin",), "the beginning of a transaction", "no such statement: the engine begins and ends transactions"),
    (("start", "transaction"), "the beginning of a transaction", "no such statement: the engine does it"),
    (("commit",), "the end of a transaction", "no such statement: the engine begins and ends transactions"),
    (("end",), "the end of a transaction", "no such statement: the engine begins and ends transactions"),
    (("rollback",), "the end of a transaction", "no such statement: the engine begins and ends transactions"),
    (("abort",), "the end of a transaction", "no such statement: the engine begins and ends transactions"),
    (("savepoint",), "a savepoint", "no such statement: a step that fails is rolled back whole"),
    (("release",), "a savepoint", "no such statement: a step that fails is rolled back whole"),
    (("prepare", "transaction"), "a prepared transaction", "no such statement"),
    (("copy",), "COPY", "INSERT, or a backfill"),
    (("vacuum",), "VACUUM", "no such statement: 'maintain', or autovacuum, does it"),
    (("reindex",), "REINDEX", "a new index, built concurrently, and the old one dropped"),
    (("cluster",), "CLUSTER, which locks the table for as long as it takes", "a tool such as pg_repack"),
    (("create", "database"), "CREATE DATABASE", "what can be done within one database"),
    (("drop", "database"), "DROP DATABASE", "what can be done within one database"),
    (("create", "tablespace"), "CREATE TABLESPACE", "what can be done within one database"),
    (("drop", "tablespace"), "DROP TABLESPACE", "what can be done within one database"),
    (("alter", "system"), "ALTER SYSTEM", "what can be done within one database"),
    (("listen",), "LISTEN", "no such statement"),
)
"""How a statement begins that no migration may have; what was found, what is expected."""


class _Reader:
    """Reads on through a statement's tokens."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.tokens = statement.tokens
        self.at = 0

    def takes(self, *words: str) -> bool:
        """Go behind the words if they come next; returns whether they did."""
        found = tuple(token.word for token in self.tokens[self.at : self.at + len(words)])
        if found != words:
            return False
        self.at += len(words)
        return True

    def name(self, expected: str) -> tuple[str, str]:
        """Go behind a name, perhaps with its schema; returns both."""
        first = self._part(expected)
        if self.at < len(self.tokens) and self.tokens[self.at].text == ".":
            self.at += 1
            return first, self._part(expected)
        return "", first

    def done(self) -> bool:
        return self.at == len(self.tokens)

    def _part(self, expected: str) -> str:
        token: Token | None = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token is None or not token.name:
            line = token.line if token else self.statement.line
            raise BadSql(line, f"{token.text if token else 'the end'!r}", expected)
        self.at += 1
        return token.name


def steps_of(text: str, phase: Phase, *, undo: bool) -> tuple[Step, ...]:
    """Return the steps of a file of SQL.

    Statements that can share a transaction do, so that a failure leaves nothing of them.

    Args:
        text: the file.
        phase: whose file it is.
        undo: whether the file takes the phase back.

    Raises:
        BadSql: it cannot be read, or has what no migration may have in this phase.
    """
    found: list[Step] = []
    together: list[Statement] = []
    for statement in statements(text):
        _require_allowed(statement)
        step = _validated(statement) if phase is Phase.VALIDATE and not undo else _alone(statement)
        if undo:
            _require_repeatable(statement)
        if step is None:
            together.append(statement)
            continue
        found += [*_joined(together), step]
        together = []
    return tuple(found + _joined(together))


def mistakes_of(text: str, phase: Phase, *, undo: bool) -> Iterator[Mistake]:
    """Yield the mistakes of a file: the first that cannot be read, or all that stand in statements that can."""
    try:
        parts = statements(text)
    except BadSql as error:
        yield Mistake(error.line, "SQL", error.found, error.expected)
        return
    for each in parts:
        looks: list[Callable[[Statement], object]] = [_require_allowed]
        looks.append(_validated if phase is Phase.VALIDATE and not undo else _alone)
        looks += [_require_repeatable] if undo else []
        for look in looks:
            try:
                look(each)
            except BadSql as error:
                yield Mistake(error.line, "SQL", error.found, error.expected)
                break


def shown(statement: Statement) -> str:
    """Return the beginning of a statement, in one line."""
    text = " ".join(statement.text.split())
    return text if len(text) <= _LONGEST_WHAT else text[: _LONGEST_WHAT - 1] + "…"


def _joined(together: Sequence[Statement]) -> list[Step]:
    if not together:
        return []
    what = shown(together[0]) + (f" and {len(together) - 1} more" if len(together) > 1 else "")
    return [Ddl(what=what, statements=tuple(each.text for each in together))]


def _require_allowed(statement: Statement) -> None:
    for words, found, expected in _NEVER:
        if statement.words(len(words)) == words:
            raise BadSql(statement.line, found, expected)
    words = statement.words(2)
    if words[0] in ("set", "reset") and words[1:] != ("local",):
        raise BadSql(statement.line, "a setting that outlives the statement", "SET LOCAL, or none")
    texts = [token.word for token in statement.tokens]
    if texts[:2] == ["alter", "table"] and "detach" in texts and "concurrently" in texts:
        raise BadSql(statement.line, "DETACH PARTITION CONCURRENTLY", "DETACH PARTITION")


def _alone(statement: Statement) -> Step | None:
    """Return the step of a statement that shares no transaction; None where it can."""
    reader = _Reader(statement)
    if reader.takes("create"):
        reader.takes("unique")
        return _build(statement, reader) if reader.takes("index", "concurrently") else None
    if reader.takes("drop", "index", "concurrently"):
        reader.takes("if", "exists")
        schema, index = reader.name("the name of an index")
        if not (reader.done() or (reader.takes("restrict") and reader.done())):
            raise BadSql(statement.line, "more than one index, or CASCADE", "one index a statement")
        return DropIndex(what=shown(statement), index=index, schema_=schema)
    if statement.words(2) == ("alter", "type") and "value" in [token.word for token in statement.tokens]:
        # A new value of an enum cannot be used in the transaction that adds it.
        return Ddl(what=shown(statement), statements=(statement.text,))
    return _validation(statement)


def _build(statement: Statement, reader: _Reader) -> BuildIndex:
    first = reader.at
    lenient = reader.takes("if", "not", "exists")
    # With it, what an interrupted build has left would count as built.
    text = statement.without(first, reader.at) if lenient else statement.text
    if reader.at < len(reader.tokens) and reader.tokens[reader.at].word == "on":
        raise BadSql(statement.line, "an index without a name", "a name, by which it is found after an interruption")
    _, index = reader.name("the name of the index")
    if not reader.takes("on"):
        raise BadSql(statement.line, "no ON", "CREATE INDEX CONCURRENTLY name ON table (...)")
    reader.takes("only")
    schema, table = reader.name("the name of a table")
    return BuildIndex(what=shown(statement), statement=text, index=index, table=Table(name=table, schema_=schema))


def _validation(statement: Statement) -> ValidateConstraint | None:
    reader = _Reader(statement)
    if not reader.takes("alter", "table"):
        return None
    reader.takes("if", "exists")
    reader.takes("only")
    schema, table = reader.name("the name of a table")
    if not reader.takes("validate", "constraint"):
        return None
    _, constraint = reader.name("the name of a constraint")
    if not reader.done():
        raise BadSql(statement.line, "VALIDATE CONSTRAINT with something else", "it in a statement of its own")
    found = Table(name=table, schema_=schema)
    return ValidateConstraint(what=shown(statement), table=found, constraint=constraint)


def _validated(statement: Statement) -> Step:
    step = _validation(statement)
    if step is not None:
        return step
    if statement.words(1)[0] in _READS:
        says = statement.remark or shown(statement)
        return Check(what=f"no {says}" if statement.remark else shown(statement), query=statement.text, says=says)
    raise BadSql(
        statement.line,
        f"{shown(statement)!r}",
        "a SELECT that returns what is wrong, or ALTER TABLE ... VALIDATE CONSTRAINT",
    )


def _require_repeatable(statement: Statement) -> None:
    """What is dropped may be gone already: an undo may follow a phase that was interrupted."""
    words = [token.word for token in statement.tokens]
    for position, word in enumerate(words):
        after = words[position + 1 : position + 5]
        if word != "drop" or (position and words[0] != "alter") or after[:1] in _REPEATABLE:
            continue
        if "if" not in after[:3]:
            line = statement.tokens[position].line
            raise BadSql(line, "DROP without IF EXISTS", "IF EXISTS: what was interrupted may not have made it")
