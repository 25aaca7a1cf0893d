"""Operations that are SQL by hand, and types. Pure."""

from typing import Literal

from pydantic import Field, field_validator

from tasks.common.units import Expected
from tasks.migration.model import Ddl, quoted
from tasks.migration.operations.base import Operation
from tasks.migration.operations.expressions import Identifier, literal
from tasks.migration.operations.shape import State, Wrong
from tasks.migration.sql import BadSql, statements


def _texts(text: str) -> tuple[str, ...]:
    return tuple(each.text for each in statements(text))


class RawSql(Operation):
    """Statements run as they are: before everything else of the migration, or when the old shape goes."""

    operation: Literal["raw sql"]
    run: str = Field(description="statements; they run in one transaction")
    undo: str | None = Field(default=None, description="statements that take them back; without it nothing does")
    when: Literal["prepare", "cleanup"] = Field(default="prepare", description="the phase that they run in")

    @field_validator("run", "undo")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        try:
            if text is not None and not statements(text):
                raise Expected("one statement or more", text)
        except BadSql as bad:
            raise Expected(f"SQL: {bad}") from None
        return text

    def apply(self, state: State) -> None:
        """The statements are among what is done."""
        run = _texts(self.run)
        short = run[0] if len(run[0]) <= 60 else run[0][:59] + "…"
        if self.when == "cleanup":
            if self.undo is not None:
                raise Wrong("an undo of what runs in cleanup", "none: nothing is undone from there on")
            state.notes.append(f"'{short}' runs in cleanup, and nothing takes it back; until then nobody sees it")
            state.end.append(Ddl(statements=run, what=f"raw SQL: {short}", undo=None))
            return
        undo = None if self.undo is None else (Ddl(statements=_texts(self.undo), what="raw SQL, taken back"),)
        if undo is None:
            state.notes.append(f"'{short}' has no undo: taking the migration back leaves what it did")
        state.begin.append(Ddl(statements=run, what=f"raw SQL: {short}", undo=undo))


class CreateEnum(Operation):
    """A type of a few texts is made."""

    operation: Literal["create enum"]
    name: Identifier = Field(description="of the type")
    values: list[str] = Field(min_length=1, description="its texts, in their order")

    def apply(self, state: State) -> None:
        """The type is among what is made."""
        name = f"{quoted(state.base)}.{quoted(self.name)}"
        values = ", ".join(literal(each).strip() for each in self.values)
        undo = (Ddl(statements=(f"DROP TYPE IF EXISTS {name}",), what=f"drop the type {self.name}"),)
        run = (f"CREATE TYPE {name} AS ENUM ({values})",)
        state.begin.append(Ddl(statements=run, what=f"make the type {self.name}", undo=undo))


class AddEnumValue(Operation):
    """A type of a few texts has one more. Nothing takes it back; who does not know it may meet it."""

    operation: Literal["add enum value"]
    name: Identifier = Field(description="of the type")
    value: str = Field(min_length=1, description="its new text")
    after: str | None = Field(default=None, description="the text that it comes after; the last where it is left out")

    def apply(self, state: State) -> None:
        """The text is among what is made."""
        behind = f" AFTER {literal(self.after).strip()}" if self.after is not None else ""
        run = f"ALTER TYPE {quoted(state.base)}.{quoted(self.name)} ADD VALUE {literal(self.value).strip()}{behind}"
        state.notes.append(f"the value {self.value!r} of {self.name} has no undo, and old clients may meet it")
        state.begin.append(Ddl(statements=(run,), what=f"add {self.value!r} to {self.name}", undo=None))
