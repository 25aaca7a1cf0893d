"""What is kept beside a backup of barman-cloud, and how its objects are read again. The bucket here is a fake."""

import gzip
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

import pytest

from blocks.backups.barman_record import Record, changed, misread, read, unreadable, write
from blocks.backups.buckets import Bucket, Stored
from blocks.backups.wal import Range
from tasks.common.backups import BackupKind, StoredBackup

AT = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
STORED = StoredBackup("20261122T020000", BackupKind.FULL, AT, AT, 5, 3, (), "15.18")
CONTENT = gzip.compress(os.urandom(3_000_000) + bytes(9_000_000), compresslevel=1)


class FakeBucket:
    """Gives an object back in pieces."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def chunks(self, key: str) -> Iterator[bytes]:
        del key
        for start in range(0, len(self._content), 100_000):
            yield self._content[start : start + 100_000]


def record(*keys: str, size: int = len(CONTENT)) -> Record:
    wal = Range("", "000000010000000000000002", "000000010000000000000003")
    return Record(STORED, wal, ("fast",), {key: Stored(size, "an-etag", AT) for key in keys})


def problems(content: bytes, key: str = "data.tar.gz", size: int | None = None) -> list[str]:
    wanted = record(key, size=len(content) if size is None else size)
    return misread(wanted, cast(Bucket, FakeBucket(content)))


def test_a_record_comes_back_as_it_was_kept() -> None:
    assert read(write(record("a", "b"))) == record("a", "b")


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b"\xff", write(record("a"))[:-9]])
def test_a_damaged_record_is_none_and_its_backup_is_listed_with_an_error(text: bytes) -> None:
    assert read(text) is None
    assert unreadable("20261122T020000").error
    assert unreadable("20261122T020000").started_at == AT


def test_objects_that_are_missing_or_were_replaced_are_named() -> None:
    there = {"same": Stored(len(CONTENT), "an-etag", AT), "other": Stored(len(CONTENT), "another", AT)}
    assert [each.split(" ")[0] for each in changed(record("same", "other", "gone"), there)] == ["other", "gone"]


def test_what_reads_as_it_was_packed_is_sound() -> None:
    assert problems(CONTENT) == []
    assert problems(b"WAL that was not packed", key="000000010000000000000002") == []


@pytest.mark.parametrize("place", [0.001, 0.3, 0.9, 0.9999999])
def test_a_byte_that_has_changed_in_a_fake_bucket_is_found_whatever_the_server_says_of_it(place: float) -> None:
    rotten = bytearray(CONTENT)
    rotten[int(len(rotten) * place)] ^= 1
    assert problems(bytes(rotten))


@pytest.mark.parametrize("missing", [1, 10, 1_500_000, None])
def test_an_end_that_is_missing_in_a_fake_bucket_is_found(missing: int | None) -> None:
    rest = CONTENT[: -missing if missing else 0]
    assert problems(rest)
    assert problems(rest, size=len(CONTENT))
