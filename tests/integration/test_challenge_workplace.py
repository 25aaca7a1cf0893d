"""Copies that are damaged: what they are copied from stays as it is, and is seen when it does not."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.challenges.workplace import Workplace, drop_file, flip, swap, truncate
from blocks.scratch.rooms import clear_dead
from tests.support.processes import short_folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    made = tmp_path / "repository"
    for label, text in (("old", "of old"), ("new", "of now")):
        (made / label / "data").mkdir(parents=True)
        (made / label / "data" / "file").write_text(text)
        (made / label / "data" / "file").chmod(0o640)
        os.utime(made / label / "data" / "file", (1e9, 1e9))
    (made / "latest").symlink_to("new")
    (made / "new" / "segment.tmp").write_text("is just being archived")
    return made


@pytest.fixture
def place() -> Iterator[Workplace]:
    with short_folder() as folder:
        made = Workplace(folder)
        yield made
        made.leave()
        made.leave()
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda copy: flip(copy, "new/data/file", 0),
        lambda copy: truncate(copy, "new/data/file", 3),
        lambda copy: drop_file(copy, "new/data/file"),
        lambda copy: swap(copy, "old", "new"),
    ],
    ids=["flip", "truncate", "drop", "swap"],
)
def test_damage_to_one_copy_is_in_no_other(place: Workplace, repository: Path, damage: Callable[[Path], None]) -> None:
    place.copy(repository, ["new", "old"])
    damaged, other = place.variant(), place.variant()
    damage(damaged)
    found = damaged / "new/data/file"
    assert not found.exists() or found.read_text() != "of now"
    for whole in (repository, other, place.variant()):
        assert (whole / "new/data/file").read_text() == "of now"
        assert (whole / "old/data/file").read_text() == "of old"
    assert place.touched() == ()


def test_one_bit_is_flipped_and_no_more(place: Workplace, repository: Path) -> None:
    place.copy(repository, ["new"])
    copy = place.variant()
    flip(copy, "new/data/file", 3)
    assert (copy / "new/data/file").read_bytes() == b"of " + bytes([ord("n") ^ 1]) + b"ow"


def test_copy_has_the_times_and_rights_of_what_it_is_of_and_nothing_that_is_not_finished(
    place: Workplace, repository: Path
) -> None:
    place.copy(repository, ["new", "latest"])
    copy = place.variant()
    found = (copy / "new/data/file").stat()
    assert (found.st_mode & 0o777, found.st_mtime) == (0o640, 1e9)
    assert (copy / "latest").readlink() == Path("new")
    assert not (copy / "new/segment.tmp").exists() and not (copy / "old").exists()


def test_change_to_the_repository_itself_is_seen(place: Workplace, repository: Path) -> None:
    place.copy(repository, ["new", "old"])
    (repository / "new/data/other").write_text("came later")
    assert place.touched() == ()
    (repository / "new/data/file").write_text("OF NOW")
    (repository / "old/data/file").unlink()
    assert sorted(place.touched()) == [str(repository / f"{label}/data/file") for label in ("new", "old")]


def test_room_of_one_that_lives_is_left_alone() -> None:
    with short_folder() as folder:
        made = Workplace(folder)
        assert clear_dead(folder) == ()
        made.leave()
