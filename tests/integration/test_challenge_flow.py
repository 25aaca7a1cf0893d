"""The flow `challenge-backup` on real servers: all damage is found, and what is blind is told of."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyrage
import pytest

from flows.challenge_backup import challenge_backup
from tasks.challenge.model import Fault
from tasks.challenge.request import ChallengeRequest
from tasks.common.backups import Entry, Rung, RungOutcome
from tasks.common.challenges import Challenge, Trial, Verdict
from tasks.common.errors import Refused, Unsafe
from tasks.verification import rungs
from tasks.verification.ladder import LADDER
from tests.integration.test_verify_flow import PLAN, TABLES, Place, Ran, placed, shop
from tests.support.backup_engines import Damage, largest, pgbackrest, restic, spoil
from tests.support.docs import ROOT
from tests.support.events import names_of
from tests.support.postgresql import SUPERUSER, Cluster
from tests.support.prefect_server import flows_of
from tests.support.processes import wait_until
from tests.support.verifying import source, superuser_address, within

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
BLIND = "this rung is blind"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with shop() as cluster:
        yield cluster


@pytest.fixture
def place(cluster: Cluster, database_url: str, prefect_api: str) -> Iterator[Place]:
    with placed(cluster, database_url, prefect_api) as place:
        yield place


@pytest.fixture
def basebackup(cluster: Cluster) -> dict[str, Any]:
    usual = {"driver": "pg_basebackup", "role": SUPERUSER, "password": "file:password", "repositories": ["one"]}
    return {**usual, "port": cluster.port}


@pytest.fixture
def dump(place: Place) -> dict[str, Any]:
    identity = pyrage.x25519.Identity.generate()
    (place.folder / "identity").write_text(str(identity))
    place.secrets += (str(identity),)
    usual = {"driver": "pg_dump", "database": "file:address", "repositories": ["one"], "identity": "file:identity"}
    return {**usual, "recipients": [str(identity.to_public())]}


@contextmanager
def only(monkeypatch: pytest.MonkeyPatch, *faults: Fault) -> Iterator[None]:
    """Only these damages are made."""
    with monkeypatch.context() as patch:
        for name in ("ON_COPY", "ON_SOURCE"):
            every: tuple[Fault, ...] = getattr(sys.modules["flows.challenge_backup"], name)
            patch.setattr(f"flows.challenge_backup.{name}", tuple(each for each in every if each in faults))
        yield


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class Challenged(Ran):
    """A run of the flow that has ended."""

    @property
    def challenge(self) -> Challenge:
        """Return what is on record of it."""
        (found,) = (e for e in self.place.open().ledger.catalogue.challenges(PLAN, 10) if e.run_id == str(self.id))
        return found

    def trial(self, fault: Fault) -> Trial:
        (found,) = (each for each in self.challenge.trials if each.fault == fault)
        return found

    def found_by(self) -> dict[str, str]:
        """Return who has found each damage; of those that were not found, what became of them."""
        return {each.fault: each.found_by or each.outcome.value for each in self.challenge.trials}


def challenge(place: Place) -> Challenged:
    with flows_of(place.api):
        request = ChallengeRequest(plan=PLAN, estate=str(place.folder / "estate.yaml"))
        return Challenged(place, challenge_backup(request, return_state=True))


def untold(place: Place, entry: Entry) -> None:
    """The catalogue says of the backup what it said before: nothing."""
    catalogue = place.open().ledger.catalogue
    assert catalogue.entry(entry.id) == entry
    assert catalogue.verifications(PLAN, 1) == ()


def blind(name: str) -> Callable[..., Rung]:
    """Return a rung whose look always holds."""
    return lambda *_: Rung(name, RungOutcome.HELD, BLIND, 0.0)


def test_all_damage_to_pg_basebackup_is_found_and_the_repository_is_as_it_was(
    place: Place, basebackup: dict[str, Any]
) -> None:
    place.plan(basebackup)
    place.take()
    entry = place.take()
    before = digests(place.folder / "one")
    ran = challenge(place)
    assert ran.state.is_completed(), ran.state.message
    assert digests(place.folder / "one") == before
    assert ran.challenge.verdict is Verdict.PROVEN and ran.challenge.backup_id == entry.id
    assert [each.sound for each in ran.challenge.controls] == [True, True]
    assert ran.found_by() == {
        Fault.FLIPPED: "repository",
        Fault.TRUNCATED: "repository",
        Fault.WAL_GONE: "repository",
        Fault.SWAPPED: "repository",
        Fault.ARCHIVE_SILENT: "left out",
        Fault.KEY_BROKEN: "foreign keys",
        Fault.TABLE_GONE: "schema",
    }
    assert ran.trial(Fault.KEY_BROKEN).done == "public.purchase purchase_customer_fkey"
    untold(place, entry)
    text = ran.artifact("challenge")
    assert text.startswith("**Every damage was found (6 of 6); left out: archiving stopped silently.**")
    assert names_of(place.api, str(ran.id)) == ["slipway.backup.challenged"]
    climbed = [name for name in ran.tasks() if name in {each.name for each in LADDER}]
    assert len({*climbed, "restore"}) == len(LADDER), "the whole ladder is climbed on what is sound"


def test_all_damage_to_pg_dump_is_found(place: Place, dump: dict[str, Any]) -> None:
    place.plan(dump)
    place.take()
    entry = place.take()
    before = digests(place.folder / "one")
    ran = challenge(place)
    assert ran.state.is_completed(), ran.state.message
    assert digests(place.folder / "one") == before
    assert ran.found_by() == {
        Fault.FLIPPED: "repository",
        Fault.TRUNCATED: "repository",
        Fault.WAL_GONE: "left out",
        Fault.SWAPPED: "repository",
        Fault.ARCHIVE_SILENT: "left out",
        Fault.KEY_BROKEN: "restore",
        Fault.TABLE_GONE: "schema",
    }
    assert "has no WAL" in ran.trial(Fault.WAL_GONE).said
    untold(place, entry)


def test_blind_rung_is_told_of_as_damage_that_was_not_found_and_one_that_another_makes_up_for_as_late(
    place: Place, basebackup: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.plan(basebackup)
    entry = place.take()
    monkeypatch.setattr(rungs, "repository_check", blind("repository"))
    monkeypatch.setattr(rungs, "foreign_keys", blind("foreign keys"))
    with only(monkeypatch, Fault.FLIPPED, Fault.SWAPPED, Fault.KEY_BROKEN):
        ran = challenge(place)
    assert isinstance(ran.error, Unsafe)
    assert ran.error.what == "the verification does not find damage: NOT FOUND: broken foreign key"
    assert BLIND in str(ran.error.facts["broken foreign key"])
    assert ran.found_by() == {Fault.FLIPPED: "restore", Fault.SWAPPED: "left out", Fault.KEY_BROKEN: "NOT FOUND"}
    assert ran.trial(Fault.FLIPPED).late
    assert "no older full backup" in ran.trial(Fault.SWAPPED).said
    assert ran.artifact("challenge").startswith("**NOT FOUND: broken foreign key.**")
    assert names_of(place.api, str(ran.id)) == ["slipway.backup.challenged"]
    untold(place, entry)


def test_run_after_one_that_was_killed_leaves_nothing_and_gives_no_verdict_on_a_copy_that_is_not_sound(
    place: Place, basebackup: dict[str, Any]
) -> None:
    place.plan(basebackup)
    entry = place.take()
    before = digests(place.folder / "one")
    request = f"f.ChallengeRequest(plan={PLAN!r}, estate={str(place.folder / 'estate.yaml')!r})"
    code = f"import flows.challenge_backup as f; f.ON_COPY = (); f.challenge_backup({request})"
    env = {**os.environ, "PREFECT_API_URL": place.api, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=-3, stderr=-3)
    try:
        # Its copies, the throw-away database, and the server that a backup of that was restored into.
        wait_until(lambda: len(servers(place)) > 1, within_s=120, what="both servers")
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert len(servers(place)) > 1, "it was killed with its servers running"
    assert digests(place.folder / "one") == before
    spoil(largest(place.folder / "one" / entry.stored.label / "data" / "base", "*"), Damage.FLIPPED)
    ran = challenge(place)
    assert isinstance(ran.error, Refused)
    assert ran.error.what.startswith("the challenge proves nothing: No verdict: the undamaged copy was not found sound")
    assert ran.challenge.trials == () and ran.challenge.verdict is Verdict.NO_VERDICT
    untold(place, entry)


def test_plan_that_restores_nothing_is_challenged_where_its_backups_lie(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with restic.rigs(tmp_path) as rigs_of, rigs_of(tmp_path) as rig:
        assert isinstance(rig, restic.ResticRig)
        (place.folder / "key").write_text(restic.PASSWORD)
        where = {"repositories": [str(rig.folder / "repository-1")], "paths": [str(rig.source)]}
        place.plan({"driver": "restic", "password": "file:key", **where}, verification=None)
        entry = place.take()
        before = digests(rig.folder / "repository-1")
        with only(monkeypatch, Fault.FLIPPED, Fault.SWAPPED, Fault.TABLE_GONE):
            ran = challenge(place)
        assert ran.state.is_completed(), ran.state.message
        assert digests(rig.folder / "repository-1") == before
    assert ran.found_by() == {
        Fault.FLIPPED: "repository",
        Fault.SWAPPED: "left out",
        Fault.TABLE_GONE: "left out",
    }
    assert "share" in ran.trial(Fault.SWAPPED).said and "no database" in ran.trial(Fault.TABLE_GONE).said
    assert list((place.folder / "work" / "challenges").iterdir()) == []
    untold(place, entry)


def servers(place: Place) -> list[Path]:
    return list(place.scratch.glob("room-*/server.pid"))


def test_all_damage_to_pgbackrest_is_found_also_an_archive_that_keeps_nothing(
    database_url: str, prefect_api: str, tmp_path: Path
) -> None:
    with pgbackrest.rigs(tmp_path) as rigs_of, rigs_of(tmp_path) as rig:
        assert isinstance(rig, pgbackrest.PgBackRestRig)
        with within(superuser_address(rig.cluster, "postgres")) as session:
            session.execute(TABLES)
        with placed(rig.cluster, database_url, prefect_api, "postgres") as place:
            place.secrets += rig.secrets
            (place.folder / "key").write_text(pgbackrest.KEY)
            repository = {"path": str(rig.folder / "one"), "cipher_pass": "file:key"}
            engine = {**rig.settings(), "folder": str(rig.folder / "engine"), "repositories": [repository]}
            place.plan({"driver": "pgbackrest", **engine}, name="postgres")
            place.take()
            entry = place.take()
            source(place.folder, rig.cluster, "postgres").beat()
            rig.execute("select pg_switch_wal()")
            before = digests(rig.folder / "one")
            ran = challenge(place)
            after = digests(rig.folder / "one")
            assert ran.state.is_completed(), ran.state.message
            assert {path: digest for path, digest in after.items() if path in before} == before
            assert ran.found_by() == {
                Fault.FLIPPED: "repository",
                Fault.TRUNCATED: "repository",
                Fault.WAL_GONE: "repository",
                Fault.SWAPPED: "restore",
                Fault.ARCHIVE_SILENT: "freshness",
                Fault.KEY_BROKEN: "foreign keys",
                Fault.TABLE_GONE: "schema",
            }
            assert "archiver claims more" in ran.trial(Fault.ARCHIVE_SILENT).said
            untold(place, entry)
