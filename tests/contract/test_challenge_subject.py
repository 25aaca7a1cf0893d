"""Engines are challenged on copies, whose damage they find, and never on what those are of."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks import DRIVERS, driver_class
from blocks.challenges.workplace import Workplace, flip, swap, truncate
from blocks.context import Context
from tasks.backup.ports import BackupEngine
from tasks.challenge.model import Part
from tasks.challenge.ports import Subject
from tasks.common.backups import BackupKind, RestoreTo, StoredBackup
from tasks.common.errors import Refused, Unsafe
from tests.support.backup_engines import Module, Rig, redis
from tests.support.processes import short_folder

pytestmark = [pytest.mark.server, pytest.mark.long]
RIGS: dict[str, Module] = {"redis": redis.rigs}
IN_FLOWS = {"pgbackrest", "pg_basebackup", "pg_dump", "restic"}
"""Shown to do the same, and more, by tests/integration/test_challenge_flow.py; their servers take long to start."""


@dataclass(frozen=True)
class Made:
    """An engine with two backups, and a place with a copy of them."""

    rig: Rig
    subject: Subject
    engine: BackupEngine
    older: StoredBackup
    newest: StoredBackup
    place: Workplace

    def copied(self) -> tuple[Path, Path, BackupEngine]:
        """Return a new copy, a home, and the engine over it."""
        repository, home = self.place.variant(), self.place.folder("home")
        return repository, home, self.subject.on_copy(repository, home)


@pytest.fixture(scope="module", params=RIGS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with ExitStack() as stack:
        rigs = stack.enter_context(RIGS[request.param](tmp_path_factory.mktemp("shared")))
        rig = stack.enter_context(rigs(tmp_path_factory.mktemp("own")))
        engine = rig.open()
        rig.write("one")
        older = engine.take(BackupKind.FULL, lambda _: None)
        rig.write("two")
        newest = engine.take(BackupKind.FULL, lambda _: None)
        settings = vars(engine).get("_settings") or vars(engine)["_sealing"]
        subject = driver_class("challenge", request.param)(settings, Context(base=rig.folder))  # type: ignore[attr-defined]
        place = Workplace(stack.enter_context(short_folder()))
        stack.callback(place.leave)
        place.copy(subject.repository(), subject.parts([older.label, newest.label]))
        yield Made(rig, subject, engine, older, newest, place)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_driver_of_the_port_is_here() -> None:
    assert {*RIGS, *IN_FLOWS} == DRIVERS["challenge"].keys()


def test_copy_has_the_same_backups_and_nothing_is_wrong_with_them(made: Made) -> None:
    _, _, engine = made.copied()
    assert engine.stored() == (made.older, made.newest)
    assert engine.verify(made.newest.label) == ()
    assert engine.reaches() == made.engine.reaches()


def test_damage_to_a_file_of_the_copy_is_found_there_alone(made: Made) -> None:
    before = digests(made.subject.repository())
    for damage in (lambda *file: flip(*file, 0), lambda *file: truncate(*file, 1)):
        repository, home, engine = made.copied()
        files = made.subject.files(repository, home, made.newest)
        content = max((each for each in files if each.part is Part.CONTENT), key=lambda each: each.size_bytes)
        damage(repository, content.path)
        assert engine.verify(made.newest.label), content
    assert digests(made.subject.repository()) == before
    assert made.engine.verify(made.newest.label) == made.place.touched() == ()


def test_backup_in_the_place_of_another_one_is_found(made: Made) -> None:
    repository, home, engine = made.copied()
    older, newest = made.subject.folder(made.older.label), made.subject.folder(made.newest.label)
    if older is None or newest is None:
        pytest.skip("backups share what they hold")
    swap(repository, older, newest)
    try:
        told = bool(engine.verify(made.newest.label))
    except Refused:
        told = True
    assert told is made.subject.tells_swapped
    with pytest.raises((Refused, Unsafe)):
        engine.restore(RestoreTo(label=made.newest.label), home / "restored", lambda _: None)


def test_wal_is_named_where_the_engine_keeps_any(made: Made) -> None:
    repository, home, engine = made.copied()
    wal = [each for each in made.subject.files(repository, home, made.newest) if each.part is Part.WAL]
    for each in wal[:1]:
        (repository / each.path).unlink()
        assert engine.verify(made.newest.label)
    assert bool(made.subject.archive_command(home)) is made.subject.archives
    assert wal or not made.subject.archives
