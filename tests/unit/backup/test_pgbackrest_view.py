from pathlib import Path

import pytest

from blocks.backups.pgbackrest_view import alone
from blocks.backups.wal import Range

SUM = "0" * 40
WAL = "0000000100000000000000{:02X}"
FULL, INCREMENT, OTHER = "20260101-000000F", "20260101-000000F_20260102-000000I", "20260103-000000F"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three backups, and five segments of WAL, one of them on two timelines."""
    root = tmp_path / "repository"
    for label in (FULL, INCREMENT, OTHER):
        (root / "backup/demo" / label).mkdir(parents=True)
        (root / "backup/demo" / label / "backup.manifest").write_text(label)
    (root / "backup/demo/backup.info").write_text("info")
    for number in range(5):
        segment = root / "archive/demo/15-1" / WAL.format(0)[:16] / f"{WAL.format(number)}-{SUM}.zst"
        segment.parent.mkdir(parents=True, exist_ok=True)
        segment.write_text("wal")
    newer = root / "archive/demo/15-1/0000000200000000" / f"00000002{WAL.format(2)[8:]}-{SUM}.zst"
    newer.parent.mkdir()
    newer.write_text("wal")
    return root


def names(view: Path) -> set[str]:
    return {str(path.relative_to(view)) for path in view.rglob("*") if path.is_symlink()}


def test_a_view_has_the_backup_with_what_it_needs_and_no_other(repository: Path, tmp_path: Path) -> None:
    view, wal = tmp_path / "view", Range("15-1", WAL.format(1), WAL.format(2))
    with alone(repository, view, "demo", (FULL, INCREMENT), wal) as found:
        assert names(found) == {
            "backup/demo/backup.info",
            f"backup/demo/{FULL}",
            f"backup/demo/{INCREMENT}",
            *(f"archive/demo/15-1/{WAL.format(0)[:16]}/{WAL.format(number)}-{SUM}.zst" for number in (1, 2)),
            f"archive/demo/15-1/0000000200000000/00000002{WAL.format(2)[8:]}-{SUM}.zst",
        }
        assert (found / f"backup/demo/{INCREMENT}/backup.manifest").read_text() == INCREMENT
    assert not view.exists()
    assert len(list(repository.rglob("*.*"))) == 10, "nothing of the repository itself was removed"


def test_what_is_missing_is_missing_in_the_view(repository: Path, tmp_path: Path) -> None:
    with alone(repository, tmp_path / "view", "demo", ("gone",), Range("15-1", WAL.format(9), WAL.format(9))) as found:
        assert names(found) == {"backup/demo/backup.info"}


def test_what_a_killed_process_has_left_of_a_view_is_replaced(repository: Path, tmp_path: Path) -> None:
    wal = Range("15-1", WAL.format(1), WAL.format(1))
    left = alone(repository, tmp_path / "view", "demo", (OTHER,), wal)
    left.__enter__()
    with alone(repository, tmp_path / "view", "demo", (FULL,), wal) as found:
        assert f"backup/demo/{FULL}" in names(found)
        assert f"backup/demo/{OTHER}" not in names(found)
    assert (repository / "backup/demo" / OTHER / "backup.manifest").exists()
