"""Figure 11: the engines side by side, each by its own programs: time to take, size, time to restore."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from blocks.postgresql import USERS
from blocks.users import find_user, own
from deployments.lab.lab import ROOT
from tests.bench import bare
from tests.bench.arithmetic import Spread
from tests.bench.barman import PROGRAM, Barman
from tests.bench.report import Grid, Section
from tests.bench.source import DATABASE, TABLES, Source
from tests.support.postgresql import SUPERUSER
from tests.support.s3 import running_moto

if TYPE_CHECKING:
    from tests.bench.place import Place

CLAIM = (
    "pg_basebackup with zstd, pgBackRest, pg_dump and barman-cloud side by side on the same pgbench database of 1 GB: "
    "seconds for a backup, what it takes in its repository, seconds until a copy answers."
)
_ENOUGH_BYTES = 10**9
_ACCOUNTS = f"select count(*) from {TABLES[0]}"
_ROWS_EACH = 100_000
_IN_BUCKET = "barman-cloud with gzip, 2 jobs, to moto's S3 server (a fake)"


@dataclass(frozen=True)
class Engine:
    """One row.

    Args:
        name: with what sets it apart from how it could be run otherwise.
        program: without it the row says that it is not installed.
        take: takes a backup into a folder.
        size: what that takes, in bytes.
        restore: makes a server of what is in the first folder in the second one, and counts the rows in it.
    """

    name: str
    program: str
    take: Callable[[Source, Path], None]
    size: Callable[[Source, Path], int]
    restore: Callable[[Source, Path, Path], int]


@dataclass
class Row:
    """What one engine was measured at, once a repetition."""

    take_s: list[float] = field(default_factory=list)
    restore_s: list[float] = field(default_factory=list)
    stored_bytes: int = 0


def measure(place: "Place", source: Source, count: int) -> Section:
    """Return each engine's figures, of `count` backups and restores in turn; what is not installed is named."""
    with running_moto(source.folder) as moto:
        there = [each for each in (*ENGINES, _in_bucket(Barman(moto))) if _installed(each.program)]
        rows = {each.name: Row() for each in there}
        for number in range(-1, count):
            for each in there:
                place.say(f"{each.name}, {'to warm up' if number < 0 else f'{number + 1} of {count}'}")
                _measure(source, each, Row() if number < 0 else rows[each.name])
    return section(rows, source.size_bytes())


def _measure(source: Source, engine: Engine, row: Row) -> None:
    with bare.emptied(source.folder / "bare") as folder, bare.emptied(source.folder / "room") as room:
        row.take_s.append(bare.timed(lambda: engine.take(source, folder)))
        row.stored_bytes = engine.size(source, folder)
        row.restore_s.append(bare.timed(lambda: _require_whole(source, engine.restore(source, folder, room))))


def _installed(program: str) -> bool:
    places = (Path(bare.program(program)), ROOT / ".tools" / "bin" / program)
    return shutil.which(program) is not None or any(each.exists() for each in places)


def _require_whole(source: Source, rows: int) -> None:
    assert rows == source.scale * _ROWS_EACH, f"{rows} rows came back"


def _take_basebackup(source: Source, folder: Path) -> None:
    argv = [bare.program("pg_basebackup"), f"--pgdata={folder}", "--format=tar", "--compress=server-zstd"]
    bare.run([*argv, "--wal-method=fetch", "--checkpoint=fast"], source.environment)


def _restore_basebackup(source: Source, folder: Path, room: Path) -> int:
    del source
    data = _data_in(room)
    bare.run(["tar", "--zstd", "--extract", f"--file={folder}/base.tar.zst", f"--directory={data}"])
    return _count(data, room)


def _take_pgbackrest(source: Source, folder: Path) -> None:
    del folder
    bare.pgbackrest(source, "--type=full", "backup")


def _size_pgbackrest(source: Source, folder: Path) -> int:
    """Return what the newest backup takes; that one alone is left."""
    del folder
    *older, newest = sorted((source.folder / "pgbackrest/backup" / source.stanza).glob("*F"))
    for each in older:
        bare.pgbackrest(source, "--repo=1", f"--set={each.name}", "expire")
    return bare.size_of(newest)


