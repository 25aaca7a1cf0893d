"""The ladder over what real engines have restored."""

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from blocks.scratch.postgresql import PostgresqlScratch
from tasks.common.backups import BackupKind, RestoreTo, Rung, RungOutcome
from tasks.verification import rungs
from tests.support.backup_engines import pg_basebackup, pgbackrest

pytestmark = [pytest.mark.server, pytest.mark.long]


@pytest.mark.parametrize("kind", [pgbackrest, pg_basebackup])
def test_backup_of_an_engine_is_replayed_to_its_end_and_holds(
    kind: object, tmp_path: Path, scratch: PostgresqlScratch
) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    for folder in (shared, own):
        folder.mkdir()
    with kind.rigs(shared) as rigs, rigs(own) as rig:  # type: ignore[attr-defined]
        engine = rig.open()
        rig.write("in the backup")
        stored = engine.take(BackupKind.FULL, lambda _: None)
        if kind is pgbackrest:
            rig.write("in the WAL after it")
            rig.settle()
        climbed: list[Rung] = [rungs.repository_check((), engine, stored.label)]
        folder = scratch.open()
        climbed.append(rungs.restore(climbed, engine, scratch, folder, RestoreTo(), lambda _: None))
        climbed.append(rungs.pages(climbed, engine.form, scratch))
        climbed.append(rungs.structure(climbed, engine.form, scratch))
        climbed.append(rungs.full_read(climbed, engine.form, scratch))
        with psycopg.connect(scratch.address("postgres")) as session:
            lines = session.execute("select line from lines order by id").fetchall()
        reaches = engine.reaches()
    assert reaches is not None and reaches >= stored.ended_at - timedelta(seconds=1)
    broken = [each.said for each in climbed if each.outcome is RungOutcome.BROKEN]
    assert not broken
    assert climbed[1].outcome is RungOutcome.HELD
    assert [line for (line,) in lines] == ["in the backup", "in the WAL after it"][: 2 if kind is pgbackrest else 1]
