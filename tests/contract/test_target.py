"""What every target of a restore does; what a kill leaves is in test_restore_killed and test_folder_target."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks import open_driver
from blocks.backups.redis_snapshot import SNAPSHOT
from blocks.context import Context
from blocks.memory.target import MemoryTarget
from tasks.common.backups import Form, RestoreTo
from tasks.common.errors import Refused
from tasks.common.lease import LeaseLost
from tasks.common.model import DriverSpec
from tasks.restore.decide import settle
from tasks.restore.model import Journal, Phase, Settlement
from tasks.restore.ports import TargetServer
from tests.support.grants import holding
from tests.support.postgresql import SUPERUSER, running_cluster
from tests.support.processes import quick_folder
from tests.support.redis import EMPTY_SNAPSHOT
from tests.support.restoring import QUICK, Target
from tests.support.verifying import CopyingEngine, base_backup, dump


@dataclass(frozen=True)
class Bench:
    """A target under test.

    Args:
        open: returns the driver with the lease of this token, or, without one, one that only observes.
        form: of the backups.
        restore: puts a backup into a folder.
        serves: whether it has a server.
    """

    open: Callable[[int], TargetServer]
    form: Form
    restore: Callable[[Path], object]
    serves: bool = True

    def fetch(self, target: TargetServer) -> None:
        """A backup was fetched and is whole."""
        target.check(self.form, "")
        self.restore(target.fetches_into(self.form))
        target.recover(self.form, "")


@pytest.fixture(scope="module")
def backups(tmp_path_factory: pytest.TempPathFactory) -> dict[Form, Path]:
    """A base backup of a cluster, and a dump of a database of it."""
    folder = tmp_path_factory.mktemp("backup")
    # A cluster of its own: that of the session has a database of each test that has had one.
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        with cluster.as_superuser(cluster.database()) as session:
            session.execute("create database shop")
        return {
            Form.CLUSTER: base_backup(cluster, folder / "base"),
            Form.DUMP: dump(cluster, folder / "dump", "shop"),
        }


SERVER = pytest.mark.server


@pytest.fixture(
    params=[
        ("memory", Form.CLUSTER),
        pytest.param(("postgresql", Form.CLUSTER), marks=SERVER),
        pytest.param(("postgresql", Form.DUMP), marks=SERVER),
        ("folder", Form.FILES),
        pytest.param(("folder", Form.RDB), marks=SERVER),
    ],
    ids="-".join,
)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    driver, form = request.param
    with quick_folder() as folder, contextlib.ExitStack() as after:
        settings: dict[str, object] = {"driver": "memory", "data": "main"}
        if driver == "postgresql":
            target = Target(folder, "main", "")
            after.callback(target.end)
            engine = CopyingEngine(request.getfixturevalue("backups")[form], form)
            settings = target.spec["server"]
            assert settings["superuser"] == SUPERUSER and settings["options"] == QUICK
        elif driver == "folder":
            settings = {"driver": "folder", "folder": "main"}

        def opened(token: int) -> TargetServer:
            grant = holding(token) if token else None
            spec = DriverSpec.model_validate(settings)
            found: TargetServer = open_driver("target", spec, Context(base=folder, grant=grant))
            return found

        def restore(into: Path) -> None:
            if driver == "postgresql":
                engine.restore(RestoreTo(), into, lambda _: None)
                return
            into.mkdir()
            (into / "base").mkdir()
            if form is Form.RDB:
                (into / SNAPSHOT).write_bytes(EMPTY_SNAPSHOT)

        yield Bench(opened, form, restore, serves=driver != "folder")
        MemoryTarget.open_folders.clear()


def begun(run_id: str) -> Journal:
    return Journal(run_id, "db", "db/1/x", "db/1/x", datetime.now(UTC), Phase.FILLING)


def put_up(bench: Bench, token: int, run_id: str) -> TargetServer:
    target = bench.open(token)
    target.put_aside(begun(run_id))
    bench.fetch(target)
    target.open(lambda _: None)
    target.finish()
    return target


def test_empty_target_is_filled_recovered_unseen_and_opened(bench: Bench) -> None:
    target = bench.open(1)
    seen = target.observe()
    assert (seen.journal, seen.filled, seen.running, seen.answers, seen.problem) == (None, False, False, False, "")
    assert bench.form in target.forms and bool(target.address) is bench.serves
    assert target.put_aside(begun("run-1")) == ""
    bench.fetch(target)
    assert bool(target.databases()) is bench.serves
    assert not target.observe().answers, "nobody can reach it yet"
    target.open(lambda _: None)
    target.finish()
    seen = bench.open(0).observe()
    assert seen.filled and seen.ours and (seen.running, seen.answers) == (bench.serves, bench.serves)
    assert {path.name for path in target.folder.parent.iterdir()} == {"main", "main.slipway"}
    assert seen.journal is not None and seen.journal.phase is Phase.DONE
    assert settle(seen, target.where) is Settlement.NOTHING
    assert bench.open(1).bring_back() == "nothing was changed", "what was restored well is never taken back"


def test_what_is_there_is_put_aside_whole_and_brought_back_with_its_server(bench: Bench) -> None:
    target = put_up(bench, 1, "run-1")
    (target.folder / "of-the-former").touch()
    aside = target.put_aside(begun("run-2-and-more"))
    assert aside == str(target.folder.with_name("main.aside-run-2-an"))
    assert (Path(aside) / "of-the-former").exists() and not target.folder.exists()
    assert not target.observe().answers
    bench.restore(target.fetches_into(bench.form))
    another = bench.open(2)
    assert settle(another.observe(), another.where) is Settlement.BRING_BACK
    for _ in range(2):
        another.bring_back()
        seen = another.observe()
        assert (target.folder / "of-the-former").exists() and not Path(aside).exists()
        assert seen.ours and (seen.running, seen.answers) == (bench.serves, bench.serves)
        assert seen.journal is not None and seen.journal.run_id == "run-1"


def test_nobody_without_the_newest_lease_changes_anything(bench: Bench) -> None:
    put_up(bench, 2, "run-1")
    before = bench.open(0).observe()
    with pytest.raises(LeaseLost):
        bench.open(1).put_aside(begun("run-2"))
    with pytest.raises(Refused):
        bench.open(0).put_aside(begun("run-2"))
    after = bench.open(0).observe()
    assert (after.journal, after.running, after.answers) == (before.journal, bench.serves, bench.serves)