def _restore_pgbackrest(source: Source, folder: Path, room: Path) -> int:
    del folder
    data = _data_in(room)
    bare.pgbackrest(source, f"--pg1-path={data}", "--archive-mode=off", "restore")
    return _count(data, room)


def _take_dump(source: Source, folder: Path) -> None:
    argv = [bare.program("pg_dump"), "--format=directory", "--jobs=2", f"--file={folder}/dump", DATABASE]
    bare.run(argv, source.environment)


def _restore_dump(source: Source, folder: Path, room: Path) -> int:
    del source
    data = _data_in(room)
    bare.run(
        [bare.program("initdb"), f"--pgdata={data}", f"--username={SUPERUSER}", "--auth=trust", "--no-instructions"]
    )
    with bare.served(data, room) as env:
        bare.run([bare.program("createdb"), DATABASE], env)
        argv = [bare.program("pg_restore"), "--jobs=2", "--exit-on-error", f"--dbname={DATABASE}", f"{folder}/dump"]
        bare.run(argv, env)
        return _accounts(env)


def _in_bucket(barman: Barman) -> Engine:
    def restore(source: Source, folder: Path, room: Path) -> int:
        del folder
        data = _data_in(room)
        barman.fetch(source, data)
        return _count(data, room)

    return Engine(_IN_BUCKET, PROGRAM, barman.take, barman.size, restore)


def _data_in(room: Path) -> Path:
    data = room / "data"
    own(data, find_user(USERS))
    return data


def _count(data: Path, room: Path) -> int:
    with bare.served(data, room) as env:
        return _accounts(env)


def _accounts(env: dict[str, str]) -> int:
    with psycopg.connect(host=env["PGHOST"], port=env["PGPORT"], user=env["PGUSER"], dbname=DATABASE) as session:
        row = session.execute(_ACCOUNTS).fetchone()
    assert row is not None
    return int(row[0])


ENGINES = (
    Engine(
        "pg_basebackup with zstd (tar, on the server's side)",
        "pg_basebackup",
        _take_basebackup,
        lambda _, folder: bare.size_of(folder),
        _restore_basebackup,
    ),
    Engine("pgBackRest with zstd, 2 processes", "pgbackrest", _take_pgbackrest, _size_pgbackrest, _restore_pgbackrest),
    Engine("pg_dump with gzip, 2 jobs", "pg_dump", _take_dump, lambda _, folder: bare.size_of(folder), _restore_dump),
)
NAMES = (*(each.name for each in ENGINES), _IN_BUCKET)
"""What the claim names."""


def section(rows: dict[str, Row], size_bytes: int) -> Section:
    """Return the figure of what was measured; without an engine it is none."""
    missing = {name: "not installed" for name in NAMES if name not in rows}
    facts = (
        f"The database has {size_bytes / 1e9:.2f} GB. A restore ends when the copy has counted the rows of its largest "
        "table, and all of them were there: the start of the server and the replay of WAL are in it. A dump holds no "
        "indexes: they are built while it is restored. barman-cloud writes to moto's S3 server, a fake of Amazon's, "
        "which runs in one process on the same cores.",
        *(f"{name}: {why}; it was not measured." for name, why in missing.items()),
    )
    grid = [
        (
            name,
            str(Spread.of(each.take_s)),
            f"{each.stored_bytes / 1e6:.0f} MB",
            str(Spread.of(each.restore_s)),
        )
        for name, each in rows.items()
    ]
    grid += [(name, why, "-", "-") for name, why in missing.items()]
    return Section(
        name="engines",
        title="Engines side by side",
        claim=CLAIM,
        met=None if missing else size_bytes >= _ENOUGH_BYTES,
        facts=facts,
        grids=(Grid("Engines", ("engine", "backup", "stored", "restore"), tuple(grid)),),
        data={
            "size_bytes": size_bytes,
            "not_measured": missing,
            "engines": {
                name: {"take_s": each.take_s, "stored_bytes": each.stored_bytes, "restore_s": each.restore_s}
                for name, each in rows.items()
            },
        },
    )
