"""Every artefact store keeps these promises."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.memory.store import MemoryStore
from blocks.stores.folder import FolderStore
from tasks.common.errors import Refused, Unsafe
from tasks.release.ports import ArtifactStore
from tests.support.s3 import BUCKET, Moto, running_moto

UNKNOWN = "sha256:" + "0" * 64


@dataclass
class Case:
    """A store, and a way to change what it keeps behind its back."""

    store: ArtifactStore
    overwrite: Callable[[str, bytes], None]


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with running_moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(params=["memory", "folder", pytest.param("s3", marks=pytest.mark.server)])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    match request.param:
        case "memory":
            return _memory(tmp_path)
        case "folder":
            return _folder(tmp_path)
    return _s3(request.getfixturevalue("moto"), prefix=f"runs/{tmp_path.name}")


def _memory(tmp_path: Path) -> Case:
    def overwrite(digest: str, content: bytes) -> None:
        MemoryStore.shelves[str(tmp_path)][digest] = content

    return Case(MemoryStore(MemoryStore.Settings(shelf=str(tmp_path)), Context(base=tmp_path)), overwrite)


def _folder(tmp_path: Path) -> Case:
    def overwrite(digest: str, content: bytes) -> None:
        path = tmp_path / "store" / digest.replace(":", "/")
        path.chmod(0o644)
        path.write_bytes(content)

    return Case(FolderStore(FolderStore.Settings(folder="store"), Context(base=tmp_path)), overwrite)


def _s3(moto: Moto, prefix: str) -> Case:
    def overwrite(digest: str, content: bytes) -> None:
        moto.client().put_object(Bucket=BUCKET, Key=f"{prefix}/{digest.replace(':', '/')}", Body=content)

    return Case(moto.store(prefix=prefix), overwrite)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(b"content of an archive" * 1000)
    return path


def test_an_archive_comes_back_as_it_was_put(case: Case, archive: Path, tmp_path: Path) -> None:
    digest = case.store.put(archive)
    assert digest == "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest()
    assert case.store.exists(digest)
    case.store.fetch(digest, tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == archive.read_bytes()


def test_an_empty_archive_is_kept_too(case: Case, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    case.store.fetch(case.store.put(tmp_path / "empty"), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


def test_putting_twice_keeps_one(case: Case, archive: Path) -> None:
    assert case.store.put(archive) == case.store.put(archive)
    assert len(case.store.digests()) == 1


def test_digests_are_sorted(case: Case, tmp_path: Path) -> None:
    assert case.store.digests() == ()
    put = []
    for n in range(5):
        (tmp_path / "archive").write_text(str(n))
        put.append(case.store.put(tmp_path / "archive"))
    assert case.store.digests() == tuple(sorted(put))


def test_deleting_twice_is_as_good_as_once(case: Case, archive: Path, tmp_path: Path) -> None:
    digest = case.store.put(archive)
    case.store.delete(digest)
    case.store.delete(digest)
    assert not case.store.exists(digest)
    assert case.store.digests() == ()
    with pytest.raises(Refused):
        case.store.fetch(digest, tmp_path / "copy")


def test_deleting_from_an_empty_store_changes_nothing(case: Case) -> None:
    case.store.delete(UNKNOWN)
    assert case.store.digests() == ()


def test_a_missing_artefact_is_refused(case: Case, tmp_path: Path) -> None:
    assert not case.store.exists(UNKNOWN)
    with pytest.raises(Refused, match="no such artefact"):
        case.store.fetch(UNKNOWN, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_missing_archive_is_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        case.store.put(tmp_path / "nothing")
    assert case.store.digests() == ()


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "sha256:" + "A" * 64, "sha256:../" + "0" * 61, "md5:0"])
def test_what_is_no_digest_is_refused(case: Case, tmp_path: Path, digest: str) -> None:
    for use in (case.store.exists, case.store.delete, lambda it: case.store.fetch(it, tmp_path / "copy")):
        with pytest.raises(Refused, match="not an artefact's digest"):
            use(digest)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("change", [flipped, lambda content: content[:-1], lambda content: b""])
def test_a_damaged_artefact_is_unsafe_and_nothing_is_left_of_it(
    case: Case, archive: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    digest = case.store.put(archive)
    case.overwrite(digest, change(archive.read_bytes()))
    into = tmp_path / "target" / "copy"
    into.parent.mkdir()
    into.write_text("of an earlier fetch")
    with pytest.raises(Unsafe) as raised:
        case.store.fetch(digest, into)
    assert raised.value.facts["expected"] == digest
    assert "do not deploy it" in raised.value.next_action
    assert list(into.parent.iterdir()) == []


def test_putting_again_replaces_a_damaged_copy(case: Case, archive: Path, tmp_path: Path) -> None:
    digest = case.store.put(archive)
    case.overwrite(digest, flipped(archive.read_bytes()))
    assert case.store.put(archive) == digest
    case.store.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == archive.read_bytes()
