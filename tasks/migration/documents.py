"""Migrations of MongoDB as data: commands, index specifications, filters and expressions, all written as JSON. Pure.

The nouns are those of `model.py`; what PostgreSQL takes as SQL is Extended JSON here. A command, a check or a batch may
be done twice after a crash, as nothing binds it to its record: so each has to be repeatable, or it is refused.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.common.errors import Refused

COMMANDS = ("create", "collMod", "drop", "dropIndexes")
"""What a DDL step may do, by the name that comes first. An index is built by a step of its own."""
_LOOSE = ("$rand", "$sampleRate", "$function", "$accumulator", "$where", "$currentDate")
"""Operators whose value is another one each time, or cannot be known."""
_NOW = ("$$NOW", "$$CLUSTER_TIME")
_WRITING = ("$out", "$merge")


def document(text: str, what: str, on: str) -> dict[str, Any]:
    """Return a JSON object.

    Args:
        text: JSON; values that JSON has not are Extended JSON, such as {"$oid": "..."}.
        what: it is, for errors.
        on: what errors call its place.

    Raises:
        Refused: it is none.
    """
    found = _read(text, what, on)
    if not isinstance(found, dict) or not found:
        raise _bad(what, on, "a JSON object")
    return found


def command(text: str, on: str) -> dict[str, Any]:
    """Return a command of a DDL step.

    Raises:
        Refused: it has no meaning here; what to write in its place.
    """
    found = document(text, "a command", on)
    name = next(iter(found))
    if name == "createIndexes":
        raise _bad(f"the command {name}", on, "a step that builds one index")
    if name not in COMMANDS:
        raise _bad(f"the command {name}", on, f"one of: {', '.join(COMMANDS)}")
    if not isinstance(found[name], str) or not found[name]:
        raise _bad(f"the command {name} without a collection", on, f'{{"{name}": "NAME", ...}}')
    if name == "dropIndexes" and found.get("index", "*") == "*":
        raise _bad("to drop all indexes", on, '{"dropIndexes": "NAME", "index": "NAME"}')
    return found


def index(text: str, on: str) -> dict[str, Any]:
    """Return what an index is to be: its key, and its options without the name.

    Raises:
        Refused: it has no key.
    """
    found = document(text, "an index", on)
    key = found.get("key")
    if not isinstance(key, dict) or not key:
        raise _bad("an index without a key", on, '{"key": {"full_name": 1}, "unique": true}')
    return found


def check(text: str, on: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the collection of a check, and the pipeline whose documents are what is wrong.

    Raises:
        Refused: it is no check, or one that writes.
    """
    found = document(text, "a check", on)
    pipeline = found.get("pipeline")
    if not isinstance(found.get("aggregate"), str) or set(found) != {"aggregate", "pipeline"}:
        raise _bad("a check", on, '{"aggregate": "NAME", "pipeline": [...]}')
    if not isinstance(pipeline, list) or not all(isinstance(each, dict) for each in pipeline):
        raise _bad("a pipeline", on, "a list of stages")
    writes = sorted({key for key in _keys(pipeline) if key in _WRITING})
    if writes:
        raise _bad(f"a check that writes ({', '.join(writes)})", on, "stages that only read")
    return found["aggregate"], pipeline


def filter_of(text: str, on: str) -> dict[str, Any]:
    """Return a filter; an empty one for ''.

    Raises:
        Refused: it is none.
    """
    return document(text, "the 'where'", on) if text else {}


def assignments(set_: Mapping[str, str], on: str) -> dict[str, Any]:
    """Return the stage $set of a backfill.

    Raises:
        Refused: an expression is no JSON, or a field is not to be set.
    """
    for field in set_:
        if field == "_id" or field.startswith("$"):
            raise _bad(f"a value for {field}", on, "a field that may be changed")
    return {field: _read(text, f"the value of {field}", on) for field, text in set_.items()}


def volatile(texts: Mapping[str, str], on: str) -> tuple[str, ...]:
    """Return what in expressions and filters has another value each time; () if nothing.

    Raises:
        Refused: one of them cannot be read.
    """
    found = [_read(text, what, on) for what, text in texts.items()]
    keys = [key for each in found for key in _keys(each) if key in _LOOSE]
    words = [word for each in found for word in _texts(each) if word.startswith(_NOW)]
    return tuple(dict.fromkeys([*keys, *words]))


def made_from_itself(stage: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields that are made from a field that is set: a second time would make them from the result."""
    for field, expression in stage.items():
        for word in _texts(expression):
            for other in stage:
                read = word.removeprefix("$$ROOT.").removeprefix("$$CURRENT.").removeprefix("$")
                whole = word in ("$$ROOT", "$$CURRENT")
                if word.startswith("$") and (whole or _overlap(read, other)):
                    yield f"{field}, which is made from {'the whole document' if whole else other}"


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _read(text: str, what: str, on: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise _bad(what, on, "JSON") from None


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from _keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)


def _texts(value: object) -> Iterator[str]:
    """Yield all texts; those within $literal stand for themselves."""
    if isinstance(value, str):
        yield value
    parts: Sequence[object] = ()
    if isinstance(value, dict):
        parts = [each for key, each in value.items() if key != "$literal"]
    elif isinstance(value, list):
        parts = value
    for each in parts:
        yield from _texts(each)


def _bad(what: str, on: str, expected: str) -> Refused:
    return Refused(f"MongoDB cannot do this: {what}", on=on, next_action=f"write {expected}")
