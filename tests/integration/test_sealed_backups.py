"""pg_dump, Redis and what seals their backups, where the disk, the source, the key or the run fails."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pydantic
import pyrage
import pytest

from blocks.backups.age import Identities, seal, unseal
from blocks.backups.programs import Programs
from blocks.context import Context
from tasks.common.backups import FIRST, SECOND, BackupKind, Progress, RestoreTo, StoredBackup
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tests.support.backup_engines.pg_dump import PgDumpRig
from tests.support.backup_engines.redis import RedisRig
from tests.support.disks import make_read_only, small_disk
from tests.support.postgresql import Cluster
from tests.support.processes import end, wait_until
from tests.support.redis import running_redis

pytestmark = [pytest.mark.server, pytest.mark.long]
MIB = 2**20
TAKE = """
import sys, time
from pathlib import Path
from blocks.backups.pg_dump import PgDumpEngine
from blocks.context import Context
from tasks.common.backups import BackupKind
def wait_at_the_end(progress):
    if progress.done_bytes == progress.total_bytes:
        time.sleep(600)
settings = PgDumpEngine.Settings.model_validate_json(sys.argv[2])
PgDumpEngine(settings, Context(base=Path(sys.argv[1]))).take(BackupKind.FULL, wait_at_the_end)
"""
SEAL = """
import resource, sys
from pathlib import Path
from blocks.backups.age import Identities, seal, unseal
plain, sealed, again = map(Path, sys.argv[1:4])
identities = Identities(sys.argv[4], "env:TEST")
def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak_mib()
seal(plain, sealed, identities.recipients, lambda _: None)
unseal(sealed, again, identities, lambda _: None)
print(peak_mib() - before)
"""


@pytest.fixture
def rig(tmp_path: Path, postgresql_cluster: Cluster) -> PgDumpRig:
    rig = PgDumpRig(tmp_path, postgresql_cluster)
    rig.write("one")
    return rig


@pytest.fixture
def redis_rig(tmp_path: Path) -> Iterator[RedisRig]:
    with running_redis(tmp_path) as server:
        rig = RedisRig(tmp_path, server)
        rig.write("one")
        yield rig


def unseen(progress: Progress) -> None:
    del progress


def take(rig: PgDumpRig | RedisRig, **settings: object) -> StoredBackup:
    return rig.with_settings(**settings).take(BackupKind.FULL, unseen)


def fill(rig: PgDumpRig, rows: int) -> None:
    """The database has a table that is not dumped at once, as its text cannot be compressed."""
    with psycopg.connect(rig.url) as connection:
        connection.execute(
            "create table bulk as select md5(n::text) || md5((n * 7)::text) || md5((n * 11)::text) as text"
            " from generate_series(1, %s) n",
            [rows],
        )


def restored(rig: PgDumpRig | RedisRig, label: str, into: Path, repository: int = FIRST) -> tuple[str, ...]:
    rig.open().restore(RestoreTo(label=label), into, unseen, repository)
    return rig.read(into)


def dumps_of(folder: Path) -> list[str]:
    """Return the argument lists of all programs that write below the folder now, Python left out."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                arguments = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if f"--file={folder}" in arguments:
                    found.append(arguments)
    return found


# --- a run that is killed


@contextlib.contextmanager
def running_take(rig: PgDumpRig) -> Iterator[subprocess.Popen[bytes]]:
    """A process takes a backup, and waits for ever before the rename that makes it one."""
    settings = json.dumps({**rig.settings, "database": "file:address"})
    run = subprocess.Popen([sys.executable, "-c", TAKE, str(rig.folder), settings], start_new_session=True)
    try:
        yield run
    finally:
        end(run)


