"""Quantities as people write them: durations, percentages, sizes. A number without its unit is refused."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(KiB|MiB|GiB|TiB)")
_BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_duration(value: object) -> float:
    """Return the seconds in text like '30s', '250ms', '5m', '1h', '2d' or '1h30m'.

    Raises:
        ValueError: the unit is missing or unknown; the message says what was found and what is expected.
    """
    text = str(value).strip() if isinstance(value, str) else ""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a duration with its unit, such as 30s, 5m or 1h; found {value!r}")
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def parse_percent(value: object) -> float:
    """Return the number in text like '0.1%' or '25 %', from 0 to 100.

    Raises:
        ValueError: no per cent sign, or out of range.
    """
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not 0 <= float(match[1]) <= 100:
        raise ValueError(f"expected a percentage from 0% to 100%, such as 0.1%; found {value!r}")
    return float(match[1])


def parse_size(value: object) -> int:
    """Return the bytes in text like '512MiB' or '2GiB' (binary units only, so that nobody has to guess).

    Raises:
        ValueError: the unit is missing or unknown.
    """
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected a size with its unit, such as 512MiB or 2GiB; found {value!r}")
    return int(float(match[1]) * _BYTES[match[2]])


def show_duration(seconds: float) -> str:
    """Return seconds as a person would write them: '250 ms', '4.2 s', '5 min', '1 h 30 min'."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def show_percent(percent: float) -> str:
    """Return a percentage with no more digits than it needs: '0.1 %', '100 %'."""
    return f"{percent:.3f}".rstrip("0").rstrip(".") + " %"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$", "examples": ["30s", "5m", "1h"]}),
]
Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)? ?%$", "examples": ["0.1%", "25%"]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)? ?(KiB|MiB|GiB|TiB)$", "examples": ["512MiB"]}),
]
Name = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9-]{0,38}[a-z0-9]$", description="lower-case letters, digits and dashes, 2 to 40"),
]
