"""A compiled migration is data: it survives its way through the history unchanged."""

from tasks.common.migrations import MigrationState, Phase, Standing, next_phase, not_yet, up_to
from tasks.migration.catalogue import Column, Constraint, Index, Relation
from tasks.migration.model import Backfill, BuildIndex, Compiled, Ddl, DropIndex, Table, ValidateConstraint

_TABLE = Table(name="customer")
_ADD = Ddl(
    statements=('alter table customer add "full name" text',),
    undo=(Ddl(statements=('alter table customer drop column if exists "full name"',)), DropIndex(index="by_name")),
)
_FILL = Backfill(table=_TABLE, set={"full name": "first || ' ' || last"}, where='"full name" is null')
_COMPILED = Compiled(
    name="0001_full_name",
    checksum="0" * 64,
    phases={
        Phase.PREPARE: (_ADD, BuildIndex(statement="create index ...", index="by_name", table=_TABLE)),
        Phase.EXECUTE: (_FILL,),
        Phase.VALIDATE: (ValidateConstraint(table=_TABLE, constraint="named", undo=None),),
    },
)


def test_compiled_migration_comes_back_from_json_as_it_was() -> None:
    assert Compiled.model_validate_json(_COMPILED.model_dump_json(by_alias=True)) == _COMPILED


def test_steps_come_in_the_order_of_their_phases() -> None:
    assert [(phase, number) for phase, number, _ in _COMPILED.all_steps()] == [
        (Phase.PREPARE, 0),
        (Phase.PREPARE, 1),
        (Phase.EXECUTE, 0),
        (Phase.VALIDATE, 0),
    ]


def test_steps_that_nothing_takes_back_are_named_before_the_point_of_no_return_only() -> None:
    assert [phase for phase, _ in _COMPILED.not_undoable()] == [Phase.VALIDATE]
    early = _COMPILED.model_copy(update={"no_return": Phase.VALIDATE})
    assert early.not_undoable() == ()


def test_quotes_in_names_are_doubled() -> None:
    assert str(Table(name='a"b', schema="My Schema")) == '"My Schema"."a""b"'


def test_phases_come_one_after_the_other() -> None:
    assert next_phase(None) is Phase.PREPARE
    assert next_phase(Phase.PREPARE) is Phase.EXECUTE
    assert next_phase(Phase.CLEANUP) is None
    assert up_to(Phase.EXECUTE) == (Phase.PREPARE, Phase.EXECUTE)


def test_release_waits_for_what_has_not_come_to_its_phase() -> None:
    half = Standing("0001_a", MigrationState.UNDER_WAY, Phase.PREPARE)
    whole = Standing("0002_b", MigrationState.UNDER_WAY, Phase.VALIDATE)
    assert not_yet([half, whole], Phase.EXECUTE) == (half,)


def test_batches_go_by_the_primary_key_else_by_the_shortest_unique_index_of_columns_that_are_never_null() -> None:
    columns = (Column("a", "integer", not_null=True), Column("b", "integer", not_null=True), Column("c", "integer"))
    indexes = (
        Index("two", ("a", "b"), unique=True, valid=True, definition=""),
        Index("nullable", ("c",), unique=True, valid=True, definition=""),
        Index("invalid", ("b",), unique=True, valid=False, definition=""),
        Index("partial", ("b",), unique=True, valid=True, definition="", partial=True),
    )
    bare = Relation("public", "t", "table", columns, indexes=indexes)
    assert bare.batch_key() == ("a", "b")
    key = Constraint("t_pkey", "primary key", ("c", "a"), "PRIMARY KEY (c, a)")
    assert Relation("public", "t", "table", columns, (key,), indexes).batch_key() == ("c", "a")
    assert Relation("public", "t", "table", columns).batch_key() == ()