@pytest.mark.parametrize("moment", ["plain/*.dat.gz", "sealed/*.age", "sealed/toc.dat.age"])
def test_a_run_killed_in_the_middle_leaves_no_backup_and_no_plain_data_behind_the_next_one(
    rig: PgDumpRig, tmp_path: Path, moment: str
) -> None:
    fill(rig, 60_000)
    with running_take(rig) as run:
        wait_until(lambda: list(tmp_path.glob(f"repository-1/.taking-*/{moment}")), what="the take", every_s=0.001)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    engine = rig.open()
    assert engine.stored() == ()
    assert list(tmp_path.glob("repository-1/.taking-*"))
    backup = take(rig)
    assert engine.stored() == (backup,)
    assert [path.name for path in (tmp_path / "repository-1").iterdir()] == [backup.label]
    assert engine.verify(backup.label) == ()
    assert restored(rig, backup.label, tmp_path / "copy") == ("one",)


def test_pg_dump_ends_with_the_run_that_is_killed(rig: PgDumpRig, tmp_path: Path) -> None:
    with psycopg.connect(rig.url) as holder, running_take(rig) as run:
        holder.execute("lock table line in access exclusive mode")
        # A dump that still prints would end all by itself, by its broken pipe.
        waiting = "select 1 from pg_locks where not granted and locktype = 'relation'"
        wait_until(lambda: holder.execute(waiting).fetchall(), what="pg_dump, which waits for the lock")
        assert dumps_of(tmp_path)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        wait_until(lambda: not dumps_of(tmp_path), within_s=10, what="the end of pg_dump")


def test_what_a_killed_run_has_left_is_removed_by_clean_which_says_so(rig: PgDumpRig, tmp_path: Path) -> None:
    for left in (".taking-20260101T000000.000000Z", ".copying-20260101T000000.000000Z", ".expiring-x"):
        (tmp_path / "repository-1" / left / "plain").mkdir(parents=True)
        (tmp_path / "repository-1" / left / "plain" / "1.dat").write_text("plain data")
    removed = rig.open().clean()
    assert len(removed) == 3
    assert ".taking-20260101T000000.000000Z" in "".join(removed)
    assert list((tmp_path / "repository-1").iterdir()) == []
    assert rig.open().clean() == ()


def test_nobody_else_can_look_into_a_dump_that_is_being_taken(rig: PgDumpRig, tmp_path: Path) -> None:
    modes: list[int] = []

    def look(progress: Progress) -> None:
        modes.extend(path.stat().st_mode & 0o077 for path in tmp_path.glob("repository-1/.taking-*"))

    rig.open().take(BackupKind.FULL, look)
    assert modes
    assert set(modes) == {0}


# --- disks


def test_a_full_disk_is_told_of_and_what_was_written_is_removed(rig: PgDumpRig, tmp_path: Path) -> None:
    fill(rig, 60_000)
    with small_disk(tmp_path / "small", 2048):
        with pytest.raises(Retryable, match="No space left"):
            take(rig, repositories=["small/repository"])
        assert list((tmp_path / "small" / "repository").iterdir()) == []
        assert rig.with_settings(repositories=["small/repository"]).stored() == ()


