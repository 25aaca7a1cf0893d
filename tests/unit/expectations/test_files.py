"""Suites of expectations and masking rules: accepted as documented, and every mistake told at once."""

import pytest
from jsonschema import Draft202012Validator

from tasks.common.document import read
from tasks.common.documentation import schema
from tasks.common.errors import Refused
from tasks.common.expectations import Suite
from tasks.common.load import load_masking, load_suites
from tasks.common.masking import Masking, split
from tests.unit.common.files import EXAMPLES

SUITE_SCHEMA = Draft202012Validator(schema(Suite, "expectations-file.schema.json"))
MASKING_SCHEMA = Draft202012Validator(schema(Masking, "masking-file.schema.json"))
EIGHT_MISTAKES = """\
table: customer
timeout: 30
expectations:
  - {type: expect_column_values_to_not_be_nul, column: email}
  - {type: expect_column_values_to_not_be_null, column: email, mostly: 0.99}
  - {type: expect_column_values_to_not_be_null, colum: email}
  - {type: expect_column_values_to_be_between, column: age, min_value: old}
  - {type: expect_column_values_to_be_between, column: age}
  - {column: email, type: expect_column_to_exist, severity: loud}
"""
SAID = (
    "customer.yaml:2: timeout: found the number 30; expected a duration above zero with its unit",
    "customer.yaml:4: expectations[0].type: found the text 'expect_column_values_to_not_be_nul' (did you mean "
    "'expect_column_values_to_not_be_null'?); expected one of:",
    "customer.yaml:5: expectations[1].mostly: found the number 0.99; expected a percentage from 0% to 100%",
    "customer.yaml:6: expectations[2].colum: found an unknown key (did you mean 'column'?)",
    "customer.yaml:6: expectations[2].column: found nothing; expected this key (the column)",
    "customer.yaml:7: expectations[3].min_value: found the text 'old'; expected a whole number or a number or a day",
    "customer.yaml:8: expectations[4]: found no limit; expected min_value, max_value or both",
    "customer.yaml:9: expectations[5].severity: found the text 'loud'; expected one of: 'critical' or 'warning'",
)
FIVE_MISTAKES = """\
key: the-key-itself-by-mistake
masking:
  email: {rule: email}
  customer.name: {rule: nam}
  customer.born: {rule: shift-date, up_to: 36h}
  customer.note: {rule: fixed}
"""


def suite_mistakes(**files: str) -> list[str]:
    with pytest.raises(Refused) as raised:
        load_suites({f"expectations/{name}.yaml": text for name, text in files.items()})
    return str(raised.value.facts.get("mistakes", "")).splitlines()


def test_all_mistakes_of_a_suite_are_told_at_once_with_their_lines() -> None:
    told = suite_mistakes(customer=EIGHT_MISTAKES)
    assert len(told) == len(SAID)
    assert all(line.startswith(said) for line, said in zip(told, SAID, strict=True)), told


def test_mistakes_of_all_files_are_told_together() -> None:
    told = suite_mistakes(a="table: a", b="table: b\nexpectations: []")
    assert [line.partition(":")[0] for line in told] == ["a.yaml", "b.yaml"]


def test_folder_without_suites_is_refused() -> None:
    with pytest.raises(Refused, match="no suite"):
        load_suites({})


def test_two_suites_of_one_table_are_refused() -> None:
    text = "table: {}\nexpectations: [{{type: expect_column_to_exist, column: id}}]"
    assert "expected one file a table" in suite_mistakes(a=text.format("x"), b=text.format("public.x"))[0]


def test_shares_reach_great_expectations_as_numbers_up_to_one() -> None:
    line = "{type: expect_column_proportion_of_unique_values_to_be_between, column: id, min_value: 99.5%}"
    suite = load_suites({"a": f"table: x\nexpectations: [{line}]"})["a"]
    assert suite.expectations[0].arguments == {"column": "id", "min_value": 0.995}


def test_all_mistakes_of_masking_rules_are_told_at_once_and_a_pasted_key_is_not_shown() -> None:
    with pytest.raises(Refused) as raised:
        load_masking(FIVE_MISTAKES, "masking.yaml")
    told = str(raised.value.facts["mistakes"])
    assert [line.split(":")[1] for line in told.splitlines()] == ["1", "3", "4", "5", "6"]
    assert "the-key-itself" not in str(raised.value)
    assert "whole days, such as 30d" in told


def test_column_that_is_masked_and_kept_is_refused() -> None:
    text = "key: env:KEY\nmasking: {a.b: {rule: hash}}\nkeep: {a.b: why, a.c: ''}"
    with pytest.raises(Refused, match="2 mistakes"):
        load_masking(text, "masking.yaml")


def test_place_of_a_column_has_the_schema_that_it_names_or_public() -> None:
    assert split("customer.email") == ("public", "customer", "email")
    assert split("billing.invoice.payer") == ("billing", "invoice", "payer")


def test_examples_fit_the_published_schemas_and_the_loaders() -> None:
    suite = (EXAMPLES / "expectations/customer.yaml").read_text(encoding="utf-8")
    rules = (EXAMPLES / "masking.yaml").read_text(encoding="utf-8")
    SUITE_SCHEMA.validate(read(suite).data)
    MASKING_SCHEMA.validate(read(rules).data)
    assert load_suites({"customer.yaml": suite})
    assert load_masking(rules, "masking.yaml")


def test_schema_refuses_what_a_schema_can_refuse() -> None:
    assert len(list(SUITE_SCHEMA.iter_errors(read(EIGHT_MISTAKES).data))) >= 6
    assert not MASKING_SCHEMA.is_valid(read(FIVE_MISTAKES).data)
