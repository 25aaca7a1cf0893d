"""Declared operations without a database: what expressions mention, and what does not fit."""

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tasks.migration.catalogue import Catalogue, Column, Constraint, Relation
from tasks.migration.operations import AnyOperation, Expansion, compile_operations
from tasks.migration.operations.expressions import is_steady, literal, mentioned, renamed, short

_OPERATIONS: TypeAdapter[list[AnyOperation]] = TypeAdapter(list[AnyOperation])


def catalogue(*relations: Relation, server: int = 150000, schemas: tuple[str, ...] = ("public",)) -> Catalogue:
    return Catalogue(server, {(each.schema, each.name): each for each in relations}, frozenset(schemas))


USERS = Relation(
    "public",
    "users",
    "table",
    (Column("id", "integer", not_null=True), Column("name", "text")),
    (Constraint("users_pkey", "primary key", ("id",), "PRIMARY KEY (id)"),),
)


def compiled(found: Catalogue, *operations: dict[str, object]) -> Expansion:
    return compile_operations("0007_x", _OPERATIONS.validate_python(list(operations)), "v7", found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("upper(name)", ("name",)),
        ("'name' || \"Name\" || NAME", ("Name", "name")),
        ("$$name$$ || users.id", ("id",)),
        ("users.*", ("Name", "id", "name")),
        ("row_to_json(users)", ("Name", "id", "name")),
        ("1", ()),
    ],
)
def test_columns_are_found_in_an_expression(text: str, expected: tuple[str, ...]) -> None:
    assert mentioned(text, {"id", "name", "Name"}, "users") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CHECK ((length(rating) > 3))", 'CHECK ((length("s") > 3))'),
        ("rating::rating || 'rating' || x.rating || rating(1)", "\"s\"::rating || 'rating' || x.rating || rating(1)"),
    ],
)
def test_a_column_has_another_name_in_an_expression_and_types_and_functions_stay(text: str, expected: str) -> None:
    assert renamed(text, {"rating": '"s"'}) == expected


@pytest.mark.parametrize(
    ("default", "steady"),
    [
        ("0", True),
        ("'a'::varchar(40)", True),
        ("now()", True),
        ("current_timestamp", True),
        ("random()", False),
        ("nextval('s')", False),
        ("gen_random_uuid()", False),
        ("(select 1)", False),
    ],
)
def test_a_default_is_added_at_once_only_where_it_is_the_same_for_all_rows(default: str, steady: bool) -> None:
    assert is_steady(default) is steady


def test_a_long_name_is_shortened_to_63_bytes_and_stays_one_of_its_own() -> None:
    one, other = short("_slipway_0001", "ä" * 60 + "a"), short("_slipway_0001", "ä" * 60 + "b")
    assert len(one.encode()) <= 63 and len(other.encode()) <= 63
    assert one != other
    assert literal("it's \\") == " E'it''s \\\\'"


@pytest.mark.parametrize("text", ["a; drop table x", "a)", "(a", "a -- b", "", "'open"])
def test_what_is_not_one_expression_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        _OPERATIONS.validate_python([{"operation": "set default", "table": "t", "column": "c", "default": text}])


def test_a_version_opens_only_when_its_values_are_right() -> None:
    plain = {"operation": "rename column", "table": "users", "column": "name", "to": "label"}
    filled = {"operation": "add column", "table": "users", "column": {"name": "a", "type": "text"}, "up": "name"}
    assert compiled(catalogue(USERS), plain).opens is Phase.PREPARE
    found = compiled(catalogue(USERS), filled)
    assert found.opens is Phase.EXECUTE
    assert found.phases[Phase.EXECUTE][-1].what == "open the version schema v7"


def test_every_step_before_cleanup_is_taken_back() -> None:
    found = compiled(
        catalogue(USERS), {"operation": "set not null", "table": "users", "column": "name", "up": "coalesce(name, '')"}
    )
    steps = [step for phase in (Phase.PREPARE, Phase.EXECUTE) for step in found.phases[phase]]
    assert all(step.undo is not None for step in steps)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (catalogue(USERS, schemas=("public", "v7")), "a schema v7 already"),
        (
            catalogue(Relation("public", "t", "table", (Column("_slipway_0006_a", "text"),))),
            "another migration still has two versions",
        ),
        (catalogue(Relation("public", "t", "table", row_security=True), server=140000), "row policies of t"),
    ],
)
def test_a_database_that_is_not_ready_is_refused(found: Catalogue, said: str) -> None:
    with pytest.raises(Refused, match=said):
        compiled(found, {"operation": "create enum", "name": "e", "values": ["a"]})


def test_all_operations_that_do_not_fit_are_told_at_once() -> None:
    with pytest.raises(Refused) as refusal:
        compiled(
            catalogue(USERS),
            {"operation": "drop column", "table": "users", "column": "nam"},
            {"operation": "drop table", "table": "user"},
        )
    assert "operation 1 (drop column)" in str(refusal.value)
    assert "operation 2 (drop table)" in str(refusal.value)


def test_a_table_without_a_key_cannot_be_filled() -> None:
    bare = Relation("public", "t", "table", (Column("a", "text"),))
    with pytest.raises(Refused, match="does not fit") as refusal:
        compiled(
            catalogue(bare),
            {"operation": "add column", "table": "t", "column": {"name": "b", "type": "text"}, "up": "a"},
        )
    assert "no key to fill it by" in str(refusal.value)