def test_a_disk_that_fills_up_while_it_is_encrypted_is_told_of_too(rig: PgDumpRig, tmp_path: Path) -> None:
    fill(rig, 60_000)
    whole = take(rig)
    # Enough for the dump, and not for its largest file twice.
    with small_disk(tmp_path / "small", whole.size_bytes // 1024 + 512):
        with pytest.raises(Retryable, match="No space left"):
            take(rig, repositories=["small/repository"])
        assert list((tmp_path / "small" / "repository").iterdir()) == []


def test_a_full_disk_ends_a_restore_and_a_copy_and_both_can_be_done_again(rig: PgDumpRig, tmp_path: Path) -> None:
    fill(rig, 60_000)
    backup = take(rig)
    with small_disk(tmp_path / "small", 1024):
        with pytest.raises(Retryable, match="No space left"):
            rig.open().restore(RestoreTo(), tmp_path / "small" / "copy", unseen)
        assert list((tmp_path / "small").iterdir()) == []
        copying = rig.with_settings(repositories=["repository-1", "small/repository"])
        with pytest.raises(Retryable, match="No space left"):
            copying.copy(backup.label, unseen)
        assert copying.stored(SECOND) == ()
    assert restored(rig, backup.label, tmp_path / "copy") == ("one",)


def test_all_that_stands_in_the_way_of_a_backup_is_told_at_once(rig: PgDumpRig, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 512):
        make_read_only(tmp_path / "small")
        engine = rig.with_settings(
            repositories=["small/repository"], database="file:wrong-address", identity="file:wrong-identity"
        )
        with pytest.raises(Refused) as raised:
            engine.check()
    said = str(raised.value)
    assert "3 reasons" in said
    for reason in ("authentication failed", "cannot decrypt", "Read-only file system"):
        assert reason in said
    assert not any(secret in said for secret in rig.secrets)


# --- the source


def test_a_database_that_is_dropped_in_the_middle_of_a_dump_leaves_no_backup(rig: PgDumpRig, tmp_path: Path) -> None:
    fill(rig, 60_000)
    name = psycopg.conninfo.conninfo_to_dict(rig.url)["dbname"]
    other = rig.cluster.database()
    calls = 0

    def drop(progress: Progress) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first table is being dumped
            with rig.cluster.as_superuser(other) as connection:
                connection.execute(f'drop database "{name}" with (force)')

    with pytest.raises(SlipwayError) as raised:
        rig.open().take(BackupKind.FULL, drop)
    assert not isinstance(raised.value, Unsafe)
    assert rig.open().stored() == ()
    assert list((tmp_path / "repository-1").iterdir()) == []
    with pytest.raises(Refused, match="does not exist"):
        take(rig)


def test_a_role_that_may_not_read_a_table_is_refused_by_name_of_the_table(rig: PgDumpRig) -> None:
    with rig.cluster.as_superuser(rig.url) as connection:
        connection.execute("create table hidden (id int)")
    with pytest.raises(Refused, match="permission denied for table hidden"):
        take(rig)


def test_a_redis_that_is_killed_in_the_middle_leaves_no_backup(redis_rig: RedisRig, tmp_path: Path) -> None:
    redis_rig.server.ask("DEBUG", "POPULATE", "200000", "key", "100")

    def kill(progress: Progress) -> None:
        process = redis_rig.server.process
        assert process is not None
        process.kill()

    with pytest.raises(Retryable):
        redis_rig.open().take(BackupKind.FULL, kill)
    assert redis_rig.open().stored() == ()
    assert list((tmp_path / "repository-1").iterdir()) == []


def test_a_snapshot_that_a_fake_redis_cli_cuts_short_is_thrown_away(redis_rig: RedisRig, tmp_path: Path) -> None:
    """The fake asks the real one, and cuts off what it was sent: a transfer that ends early without a word."""
    fake = tmp_path / "tools" / "redis-cli"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\n{shutil.which("redis-cli")} "$@" || exit\n'
        'for last; do :; done\ncase "$last" in *.rdb) truncate -s -5 "$last" ;; esac\n'
    )
    fake.chmod(0o755)
    engine = redis_rig.open()
    engine = type(engine)(engine._settings, Context(base=tmp_path, path=(str(fake.parent),)))
    with pytest.raises(Retryable, match="not whole"):
        engine.take(BackupKind.FULL, unseen)
    assert engine.stored() == ()


