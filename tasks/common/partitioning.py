"""Tables of ranges of time, as an estate file describes their upkeep (MIG-3). Pure."""

import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from tasks.common.model import Problem, StrictModel, refuse
from tasks.common.schedules import TimeZone
from tasks.common.units import KEEP_PATTERN, KEEP_WORDS, TABLE_PATTERN, Duration, Expected

FOREVER = "forever"
_KEEP = re.compile(r"([1-9][0-9]{0,2}) (month|quarter|year)s?")


class RangeUnit(StrEnum):
    """How long the range of a partition is."""

    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"

    @property
    def months(self) -> int:
        """Return its length in months."""
        return {"month": 1, "quarter": 3, "year": 12}[self.value]


def parse_keep(value: object) -> int | None:
    """Return the months in text like '24 months', '12 quarters' or '5 years'; None for 'forever'.

    Raises:
        Expected: it is no such text.
    """
    if value == FOREVER:
        return None
    match = _KEEP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Expected(KEEP_WORDS, value)
    return int(match[1]) * RangeUnit(match[2]).months


def write_keep(months: int | None) -> str:
    """Return the text that parse_keep reads as these months."""
    if months is None:
        return FOREVER
    return f"{months} month" if months == 1 else f"{months} months"


Keep = Annotated[
    int | None,
    BeforeValidator(parse_keep),
    PlainSerializer(write_keep, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": KEEP_PATTERN, "examples": ["24 months", "5 years", FOREVER]}),
]


class PartitionSpec(StrictModel):
    """A table that is partitioned by ranges of time: partitions are made ahead, and leave when they are old."""

    table: str = Field(pattern=TABLE_PATTERN, description="the table, with its schema where that is not on the path")
    every: RangeUnit = Field(description="the range of a partition")
    ahead: int = Field(ge=1, le=60, description="how many partitions are there beyond the present one")
    keep_months: Keep = Field(
        alias="keep",
        description="how long rows are kept beyond the present partition: 24 months, 12 quarters, 5 years or forever; "
        "a partition that is wholly older is detached",
    )
    drop_after_s: Duration | None = Field(
        default=None,
        alias="drop_after",
        description="how long after it was detached a partition is dropped, for good; left out: a person drops it",
    )
    time_zone: TimeZone = Field(default="UTC", description="in whose midnight partitions begin")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        months, unit = self.keep_months, self.every.months
        if months is not None and months % unit:
            found = f"{write_keep(months)}, which are no whole {self.every}s"
            refuse("PartitionSpec", [Problem(("keep",), found, f"a multiple of {unit} months")])
        if months is None and self.drop_after_s is not None:
            refuse("PartitionSpec", [Problem(("drop_after",), "it beside 'keep: forever'", "no such key")])
        return self
