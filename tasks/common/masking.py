"""Rules that make an anonymised copy: which column is masked how, and which may stay as it is (OPS-4)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.common.model import Problem, StrictModel, refuse
from tasks.common.secrets import SecretRef
from tasks.common.units import SPOT_PATTERN, PositiveDuration

Spot = Annotated[str, Field(pattern=SPOT_PATTERN)]
"""A column of the file: 'customer.email' or 'billing.invoice.payer'."""
DAY_S = 86400.0
MASKED_DOMAIN = "masked.invalid"
"""Addresses at it reach nobody. *Source:* RFC 2606, 2."""


class Email(StrictModel):
    """An address at masked.invalid, the same for the same address, whatever its case."""

    rule: Literal["email"] = Field(description="the rule")


class PersonName(StrictModel):
    """A made-up name from a short list, the same for the same name."""

    rule: Literal["name"] = Field(description="the rule")


class Hash(StrictModel):
    """A keyed hash, the same for the same value, so that joins hold."""

    rule: Literal["hash"] = Field(description="the rule")


class Null(StrictModel):
    """Nothing."""

    rule: Literal["null"] = Field(description="the rule")


class Fixed(StrictModel):
    """The same value in every row that has one."""

    rule: Literal["fixed"] = Field(description="the rule")
    value: str = Field(description="the value, as PostgreSQL reads it")


class ShiftDate(StrictModel):
    """Another day nearby, the same for the same value; never the day itself."""

    rule: Literal["shift-date"] = Field(description="the rule")
    up_to_s: PositiveDuration = Field(alias="up_to", description="farthest that it is moved, in whole days, both ways")

    @model_validator(mode="after")
    def _days(self) -> Self:
        if self.up_to_s % DAY_S:
            refuse("ShiftDate", [Problem(("up_to",), "a part of a day", "whole days, such as 30d")])
        return self


Rule = Email | PersonName | Hash | Null | Fixed | ShiftDate
STABLE = (Email, Hash)
"""Rules whose result differs where the values differ, so that unique columns stay unique and joins hold."""


class Masking(StrictModel):
    """How a copy of a database is made anonymous."""

    key: SecretRef = Field(description="secret, of 16 characters or more, that masked values are derived with")
    masking: dict[Spot, Annotated[Rule, Field(discriminator="rule")]] = Field(
        min_length=1, description="the rule of each column that is masked"
    )
    keep: dict[Spot, str] = Field(
        default_factory=dict, description="columns that look personal and stay as they are, each with the reason"
    )
    allow_mail: dict[Spot, list[str]] = Field(
        default_factory=dict,
        description="addresses that may stay in a column: whole ones, or @example.org for all of a domain",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        both = [
            Problem(("keep", spot), "a column that is masked, too", "it once")
            for spot in self.keep
            if spot in self.masking
        ]
        empty = [
            Problem(("keep", spot), "no reason", "why it may stay")
            for spot, why in self.keep.items()
            if not why.strip()
        ]
        refuse("Masking", [*both, *empty])
        return self


def split(spot: str) -> tuple[str, str, str]:
    """Return schema, table and column of 'customer.email' or 'billing.invoice.payer'."""
    *schema, table, column = spot.split(".")
    return (schema[0] if schema else "public"), table, column
