import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.stores.folder import FolderStore
from tasks.common.errors import Refused
from tests.support.disks import make_read_only, small_disk

OPEN = """
import resource, signal, sys
from pathlib import Path
from blocks.context import Context
from blocks.stores.folder import FolderStore
base = Path(sys.argv[1])
store = FolderStore(FolderStore.Settings(folder="store"), Context(base=base))
"""
PUT_AND_DELETE_AGAIN_AND_AGAIN = """
for _ in range(20):
    digest = store.put(base / "archive")
    store.delete(digest)
store.put(base / "archive")
"""
DIE_AFTER_A_MEGABYTE = """
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
store.put(base / "archive")
"""


def open_store(base: Path) -> FolderStore:
    return FolderStore(FolderStore.Settings(folder="store"), Context(base=base))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(os.urandom(4 * 2**20))
    return path


def test_processes_that_put_and_delete_the_same_archive_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(os.urandom(2**18))
    script = OPEN + PUT_AND_DELETE_AGAIN_AND_AGAIN
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(3)
    ]
    ended = [process.communicate(timeout=60)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    [digest] = open_store(tmp_path).digests()
    assert files_in(tmp_path / "store") == [tmp_path / "store" / digest.replace(":", "/")]


def test_a_process_killed_while_writing_leaves_nothing_visible(tmp_path: Path, archive: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OPEN + DIE_AFTER_A_MEGABYTE, str(tmp_path)], capture_output=True)
    assert done.returncode == -signal.SIGXFSZ, done.stderr.decode()
    [part] = files_in(tmp_path / "store")
    assert part.stat().st_size > 0
    store = open_store(tmp_path)
    assert store.digests() == ()
    digest = store.put(archive)
    assert store.digests() == (digest,)


def test_what_a_killed_process_left_is_swept_up_after_a_day(tmp_path: Path, archive: Path) -> None:
    subprocess.run([sys.executable, "-c", OPEN + DIE_AFTER_A_MEGABYTE, str(tmp_path)], capture_output=True)
    [part] = files_in(tmp_path / "store")
    store = open_store(tmp_path)
    store.put(archive)
    assert part.exists(), "another process may be writing it at this moment"
    os.utime(part, times=(time.time() - 90_000, time.time() - 90_000))
    store.put(archive)
    assert not part.exists()


def test_a_full_disk_leaves_no_half_artefact(tmp_path: Path, archive: Path) -> None:
    with small_disk(tmp_path / "store", size_kib=2048) as disk:
        store = open_store(tmp_path)
        with pytest.raises(Refused, match="No space left") as raised:
            store.put(archive)
        assert "free space" in raised.value.next_action
        assert files_in(disk) == []
        archive.write_bytes(b"small")
        digest = store.put(archive)
        assert store.digests() == (digest,)


def test_an_artefact_that_is_already_there_can_be_put_on_a_full_disk(tmp_path: Path, archive: Path) -> None:
    with small_disk(tmp_path / "store", size_kib=5 * 1024) as disk:
        store = open_store(tmp_path)
        digest = store.put(archive)
        with pytest.raises(OSError, match="No space left"):
            (disk / "ballast").write_bytes(bytes(2**21))
        assert store.put(archive) == digest


def test_a_full_disk_at_the_target_leaves_no_half_copy(tmp_path: Path, archive: Path) -> None:
    store = open_store(tmp_path)
    digest = store.put(archive)
    with small_disk(tmp_path / "target", size_kib=2048) as disk:
        with pytest.raises(Refused, match="No space left") as raised:
            store.fetch(digest, disk / "copy")
        assert str(disk / "copy") in raised.value.on
        assert files_in(disk) == []


def test_a_disk_that_cannot_be_written_is_refused(tmp_path: Path, archive: Path) -> None:
    with small_disk(tmp_path / "store", size_kib=8192) as disk:
        make_read_only(disk)
        with pytest.raises(Refused, match="Read-only file system") as raised:
            open_store(tmp_path).put(archive)
        assert "mount it for writing" in raised.value.next_action


def test_an_archive_that_changes_while_it_is_stored_is_refused_and_removed(tmp_path: Path) -> None:
    # A file that reads differently each time, as one on a failing disk does.
    with pytest.raises(Refused, match="read back differently"):
        open_store(tmp_path).put(Path("/proc/sys/kernel/random/uuid"))
    assert files_in(tmp_path / "store") == []


def test_nobody_overwrites_an_artefact_by_accident(tmp_path: Path, archive: Path) -> None:
    digest = open_store(tmp_path).put(archive)
    assert stat.S_IMODE((tmp_path / "store" / digest.replace(":", "/")).stat().st_mode) == 0o444


def test_files_of_others_are_no_artefacts(tmp_path: Path, archive: Path) -> None:
    store = open_store(tmp_path)
    digest = store.put(archive)
    (tmp_path / "store" / "sha256" / "README").touch()
    assert store.digests() == (digest,)