def test_a_user_of_redis_needs_no_more_than_the_documented_rights(redis_rig: RedisRig, tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/how-to/backup-engines.md"
    (rights,) = re.findall(r"The user needs `(.+)`\.", page.read_text())
    asked = ("ACL", "SETUSER", "backup", "on", f">{redis_rig.server.password}")
    assert redis_rig.server.ask(*asked, "+info") == "OK"
    with pytest.raises(Refused, match="does not let us"):
        take(redis_rig, user="backup")
    assert redis_rig.server.ask(*asked, *rights.split()) == "OK"
    backup = take(redis_rig, user="backup")
    assert restored(redis_rig, backup.label, tmp_path / "copy") == ("one",)


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(Refused, match="apt-get install some-package"):
        Programs(Context(base=Path())).version(["no-such-program", "--version"], "apt-get install some-package")


# --- damage


def flip_manifest(rig: PgDumpRig, label: str) -> None:
    manifest = rig.folder / "repository-1" / label / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"plain_bytes": ', '"plain_bytes": 1', 1))


def lose_manifest(rig: PgDumpRig, label: str) -> None:
    (rig.folder / "repository-1" / label / "manifest.json").unlink()


def swap_in_an_older_one(rig: PgDumpRig, label: str) -> None:
    place = rig.folder / "repository-1"
    older = min(path.name for path in place.iterdir())
    shutil.rmtree(place / label)
    shutil.copytree(place / older, place / label)


@pytest.mark.parametrize("damage", [flip_manifest, lose_manifest, swap_in_an_older_one])
def test_a_backup_whose_manifest_is_not_its_own_is_listed_as_damaged_and_never_used(
    rig: PgDumpRig, tmp_path: Path, damage: Callable[[PgDumpRig, str], None]
) -> None:
    sound, damaged = take(rig), take(rig)
    damage(rig, damaged.label)
    engine = rig.open()
    assert [(each.label, bool(each.error)) for each in engine.stored()] == [(sound.label, False), (damaged.label, True)]
    assert "manifest" in engine.verify(damaged.label)[0]
    for use in (
        lambda: engine.restore(RestoreTo(label=damaged.label), tmp_path / "copy", unseen),
        lambda: engine.copy(damaged.label, unseen),
    ):
        with pytest.raises(Unsafe, match="manifest"):
            use()
    assert engine.reaches() == sound.started_at
    assert engine.restore(RestoreTo(), tmp_path / "copy", unseen) == sound
    engine.expire([damaged.label])
    assert engine.stored() == (sound,)


def test_a_file_that_was_added_to_a_backup_is_found(rig: PgDumpRig) -> None:
    backup = take(rig)
    (rig.folder / "repository-1" / backup.label / "9.dat.gz.age").write_text("of somebody else")
    (said,) = rig.open().verify(backup.label)
    assert "9.dat.gz.age does not belong" in said


# --- copies


def test_a_copy_that_was_interrupted_goes_on_where_it_ended(rig: PgDumpRig, tmp_path: Path) -> None:
    fill(rig, 60_000)
    backup = take(rig)

    class Cancelled(BaseException):
        pass

    def cancel(progress: Progress) -> None:
        if progress.done_bytes:
            raise Cancelled

    with pytest.raises(Cancelled):
        rig.open().copy(backup.label, cancel)
    (place,) = (tmp_path / "repository-2").glob(".copying-*/sealed")
    done = {path.name: path.stat().st_ino for path in place.glob("*.age")}
    assert done
    assert rig.open().stored(SECOND) == ()
    (place / ".left-by-a-kill.part").write_text("half a file")
    assert rig.open().copy(backup.label, unseen) == backup
    copied = {path.name: path.stat().st_ino for path in (tmp_path / "repository-2" / backup.label).glob("*.age")}
    assert done.items() <= copied.items()
    assert rig.open().verify(backup.label, SECOND) == ()
    assert restored(rig, backup.label, tmp_path / "copy", SECOND) == ("one",)


def test_a_damaged_backup_is_not_copied(rig: PgDumpRig, tmp_path: Path) -> None:
    backup = take(rig)
    file = next((tmp_path / "repository-1" / backup.label).glob("*.age"))
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(Unsafe, match="damaged"):
        rig.open().copy(backup.label, unseen)
    assert rig.open().stored(SECOND) == ()


# --- keys


def test_an_older_backup_needs_the_older_key_and_a_file_may_hold_both(rig: PgDumpRig, tmp_path: Path) -> None:
    backup = take(rig)
    new = pyrage.x25519.Identity.generate()
    (tmp_path / "new").write_text(str(new))
    (tmp_path / "both").write_text(f"{new}\n{rig.key}\n")
    rotated = {"recipients": [str(new.to_public())]}
    with pytest.raises(Refused, match="not encrypted for this key") as raised:
        rig.with_settings(**rotated, identity="file:new").restore(RestoreTo(), tmp_path / "copy", unseen)
    assert not any(secret in str(raised.value) for secret in (*rig.secrets, str(new)))
    assert not (tmp_path / "copy").exists()
    both = rig.with_settings(**rotated, identity="file:both")
    assert both.restore(RestoreTo(), tmp_path / "copy", unseen) == backup


def test_who_takes_backups_need_not_be_able_to_read_them(rig: PgDumpRig, tmp_path: Path) -> None:
    (tmp_path / "identity").unlink()
    blind = rig.with_settings(identity=None)
    blind.check()
    backup = blind.take(BackupKind.FULL, unseen)
    assert blind.copy(backup.label, unseen) == backup
    assert blind.verify(backup.label) == ()
    with pytest.raises(Refused, match="no key to restore with"):
        blind.restore(RestoreTo(), tmp_path / "copy", unseen)


def test_nothing_of_the_content_can_be_read_in_the_repository(rig: PgDumpRig, tmp_path: Path) -> None:
    rig.write("a-line-that-nobody-else-may-read")
    backup = take(rig)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "repository-1" / backup.label).iterdir())
    assert b"a-line-that-nobody" not in stored
    assert b"PGDMP" not in stored  # what every dump's table of contents begins with
    assert not any(secret.encode() in stored for secret in rig.secrets)


