"""What every scratch server does with a restored copy."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks import open_driver
from blocks.context import Context
from blocks.memory.scratch import MemoryScratch
from blocks.scratch.postgresql import PostgresqlScratch
from tasks.common.backups import Form, RestoreTo
from tasks.common.errors import Refused, Unsafe
from tasks.common.model import DriverSpec
from tasks.verification.ports import ScratchServer
from tests.support.postgresql import running_cluster
from tests.support.processes import short_folder
from tests.support.verifying import CopyingEngine, base_backup, scratch_in


@dataclass(frozen=True)
class Bench:
    """A scratch server under test.

    Args:
        scratch: the server.
        restore: puts a copy into an open folder.
        runs: returns whether anything still serves.
        form: of the copy.
    """

    scratch: ScratchServer
    restore: Callable[[Path], object]
    runs: Callable[[], bool]
    form: Form = Form.CLUSTER


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A cluster of its own: that of the session has a database of each test that has had one.
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        return base_backup(cluster, tmp_path_factory.mktemp("backup") / "base")


SERVERS = ["memory", pytest.param("postgresql", marks=pytest.mark.server)]
serves = pytest.mark.parametrize("bench", SERVERS, indirect=True)
"""What serves nothing has no such promises."""


@pytest.fixture(params=[*SERVERS, "folder"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with contextlib.ExitStack() as after:
        if request.param == "memory":
            memory = open_driver("scratch", DriverSpec(driver="memory"), Context(base=tmp_path))
            assert isinstance(memory, MemoryScratch)
            after.callback(memory.remove)
            yield Bench(memory, lambda folder: (folder / "base").mkdir(), lambda: memory.serving)
            return
        if request.param == "folder":
            spec = DriverSpec.model_validate({"driver": "folder", "folder": "place"})
            plain: ScratchServer = open_driver("scratch", spec, Context(base=tmp_path))
            after.callback(plain.remove)
            yield Bench(plain, lambda folder: (folder / "file").write_text("text"), lambda: False, Form.FILES)
            return
        engine = CopyingEngine(request.getfixturevalue("backup"))
        scratch: PostgresqlScratch = scratch_in(after.enter_context(short_folder()))
        after.callback(scratch.remove)
        sockets: list[Path] = []

        def restore(folder: Path) -> None:
            sockets.append(folder.parent / ".s.PGSQL.5432")
            engine.restore(RestoreTo(), folder, lambda _: None)

        yield Bench(scratch, restore, lambda: any(each.exists() for each in sockets))


@serves
def test_copy_answers_once_is_stopped_then_serves_and_is_gone_in_the_end(bench: Bench) -> None:
    folder = bench.scratch.open()
    bench.restore(folder)
    replayed = bench.scratch.replay(Form.CLUSTER)
    assert replayed.version and replayed.fence
    assert not bench.runs()
    assert not bench.scratch.check_pages().problems
    assert bench.scratch.serve() == bench.scratch.serve()
    assert bench.runs()
    assert not bench.scratch.check_structure().count
    assert not bench.scratch.read_all().count
    for name in bench.scratch.databases():
        assert bench.scratch.database(name).facts().name in (name, "memory")
    bench.scratch.stop()
    bench.scratch.stop()
    assert not bench.runs()
    bench.scratch.remove()
    bench.scratch.remove()
    assert not folder.exists()


def test_a_look_beforehand_says_how_copies_are_fenced_off_and_leaves_nothing(bench: Bench) -> None:
    assert bench.scratch.check()
    assert bench.scratch.check() == bench.scratch.check()
    assert bench.scratch.clean() == ()
    with pytest.raises(Refused):
        bench.scratch.replay(bench.form)


@serves
def test_pages_are_looked_at_only_while_the_copy_is_stopped(bench: Bench) -> None:
    bench.restore(bench.scratch.open())
    bench.scratch.replay(Form.CLUSTER)
    bench.scratch.serve()
    with pytest.raises(Refused, match="stopped"):
        bench.scratch.check_pages()


@serves
def test_served_copy_is_gone_with_its_server(bench: Bench) -> None:
    folder = bench.scratch.open()
    bench.restore(folder)
    bench.scratch.replay(Form.CLUSTER)
    bench.scratch.serve()
    bench.scratch.remove()
    assert not bench.runs()
    assert not folder.exists()


def test_folder_with_nothing_restored_into_it_does_not_start(bench: Bench) -> None:
    bench.scratch.open()
    with pytest.raises(Unsafe):
        bench.scratch.replay(bench.form)


def test_form_of_something_else_is_refused(bench: Bench) -> None:
    bench.scratch.open()
    assert bench.form in bench.scratch.forms
    for form in set(Form) - bench.scratch.forms:
        with pytest.raises(Refused, match=form.value):
            bench.scratch.replay(form)


def test_nothing_is_done_before_a_folder_is_open(bench: Bench) -> None:
    for call in (lambda: bench.scratch.replay(bench.form), bench.scratch.serve):
        with pytest.raises(Refused, match="open"):
            call()


def test_cleaning_leaves_what_a_living_verification_works_with(bench: Bench) -> None:
    folder = bench.scratch.open()
    bench.restore(folder)
    assert bench.scratch.clean() == ()
    assert any(folder.iterdir())


@pytest.mark.parametrize("bench", ["folder"], indirect=True)
def test_files_are_read_nothing_is_started_on_them_and_they_are_gone_in_the_end(bench: Bench) -> None:
    folder = bench.scratch.open()
    assert folder.stat().st_mode & 0o077 == 0 and folder.parent.stat().st_mode & 0o077 == 0
    bench.restore(folder)
    replayed = bench.scratch.replay(bench.form)
    assert (replayed.found, replayed.fence) == ("1 file, 4 B", "nothing is started")
    for look in (bench.scratch.serve, bench.scratch.databases, bench.scratch.check_pages, bench.scratch.read_all):
        with pytest.raises(Refused, match="is no database"):
            look()
    bench.scratch.remove()
    assert not folder.parent.exists()
