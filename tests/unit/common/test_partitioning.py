"""The upkeep of partitions, as an estate file describes it."""

import re

import pytest
import yaml
from pydantic import ValidationError

from tasks.common.migrations import DatabaseSpec
from tasks.common.partitioning import PartitionSpec, parse_keep, write_keep
from tasks.common.schedules import Schedule
from tasks.common.units import Expected
from tests.support.docs import ROOT

SOUND = {"table": "payment", "every": "quarter", "ahead": 2, "keep": "36 months"}


def wrong(**changes: object) -> list[str]:
    """Return where mistakes are."""
    with pytest.raises(ValidationError) as error:
        PartitionSpec.model_validate({**SOUND, **changes})
    return [".".join(map(str, each["loc"])) for each in error.value.errors()]


@pytest.mark.parametrize(
    ("text", "months"),
    [("1 month", 1), ("24 months", 24), ("12 quarters", 36), ("1 year", 12), ("5 years", 60), ("forever", None)],
)
def test_time_to_keep_is_read_and_written(text: str, months: int | None) -> None:
    assert parse_keep(text) == months
    assert parse_keep(write_keep(months)) == months


@pytest.mark.parametrize("value", ["24", 24, "0 months", "2 weeks", "24months", "", None, "-1 years"])
def test_what_is_no_time_to_keep_is_refused(value: object) -> None:
    with pytest.raises(Expected, match="24 months"):
        parse_keep(value)


def test_sound_one_is_read_with_nothing_dropped_by_itself() -> None:
    found = PartitionSpec.model_validate(SOUND)
    assert (found.keep_months, found.drop_after_s, found.time_zone) == (36, None, "UTC")
    again = PartitionSpec.model_validate(found.model_dump(mode="json", by_alias=True))
    assert again == found


@pytest.mark.parametrize("key", sorted(SOUND))
def test_nothing_of_it_can_be_left_out(key: str) -> None:
    with pytest.raises(ValidationError):
        PartitionSpec.model_validate({name: value for name, value in SOUND.items() if name != key})


def test_all_mistakes_are_told_at_once() -> None:
    assert wrong(every="week", ahead=0, keep="long", drop_after="7", time_zone="Mars", more=1) == [
        "every",
        "ahead",
        "keep",
        "drop_after",
        "time_zone",
        "more",
    ]


def test_what_is_kept_is_whole_ranges() -> None:
    assert wrong(keep="35 months") == ["keep"]
    assert wrong(every="year", keep="18 months") == ["keep"]


def test_what_is_kept_forever_is_not_dropped() -> None:
    assert wrong(keep="forever", drop_after="7d") == ["drop_after"]


def test_table_stands_once_in_a_database() -> None:
    with pytest.raises(ValidationError) as error:
        DatabaseSpec.model_validate({"connection": {"driver": "memory"}, "partitions": [SOUND, SOUND]})
    assert [each["loc"] for each in error.value.errors()] == [("partitions", 1, "table")]


def test_documented_example_is_sound() -> None:
    page = (ROOT / "docs/how-to/keep-partitions.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    found = yaml.safe_load(text)
    spec = DatabaseSpec.model_validate(found["environments"]["production"]["databases"]["campus"])
    assert [(str(each.every), each.keep_months) for each in spec.partitions] == [
        ("month", 24),
        ("quarter", 36),
        ("year", 60),
    ]
    assert [Schedule.model_validate(each).start for each in found["schedules"].values()] == ["partitions"]
