"""`slipway migration` without a database: a folder is made, read and explained."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.migration_command import app
from tasks.common.errors import Refused
from tests.support.docs import ROOT

_EXAMPLES = ROOT / "docs" / "reference" / "examples" / "migrations"


def _say(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return f"{done.exit_code} {done.output}"


def test_new_migrations_get_the_next_number_and_are_to_be_written(tmp_path: Path) -> None:
    assert "0001_merge_names" in _say("new", "Merge names!", "--folder", str(tmp_path))
    assert "0002_drop_it" in _say("new", "drop it", "--folder", str(tmp_path))
    with pytest.raises(Refused, match="makes no name"):
        _say("new", "!", "--folder", str(tmp_path))
    assert "nothing to say" in _say("lint", str(tmp_path))


def test_finding_ends_with_a_code(tmp_path: Path) -> None:
    _say("new", "x", "--folder", str(tmp_path))
    (tmp_path / "0001_x" / "prepare.sql").write_text("\ndrop table customer;\n")
    told = _say("lint", str(tmp_path))
    assert told.startswith("1 0001_x/prepare.sql:2: error: destroys-before-cleanup")
    assert '"rule": "destroys-before-cleanup"' in _say("lint", str(tmp_path), "--json")


def test_opinions_alone_are_told_and_end_with_no_code(tmp_path: Path) -> None:
    _say("new", "x", "--folder", str(tmp_path))
    (tmp_path / "0001_x" / "prepare.sql").write_text("create table other (id int);\n")
    told = _say("lint", str(tmp_path))
    assert told.startswith("0 0001_x/prepare.sql:1: note: prefer-bigint-over-int")
    assert "opinions only" in told


def test_folder_without_migrations_was_not_looked_at(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no migrations in the folder"):
        _say("lint", str(tmp_path))


def test_example_is_sound_and_explained_with_its_way_back() -> None:
    assert _say("lint", str(_EXAMPLES)).startswith("0 1 migrations: nothing to say")
    told = _say("explain", "0001_merge_names", "--folder", str(_EXAMPLES))
    for part in (
        "one column for the whole name",
        "1. ddl: alter table customer add column full_name text",
        "2. build index",
        "taken back by drop index",
        "1. backfill: fill full_name of customer",
        "cleanup (past the point of no return):",
    ):
        assert part in " ".join(told.split()), part
    with pytest.raises(Refused, match="no migration '0002_x'"):
        _say("explain", "0002_x", "--folder", str(_EXAMPLES))
