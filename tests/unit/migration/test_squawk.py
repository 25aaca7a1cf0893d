"""squawk is asked what is its to say, and its answer means something here."""

import json

import pytest

from tasks.common.migrations import Phase
from tasks.migration.lint import Part
from tasks.migration.squawk import NoAnswer, bare, excluded, findings

_PART = Part("0001_x/prepare.sql", Phase.PREPARE, "-- first\ncreate index i\non app.customer (first);")


def _said(**changes: object) -> str:
    said = {"file": "0.sql", "line": 1, "column": 0, "level": "Warning", "message": "no.", "help": None}
    return json.dumps([{**said, "rule_name": "prefer-text-field", **changes}])


def test_lines_count_from_one_and_the_table_is_known() -> None:
    (found,) = findings(_said(help="do this"), {"0.sql": _PART})
    assert (found.path, found.line, found.rule, found.message) == (
        "0001_x/prepare.sql",
        2,
        "prefer-text-field",
        "no. do this",
    )
    assert found.table == ("app", "customer")


def test_finding_in_sql_of_an_operation_stands_where_the_operation_does() -> None:
    part = Part("0001_x/migration.yaml", Phase.PREPARE, "drop index i", line=7)
    assert findings(_said(line=0), {"0.sql": part})[0].line == 7


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ({}, "note"),
        ({"rule_name": "identifier-too-long"}, "warning"),
        ({"rule_name": "require-concurrent-index-creation"}, "error"),
        ({"level": "Error"}, "error"),
    ],
)
def test_what_holds_users_up_is_an_error_and_taste_a_note(said: dict[str, object], level: str) -> None:
    assert findings(_said(**said), {"0.sql": _PART})[0].level == level


@pytest.mark.parametrize("answer", ["", "{}", "[{}]", _said(line="1"), _said(level="Loud"), _said(file="other.sql")])
def test_answer_that_is_no_report_is_not_trusted(answer: str) -> None:
    with pytest.raises(NoAnswer):
        findings(answer, {"0.sql": _PART})


def test_no_findings_are_none() -> None:
    assert findings("[]", {"0.sql": _PART}) == ()


def test_comments_tell_it_nothing_and_lines_stay() -> None:
    text = "-- squawk-ignore-file\nselect '-- no comment', /* a\nb */ 1; -- end"
    assert bare(text) == "                     \nselect '-- no comment',     \n     1;       "


def test_rules_of_cleanup_are_not_asked_before_it_and_those_of_the_engine_never() -> None:
    early, late = excluded(_PART), excluded(Part("x", Phase.CLEANUP, ""))
    assert excluded(Part("x", Phase.PREPARE, "", undo=True)) == late
    assert "changing-column-type" in early and "changing-column-type" not in late
    assert "ban-drop-not-null" in late and "ban-drop-not-null" not in early
    assert {"ban-drop-column", "require-lock-timeout"} <= {*early} & {*late}
