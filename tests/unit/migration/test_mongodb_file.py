"""What a migration of MongoDB may say, and what has no meaning there."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tasks.migration import documents, require
from tasks.migration.catalogue import Catalogue, Identity, Observed
from tasks.migration.files import load_migrations
from tasks.migration.lint import lint
from tests.support.docs import ROOT
from tests.support.migrating import NAMES
from tests.support.mongodb import FILES

_PATH = "0001_full_name/migration.yaml"
_EXAMPLE = (ROOT / "docs/reference/examples/mongodb" / _PATH).read_text()


def _mistakes(files: Mapping[str, str]) -> str:
    with pytest.raises(Refused) as caught:
        load_migrations(files, "migrations")
    return str(caught.value.facts["mistakes"])


def _with(**keys: Any) -> dict[str, str]:
    return {_PATH: yaml.safe_dump({**yaml.safe_load(_EXAMPLE), **keys}, sort_keys=False)}


def _sum(**keys: Any) -> str:
    return load_migrations(_with(**keys), "migrations")[0].checksum


def test_example_is_compiled_with_the_undo_of_each_step_before_the_point_of_no_return() -> None:
    (written,) = load_migrations({_PATH: _EXAMPLE}, "migrations")
    compiled = written.compiled()
    index, validator = compiled.steps(Phase.PREPARE)
    assert json.loads(index.statement) == {"key": {"full_name": 1, "since": -1}}  # type: ignore[union-attr]
    assert index.undo is not None
    assert json.loads(index.undo[0].statements[0]) == {  # type: ignore[union-attr]
        "dropIndexes": "customer",
        "index": "customer_full_name",
    }
    assert validator.undo is not None and '"validator": {}' in validator.undo[0].statements[0]  # type: ignore[union-attr]
    assert [step.kind for _, _, step in compiled.all_steps()] == [
        "build index",
        "ddl",
        "backfill",
        "check",
        "ddl",
        "ddl",
    ]
    assert [step.kind for _, step in compiled.not_undoable()] == ["backfill"]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"operations": []}, "operations: found"),
        ({"version": "v2"}, "version: found"),
        ({"expectations": ["a.yaml"]}, "expectations: found"),
        ({"prepare": [{"operation": "drop collection", "collection": "x"}]}, "create collection"),
        ({"prepare": [{"operation": "add column", "table": "x"}]}, "build index"),
        ({"cleanup": [{"operation": "build index", "collection": "x"}]}, "drop collection"),
        ({"validate": [{"says": "x", "collection": "c", "pipeline": [{"$out": "d"}]}]}, "stages that only read"),
        ({"prepare": [], "backfill": [], "validate": [], "cleanup": []}, "nothing to do"),
    ],
)
def test_what_has_no_meaning_in_mongodb_is_a_mistake_with_its_line(keys: dict[str, Any], told: str) -> None:
    found = _mistakes(_with(**keys))
    assert told in found and found.startswith(f"{_PATH}:")


def test_sql_has_no_meaning_beside_it() -> None:
    found = _mistakes({_PATH: _EXAMPLE, "0001_full_name/prepare.sql": "select 1;"})
    assert found == (
        "0001_full_name/prepare.sql:1: the file: found a file of no use; "
        "expected no such file: what is done in MongoDB stands in migration.yaml"
    )


def test_checksum_counts_what_is_done_and_in_which_order_and_not_how_patiently() -> None:
    assert _sum() == _sum(description="other words", within="1h")
    index = yaml.safe_load(_EXAMPLE)["prepare"][0]
    assert _sum() != _sum(prepare=[{**index, "key": ["-since", "full_name"]}])
    assert _sum() != _sum(point_of_no_return="never")
    sort = {"says": "x", "collection": "c"}
    orders = [[{"$sort": {"a": 1, "b": 1}}], [{"$sort": {"b": 1, "a": 1}}]]
    one, other = (_sum(validate=[{**sort, "pipeline": each}]) for each in orders)
    assert one != other


def test_migration_for_another_kind_of_database_is_refused_before_anything_is_touched() -> None:
    for files, engine in ((FILES, "postgresql"), (NAMES, "mongodb")):
        observed = Observed(Identity("app", engine=engine), Catalogue(0, {}))
        with pytest.raises(Refused, match="another kind of database"):
            require.require_in_line(observed, load_migrations(files, "migrations"), "campus")


def test_validator_that_refuses_old_writes_in_prepare_is_found() -> None:
    strict = {**yaml.safe_load(_EXAMPLE)["prepare"][1], "action": "error"}
    (written,) = load_migrations(_with(prepare=[strict]), "migrations")
    assert [(each.rule, each.line) for each in lint(written)] == [("refuses-old-writes", 4)]
    assert lint(load_migrations({_PATH: _EXAMPLE}, "migrations")[0]) == ()


@pytest.mark.parametrize(
    "text",
    [
        "alter table customer add column x int",
        "[]",
        "{}",
        '{"renameCollection": "a", "to": "b"}',
        '{"createIndexes": "a", "indexes": []}',
        '{"dropIndexes": "a", "index": "*"}',
        '{"dropIndexes": "a"}',
        '{"dropDatabase": 1}',
        '{"drop": 1}',
    ],
)
def test_command_without_a_meaning_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(Refused, match="MongoDB cannot do this") as caught:
        documents.command(text, "here")
    assert caught.value.next_action.startswith("write ")


@pytest.mark.parametrize(
    ("expression", "loose"),
    [
        ({"$add": [1, {"$rand": {}}]}, ("$rand",)),
        ("$$NOW", ("$$NOW",)),
        ({"$dateToString": {"date": "$$NOW"}}, ("$$NOW",)),
        ({"$literal": "$$NOW"}, ()),
        ({"$toUpper": "$first"}, ()),
    ],
)
def test_what_has_another_value_each_time_is_found(expression: object, loose: tuple[str, ...]) -> None:
    assert documents.volatile({"a": json.dumps(expression)}, "here") == loose


@pytest.mark.parametrize(
    ("stage", "made"),
    [
        ({"n": {"$add": ["$n", 1]}}, ["n, which is made from n"]),
        ({"a": {"b": "$a.c"}}, ["a, which is made from a"]),
        ({"a": "$a.c"}, ["a, which is made from a"]),
        ({"a.b": "$a"}, ["a.b, which is made from a.b"]),
        ({"a": "$b", "b": "$a"}, ["a, which is made from b", "b, which is made from a"]),
        ({"a": {"$getField": {"input": "$$ROOT", "field": "x"}}}, ["a, which is made from the whole document"]),
        ({"a": "$ab"}, []),
        ({"a": {"$literal": "$a"}}, []),
    ],
)
def test_field_that_is_made_from_what_is_set_is_found(stage: dict[str, Any], made: list[str]) -> None:
    assert list(documents.made_from_itself(stage)) == made
