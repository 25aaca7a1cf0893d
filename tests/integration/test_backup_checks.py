"""What `slipway doctor` finds of backup plans, each trouble really there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.estate import OpenEstate
from flows.backup_checks import backup_looks
from tasks.common.errors import Refused
from tasks.preflight.looks import examine
from tasks.preflight.model import Finding
from tests.support.backup_engines.pgbackrest import PgBackRestRig, rigs
from tests.support.postgresql import SUPERUSER
from tests.support.processes import short_folder
from tests.support.server import estate
from tests.support.verifying import scratch_in, superuser_address

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBackRestRig]:
    folder = tmp_path_factory.mktemp("checks")
    with rigs(folder) as made, made(folder) as found:
        assert isinstance(found, PgBackRestRig)
        (found.folder / "address").write_text(superuser_address(found.cluster, "postgres"))
        (found.folder / "a-file").write_text("no folder")
        yield found


def base_backup(rig: PgBackRestRig, **settings: object) -> dict[str, object]:
    usual = {"port": rig.cluster.port, "role": SUPERUSER, "password": "file:password", "repositories": ["plain"]}
    return {"driver": "pg_basebackup", **usual, **settings}


def looked_at(rig: PgBackRestRig, scratch: Path | str, **engines: dict[str, object]) -> dict[str, Finding]:
    """Return the findings by name, of a plan for each engine."""
    how: dict[str, Any] = {
        "database": {"driver": "postgresql", "address": "file:address"},
        "scratch": {"driver": "postgresql", "folder": str(scratch), "superuser": SUPERUSER},
        "name": "postgres",
    }
    plan = {"verification": how, "objectives": {"rto": "1h", "rpo": "15m"}}
    file = estate(backups={name: {"engine": engine, **plan} for name, engine in engines.items()})
    looks = backup_looks(OpenEstate(file, rig.folder))
    return {finding.name: finding for looked in examine(looks) for finding in looked.findings}


def test_a_plan_that_is_well_shows_versions_what_is_missing_and_how_copies_are_fenced_off(rig: PgBackRestRig) -> None:
    with short_folder() as scratch:
        found = looked_at(rig, scratch, db={"driver": "pgbackrest", **rig.settings()})
        assert [name for name, finding in found.items() if not finding.well] == []
        assert list(scratch.iterdir()) == []
    programs = found["db: programs of pgbackrest"].found
    assert programs.startswith("pgbackrest 2.")
    assert "no a limit on bandwidth: pgBackRest has no limit on bandwidth" in programs
    assert "fenced off" in found["db: scratch server"].found or "network" in found["db: scratch server"].found
    assert rig.open().stored() == ()


def test_each_trouble_is_found_with_how_it_is_mended(rig: PgBackRestRig) -> None:
    barman = {
        **{key: rig.settings()[key] for key in ("data", "socket_dir", "port", "role", "password")},
        **{"driver": "barman-cloud", "server": "db", "folder": "barman", "path": "db"},
        "s3": {
            **{"bucket": "b", "endpoint": "localhost:1", "region": "r"},
            **{"access_key": "file:key", "secret_key": "file:key"},
        },
    }
    found = looked_at(
        rig,
        rig.folder / "a-file" / "scratch",
        absent=barman,
        stranger=base_backup(rig, password="file:wrong"),
        homeless=base_backup(rig, repositories=["a-file/plain"]),
    )
    wanted = {
        "absent: programs of barman-cloud": ("no program 'barman-cloud-backup'", "docs/how-to/backup-engines.md"),
        "stranger: a backup could be taken now": ("does not let us in", "correct role and password"),
        "homeless: a backup could be taken now": ("the repository's folder cannot be made", "check that the path"),
        "homeless: scratch server": ("the folder for a scratch server cannot be made", "check that the path"),
    }
    for name, (what, mend) in wanted.items():
        assert not found[name].well
        assert what in found[name].found
        assert mend in found[name].mend
        assert rig.cluster.password not in found[name].found
    assert found["stranger: programs of pg_basebackup"].well


def test_archiving_that_is_silently_off_is_found(rig: PgBackRestRig) -> None:
    engine = {"driver": "pgbackrest", **rig.settings(), "archive_timeout": "1s"}
    with short_folder() as scratch, rig.archiving_nothing():
        found = looked_at(rig, scratch, db=engine)
    assert found["db: a backup could be taken now"].found.startswith("WAL does not arrive")
    assert "archive_command" in found["db: a backup could be taken now"].mend
    assert found["db: programs of pgbackrest"].well


def test_a_copy_of_another_version_than_is_installed_is_found() -> None:
    with short_folder() as scratch, pytest.raises(Refused, match="PostgreSQL 99 is not installed") as raised:
        scratch_in(scratch).check("99.1")
    assert "apt-get install postgresql-99" in raised.value.next_action
