"""What people read of a run of `backup`, and of its progress."""

import pytest

from tasks.backup.account import Account, report
from tasks.backup.progress import described, percent
from tasks.common.backups import Progress
from tests.support.catalogue import NOW, entry

MIB = 2**20


def test_account_says_first_how_it_ended_and_then_lists_each_backup() -> None:
    account = Account(cleaned=["a half dump"])
    account.tell(entry(NOW), "added")
    account.tell(entry(NOW, repository=2), "added")
    account.tell(entry(NOW), "expired", "nothing asks for it")
    shown = report("campus-db", account, "")
    assert shown.startswith("# Backup of campus-db\n\nIt worked; 2 added, 1 expired.")
    assert "- a half dump" in shown
    assert "| campus-db/2/20261120-143000 | added | 977 KiB | |" in shown


def test_account_of_a_failed_run_says_why_and_nothing_in_it_becomes_markup() -> None:
    shown = report("campus-db", Account(), "Refused: <b>no</b>\n  on: [x](http://y)")
    assert "**It failed**: Refused: &lt;b&gt;no" in shown
    assert "[x](" not in shown


def test_run_with_nothing_to_do_says_so() -> None:
    assert "nothing was to do" in report("campus-db", Account(), "")


@pytest.mark.parametrize(
    ("progress", "elapsed_s", "said", "share"),
    [
        (Progress(0, 0), 0.0, "0 B", 0.0),
        (Progress(0, 4 * MIB), 1.0, "0 B of 4 MiB", 0.0),
        (Progress(MIB, 0), 2.0, "1 MiB, 512 KiB/s", 0.0),
        (Progress(MIB, 4 * MIB), 10.0, "1 MiB of 4 MiB, 102 KiB/s, 30 s left", 25.0),
        (Progress(4 * MIB, 4 * MIB), 10.0, "4 MiB of 4 MiB, 410 KiB/s", 100.0),
        (Progress(5 * MIB, 4 * MIB), 10.0, "5 MiB of 4 MiB, 512 KiB/s", 100.0),
    ],
)
def test_progress_says_bytes_rate_and_time_left_as_far_as_they_are_known(
    progress: Progress, elapsed_s: float, said: str, share: float
) -> None:
    assert described(progress, elapsed_s) == said
    assert percent(progress) == share
