"""A folder of migrations is read strictly: everything that is wrong is told at once, with file and line."""

import pytest

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tasks.migration.files import load_migrations
from tasks.migration.model import BuildIndex, Check, Ddl, DropIndex, ValidateConstraint
from tests.support.migrating import NAMES, changed


def _wrong(files: dict[str, str]) -> list[str]:
    with pytest.raises(Refused) as error:
        load_migrations(files, "migrations")
    return str(error.value.facts["mistakes"]).splitlines()


def test_statements_become_steps_and_those_that_can_share_a_transaction() -> None:
    (written,) = load_migrations(NAMES, "migrations")
    compiled = written.compiled()
    first, index = compiled.steps(Phase.PREPARE)
    assert isinstance(first, Ddl) and isinstance(index, BuildIndex)
    assert len(first.statements) == 2
    assert (index.index, str(index.table)) == ("customer_full_name", '"customer"')
    assert first.undo is not None
    assert [type(each) for each in first.undo] == [DropIndex, Ddl]
    check, validation = compiled.steps(Phase.VALIDATE)
    assert isinstance(check, Check) and isinstance(validation, ValidateConstraint)
    assert check.says == "customers whose name is not made of its parts"
    assert compiled.not_undoable() == ()


def test_index_loses_its_if_not_exists_as_an_invalid_one_would_count() -> None:
    text = 'create unique index concurrently if not exists "By Name" on only shop.customer (first) where id > 0;'
    (written,) = load_migrations(changed(NAMES, prepare__sql=text), "migrations")
    (index,) = written.compiled().steps(Phase.PREPARE)
    assert isinstance(index, BuildIndex)
    assert index.statement.startswith('create unique index concurrently "By Name" on only')
    assert (index.index, index.table.schema_, index.table.name) == ("By Name", "shop", "customer")


def test_all_mistakes_of_all_migrations_are_told_with_file_and_line() -> None:
    files = changed(
        NAMES,
        migration__yaml="descripton: x\nsettle: 5\nbackfill:\n  - table: a b\n    set: {c: 'a; b'}\n",
        prepare__sql="begin;\nalter table t add a int;\ncommit;\nselect 'a;\n",
        cleanup__undo__sql="drop table if exists t;\n",
        strange__txt="",
    )
    files |= {"1_x/migration.yaml": "description: x\n", "readme": "x", "0001_other/prepare.sql": "vacuum;"}
    found = _wrong(files)
    for expected in (
        "0001_full_name/migration.yaml:1: descripton: found",
        "0001_full_name/migration.yaml:2: settle: found",
        "0001_full_name/migration.yaml:4: backfill[0].table: found",
        "0001_full_name/migration.yaml:5: backfill[0].set.c: found",
        "0001_full_name/prepare.sql:4: SQL: found a text in quotes that is not closed",
        "0001_full_name/strange.txt:1: the file: found a file of no use",
        "0001_other/migration.yaml:1: the file: found none",
        "0001_other/prepare.sql:1: SQL: found VACUUM",
        "1_x:1: the folder's name: found '1_x'",
        "readme:1: the file: found a file beside the migrations",
        "0001_other:1: the folder's name: found the number of 0001_full_name",
    ):
        assert any(line.startswith(expected) for line in found), (expected, found)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"prepare__undo__sql": None}, "prepare.undo.sql:1: the file: found none; expected what takes the phase back"),
        ({"execute__undo__sql": None}, "execute.undo.sql:1: the file: found none"),
        ({"cleanup__undo__sql": ""}, "cleanup.undo.sql:1: the file: found an undo of no use: the point of no return"),
        ({"validate__undo__sql": ""}, "validate.undo.sql:1: the file: found an undo of checks"),
        ({"prepare__sql": "set lock_timeout = 0;"}, "prepare.sql:1: SQL: found a setting that outlives"),
        (
            {"prepare__sql": "\ncreate index concurrently on t (a);"},
            "prepare.sql:2: SQL: found an index without a name",
        ),
        ({"validate__sql": "delete from t;"}, "validate.sql:1: SQL: found 'delete from t'"),
        ({"prepare__undo__sql": "alter table customer drop column full_name;"}, "found DROP without IF EXISTS"),
        ({"prepare__undo__sql": "drop table t;"}, "found DROP without IF EXISTS"),
        ({"prepare__undo__sql": "alter table customer drop full_name;"}, "found DROP without IF EXISTS"),
    ],
)
def test_mistake_is_told(texts: dict[str, str | None], expected: str) -> None:
    assert expected in "\n".join(_wrong(changed(NAMES, **texts)))


def test_what_may_be_dropped_twice_needs_no_if_exists() -> None:
    load_migrations(changed(NAMES, prepare__undo__sql="alter table customer alter first drop default;"), "migrations")


def test_later_point_of_no_return_wants_the_undo_of_cleanup() -> None:
    settings = NAMES["0001_full_name/migration.yaml"] + "point_of_no_return: never\n"
    assert "cleanup.undo.sql" in _wrong(changed(NAMES, migration__yaml=settings))[0]
    early = NAMES["0001_full_name/migration.yaml"] + "point_of_no_return: execute\n"
    load_migrations(changed(NAMES, migration__yaml=early, execute__undo__sql=None), "migrations")


def test_limits_and_words_may_change_without_another_checksum_and_nothing_else_may() -> None:
    (before,) = load_migrations(NAMES, "migrations")
    settings = NAMES["0001_full_name/migration.yaml"]
    for new in (settings + "within: 3h\nlock_timeout: 1s\n", settings.replace("one column", "# x\n  a column")):
        (after,) = load_migrations(changed(NAMES, migration__yaml=new), "migrations")
        assert after.checksum == before.checksum
    (after,) = load_migrations(changed(NAMES, migration__yaml=settings.replace("' '", "'  '")), "migrations")
    assert after.checksum != before.checksum
    (after,) = load_migrations(changed(NAMES, prepare__undo__sql="-- none\n"), "migrations")
    assert after.checksum != before.checksum
