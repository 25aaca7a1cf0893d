"""A suite of expectations in the phase validate."""

from pathlib import Path

import pytest

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tests.support.migrating import CUSTOMERS, NAMES, changed, fill, rows, way

pytestmark = [pytest.mark.server, pytest.mark.slow]
_SUITE = """
table: customer
expectations:
  - type: expect_column_values_to_not_be_null
    column: full_name
"""


def test_suite_that_is_not_met_ends_validate_and_one_that_is_lets_it_pass(database_url: str, tmp_path: Path) -> None:
    fill(database_url, CUSTOMERS.format(rows=20))
    settings = NAMES["0001_full_name/migration.yaml"] + "expectations: [names.yaml]\n"
    files = changed(NAMES, migration__yaml=settings, names__yaml=_SUITE, validate__sql=None,
                    prepare__sql="alter table customer add column full_name text;")  # fmt: skip
    work = way(database_url, tmp_path, files)
    work.apply(Phase.EXECUTE)
    fill(database_url, "update customer set full_name = null where id = 3")
    with pytest.raises(Refused, match=r"not as names.yaml expects") as error:
        work.apply(Phase.VALIDATE)
    assert "customer full_name: expect_column_values_to_not_be_null" in str(error.value.facts["not met"])
    fill(database_url, "update customer set full_name = 'x' where id = 3")
    work.apply(Phase.VALIDATE)
    assert rows(database_url, "select done from slipway.migrations") == [("validate",)]


def test_suite_with_mistakes_is_told_with_the_others(tmp_path: Path) -> None:
    settings = NAMES["0001_full_name/migration.yaml"] + "expectations: [names.yaml, none.yaml]\n"
    with pytest.raises(Refused) as error:
        way("", tmp_path, changed(NAMES, migration__yaml=settings, names__yaml="tabel: x\n"))
    told = str(error.value.facts["mistakes"])
    assert "names.yaml:1: the suite" in told and "'none.yaml', which is not there" in told
