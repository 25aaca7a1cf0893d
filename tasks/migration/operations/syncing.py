"""What keeps the two shapes of a table in step while both are in use: triggers, and what a backfill sets. Pure.

Which side writes is told by the first schema of the session's search_path, in the condition of each trigger. A row that
a side writes is converted only where a column was changed that the other side's value is made from: who changes
something else does not undo what the other side has stored.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tasks.migration.model import quoted
from tasks.migration.operations.expressions import comparable, is_steady, literal
from tasks.migration.operations.shape import ColumnState, Formula, State, TableState

Reference = Callable[[ColumnState], str]


@dataclass(frozen=True)
class Sync:
    """What keeps one table in step.

    Args:
        make: statements.
        unmake: statements that take all of it away again; they may be run twice.
        filled: SQL by physical column for a backfill; empty where nothing need be filled.
    """

    make: tuple[str, ...]
    unmake: tuple[str, ...]
    filled: dict[str, str]


def marker(state: State) -> str:
    """Return the name of the column that tells which rows are not filled yet."""
    return state.made("todo")


def sync(state: State, table: TableState, migration: str) -> Sync:
    """Return what keeps a table in step that was there before the migration."""
    return _Syncing(state, table, migration).sync()


class _Syncing:
    def __init__(self, state: State, table: TableState, migration: str) -> None:
        self.state, self.table, self.migration = state, table, migration
        self.ups = [each for each in table.fresh if each.up is not None]
        self.downs = [each for each in table.gone if each.down is not None]
        self.late = [each for each in table.fresh if each.up is None and each.default and not is_steady(each.default)]

    def sync(self) -> Sync:
        make: list[str] = []
        unmake: list[str] = []
        for name, signature, body in self._helpers():
            make.append(body)
            unmake.append(f"DROP FUNCTION IF EXISTS {self._qualified(name)}({signature})")
        for part, body, condition, changed in self._triggers():
            function = self._qualified(self.state.made(self.table.physical, part))
            make.append(
                f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = "
                f"{self._path(part)} AS $slipway$\n{body}$slipway$"
            )
            unmake.insert(0, f"DROP FUNCTION IF EXISTS {function}()")
            # An update of something else does not even call the function.
            for event, when in (("INSERT", condition), ("UPDATE", f"{condition} AND ({' OR '.join(changed)})")):
                if event == "INSERT" or changed:
                    trigger = f"{quoted(self._trigger(part, event))} "
                    make.append(
                        f"CREATE TRIGGER {trigger}BEFORE {event} ON {self.table.table} FOR EACH ROW "
                        f"WHEN ({when}) EXECUTE FUNCTION {function}()"
                    )
                    unmake.insert(0, f"DROP TRIGGER IF EXISTS {trigger}ON {self.table.table}")
        return Sync(tuple(make), tuple(unmake), self._filled())

    def _trigger(self, part: str, event: str) -> str:
        """Return a trigger's name: 'new' comes before all others of the table, the rest after them."""
        name = self.state.made(part, event.lower())
        return name if part == "new" else f"~{name}"

    def _qualified(self, name: str) -> str:
        return f"{quoted(self.state.base)}.{quoted(name)}"

    def _path(self, part: str) -> str:
        base, version = quoted(self.state.base), quoted(self.state.version)
        return base if part == "old" else f"{version}, {base}"

    def _triggers(self) -> Iterator[tuple[str, str, str, Sequence[str]]]:
        """Yield part, body, condition, and the further conditions on an update, of which one has to hold."""
        new = f"current_schema() = {literal(self.state.version)}"
        old = f"current_schema() IS DISTINCT FROM {literal(self.state.version)}"
        fills = f"current_setting('slipway.migration', true) IS DISTINCT FROM {literal(self.migration)}"
        assert self.table.relation is not None
        if self.downs:
            yield "new", _function([self._down(each) for each in self.downs]), new, self._down_inputs(*self.downs)
        if self.ups:
            lines = [self._up(each) for each in self.ups]
            if self._filled():
                lines.append(f"  NEW.{quoted(marker(self.state))} := false;\n")
            changed = [f"NEW.{quoted(marker(self.state))}", *self._up_inputs(*self.ups)]
            yield "old", _function(lines), f"{old} AND {fills}", changed
        if self.ups and self.downs and self.table.relation.triggers:
            lines = [self._after_others(each) for each in self.ups]
            if any(lines):
                yield "last", _function(lines), new, self._up_inputs(*self.ups)

    def _up(self, column: ColumnState) -> str:
        assert column.up is not None
        value = self._applied(column.up, self._in_row)
        when = ["TG_OP = 'INSERT'", f"NEW.{quoted(marker(self.state))}", *self._up_inputs(column)]
        return _assigned(column, value, " OR ".join(when))

    def _down(self, column: ColumnState) -> str:
        assert column.down is not None
        value = self._applied(column.down, self._newer_value)
        return _assigned(column, value, " OR ".join(["TG_OP = 'INSERT'", *self._down_inputs(column)]))

    def _up_inputs(self, *columns: ColumnState) -> list[str]:
        """Return the conditions that something was changed which fresh columns are made from."""
        found = [each for one in columns if one.up is not None for each in self._inputs(one.up, self._older)]
        return [_changed(each) for _, each in sorted({each.physical: each for each in found}.items())]

    def _down_inputs(self, *columns: ColumnState) -> list[str]:
        """Return the conditions that something was changed which columns that go are made from."""
        found = [each for one in columns if one.down is not None for each in self._inputs(one.down, self._newer)]
        return [_changed(each) for _, each in sorted({each.physical: each for each in found}.items())]

    def _after_others(self, column: ColumnState) -> str:
        """Return what brings over to the new column what triggers of others have made of the old one."""
        assert column.up is not None
        touched = []
        for each in self._inputs(column.up, self._older):
            if each in self.downs and each.down is not None:
                made = self._applied(each.down, self._newer_value)
                reference = comparable(f"NEW.{quoted(each.physical)}", each.type)
                differs = f"{reference} IS DISTINCT FROM {comparable(made, each.type)}"
                touched.append(f"({differs} AND (TG_OP = 'INSERT' OR {_changed(each)}))")
        if not touched:
            return ""
        return _assigned(column, self._applied(column.up, self._in_row), " OR ".join(touched))

    def _applied(self, formula: Formula, reference: Reference, *, called: str = "") -> str:
        """Return a formula as SQL, its columns read through `reference`."""
        if formula.otherwise and not called:
            name = self._helper_name(formula)
            arguments = ", ".join(reference(column) for _, column in formula.mentions())
            return f"{self._qualified(name)}({arguments})"
        text = called or formula.text
        columns = ", ".join(f"{reference(column)} AS {quoted(name)}" for name, column in formula.mentions())
        return f"(SELECT {text} FROM (SELECT {columns}) AS {quoted(formula.table)})" if columns else f"({text})"  # noqa: S608

    def _in_row(self, column: ColumnState) -> str:
        """Return a column of an older shape in a row that an old client writes."""
        if column.fresh:
            return self._made_up(column, self._in_row)
        if column.generated:
            # Computed only after the triggers that run before.
            scope = {each.physical: each for each in self.table.first if not each.generated}
            return self._applied(Formula(column.generated, self.table.physical, scope), self._in_row)
        return f"NEW.{quoted(column.physical)}"

    def _stored(self, column: ColumnState) -> str:
        """Return a column of an older shape in a row as it is stored."""
        if column.fresh:
            return self._made_up(column, self._stored)
        return f"{quoted(self.table.physical)}.{quoted(column.physical)}"

    def _made_up(self, column: ColumnState, reference: Reference) -> str:
        if column.up is not None:
            return self._applied(column.up, reference)
        return f"CAST({column.default or 'NULL'} AS {column.type})"

    def _newer_value(self, column: ColumnState) -> str:
        """Return a column of a newer shape in a row that a new client writes."""
        if column in self.table.columns or column.down is None:
            return f"NEW.{quoted(column.physical)}" if column in self._kept() else f"CAST(NULL AS {column.type})"
        return self._applied(column.down, self._newer_value)

    def _kept(self) -> list[ColumnState]:
        return [*self.table.columns, *self.table.first]

    def _inputs(self, formula: Formula, further: Callable[[ColumnState], Formula | None]) -> list[ColumnState]:
        found: list[ColumnState] = []
        for _, column in formula.mentions():
            deeper = further(column)
            found += self._inputs(deeper, further) if deeper is not None else [column]
        return [each for each in dict.fromkeys(found) if each in self._kept()]

    def _older(self, column: ColumnState) -> Formula | None:
        if column.fresh:
            return column.up
        if column.generated:
            scope = {each.physical: each for each in self.table.first if not each.generated}
            return Formula(column.generated, self.table.physical, scope)
        return None

    def _newer(self, column: ColumnState) -> Formula | None:
        return None if column in self.table.columns else column.down

    def _filled(self) -> dict[str, str]:
        filled = {each.physical: self._fill(each) for each in self.ups}
        filled |= {each.physical: each.default for each in self.late}
        return filled | {marker(self.state): "false"} if filled else {}

    def _fill(self, column: ColumnState) -> str:
        formula = column.up
        assert formula is not None
        plain = all(not each.fresh and each.physical == name for name, each in formula.mentions())
        if plain and formula.table == self.table.physical and not formula.otherwise:
            return formula.text
        return self._applied(formula, self._stored)

    def _helper_name(self, formula: Formula) -> str:
        position = [id(each) for each in self._with_otherwise()].index(id(formula))
        return self.state.made(self.table.physical, f"convert{position}")

    def _with_otherwise(self) -> list[Formula]:
        found: list[Formula] = []
        waiting = [each.up for each in self.ups]
        while waiting:
            formula = waiting.pop(0)
            if formula is not None and formula not in found:
                found.append(formula)
                waiting += [column.up for _, column in formula.mentions() if column.fresh]
        return [each for each in found if each.otherwise]

    def _helpers(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, types and statement of each function that converts, and knows what to do where that fails."""
        for formula in self._with_otherwise():
            types = [column.type for _, column in formula.mentions()]
            places = {id(column): f"${number}" for number, (_, column) in enumerate(formula.mentions(), 1)}
            result = next(each.type for each in self._all_fresh() if each.up is formula)
            body = [
                self._applied(formula, lambda column, at=places: at[id(column)], called=text)  # type: ignore[misc]
                for text in (formula.text, formula.otherwise)
            ]
            name, signature = self._helper_name(formula), ", ".join(types)
            yield (
                name,
                signature,
                f"CREATE FUNCTION {self._qualified(name)}({signature}) RETURNS {result} LANGUAGE plpgsql "
                f"SET search_path = {quoted(self.state.base)} AS $slipway$\n"
                f"#variable_conflict use_column\nBEGIN\n  RETURN {body[0]};\n"
                f"EXCEPTION WHEN data_exception OR check_violation THEN\n  RETURN {body[1]};\nEND $slipway$",
            )

    def _all_fresh(self) -> Sequence[ColumnState]:
        found = list(self.ups)
        for column in found:
            if column.up is not None:
                found += [each for _, each in column.up.mentions() if each.fresh and each not in found]
        return found


def _changed(column: ColumnState) -> str:
    name, type_ = quoted(column.physical), column.type
    return f"{comparable(f'NEW.{name}', type_)} IS DISTINCT FROM {comparable(f'OLD.{name}', type_)}"


def _assigned(column: ColumnState, value: str, when: str) -> str:
    return f"  IF {when} THEN\n    NEW.{quoted(column.physical)} := {value};\n  END IF;\n"


def _function(lines: Sequence[str]) -> str:
    return "#variable_conflict use_column\nBEGIN\n" + "".join(lines) + "  RETURN NEW;\nEND "
