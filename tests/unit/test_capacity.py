"""How much of a machine is free, by what Linux writes about it."""

import math
from pathlib import Path

import pytest

from blocks.runtimes import capacity
from blocks.runtimes.capacity import available_percent, disk_free_percent, idle_percent, machine_capacity
from tasks.common.errors import Refused

BEFORE = "cpu  100 10 50 1000 40 5 5 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"


def test_idle_share_is_that_of_the_time_between_two_looks() -> None:
    after = "cpu  150 10 70 1020 50 5 5 0 0 0\n"
    assert idle_percent(BEFORE, after) == pytest.approx(30.0)


def test_machine_that_waits_for_its_host_is_not_idle() -> None:
    assert idle_percent(BEFORE, "cpu  100 10 50 1000 40 5 5 100 0 0\n") == 0.0


def test_no_time_between_two_looks_tells_nothing() -> None:
    assert math.isnan(idle_percent(BEFORE, BEFORE))


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpus 1 2 3 4 5 6 7 8\n", "cpu a b c d e f g h\n"])
def test_what_is_no_line_of_times_is_not_understood(text: str) -> None:
    with pytest.raises(ValueError):
        idle_percent(text, text)


def test_available_memory_counts_and_not_the_unused() -> None:
    assert available_percent("MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 250 kB\nHugePages: 0\n") == 25.0


def test_memory_that_is_not_told_of_is_not_guessed() -> None:
    with pytest.raises(LookupError):
        available_percent("MemTotal: 1000 kB\nMemFree: 10 kB\n")


def test_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(tmp_path: Path) -> None:
    assert disk_free_percent(tmp_path / "not" / "there") == pytest.approx(disk_free_percent(tmp_path), abs=1)
    assert 0 < disk_free_percent(tmp_path) <= 100


def test_system_that_does_not_tell_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(capacity, "_STAT", tmp_path / "nothing")
    with pytest.raises(Refused, match="cannot be measured"):
        machine_capacity(tmp_path, over_s=0.0)
