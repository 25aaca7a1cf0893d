"""Archives unpacked on a real disk: whole, safe, or not at all."""

import io
import tarfile
from pathlib import Path

import pytest

from blocks.fence import Fence
from blocks.runtimes.placing import PlacedReleases
from tasks.common.errors import Refused
from tests.support.grants import holding
from tests.support.workloads import digest_of, write_archive


def _releases(folder: Path) -> PlacedReleases:
    return PlacedReleases(folder / "releases", Fence(folder / "fence", holding(), "a test"))


@pytest.mark.parametrize("name", ["../outside.txt", "a/../../outside.txt"])
def test_an_entry_that_points_outside_is_refused_and_nothing_is_placed(tmp_path: Path, name: str) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", {"fine.txt": "fine", name: "bad"})
    releases = _releases(tmp_path)
    with pytest.raises(Refused, match=r"outside\.txt"):
        releases.place(archive, "v1", digest_of(archive))
    assert releases.find("v1", digest_of(archive)) is None
    assert not list(tmp_path.rglob("outside.txt"))
    assert list((tmp_path / "releases").iterdir()) == []


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        archive.addfile(link)
        entry = tarfile.TarInfo("link/outside.txt")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"bad"))
    with pytest.raises(Refused, match="must not be unpacked"):
        _releases(tmp_path).place(path, "v1", digest_of(path))


@pytest.mark.parametrize("keep_bytes", [10, 200, -8])
def test_an_archive_that_is_cut_short_is_refused_and_nothing_is_placed(tmp_path: Path, keep_bytes: int) -> None:
    archive = _long_archive(tmp_path)
    archive.write_bytes(archive.read_bytes()[:keep_bytes])
    _assert_refused(tmp_path, archive)


def test_an_archive_with_a_flipped_byte_is_refused_and_nothing_is_placed(tmp_path: Path) -> None:
    archive = _long_archive(tmp_path)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    _assert_refused(tmp_path, archive)


def _long_archive(folder: Path) -> Path:
    return write_archive(folder / "a.tar.gz", {f"{n}.txt": f"{n * 7919}" * 50 for n in range(50)})


def _assert_refused(folder: Path, archive: Path) -> None:
    releases = _releases(folder)
    with pytest.raises(Refused, match=r"not a tar\.gz archive"):
        releases.place(archive, "v1", digest_of(archive))
    assert releases.find("v1", digest_of(archive)) is None


def test_remains_of_interrupted_calls_are_not_placed_releases_and_are_cleared_away(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", {"a.txt": "a"})
    releases = _releases(tmp_path)
    releases.place(archive, "v1", digest_of(archive))
    placed = releases.find("v1", digest_of(archive))
    assert placed is not None
    # As a forget that was killed leaves it: renamed, and partly removed.
    half = placed.rename(placed.with_name(f".{placed.name}"))
    assert releases.find("v1", digest_of(archive)) is None
    releases.place(archive, "v1", digest_of(archive))
    assert (placed / "a.txt").read_text() == "a"
    assert releases.remove_all_but([]) == ("v1",)
    assert not half.exists()
    assert list((tmp_path / "releases").iterdir()) == []


def test_release_names_may_hold_anything(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", {"a.txt": "a"})
    releases = _releases(tmp_path)
    name = "../v1.2 100%/ü"
    releases.place(archive, name, digest_of(archive))
    assert releases.remove_all_but(["other"]) == (name,)


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        _releases(tmp_path).place(tmp_path / "none.tar.gz", "v1", "sha256:" + "0" * 64)
