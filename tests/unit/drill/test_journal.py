"""The undo journal's format: whole or refused, expired whatever anybody does to the clocks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.errors import Unsafe
from tasks.drill.journal import Entry, Now, due, in_order, left_s, read, write

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def entry(number: int = 0, run: str = "run-1", boot_s: float = 100.0, expires_s: float = 60.0) -> Entry:
    written = Now(NOON + timedelta(seconds=boot_s), boot_s, "boot-1")
    return Entry(
        f"{run}-{number:02}",
        "node-lost",
        run,
        number,
        "stop",
        {"pid_file": "x"},
        {"pid": 7},
        "/etc",
        written,
        expires_s,
    )


@given(settings=st.dictionaries(st.text(), JSON, max_size=4), aim=st.dictionaries(st.text(), JSON, max_size=4))
def test_entry_comes_back_as_it_was_written(settings: dict[str, object], aim: dict[str, object]) -> None:
    written = replace(entry(), settings=settings, aim=aim, tools=("/usr/local/bin",), node="a1")
    assert read(write(written), "x") == written


@given(data=st.data())
def test_entry_that_was_cut_or_changed_undoes_nothing(data: st.DataObject) -> None:
    text = write(entry())
    at = data.draw(st.integers(0, len(text) - 3))
    for other in (text[:at], text[:at] + chr((ord(text[at]) + 1) % 127 or 65) + text[at + 1 :]):
        try:
            found = read(other, "journal/x.json")
        except Unsafe as error:
            assert error.on == "journal/x.json"
        else:
            assert found == entry(), "what is not as it was written was believed"


def test_entry_expires_by_the_clock_that_nobody_sets() -> None:
    for set_to in (NOON - timedelta(days=400), NOON + timedelta(days=400)):
        assert left_s(entry(), Now(set_to, 159.0, "boot-1")) == 1
        assert left_s(entry(), Now(set_to, 161.0, "boot-1")) == -1


def test_entry_of_before_the_machine_was_started_anew_has_expired() -> None:
    assert left_s(entry(), Now(NOON, 1.0, "boot-2")) <= 0


def test_faults_of_a_run_expire_together_and_the_last_is_undone_first() -> None:
    first, second = entry(0, expires_s=60), entry(1, boot_s=101, expires_s=600)
    other = entry(0, "run-2", boot_s=150)
    now = Now(NOON, 170.0, "boot-1")
    assert due([first, other, second], now) == (second, first)
    assert due([other], now) == ()
    assert in_order([first, other, second]) == (other, second, first)


@given(numbers=st.permutations(range(6)))
def test_order_of_undoing_does_not_depend_on_the_order_of_reading(numbers: list[int]) -> None:
    entries = [entry(number, boot_s=100 + number) for number in numbers]
    assert [each.number for each in in_order(entries)] == [5, 4, 3, 2, 1, 0]


def test_number_is_no_time() -> None:
    with pytest.raises(Unsafe):
        read(write(entry()).replace("60.0", "Infinity"), "x")
