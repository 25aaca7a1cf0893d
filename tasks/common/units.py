"""Quantities as people write them: durations, percentages, sizes. A number without its unit is refused."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 366 * 86400.0
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(KiB|MiB|GiB|TiB)")
_BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LARGEST = 1024 * 2**40
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

# Patterns of the JSON Schemas: the same language as the parsers, as far as a pattern can say it.
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
POSITIVE_DURATION_PATTERN = r"^(?=.*[1-9])([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
PERCENT_PATTERN = r"^(0*100(\.0+)?|0*[0-9]{1,2}(\.[0-9]+)?) ?%$"
SIZE_PATTERN = r"^(?=.*[1-9])[0-9]+(\.[0-9]+)? ?(KiB|MiB|GiB|TiB)$"
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
NAME_PATTERN = r"^[a-z][a-z0-9-]{0,38}[a-z0-9]$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
PATH_PATTERN = r"^/"
ADDRESS_PATTERN = r"^https?://"
POINTER_PATTERN = r"^(/([^~/]|~[01])*)+$"
HEADER_PATTERN = r"^[A-Za-z0-9-]{1,60}$"
TABLE_PATTERN = r"^[^.\s\"]{1,63}(\.[^.\s\"]{1,63})?$"
COLUMN_PATTERN = r"^[^\s\",][^\",]{0,62}$"
SPOT_PATTERN = r"^([^.\s\"]{1,63}\.){1,2}[^.\"]{1,63}$"
MOMENT_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}))?$"
HOST_AND_PORT_PATTERN = r"^[^:/\s]+:[1-9][0-9]{0,4}$"
DNS_NAME_PATTERN = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$"
SYSTEM_ID_PATTERN = r"^[0-9]{15,20}$"
KEEP_PATTERN = r"^(forever|[1-9][0-9]{0,2} (month|quarter|year)s?)$"
MAIL_PATTERN = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"

DURATION_WORDS = "a duration with its unit, such as 30s, 5m or 1h, up to 366d"
POSITIVE_DURATION_WORDS = "a duration above zero with its unit, such as 30s, 5m or 1h, up to 366d"
DATE_WORDS = "a day of the calendar, such as 2027-03-31"
PERCENT_WORDS = "a percentage from 0% to 100%, such as 0.1%"
KEEP_WORDS = "'forever', or a number of months, quarters or years, such as 24 months"
SIZE_WORDS = "a size above zero with its unit, such as 512MiB or 2GiB, up to 1024TiB"

PATTERN_WORDS = {
    DURATION_PATTERN: DURATION_WORDS,
    POSITIVE_DURATION_PATTERN: POSITIVE_DURATION_WORDS,
    PERCENT_PATTERN: PERCENT_WORDS,
    SIZE_PATTERN: SIZE_WORDS,
    DATE_PATTERN: DATE_WORDS,
    KEEP_PATTERN: KEEP_WORDS,
    CLOCK_PATTERN: "a time of the day from 00:00 to 23:59, such as 02:00",
    NAME_PATTERN: "a name: 2 to 40 lower-case letters, digits and dashes, a letter first and no dash last",
    VARIABLE_PATTERN: "the name of an environment variable: letters, digits and underscores, no digit first",
    PATH_PATTERN: "a path that starts with /",
    ADDRESS_PATTERN: "an address that starts with http:// or https://",
    POINTER_PATTERN: "a JSON pointer (RFC 6901), such as /repository/name",
    TABLE_PATTERN: "a table, such as customer or billing.invoice",
    COLUMN_PATTERN: "the name of a column",
    SPOT_PATTERN: "a column with its table, such as customer.email or billing.invoice.payer",
    MOMENT_PATTERN: "a day or a moment with its time zone, such as 2024-01-31 or 2024-01-31T10:00:00Z",
    HEADER_PATTERN: "the name of an HTTP header: letters, digits and dashes",
    HOST_AND_PORT_PATTERN: "a host and its port, such as 10.1.0.1:5432",
    DNS_NAME_PATTERN: "a name of the DNS in lower case, without a dot at its end, such as shop.example.org",
    SYSTEM_ID_PATTERN: "a system identifier, as pg_controldata shows it: 15 to 20 digits, in quotes",
    MAIL_PATTERN: "a plain mail address, such as ops@example.org",
}
"""What the patterns of the files' models mean, in words: for messages and for the reference."""