def test_a_secret_key_in_the_place_of_a_public_one_is_not_repeated(rig: PgDumpRig) -> None:
    with pytest.raises(pydantic.ValidationError) as raised:
        rig.with_settings(recipients=[str(rig.key)])
    assert str(rig.key) not in str(raised.value.errors()[0]["msg"])
    assert "public key" in str(raised.value.errors()[0]["msg"])


def test_what_is_no_key_is_refused_without_being_shown(rig: PgDumpRig, tmp_path: Path) -> None:
    (tmp_path / "identity").write_text("a-password-by-mistake")
    with pytest.raises(Refused, match="no secret key") as raised:
        rig.open().stored()
    assert "a-password-by-mistake" not in str(raised.value)


def test_a_file_of_any_size_takes_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "plain").open("wb") as file:
        file.truncate(160 * MIB)
    paths = [str(tmp_path / name) for name in ("plain", "sealed", "again")]
    done = subprocess.run(
        [sys.executable, "-c", SEAL, *paths, str(pyrage.x25519.Identity.generate())],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "again").stat().st_size == 160 * MIB
    assert int(done.stdout) < 32


def test_an_error_of_the_disk_comes_through_age_as_itself(tmp_path: Path) -> None:
    key = pyrage.x25519.Identity.generate()
    (tmp_path / "plain").write_bytes(os.urandom(MIB))
    with small_disk(tmp_path / "small", 256), pytest.raises(OSError, match="No space left"):
        seal(tmp_path / "plain", tmp_path / "small" / "sealed", [str(key.to_public())], lambda _: None)
    seal(tmp_path / "plain", tmp_path / "sealed", [str(key.to_public())], lambda _: None)
    identities = Identities(str(key), "env:TEST")
    with small_disk(tmp_path / "tiny", 256), pytest.raises(OSError, match="No space left"):
        unseal(tmp_path / "sealed", tmp_path / "tiny" / "plain", identities, lambda _: None)
