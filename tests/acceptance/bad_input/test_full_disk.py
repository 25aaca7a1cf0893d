"""A disk that is full: said as what it is, before anything is placed, and users notice nothing."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tasks.common.errors import Refused, Retryable
from tasks.release.model import Outcome
from tests.support.disks import small_disk
from tests.support.postgresql import Cluster
from tests.support.small import Ended, Small
from tests.support.small_checks import assert_recorded, assert_says, assert_untouched, facts_of, python

pytestmark = pytest.mark.server

DISK_KIB = 8 * 1024
FILL = (
    "import contextlib, os\n"
    "with contextlib.suppress(OSError), open({file!r}, 'wb', buffering=0) as ballast:\n"
    "    while True: ballast.write(os.urandom(2**16))\n"
)
"""A script that leaves no byte free."""


@contextlib.contextmanager
def working_on(small: Small, disk: Path) -> Iterator[None]:
    """The estate's workspace is on that disk for the length of a `with`."""
    text = small.file.read_text()
    estate = yaml.safe_load(text) | {"workspace": str(disk)}
    for environment in estate["environments"].values():
        environment["preflight"] |= {"disk_free_at_least": "0%"}
    small.file.write_text(yaml.safe_dump(estate))
    try:
        yield
    finally:
        small.file.write_text(text)


def assert_nothing_placed(small: Small, ended: Ended, serving: str) -> None:
    """The release has failed before anything was published or placed."""
    assert_recorded(small, ended, Outcome.FAILED)
    assert small.evidence(ended, "publish") == []
    assert small.evidence(ended, "step") == []
    assert_untouched(small, ended, serving)


def test_disk_that_is_full_before_the_build_is_named_with_its_figure(
    small: Small, serving: str, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", DISK_KIB) as disk, working_on(small, disk):
        text = small.file.read_text()
        small.file.write_text(text.replace("disk_free_at_least: 0%", "disk_free_at_least: 20%"))
        (disk / "ballast").write_bytes(bytes(7 * 2**20))
        ended = small.release(small.commit())
        small.file.write_text(text)
    assert_says(ended, Refused, "preflight found", "campus to production", "nothing was changed", "mend all")
    assert re.search(r"of the disk is free, less than 20 %", " ".join(facts_of(ended).values()))
    assert_nothing_placed(small, ended, serving)


@pytest.mark.parametrize("left_kib", [64, 2], ids=["in the archive", "in the check-out"])
def test_disk_that_fills_up_while_building_ends_the_release(
    small: Small, serving: str, tmp_path: Path, left_kib: int
) -> None:
    script = FILL.format(file=str(tmp_path / "disk" / "ballast")) + (
        "import os\n"
        f"os.truncate({str(tmp_path / 'disk' / 'ballast')!r}, "
        f"os.path.getsize({str(tmp_path / 'disk' / 'ballast')!r}) - {left_kib} * 1024)\n"
        "open('noise', 'wb').write(os.urandom(48 * 1024))\n"
    )
    build = {"command": python(script), "include": ["app.py", "answers.json", "noise"]}
    with small_disk(tmp_path / "disk", DISK_KIB) as disk, working_on(small, disk):
        ended = small.release(small.commit(build=build))
        left = [path.name for path in disk.rglob("*") if path.is_file()]
    assert isinstance(ended.error, Refused), repr(ended.error)
    assert "No space left" in str(ended.error) or "full" in str(ended.error), str(ended.error)
    assert left == ["ballast"], "nothing half made is left on the disk"
    assert_nothing_placed(small, ended, serving)


def test_disk_that_fills_up_while_scanning_is_no_pass(
    small: Small, serving: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    steps = [{"name": "fill", "command": python(FILL.format(file=str(tmp_path / "disk" / "ballast")))}]
    with small_disk(tmp_path / "disk", DISK_KIB):
        ended = small.release(small.commit(test={"steps": steps}))
    assert isinstance(ended.error, Refused), repr(ended.error)
    assert "No space left" in str(ended.error), str(ended.error)
    assert_nothing_placed(small, ended, serving)


def test_disk_that_is_full_after_the_scans_ends_the_release_before_anything_is_placed(
    small: Small, serving: str, tmp_path: Path
) -> None:
    steps = [{"name": "fill", "command": python(FILL.format(file=str(tmp_path / "disk" / "ballast")))}]
    with small_disk(tmp_path / "disk", DISK_KIB) as disk, working_on(small, disk):
        ended = small.release(small.commit(test={"steps": steps}))
    assert_says(
        ended, Refused, "the artefact cannot be copied: No space left on device", str(tmp_path / "disk"), "", ""
    )
    assert_recorded(small, ended, Outcome.FAILED)
    assert small.evidence(ended, "step") == []
    assert_untouched(small, ended, serving)


def test_disk_and_ledger_that_fail_together_still_end_the_release_readably(
    small: Small, serving: str, tmp_path: Path, postgresql_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    stop = f"import os, signal; os.kill({postgresql_cluster.process.pid}, signal.SIGINT)\n"
    steps = [
        {"name": "fill", "command": python(FILL.format(file=str(tmp_path / "disk" / "ballast")))},
        {"name": "stop-the-ledger", "command": python(stop)},
    ]
    with small_disk(tmp_path / "disk", DISK_KIB) as disk, working_on(small, disk):
        try:
            ended = small.release(small.commit(test={"steps": steps}))
        finally:
            postgresql_cluster.stop()
            postgresql_cluster.start()
        assert [path.name for path in disk.iterdir() if path.is_file()] == ["ballast"]
    assert isinstance(ended.error, Refused | Retryable), repr(ended.error)
    assert "the rest cannot be kept in a file (No space left on device), and stands here only: " in caplog.text
    assert "end failed: " in caplog.text
    assert ended.visitors.failures == []
    assert small.served() == {serving}
