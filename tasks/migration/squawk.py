"""What squawk is asked about written SQL, and what its answer means here. Pure.

*Source:* rules and their names: squawk 2.70.0.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from tasks.common.migrations import Phase
from tasks.migration.lint import Finding, Level, Part
from tasks.migration.sql import Kind, tokens

_ENGINES = (
    "require-lock-timeout",
    "require-statement-timeout",
    "prefer-robust-stmts",
    "ban-concurrent-index-creation-in-transaction",
    "require-concurrent-partition-detach",
    "transaction-nesting",
    "ban-uncommitted-transaction",
)
"""The engine sees to these: it sets the timeouts, begins the transactions, and knows what is done."""
_OURS = (
    "ban-drop-column",
    "ban-drop-default",
    "ban-drop-domain",
    "ban-drop-extension",
    "ban-drop-function",
    "ban-drop-schema",
    "ban-drop-sequence",
    "ban-drop-table",
    "ban-drop-type",
    "ban-drop-view",
    "ban-set-schema",
    "renaming-column",
    "renaming-object",
    "renaming-table",
)
"""Right in cleanup, where old code is gone; before it, rules of our own say the same."""
_OURS_EARLY = ("changing-column-type", "adding-required-field", "adding-not-nullable-field")
"""Before cleanup rules of our own say that these break old code; in cleanup they may still hold users up."""
_RIGHT_LATE = ("ban-alter-identity", "ban-drop-constraint", "ban-drop-generated-expression", "ban-drop-not-null")
"""Right where old code is gone."""
_HOLDS_UP_USERS = frozenset(
    {
        "adding-field-with-default",
        "adding-foreign-key-constraint",
        "adding-required-field",
        "adding-serial-primary-key-field",
        "ban-drop-database",
        "ban-truncate-cascade",
        "changing-column-type",
        "constraint-missing-not-valid",
        "disallowed-unique-constraint",
        "require-concurrent-index-creation",
        "require-concurrent-index-deletion",
        "require-concurrent-reindex",
        "syntax-error",
    }
)
"""Fails, or holds users up for as long as it takes to read or to write a table."""
_OPINIONS = ("prefer-", "ban-char-field")


class _Said(BaseModel):
    file: str
    line: Annotated[int, Field(ge=0)]
    level: Literal["Error", "Warning"]
    message: str
    help: str | None = None
    rule_name: Annotated[str, Field(min_length=1)]


_ANSWER = TypeAdapter(list[_Said])


class NoAnswer(Exception):
    """What squawk has written is not its report."""


def excluded(part: Part) -> tuple[str, ...]:
    """Return the rules that are not asked of a text."""
    early = part.phase is not Phase.CLEANUP and not part.undo
    return (*_ENGINES, *_OURS, *(_OURS_EARLY if early else _RIGHT_LATE))


def bare(text: str) -> str:
    """Return SQL with blanks for comments, so that none of them tells squawk what to leave out; lines stay."""
    found = list(text)
    for token in tokens(text):
        if token.kind is Kind.COMMENT:
            found[token.start : token.end] = ["\n" if char == "\n" else " " for char in token.text]
    return "".join(found)


def findings(answer: str, asked: Mapping[str, Part]) -> tuple[Finding, ...]:
    """Return what squawk has found, at its place in our files.

    Args:
        answer: its report as JSON, whose lines count from 0.
        asked: the texts by the name under which it was given them.

    Raises:
        NoAnswer: it is not its report, or is about something else.
    """
    try:
        said: Sequence[_Said] = _ANSWER.validate_json(answer, strict=True)
        return tuple(asked[each.file].found(each.line + 1, each.rule_name, _told(each), _level(each)) for each in said)
    except ValidationError as error:
        raise NoAnswer(f"{error.error_count()} mistakes in what it wrote") from None
    except KeyError as error:
        raise NoAnswer(f"it reports of {json.dumps(error.args[0])}, which it was not asked about") from None


def _told(said: _Said) -> str:
    return " ".join(f"{said.message.strip()} {(said.help or '').strip()}".split())


def _level(said: _Said) -> Level:
    if said.level == "Error" or said.rule_name in _HOLDS_UP_USERS:
        return "error"
    return "note" if said.rule_name.startswith(_OPINIONS) else "warning"
