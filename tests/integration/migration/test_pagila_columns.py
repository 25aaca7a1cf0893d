"""Pagila's customers, films and rentals: columns renamed, merged, re-typed and added, with both versions at work.

Two of Pagila's own things have to be seen to before, as anybody's would: views that need a column that goes, and the
trigger that stamps every row that is written, also by a backfill.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tasks.common.errors import Refused
from tasks.common.migrations import Phase
from tests.support import pagila
from tests.support.postgresql import Cluster
from tests.support.two_versions import Place, Scenario, Sides, check, refused, rows, run_all

pytestmark = [pytest.mark.server, pytest.mark.long]

# As the documentation says: what must not stamp rows in a backfill looks at the setting. The stamp is always the same
# one, so that two databases can be compared.
_STAMP = """
create or replace function last_updated() returns trigger language plpgsql as $$
begin
    if coalesce(current_setting('slipway.migration', true), '') = '' then
        new.last_update = '2026-01-01';
    end if;
    return new;
end $$;
"""
_CUSTOMER = "INSERT INTO customer (customer_id, store_id, address_id, create_date, last_update, {names}) VALUES "
_VALUES = "({{n}}, 1, 1, '2026-01-01', '2026-01-01', {values})"


def _customer(names: str, values: str) -> str:
    return _CUSTOMER.format(names=names) + _VALUES.format(values=values)


def _renamed(sides: Sides) -> None:
    assert rows(sides.new, "SELECT given_name, family_name FROM customer WHERE customer_id = 1") == [("MARY", "SMITH")]
    run_all(sides.new, ["UPDATE customer SET given_name = 'MARIE' WHERE customer_id = 1"])
    assert rows(sides.old, "SELECT first_name FROM customer WHERE customer_id = 1") == [("MARIE",)]
    assert rows(sides.root, "SELECT name FROM customer_list WHERE id = 1") == [("MARIE SMITH",)]
    assert refused(sides.new, "SELECT first_name FROM customer") == "42703"


RENAMED = Scenario(
    "names_of_customers_renamed",
    _STAMP,
    """
    - {operation: rename column, table: customer, column: first_name, to: given_name}
    - {operation: rename column, table: customer, column: last_name, to: family_name}
    """,
    old=[
        _customer("first_name, last_name", "'O', 'L'"),
        "UPDATE customer SET last_name = 'X{n}' WHERE customer_id = 5",
    ],
    new=[
        _customer("given_name, family_name", "'N', 'W'") + " ON CONFLICT (customer_id) DO NOTHING",
        "UPDATE customer SET family_name = 'Y{n}' WHERE customer_id = 6",
    ],
    during=_renamed,
)


def _merged(sides: Sides) -> None:
    assert rows(sides.new, "SELECT full_name FROM customer WHERE customer_id = 1") == [("MARY SMITH",)]
    different = "SELECT FROM public.customer JOIN v2.customer USING (customer_id) WHERE full_name IS DISTINCT FROM "
    assert rows(sides.root, different + "concat_ws(' ', first_name, last_name)") == []
    run_all(sides.old, ["UPDATE customer SET last_name = 'SMYTHE' WHERE customer_id = 1"])
    assert rows(sides.new, "SELECT full_name FROM customer WHERE customer_id = 1") == [("MARY SMYTHE",)]
    run_all(sides.new, ["UPDATE customer SET full_name = 'ANN MARIE LEE' WHERE customer_id = 1"])
    assert rows(sides.old, "SELECT first_name, last_name FROM customer WHERE customer_id = 1") == [("ANN", "MARIE LEE")]
    assert refused(sides.new, "UPDATE customer SET full_name = NULL WHERE customer_id = 2") == "23502"


def _merged_after(sides: Sides) -> None:
    assert rows(sides.root, "SELECT count(*) FROM customer WHERE full_name IS NULL") == [(0,)]
    assert refused(sides.root, "SELECT first_name FROM customer") == "42703"


MERGED = Scenario(
    "names_of_customers_merged",
    _STAMP + "DROP VIEW customer_list",
    """
    - operation: merge columns
      table: customer
      columns:
        first_name: split_part(full_name, ' ', 1)
        last_name: substr(full_name, strpos(full_name || ' ', ' ') + 1)
      into: full_name
      type: text
      not_null: true
      up: concat_ws(' ', first_name, last_name)
    """,
    old=RENAMED.old,
    new=[_customer("full_name", "'N W'"), "UPDATE customer SET full_name = 'A Y{n}' WHERE customer_id = 6"],
    during=_merged,
    after=_merged_after,
)


def _rated(sides: Sides) -> None:
    wrong = "SELECT FROM public.film o JOIN v2.film n USING (film_id) WHERE n.rental_rate <> o.rental_rate * 100"
    assert rows(sides.root, wrong) == []
    run_all(sides.old, ["UPDATE film SET rental_rate = 3.5 WHERE film_id = 3"])
    assert rows(sides.new, "SELECT rental_rate FROM film WHERE film_id = 3") == [(350,)]
    run_all(sides.new, ["UPDATE film SET rental_rate = 1 WHERE film_id = 3"])
    assert rows(sides.old, "SELECT rental_rate::text FROM film WHERE film_id = 3") == [("0.01",)]


def _rated_after(sides: Sides) -> None:
    found = "SELECT sum(rental_rate), min(pg_typeof(rental_rate)::text), count(*) FROM film"
    (total, kind, films) = rows(sides.root, found)[0]
    assert (kind, films) == ("integer", 1000) and total > 1000


RATE = Scenario(
    "rate_of_films_in_cents",
    _STAMP + "DROP VIEW film_list, nicer_but_slower_film_list",
    """
    - operation: change type
      table: film
      column: rental_rate
      type: integer
      up: (rental_rate * 100)::integer
      down: rental_rate / 100.0
    """,
    old=["UPDATE film SET rental_rate = 2.99 WHERE film_id = 1", "UPDATE film SET title = 'T{n}' WHERE film_id = 7"],
    new=[
        "UPDATE film SET rental_rate = 499 WHERE film_id = 2",
        "SELECT title FROM film WHERE rental_rate > 400 LIMIT 5",
    ],
    during=_rated,
    after=_rated_after,
)


def _required(sides: Sides) -> None:
    wrong = "SELECT FROM v2.rental WHERE returned IS DISTINCT FROM (return_date IS NOT NULL)"
    assert rows(sides.root, wrong + " AND rental_id <= 16049 AND rental_id <> 2") == []
    assert refused(sides.new, "UPDATE rental SET returned = NULL WHERE rental_id = 1") == "23514"


def _required_after(sides: Sides) -> None:
    assert refused(sides.root, "UPDATE rental SET returned = NULL WHERE rental_id = 1") == "23502"


REQUIRED = Scenario(
    "required_column_of_rentals",
    _STAMP,
    """
    - operation: add column
      table: rental
      column: {name: returned, type: boolean, not_null: true}
      up: return_date IS NOT NULL
    """,
    old=["UPDATE rental SET return_date = '2026-01-01' WHERE rental_id = 11496"],
    new=["UPDATE rental SET returned = false WHERE rental_id = 2", "SELECT count(*) FROM rental WHERE NOT returned"],
    during=_required,
    after=_required_after,
)

SCENARIOS = [RENAMED, MERGED, RATE, REQUIRED]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.name for each in SCENARIOS])
def test_both_versions_read_and_write_and_every_step_can_be_taken_back(
    scenario: Scenario, pagila_cluster: Cluster, tmp_path: Path
) -> None:
    numbers: Iterator[int] = count()
    check(scenario, lambda: pagila.copy(pagila_cluster, f"{scenario.name}_{next(numbers)}"), tmp_path)


@pytest.mark.parametrize(
    ("scenario", "view"), [(MERGED, "customer_list"), (RATE, "film_list")], ids=["merged names", "rate"]
)
def test_view_that_needs_a_column_that_goes_is_named_before_anything_is_touched(
    scenario: Scenario, view: str, pagila_cluster: Cluster, tmp_path: Path
) -> None:
    place = Place(pagila.copy(pagila_cluster, f"view_{view}"), tmp_path)
    before = place.dump()
    with pytest.raises(Refused) as error:
        place.apply(place.compiled(scenario.operations), Phase.PREPARE)
    assert f"view {view}" in str(error.value.facts["rows found"])
    assert place.dump() == before
