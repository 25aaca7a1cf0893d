"""The number that a JSON pointer leads to in an answer."""

import json
import math
from typing import Any


class NoFigure(ValueError):
    """There is no number where the pointer leads; says what is there instead."""


def figure_in(text: str, pointer: str) -> float:
    """Return the number at a JSON pointer.

    Args:
        text: JSON.
        pointer: such as '/drill/passed' or '/checks/0/value'; '~1' is a slash in a key, '~0' a tilde.

    Raises:
        NoFigure: it is no JSON, has a key twice on the way, or there is no finite number at that place.

    *Source:* RFC 6901, section 4; RFC 8259, section 4 (names should be unique).
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except NoFigure:
        raise
    except (ValueError, RecursionError):
        raise NoFigure("the answer is no JSON") from None
    for part in pointer.split("/")[1:]:
        value = _step(value, part.replace("~1", "/").replace("~0", "~"), pointer)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoFigure(f"at {pointer} stands {_kind(value)}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise NoFigure(f"at {pointer} stands a number that is too large")
    return number


def _step(value: Any, key: str, pointer: str) -> Any:
    if isinstance(value, dict) and key in value:
        return value[key]
    if (
        isinstance(value, list)
        and key.isascii()
        and key.isdigit()
        and str(int(key[:9])) == key
        and int(key) < len(value)
    ):
        return value[int(key)]
    raise NoFigure(f"the answer has nothing at {pointer}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NoFigure("the answer has a key twice, so that it cannot be told which of them counts")
    return found


def _refuse(constant: str) -> float:
    raise NoFigure(f"the answer has {constant} in it, which is no JSON")


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "text", bool: "a truth value"}.get(type(value), "nothing")
