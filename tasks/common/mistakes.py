"""What pydantic has to say about a file, as mistakes that say where, what was found and what is expected."""

import json
import re
import types
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tasks.common.document import Document, Mistake, show_place
from tasks.common.errors import Refused
from tasks.common.model import Place, Problem, near
from tasks.common.redaction import Redactor
from tasks.common.secrets import NoReference
from tasks.common.units import PATTERN_WORDS, Expected, write_duration, write_percent, write_size

M = TypeVar("M", bound=BaseModel)

_SECRET = re.compile(r"(?i)secret|passw|token|credential|dsn|private|auth|api_?key|access_?key|(^|[_-])key$")
_HIDDEN = "a value that is not shown, as it may be a secret"
_LONGEST = 60
_MOST_LISTED = 200
_LIST = "a list: each item on a line of its own after '- ', or [first, second]"
_MAPPING = "a mapping: 'key: value' lines, indented below it"

_WORDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "{min_length} or more items",
    "too_long": "at most {max_length} items",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "literal_error": "one of: {expected}",
    "enum": "one of: {expected}",
    "union_tag_invalid": "one of: {expected_tags}",
}
"""What is expected, by pydantic's type of error."""

_OWN = ("string_pattern_mismatch",)
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_CHOICES = ("literal_error", "enum", "union_tag_invalid")


