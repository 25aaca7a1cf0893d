"""What JSON a body holds, read so that no other reader can see something else in it. Pure.

*Source:* RFC 8259, sections 4 and 8: names that stand twice, and text that is no Unicode, are read differently by
different programs.
"""

import json
import math
import re
from typing import Any, NoReturn

from tasks.webhook.payload_parts import malformed

DEEPEST = 64
"""How many levels a body may have; what forges send has less than ten."""
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


def parse(body: bytes) -> Any:
    """Return what the body says.

    Raises:
        Malformed: it is no JSON in UTF-8, or such that two readers may understand it differently.
    """
    try:
        found = json.loads(
            body.decode(), object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite_number
        )
    except (ValueError, RecursionError) as error:
        raise malformed(f"the body is no JSON: {type(error).__name__}") from None
    _check(found)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise malformed("the body has a key twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise malformed(f"the body has {text}, which is no JSON")


def _finite_number(text: str) -> float:
    if math.isinf(number := float(text)):
        raise malformed("the body has a number that is too large")
    return number


def _check(found: Any) -> None:
    """Nothing is too deep, and all text can be kept. Not recursive."""
    left = [(found, 1)]
    while left:
        value, level = left.pop()
        if isinstance(value, str) and _NO_TEXT.search(value):
            raise malformed("the body has text with a NUL, or with half a character")
        if isinstance(value, dict | list):
            if level > DEEPEST:
                raise malformed(f"the body has more than {DEEPEST} levels")
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            left.extend((part, level + 1) for part in parts)
