"""Quantities: with their unit or not at all."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common import units
from tasks.common.units import (
    Expected,
    parse_duration,
    parse_percent,
    parse_positive_duration,
    parse_size,
    show_age,
    show_duration,
    show_percent,
    show_size,
    write_duration,
    write_percent,
    write_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("2d", 172800),
        ("1h30m", 5400),
        ("0s", 0),
        ("1.5s", 1.5),
    ],
)
def test_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


NO_DURATIONS = ["30", 30, 1.5, True, None, "", "s", "30 s", "-1s", "30S", "1h 30m", "1,5s", "30s\n", "٣s", ["30s"]]


@pytest.mark.parametrize("found", [*NO_DURATIONS, "367d", "9" * 400 + "s"])
def test_duration_without_a_unit_or_beyond_a_year_is_refused_with_what_was_found(found: object) -> None:
    with pytest.raises(Expected, match=re.escape(f"found {found!r}; expected a duration with its unit, such as 30s")):
        parse_duration(found)


@pytest.mark.parametrize("found", ["0s", "0h0m", "0.0ms", "5", None])
def test_wait_that_must_not_be_nothing_refuses_zero(found: object) -> None:
    with pytest.raises(Expected, match="expected a duration above zero"):
        parse_positive_duration(found)
    assert parse_positive_duration("1ms") == 0.001


@pytest.mark.parametrize(("text", "percent"), [("0.1%", 0.1), ("25 %", 25), ("0%", 0), ("100%", 100), ("100.0%", 100)])
def test_percentage_is_read_with_its_sign(text: str, percent: float) -> None:
    assert parse_percent(text) == percent


@pytest.mark.parametrize(
    "found", ["5", 5, 0.05, "-1%", "101%", "100.1%", "5 percent", "%", "5%\n", None, True, "9" * 400 + "%"]
)
def test_percentage_without_its_sign_or_out_of_range_is_refused(found: object) -> None:
    with pytest.raises(Expected, match="expected a percentage from 0% to 100%, such as"):
        parse_percent(found)


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 512 * 2**20), ("2 GiB", 2**31), ("1.5KiB", 1536), ("1024TiB", 2**50)]
)
def test_size_is_read_in_binary_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "found", ["512", 512, "512MB", "512M", "0MiB", "-1MiB", "1025TiB", "9" * 400 + "TiB", None, "1MiB\n"]
)
def test_size_that_could_be_misread_is_refused(found: object) -> None:
    with pytest.raises(Expected, match="expected a size above zero with its unit, such as 512MiB or 2GiB"):
        parse_size(found)


def test_refusal_without_a_value_repeats_nothing() -> None:
    assert str(Expected("a reference")) == "expected a reference"


@given(st.integers(0, 366 * 86_400_000).map(lambda ms: ms / 1000))
def test_written_duration_reads_back(seconds: float) -> None:
    assert parse_duration(write_duration(seconds)) == seconds


@given(st.integers(0, 100_000).map(lambda thousandths: thousandths / 1000))
def test_written_percentage_reads_back(percent: float) -> None:
    assert parse_percent(write_percent(percent)) == percent


@given(st.integers(1, 2**50))
def test_written_size_reads_back(size: int) -> None:
    assert parse_size(write_size(size)) == size


@pytest.mark.parametrize(("seconds", "text"), [(600.0, "10m"), (90, "90s"), (86400, "1d"), (0.5, "0.5s"), (0, "0s")])
def test_duration_is_written_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert write_duration(seconds) == text


QUANTITY = st.from_regex(
    r"[0-9]{0,4}(\.[0-9]{1,3})? ?(ms|s|m|h|d|%|KiB|MiB|GiB|TiB|M|)[0-9]{0,2}[hm]?\n?", fullmatch=True
)


@given(QUANTITY)
@pytest.mark.parametrize(
    ("pattern", "parse", "largest"),
    [
        (units.DURATION_PATTERN, parse_duration, 366 * 86400),
        (units.POSITIVE_DURATION_PATTERN, parse_positive_duration, 366 * 86400),
        (units.PERCENT_PATTERN, parse_percent, 100),
        (units.SIZE_PATTERN, parse_size, 2**50),
    ],
)
def test_pattern_of_the_schema_accepts_what_the_parser_accepts(pattern, parse, largest, text: str) -> None:  # type: ignore[no-untyped-def]
    try:
        accepted = parse(text) <= largest
    except Expected:
        accepted = False
    if accepted:
        assert re.search(pattern, text)
    elif re.search(pattern, text):
        assert text.endswith("\n") or float(re.findall("[0-9.]+", text)[0]) > 366 or parse is parse_size


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.25, "250 ms"),
        (0.9996, "1 s"),
        (1, "1 s"),
        (4.25, "4.2 s"),
        (59.96, "1 min"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86400, "24 h"),
    ],
)
def test_duration_is_shown_as_a_person_would_write_it(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


@pytest.mark.parametrize(("percent", "shown"), [(0, "0 %"), (0.1, "0.1 %"), (100, "100 %"), (33.3333, "33.333 %")])
def test_percentage_is_shown_with_no_more_digits_than_it_needs(percent: float, shown: str) -> None:
    assert show_percent(percent) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (100 * 2**20, "100 MiB"),
        (2**30 - 1, "1 GiB"),
        (1.25 * 2**40, "1.2 TiB"),
        (5000 * 2**40, "5000 TiB"),
        (-3 * 2**20, "-3 MiB"),
    ],
)
def test_size_is_shown_as_a_person_would_write_it(size: float, shown: str) -> None:
    assert show_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(12.5, "12.5 s"), (26 * 3600 + 300, "26 h 5 min"), (48 * 3600, "2 d"), (76 * 3600, "3 d 4 h")],
)
def test_age_is_shown_in_days_where_there_are_several(seconds: float, shown: str) -> None:
    assert show_age(seconds) == shown
