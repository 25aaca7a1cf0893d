"""Every backup engine keeps these promises."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tasks.backup.ports import BackupEngine
from tasks.common.backups import FIRST, SECOND, Ability, BackupKind, Progress, RestoreTo, StoredBackup
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tests.support.backup_engines import (
    Damage,
    Module,
    Rig,
    Rigs,
    barman_cloud,
    memory,
    pg_basebackup,
    pg_dump,
    pgbackrest,
    redis,
    restic,
)

DRIVERS: dict[str, Module] = {
    "memory": memory.rigs,
    "memory-bare": memory.bare_rigs,
    "pgbackrest": pgbackrest.rigs,
    "pg_basebackup": pg_basebackup.rigs,
    "barman-cloud": barman_cloud.rigs,
    "pg_dump": pg_dump.rigs,
    "restic": restic.rigs,
    "redis": redis.rigs,
}
"""Name, and what makes its rigs."""
IN_MEMORY = {"memory", "memory-bare"}
QUICK = {"pg_basebackup"}
"""Real engines that `make test` tries; `make long` tries the others."""
FULL, INCREMENTAL, DIFFERENTIAL = BackupKind.FULL, BackupKind.INCREMENTAL, BackupKind.DIFFERENTIAL
LATEST = RestoreTo()
AS_TAKEN = RestoreTo(backup_only=True)
UNKNOWN = "20200101-000000F"


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    """Return what is said of all tests of a driver."""
    if name in IN_MEMORY:
        return []
    return [pytest.mark.server] if name in QUICK else [pytest.mark.server, pytest.mark.long]


@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=marks_of(name)) for name in DRIVERS],
)
def rigs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    with DRIVERS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def rig(rigs: Rigs, tmp_path: Path) -> Iterator[Rig]:
    with rigs(tmp_path) as made:
        yield made


@pytest.fixture
def engine(rig: Rig) -> BackupEngine:
    return rig.open()


@dataclass(frozen=True)
class Story:
    """What has happened once, for all tests that only read: one, FIRST, two, the moment, three, SECOND, four."""

    rig: Rig
    engine: BackupEngine
    first: StoredBackup
    moment: datetime | None
    second: StoredBackup
    seen: tuple[Progress, ...]


@pytest.fixture(scope="session")
def story(rigs: Rigs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with rigs(tmp_path_factory.mktemp("story")) as rig:
        engine, seen = rig.open(), list[Progress]()
        rig.write("one")
        first = take(engine)
        rig.write("two")
        moment = rig.moment() if Ability.POINT_IN_TIME in engine.abilities().can else None
        rig.write("three")
        second = engine.take(FULL, seen.append)
        rig.write("four")
        rig.settle()
        yield Story(rig, engine, first, moment, second, tuple(seen))


class Interrupted(BaseException):
    """What a cancelled run looks like from within: no Exception."""


def unseen(progress: Progress) -> None:
    del progress


def interrupting(progress: Progress) -> None:
    del progress
    raise Interrupted


def take(engine: BackupEngine, kind: BackupKind = FULL, repository: int = FIRST) -> StoredBackup:
    return engine.take(kind, unseen, repository)


def needs(engine: BackupEngine, ability: Ability) -> None:
    """Pass a test by for an engine that cannot do this, and says why."""
    abilities = engine.abilities()
    if ability not in abilities.can:
        assert abilities.missing[ability]
        pytest.skip(f"{ability}: {abilities.missing[ability]}")


def labels(engine: BackupEngine, repository: int = FIRST) -> list[str]:
    return [backup.label for backup in engine.stored(repository)]


def kinds_of(engine: BackupEngine) -> list[BackupKind]:
    can = engine.abilities().can
    wanted = {DIFFERENTIAL: Ability.DIFFERENTIAL, INCREMENTAL: Ability.INCREMENTAL}
    return [FULL, *(kind for kind, ability in wanted.items() if ability in can)]


# --- what it can do


def test_each_ability_is_there_or_missing_for_a_reason(engine: BackupEngine) -> None:
    abilities = engine.abilities()
    assert abilities.can.isdisjoint(abilities.missing)
    assert abilities.can.union(abilities.missing) == set(Ability)
    assert all(why.strip() for why in abilities.missing.values())
    assert abilities.versions
    assert all(version[:1].isdecimal() for version in abilities.versions.values())


def test_what_it_cannot_do_is_refused_with_why(story: Story, tmp_path: Path) -> None:
    engine = story.engine
    abilities = engine.abilities()
    tries: dict[Ability, Callable[[], object]] = {
        Ability.DIFFERENTIAL: lambda: take(engine, DIFFERENTIAL),
        Ability.INCREMENTAL: lambda: take(engine, INCREMENTAL),
        Ability.SECOND_REPOSITORY: lambda: engine.copy(story.first.label, unseen),
        Ability.POINT_IN_TIME: lambda: engine.restore(RestoreTo(at=story.first.ended_at), tmp_path / "copy", unseen),
    }
    for ability, use in tries.items():
        if ability in abilities.missing:
            with pytest.raises(Refused) as raised:
                use()
            assert abilities.missing[ability] in str(raised.value)
    assert engine.stored() == (story.first, story.second)
    assert not (tmp_path / "copy").exists()


# --- take, list


def test_an_empty_repository_has_nothing_and_reaches_nothing(engine: BackupEngine, tmp_path: Path) -> None:
    assert engine.stored() == ()
    assert engine.reaches() is None
    assert engine.clean() == ()
    with pytest.raises(Refused, match="no backup"):
        engine.restore(LATEST, tmp_path / "copy", unseen)
    assert not (tmp_path / "copy").exists()


def test_what_is_in_order_is_found_in_order(engine: BackupEngine, rig: Rig) -> None:
    rig.write("one")
    engine.check()
    engine.check()
    assert engine.stored() == ()


def test_a_backup_is_listed_as_it_was_returned_by_whoever_asks(story: Story) -> None:
    assert story.rig.open().stored() == (story.first, story.second)
    assert story.first.label != story.second.label
    for backup in (story.first, story.second):
        assert backup.kind is FULL
        assert backup.needs == ()
        assert backup.error == ""
        assert backup.started_at.tzinfo is not None
        assert backup.started_at <= backup.ended_at
        assert backup.size_bytes > 0
        assert backup.stored_bytes > 0
        assert story.engine.verify(backup.label) == ()
    assert story.first.ended_at < story.second.ended_at


def test_what_builds_on_nothing_is_refused(engine: BackupEngine) -> None:
    needs(engine, Ability.INCREMENTAL)
    with pytest.raises(Refused, match="full backup"):
        take(engine, INCREMENTAL)
    assert engine.stored() == ()


def test_progress_grows_to_the_whole(story: Story, tmp_path: Path) -> None:
    restoring: list[Progress] = []
    story.engine.restore(LATEST, tmp_path / "copy", restoring.append)
    for seen in (story.seen, restoring):
        assert seen[-1].total_bytes > 0
        assert seen[-1].done_bytes == seen[-1].total_bytes
        done = [each.done_bytes for each in seen]
        assert done == sorted(done)


# --- restore


def test_the_newest_state_comes_back(story: Story, tmp_path: Path) -> None:
    assert story.engine.restore(LATEST, tmp_path / "copy", unseen) == story.second
    with_wal = Ability.POINT_IN_TIME in story.engine.abilities().can
    assert story.rig.read(tmp_path / "copy") == ("one", "two", "three", "four")[: 4 if with_wal else 3]


def test_a_backup_alone_comes_back_as_it_was_when_it_was_complete(story: Story, tmp_path: Path) -> None:
    wanted = RestoreTo(label=story.first.label, backup_only=True)
    assert story.engine.restore(wanted, tmp_path / "deep" / "first", unseen) == story.first
    assert story.engine.restore(AS_TAKEN, tmp_path / "second", unseen) == story.second
    assert story.rig.read(tmp_path / "deep" / "first") == ("one",)
    assert story.rig.read(tmp_path / "second") == ("one", "two", "three")


def test_any_moment_in_reach_comes_back(story: Story, tmp_path: Path) -> None:
    needs(story.engine, Ability.POINT_IN_TIME)
    assert story.engine.restore(RestoreTo(at=story.moment), tmp_path / "at", unseen) == story.first
    assert story.rig.read(tmp_path / "at") == ("one", "two")
    newest = story.engine.reaches()
    assert newest is not None
    assert newest >= story.second.ended_at
    assert story.engine.restore(RestoreTo(at=newest), tmp_path / "newest", unseen) == story.second
    assert story.rig.read(tmp_path / "newest") == ("one", "two", "three", "four")


def test_a_moment_out_of_reach_is_refused_with_the_range(story: Story, tmp_path: Path) -> None:
    needs(story.engine, Ability.POINT_IN_TIME)
    newest = story.engine.reaches()
    assert newest is not None
    outside: list[datetime] = [story.first.started_at - timedelta(seconds=1), newest + timedelta(seconds=1)]
    for at in outside:
        with pytest.raises(Refused) as raised:
            story.engine.restore(RestoreTo(at=at), tmp_path / "copy", unseen)
        assert raised.value.facts["reachable from"] == story.first.ended_at.isoformat(sep=" ")
        assert raised.value.facts["reachable to"] == newest.isoformat(sep=" ")
        assert not (tmp_path / "copy").exists()


def test_an_unknown_backup_is_refused(story: Story, tmp_path: Path) -> None:
    engine = story.engine
    uses: list[Callable[[], object]] = [
        lambda: engine.verify(UNKNOWN),
        lambda: engine.restore(RestoreTo(label=UNKNOWN), tmp_path / "copy", unseen),
    ]
    if Ability.SECOND_REPOSITORY in engine.abilities().can:
        uses.append(lambda: engine.copy(UNKNOWN, unseen))
    for use in uses:
        with pytest.raises(Refused, match=UNKNOWN) as raised:
            use()
        assert story.second.label in str(raised.value)
    assert not (tmp_path / "copy").exists()


def test_an_empty_folder_is_filled_and_closed_to_others(story: Story, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    story.engine.restore(LATEST, tmp_path / "copy", unseen)
    assert any((tmp_path / "copy").iterdir())
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(story: Story, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "precious").write_text("of somebody else")
    with pytest.raises(Refused, match="not empty"):
        story.engine.restore(LATEST, tmp_path / "copy", unseen)
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["precious"]


def test_an_interrupted_restore_can_be_done_again(story: Story, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        story.engine.restore(AS_TAKEN, tmp_path / "copy", interrupting)
    story.rig.open().restore(AS_TAKEN, tmp_path / "copy", unseen)
    assert story.rig.read(tmp_path / "copy") == ("one", "two", "three")


# --- the second repository


def test_a_copy_can_be_restored_by_itself(engine: BackupEngine, rig: Rig, tmp_path: Path) -> None:
    needs(engine, Ability.SECOND_REPOSITORY)
    rig.write("one")
    first = take(engine)
    copied = engine.copy(first.label, unseen)
    assert copied.ended_at >= first.ended_at
    assert engine.copy(first.label, unseen) == copied
    assert engine.stored(SECOND) == (copied,)
    assert labels(engine) == [first.label]
    assert engine.verify(copied.label, SECOND) == ()
    wanted = RestoreTo(label=copied.label, backup_only=True)
    assert engine.restore(wanted, tmp_path / "copy", unseen, SECOND) == copied
    assert rig.read(tmp_path / "copy") == ("one",)


# --- kinds, and what expires


def test_each_kind_names_all_that_it_needs_and_goes_with_it(engine: BackupEngine, rig: Rig, tmp_path: Path) -> None:
    # Full ones that need nothing are looked at above, and expired below.
    needs(engine, Ability.INCREMENTAL)
    chain: list[StoredBackup] = []
    for number, kind in enumerate(kinds_of(engine)):
        rig.write(str(number))
        backup = take(engine, kind)
        assert backup.kind is kind
        assert (backup.needs == ()) is (kind is FULL)
        assert set(backup.needs) <= {each.label for each in chain}
        chain.append(backup)
    engine.restore(RestoreTo(label=chain[-1].label, backup_only=True), tmp_path / "last", unseen)
    assert rig.read(tmp_path / "last") == tuple(str(number) for number in range(len(chain)))
    rig.write("other")
    other = take(engine)
    full, *built = chain
    for backup in built:
        with pytest.raises(Refused, match="need") as raised:
            engine.expire([full.label])
        assert backup.label in str(raised.value)
    assert engine.stored() == (*chain, other)
    engine.expire([each.label for each in chain])
    assert engine.stored() == (other,)
    engine.restore(AS_TAKEN, tmp_path / "other", unseen)
    assert rig.read(tmp_path / "other")[-1] == "other"


def test_only_what_is_asked_for_is_expired_and_once_is_as_good_as_twice(
    engine: BackupEngine, rig: Rig, tmp_path: Path
) -> None:
    rig.write("one")
    first, second = take(engine), take(engine)
    engine.expire([first.label])
    engine.expire([first.label, UNKNOWN])
    engine.expire([])
    assert labels(engine) == [second.label]
    engine.restore(LATEST, tmp_path / "copy", unseen)
    assert rig.read(tmp_path / "copy") == ("one",)


def test_a_backup_is_read_whole_and_restored_while_another_is_taken_and_an_older_one_expired(
    engine: BackupEngine, rig: Rig, tmp_path: Path
) -> None:
    needs(engine, Ability.SHARED)
    rig.write("one")
    older = take(engine)
    rig.write("two")
    used = take(engine)
    other, wrong = rig.open(), list[tuple[str, ...]]()

    def read(progress: Progress) -> None:
        if not wrong:
            del progress
            wrong.append(rig.open().verify(used.label))

    def meanwhile(progress: Progress) -> None:
        if not wrong:
            del progress
            other.take(FULL, read)
            other.expire([older.label])

    engine.restore(RestoreTo(label=used.label, backup_only=True), tmp_path / "copy", meanwhile)
    assert wrong == [()]
    assert older.label not in labels(engine) and len(labels(engine)) == 2
    assert rig.read(tmp_path / "copy") == ("one", "two")


# --- damage


def test_damage_is_found_and_never_restored(engine: BackupEngine, rig: Rig, tmp_path: Path) -> None:
    rig.write("sound")
    sound = take(engine)
    damaged: dict[Damage, str] = {}
    for how in Damage:
        rig.write(how)
        damaged[how] = take(engine).label
        rig.damage(damaged[how], how)
    for how, label in damaged.items():
        assert engine.verify(label), how
        with pytest.raises(Unsafe):
            engine.restore(RestoreTo(label=label), tmp_path / "copy", unseen)
        assert not (tmp_path / "copy").exists()
    if rig.verify_tells_apart:
        assert engine.verify(sound.label) == ()


# --- interruption


def restorable(engine: BackupEngine, rig: Rig, into: Path) -> tuple[str, ...]:
    engine.restore(AS_TAKEN, into, unseen)
    return rig.read(into)


def test_a_take_that_is_cancelled_leaves_no_backup_and_the_next_one_is_good(
    engine: BackupEngine, rig: Rig, tmp_path: Path
) -> None:
    rig.write("one")
    with pytest.raises(Interrupted):
        engine.take(FULL, interrupting)
    assert rig.open().stored() == ()
    rig.write("two")
    taken = take(rig.open())
    assert rig.open().stored() == (taken,)
    assert engine.verify(taken.label) == ()
    assert restorable(engine, rig, tmp_path / "copy") == ("one", "two")


def test_a_take_whose_program_is_killed_can_be_cleaned_and_taken_again(
    engine: BackupEngine, rig: Rig, tmp_path: Path
) -> None:
    if not rig.programs:
        pytest.skip("no program does the work")
    rig.write("one")
    first = take(engine)

    struck: list[int] = []

    def kill(progress: Progress) -> None:
        del progress
        for process in started_by(os.getpid(), rig.programs):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                struck.append(process)

    # A program with little to do may have ended before anybody is told of its progress: that take is as good as any.
    before = [first]
    with pytest.raises(Retryable):
        while True:
            before.append(engine.take(FULL, kill))
    assert struck
    assert rig.open().stored() == tuple(before)
    rig.open().clean()
    assert engine.clean() == ()
    second = take(rig.open())
    assert rig.open().stored() == (*before, second)
    assert engine.verify(second.label) == ()
    assert restorable(engine, rig, tmp_path / "copy") == ("one",)


# --- what is wrong with the settings, or with the source


def test_a_wrong_key_is_refused_by_everything(story: Story, tmp_path: Path) -> None:
    wrong = story.rig.with_wrong_key()
    if wrong is None:
        assert Ability.ENCRYPTION in story.engine.abilities().missing
        pytest.skip(story.engine.abilities().missing[Ability.ENCRYPTION])
    for use in (
        wrong.check,
        wrong.stored,
        lambda: take(wrong),
        lambda: wrong.verify(story.first.label),
        lambda: wrong.restore(LATEST, tmp_path / "copy", unseen),
    ):
        with pytest.raises(Refused) as raised:
            use()
        assert none_of(story.rig.secrets, str(raised.value))
    assert story.engine.stored() == (story.first, story.second)
    assert not (tmp_path / "copy").exists()


def test_wrong_credentials_are_refused_and_nothing_is_taken(story: Story) -> None:
    wrong = story.rig.with_wrong_credentials()
    if wrong is None:
        pytest.skip("the source asks for none")
    for use in (wrong.check, lambda: take(wrong)):
        with pytest.raises(Refused) as raised:
            use()
        assert none_of(story.rig.secrets, str(raised.value))
    assert story.engine.stored() == (story.first, story.second)


def test_a_source_that_does_not_answer_may_be_tried_again(engine: BackupEngine, rig: Rig) -> None:
    stopped = rig.source_stopped()
    if stopped is None:
        pytest.skip("the source is no server")
    rig.write("one")
    with stopped:
        for use in (engine.check, lambda: take(engine)):
            with pytest.raises(Retryable) as raised:
                use()
            assert none_of(rig.secrets, str(raised.value))
        assert engine.stored() == ()
    take(engine)


def test_no_secret_is_in_an_argument_list_or_an_error(engine: BackupEngine, rig: Rig, tmp_path: Path) -> None:
    assert rig.secrets
    rig.write("one")
    with argument_lists() as seen:
        backup = take(engine)
        engine.verify(backup.label)
        engine.restore(LATEST, tmp_path / "copy", unseen)
        rig.damage(backup.label, Damage.FLIPPED)
        with pytest.raises(SlipwayError) as raised:
            engine.restore(LATEST, tmp_path / "again", unseen)
    assert seen if rig.programs else True
    assert none_of(rig.secrets, str(raised.value), *seen)


def none_of(secrets: tuple[str, ...], *texts: str) -> bool:
    return not any(secret in text for secret in secrets for text in texts)


@contextlib.contextmanager
def argument_lists() -> Iterator[set[str]]:
    """Yield the argument lists of all processes that this one has started meanwhile, looked at all the time."""
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            for process in started_by(os.getpid()):
                with contextlib.suppress(OSError):
                    seen.add(Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def started_by(process: int, names: frozenset[str] = frozenset()) -> list[int]:
    """Return the processes below this one, of these names or all; what the source's own server starts is left alone."""
    children: dict[int, list[tuple[int, str]]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
                children.setdefault(int(rest.split()[1]), []).append((int(folder.name), name))
    found, waiting = [], [process]
    while waiting:
        for child, name in children.get(waiting.pop(), []):
            if name not in {"postgres", "redis-server"}:
                waiting.append(child)
                if not names or name in names:
                    found.append(child)
    return found