def validate(model: type[M], data: Any) -> M | list[ErrorDetails]:
    """Return the model's instance, or everything that is wrong.

    Strict, and by the names that files use: '200' is no number, and `timeout_s` is no key. Never raises and never
    keeps the exception, which repeats the values that it is about, secrets among them.
    """
    try:
        return model.model_validate_json(json.dumps(data), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        return error.errors(include_url=False, include_input=False)


def mistakes(
    model: type[BaseModel], errors: Iterable[ErrorDetails], document: Document, within: Place = ()
) -> list[Mistake]:
    """Return pydantic's errors as mistakes of the file, one a place, or one a problem.

    Args:
        model: what the data was validated against.
        errors: what `validate` returned.
        document: the file.
        within: the place of the data in the file.
    """
    found: dict[tuple[Place, str], list[tuple[str, str]]] = {}
    for error in errors:
        spot = _locate(model, error, document, within)
        if not any(spot.place[: len(each)] == each for each in document.unreadable):
            described = _describe(error, spot, document.at(spot.place))
            # Branches of a union say what each of them expects; problems are one mistake each.
            own = described[0] if error["type"] == "problem" else ""
            found.setdefault((spot.place, own), []).append(described)
    return [
        Mistake(document.line(place), show_place(place), pairs[0][0], " or ".join(dict.fromkeys(e for _, e in pairs)))
        for (place, _), pairs in found.items()
    ]


def problem_mistakes(problems: Iterable[Problem], document: Document, within: Place = ()) -> list[Mistake]:
    """Return problems between the parts of a file as mistakes of the file."""
    placed = [((*within, *each.place), each) for each in problems]
    return [
        Mistake(document.line(place), show_place(place), _cleaned(each.found), each.expected) for place, each in placed
    ]


def refused(what: str, found: Collection[tuple[str, Mistake]], on: str, reference: str) -> Refused:
    """Return the error that lists all mistakes, each a line: 'FILE:LINE: PLACE: found ...; expected ...'.

    Args:
        what: what has them: 'slipway.yaml has', 'the migrations have'.
        found: the mistakes, each with the name of its file; what is found twice is listed once.
        on: what was read.
        reference: page that explains every key.
    """
    unique = sorted(set(found))
    count = "1 mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
    lines = [f"{name}:{each.line}: {each}" for name, each in unique[:_MOST_LISTED]]
    more = [f"... and {len(unique) - _MOST_LISTED} more"] if len(unique) > _MOST_LISTED else []
    return Refused(
        f"{what} {count}",
        on=on,
        next_action=f"correct what is listed, then run the same command again ({reference} explains every key)",
        facts={"mistakes": "\n".join([*lines, *more])},
    )


def show(value: object) -> str:
    """Return a value of a file in words, shortened, without anything that is shaped like a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        shown = _cleaned(value)
        return f"the text {shown[:_LONGEST] + '…' if len(shown) > _LONGEST else shown!r}" if value else "empty text"
    kind = "list" if isinstance(value, list) else "mapping"
    return f"a {kind}" if value else f"an empty {kind}"


def _cleaned(text: str) -> str:
    return Redactor().redact(text)


def _describe(error: ErrorDetails, spot: "_Spot", value: object) -> tuple[str, str]:
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("missing", "union_tag_not_found"):
        description = spot.field.description if spot.field is not None else None
        return "nothing", f"this key ({description})" if description else "this key"
    if kind == "extra_forbidden":
        known = [field.alias or name for name, field in spot.owner.model_fields.items()] if spot.owner else []
        expected = f"one of: {', '.join(known)}" if known else "no key here"
        return "an unknown key" + near(str(spot.place[-1]), known), expected
    if kind == "problem":
        return _cleaned(context["found"]), context["expected"]
    if spot.is_key:
        return f"the key {spot.place[-1]!r}", _expected(kind, context, spot.place[-1])
    secret = any(isinstance(step, str) and _SECRET.search(step) for step in spot.place)
    if value is not None and (secret or isinstance(context.get("error"), NoReference)):
        return _HIDDEN, _expected(kind, context, None)
    if kind in ("value_error", "assertion_error"):
        return _reason(context["error"], value)
    if kind in _WORDS or kind in _OWN:
        words = _expected(kind, context, value)
        if kind in _CHOICES and isinstance(value, str):
            return show(value) + near(value, re.findall(r"'([^']*)'", words)), words
        return show(value), words
    return show(value), error["msg"].removeprefix("Input should be ")


def _expected(kind: str, context: dict[str, Any], value: object) -> str:
    """Return what is expected; with no value (it is hidden), only words that cannot repeat it."""
    if isinstance(context.get("error"), Expected):
        return str(context["error"].expected)
    if kind == "string_pattern_mismatch":
        return PATTERN_WORDS.get(context["pattern"], f"text that matches {context['pattern']}")
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"text: write it in quotes, {json.dumps(json.dumps(value))}"
    if kind == "string_too_short" and context["min_length"] == 1:
        return "text that is not empty"
    if kind in _BOUNDS and isinstance(value, str):
        context = {name: _written(bound, value) for name, bound in context.items()}
    return _WORDS.get(kind, "a valid value").format(**context)


def _reason(error: Exception, value: object) -> tuple[str, str]:
    """Return what a validator has to say; drivers' own validators raise plain ValueErrors, also about whole models."""
    if isinstance(error, Expected):
        return show(value), error.expected
    message = _cleaned(str(error)) or "something else"
    found = "values that do not fit together" if isinstance(value, dict | list) else show(value)
    return found, message.removeprefix("expected ")


def _written(bound: float, like: str) -> str:
    """Return a bound as the file would write it."""
    if like.endswith("%"):
        return write_percent(bound)
    return write_size(int(bound)) if like.endswith("B") else write_duration(bound)


@dataclass(frozen=True)
class _Spot:
    """Where an error belongs: the place, what stands there by the model, and the model that has the last key."""

    place: Place
    kind: Any
    owner: type[BaseModel] | None = None
    field: FieldInfo | None = None
    is_key: bool = False


def _locate(model: type[BaseModel], error: ErrorDetails, document: Document, within: Place) -> _Spot:
    spot = _Spot(within, model)
    for step in error["loc"]:
        spot = replace(spot, is_key=True) if step == "[key]" else _follow(spot, step, document)
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _follow(replace(spot, kind=None), error["ctx"]["discriminator"].strip("'"), None)
    return spot


def _follow(spot: _Spot, step: str | int, document: Document | None) -> _Spot:
    """Return the spot one step on. pydantic's steps also name the branch of a union, which is no place in the file."""
    options = _options(spot.kind)
    models = [each for each in options if isinstance(each, type) and issubclass(each, BaseModel)]
    place = (*spot.place, step)
    if isinstance(step, int):
        items = [get_args(each)[0] for each in options if get_origin(each) in (list, tuple) and get_args(each)]
        return _Spot(place, items[0] if items else None)
    if len(models) > 1:
        tagged = next((each for each in models if _is_tagged(each, step)), None)
        owner = next((each for each in models if step in _fields(each)), None)
        if tagged is None and owner is not None:
            return _Spot(place, _fields(owner)[step].annotation, owner, _fields(owner)[step])
        return replace(spot, kind=tagged)
    if models:
        fields = _fields(models[0])
        if step in fields:
            return _Spot(place, fields[step].annotation, models[0], fields[step])
        return spot if len(options) > 1 else _Spot(place, None, models[0])
    values = [get_args(each)[1] for each in options if get_origin(each) is dict]
    if values:
        return _Spot(place, values[0])
    there = document is None or isinstance(document.at(spot.place), dict)
    return _Spot(place, None) if there else spot


def _options(kind: Any) -> list[Any]:
    if get_origin(kind) is Annotated:
        return _options(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [option for each in get_args(kind) for option in _options(each)]
    return [] if kind is None or kind is type(None) else [kind]


def _fields(model: type[BaseModel]) -> dict[str | int, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _is_tagged(model: type[BaseModel], tag: str) -> bool:
    return any(
        get_origin(field.annotation) is Literal and tag in get_args(field.annotation)
        for field in model.model_fields.values()
    )