class Expected(ValueError):
    """A value is not what its place needs.

    Args:
        expected: what the place needs, as the end of a sentence that starts with 'expected'.
        found: what stands there; left out where it may be a secret.
    """

    def __init__(self, expected: str, *found: object) -> None:
        self.expected = expected
        super().__init__("; ".join([*(f"found {value!r}" for value in found), f"expected {expected}"]))


def parse_duration(value: object) -> float:
    """Return the seconds in text like '30s', '250ms', '5m', '1h', '2d' or '1h30m', up to 366 days.

    Raises:
        Expected: the unit is missing or unknown, or it is too long; says what was found and what is expected.
    """
    parts = _DURATION.findall(value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise Expected(DURATION_WORDS, value)
    seconds = float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    if seconds > _LONGEST_S:
        raise Expected(DURATION_WORDS, value)
    return seconds


def parse_positive_duration(value: object) -> float:
    """Return the seconds in text like '30s', for waits that must not be nothing.

    Raises:
        Expected: it is no duration, or it is zero.
    """
    try:
        seconds = parse_duration(value)
    except Expected:
        seconds = 0.0
    if seconds <= 0:
        raise Expected(POSITIVE_DURATION_WORDS, value)
    return seconds


def parse_percent(value: object) -> float:
    """Return the number in text like '0.1%' or '25 %', from 0 to 100.

    Raises:
        Expected: no per cent sign, or out of range.
    """
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 <= float(match[1]) <= 100:
        raise Expected(PERCENT_WORDS, value)
    return float(match[1])


def parse_size(value: object) -> int:
    """Return the bytes in text like '512MiB' or '2GiB' (binary units only, so that nobody has to guess).

    Raises:
        Expected: the unit is missing or unknown, or it is less than a byte or more than 1024 TiB.
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    size = float(match[1]) * _BYTES[match[2]] if match else 0.0
    if not 1 <= size <= _LARGEST:
        raise Expected(SIZE_WORDS, value)
    return int(size)


def parse_date(value: object) -> date:
    """Return the day in text like '2027-03-31'.

    Raises:
        Expected: it is no such text, or there is no such day.
    """
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise Expected(DATE_WORDS, value)


def write_duration(seconds: float) -> str:
    """Return the text that parse_duration reads as these seconds, in the largest unit that fits: '10m', '90s'."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{Decimal(repr(float(seconds))).normalize():f}s"


def write_percent(percent: float) -> str:
    """Return the text that parse_percent reads as this number: '0.1%', '100%'."""
    return f"{Decimal(repr(float(percent))).normalize():f}%"


def write_size(size: int) -> str:
    """Return the text that parse_size reads as these bytes, in the largest unit that fits: '512MiB'."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{Decimal(size) / 1024:f}KiB"


def show_duration(seconds: float) -> str:
    """Return seconds as a person would write them: '250 ms', '4.2 s', '5 min', '1 h 30 min'."""
    if round(seconds * 1000) < 1000:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def show_age(seconds: float) -> str:
    """Return how long ago something was, with days where there are two or more: '12.5 s', '26 h 5 min', '3 d 4 h'."""
    days, hours = divmod(round(seconds / 3600), 24)
    if days < 2:
        return show_duration(seconds)
    return f"{days} d {hours} h" if hours else f"{days} d"


def show_size(size: float) -> str:
    """Return bytes as a person would write them: '512 B', '1.5 MiB', '20 GiB'; also below zero."""
    left, unit = abs(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if round(left, 1) < 1024:
            break
        left, unit = left / 1024, larger
    digits = 0 if unit == "B" or round(left, 1) >= 100 else 1
    return f"{'-' if size < 0 else ''}{left:.{digits}f}".removesuffix(".0") + f" {unit}"


def show_percent(percent: float) -> str:
    """Return a percentage with no more digits than it needs: '0.1 %', '100 %'."""
    return f"{percent:.3f}".rstrip("0").rstrip(".") + " %"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(write_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "5m", "1h"]}),
]
PositiveDuration = Annotated[
    float,
    BeforeValidator(parse_positive_duration),
    PlainSerializer(write_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": POSITIVE_DURATION_PATTERN, "examples": ["30s", "5m", "1h"]}),
]
Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    PlainSerializer(write_percent, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PERCENT_PATTERN, "examples": ["0.1%", "25%"]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(write_size, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN, "examples": ["512MiB", "2GiB"]}),
]
Day = Annotated[
    date,
    BeforeValidator(parse_date),
    WithJsonSchema({"type": "string", "pattern": DATE_PATTERN, "examples": ["2027-03-31"]}),
]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Variable = Annotated[str, Field(pattern=VARIABLE_PATTERN)]
