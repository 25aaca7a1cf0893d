"""What stands against masking a copy, found before anything is touched. Pure."""

import re
from collections.abc import Iterable, Iterator

from tasks.common.masking import STABLE, Email, Fixed, Hash, Masking, Null, PersonName, Rule, ShiftDate, split
from tasks.common.model import near
from tasks.common.personal import looks_personal
from tasks.masking.model import ColumnFacts, CopyFacts

Spot = tuple[str, str, str]

_TEXT = re.compile(r"text|citext|character varying(\(\d+\))?|character(\(\d+\))?")
_LENGTH = re.compile(r"\((\d+)\)$")
_DAYS = ("date", "timestamp without time zone", "timestamp with time zone")
_SHORTEST = {Email: 32, Hash: 12, PersonName: 10}
"""Characters that a rule's values need."""
_NO_PERSON = ("boolean",)


def problems(masking: Masking, facts: CopyFacts) -> tuple[str, ...]:
    """Return everything that must be settled first, one sentence each; none if masking can begin."""
    rules = {split(spot): rule for spot, rule in masking.masking.items()}
    found = [*_unknown(masking, facts)]
    for spot, rule in rules.items():
        column = facts.columns.get(spot)
        if column is not None:
            found += [f"{_written(spot)} with rule {rule.rule}: {what}" for what in _against(column, rule, rules)]
    found += [
        f"{_written(spot)}: the type {facts.columns[spot].type} does not take the fixed value"
        for spot in sorted(facts.not_castable)
    ]
    settled = {*rules, *map(split, masking.keep)}
    for spot, column in sorted(facts.columns.items()):
        if spot not in settled and column.type not in _NO_PERSON and looks_personal(spot[2]):
            found.append(f"{_written(spot)} looks personal: give it a rule, or say under 'keep' why it may stay")
    found += [f"{table}: its rows are on another server; drop it in the copy" for table in facts.foreign]
    if facts.large_objects:
        found.append(f"{facts.large_objects} large objects, which are not searched: remove them in the copy")
    return tuple(found)


def _unknown(masking: Masking, facts: CopyFacts) -> Iterator[str]:
    tables = {spot[:2] for spot in facts.columns}
    named: dict[str, Iterable[str]] = {
        "masking": masking.masking,
        "keep": masking.keep,
        "allow_mail": masking.allow_mail,
    }
    for part, spots in named.items():
        for written in spots:
            spot = split(written)
            if spot[:2] not in tables:
                yield f"{part}: no such table: {written}{near(written, [_written(each) for each in facts.columns])}"
            elif spot not in facts.columns:
                there = [_written(each) for each in facts.columns if each[:2] == spot[:2]]
                yield f"{part}: no such column: {written}{near(written, there)}"


def _against(column: ColumnFacts, rule: Rule, rules: dict[Spot, Rule]) -> Iterator[str]:
    fits = _fits(column, rule)
    if not fits:
        yield f"it does not fit the type {column.type}"
    length = _LENGTH.search(column.type)
    needed = _SHORTEST.get(type(rule), 0)
    if fits and length and int(length[1]) < needed:
        yield f"its values need {needed} characters, and {column.type} has fewer"
    if column.generated:
        yield "PostgreSQL computes this column: mask those that it is computed from"
    if isinstance(rule, Null) and column.required:
        yield "the column refuses NULL"
    if column.unique and not isinstance(rule, (*STABLE, Null)):
        yield "the column is part of a unique key, and this rule gives the same value twice"
    for other in column.joins:
        if not isinstance(rule, STABLE) or rules.get(other) != rule:
            yield f"it is joined with {_written(other)}: both need the same rule, email or hash"


def _fits(column: ColumnFacts, rule: Rule) -> bool:
    match rule:
        case ShiftDate():
            return column.type in _DAYS
        case Hash() if column.type == "uuid":
            return True
        case Email() | PersonName() | Hash():
            return _TEXT.fullmatch(column.type) is not None
        case Null() | Fixed():
            return True


def _written(spot: Spot) -> str:
    return ".".join(spot[1:] if spot[0] == "public" else spot)
