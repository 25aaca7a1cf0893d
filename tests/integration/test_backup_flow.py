"""The flow `backup` with a ledger on PostgreSQL, a Prefect server, and engines: killed, refused, run again."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from blocks.lease_keeper import KeptLease
from blocks.memory.backups import MemoryEngine, MemoryRepository
from blocks.memory.database import MemoryDatabase
from blocks.memory.notifier import MemoryNotifier
from flows.backup import backup
from flows.verify_backup import verify_backup
from tasks.backup.request import BackupRequest
from tasks.backup.steps import bring_in_line, take
from tasks.backup.stock import GONE, digest_of
from tasks.common.backups import FIRST, SECOND, BackupKind, Entry, OnProgress, Progress, RestoreTo, StoredBackup
from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.lease import Lease
from tasks.common.wal import Slot, WalHeld
from tasks.notify.model import Message
from tasks.verification.model import Moment
from tasks.verification.request import VerifyRequest
from tests.support.backing_up import MOMENTS, killed
from tests.support.backup_engines import Damage, Rig, Rigs, memory, pg_dump, pgbackrest
from tests.support.events import names_of
from tests.support.ledger import open_ledger
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port

pytestmark = pytest.mark.server

PLAN = "db"
NONE_BY_TIME = {"hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "minimum": 1}
SETTINGS: dict[str, Callable[[Any], dict[str, object]]] = {
    "memory": lambda rig: {"world": str(rig.folder), "password": "file:password", "key": "file:key"},
    "pg_dump": lambda rig: {**rig.settings, "database": "file:address"},
    "pgbackrest": lambda rig: rig.settings(),
}
IN_MEMORY = {each: {"driver": "memory"} for each in ("runtime", "router", "metrics")}
RIGS = {"memory": memory.rigs, "pg_dump": pg_dump.rigs, "pgbackrest": pgbackrest.rigs}


class Place:
    """An estate with one plan, and what its engine backs up."""

    def __init__(self, driver: str, rig: Any, address: str) -> None:
        self.driver, self.rig, self.folder = driver, rig, rig.folder
        self.told: list[Message] = []
        self.ledger = open_ledger(self.folder, address)
        self.file = self.folder / "estate.yaml"
        self.write(SETTINGS[driver](rig))

    def write(self, settings: dict[str, object], **more: object) -> None:
        """The plan's engine has these settings."""
        plan = {
            **more,
            "engine": {"driver": self.driver, **settings},
            "retention": NONE_BY_TIME,
            "objectives": {"rto": "15m", "rpo": "5m"},
            "lease": "5s",
            **more,
        }
        estate = {
            "estate": "lab",
            "workspace": "work",
            "ledger": {"driver": "postgresql", "dsn": "file:dsn"},
            "store": {"driver": "memory"},
            "environments": {"production": {"url": "http://127.0.0.1:1", "replicas": 1, **IN_MEMORY}},
            "services": {"campus": {"repository": "nowhere"}},
            "backups": {PLAN: plan},
            "notifications": [{"driver": "memory", "name": "all"}],
        }
        self.file.write_text(json.dumps(estate))

    def run(self, *, accept_loss: bool = False) -> None:
        backup(BackupRequest(plan=PLAN, estate=str(self.file), accept_loss=accept_loss))

    def fails(self, kind: type[SlipwayError]) -> SlipwayError:
        """Return the error of a run that must fail; it says all four things, and people were told of it once."""
        before = len(self.told)
        with pytest.raises(kind) as caught:
            self.run()
        error = caught.value
        (message,) = self.told[before:]
        assert message.title.startswith(f"backup of {PLAN} failed: ")
        assert error.what in message.text and error.next_action.split("\n")[0] in message.text
        assert not any(secret in message.text for secret in self.rig.secrets)
        assert all((error.what, error.on, error.state, error.next_action))
        assert not any(secret in error.block() for secret in self.rig.secrets)
        return error

    def entries(self, repository: int = FIRST) -> list[Entry]:
        """Return what the catalogue has as being there, oldest first."""
        return [each for each in self.ledger.catalogue.entries(PLAN)[::-1] if each.repository == repository]

    def free_lease(self) -> None:
        """What a killed run has held is free, as it is when it has expired; a test of its own waits for that."""
        lease = self.ledger.leases.find(f"backup/{PLAN}")
        assert lease is not None, "the killed run had a lease"
        self.ledger.leases.give_up(lease)

    def require_in_line(self) -> None:
        """The catalogue and both repositories have the same, and nothing in it is damaged."""
        for repository in (FIRST, SECOND):
            there = self.rig.open().stored(repository)
            assert [each.stored.label for each in self.entries(repository)] == [each.label for each in there]
            for entry in self.entries(repository):
                assert entry.unsound_at is None and entry.stored.error == ""
                assert entry.verified_at is None, "only a restore proves a backup"
                assert self.rig.open().verify(entry.stored.label, repository) == ()


@pytest.fixture(autouse=True)
def _server(prefect_api: str) -> Iterator[None]:
    with flows_of(prefect_api):
        yield


@pytest.fixture(scope="module")
def all_rigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Rigs]]:
    with ExitStack() as stack:
        made: dict[str, Rigs] = {}

        def rigs_of(driver: str) -> Rigs:
            if driver not in made:
                made[driver] = stack.enter_context(RIGS[driver](tmp_path_factory.mktemp(driver)))
            return made[driver]

        yield rigs_of


@pytest.fixture
def opened(
    all_rigs: Callable[[str], Rigs], tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Place]]:
    with ExitStack() as stack:

        def place(driver: str) -> Place:
            rig: Rig = stack.enter_context(all_rigs(driver)(tmp_path))
            made = Place(driver, rig, database_url)
            monkeypatch.setattr(MemoryNotifier, "send", lambda self, message: made.told.append(message))
            return made

        yield place


@pytest.fixture
def place(opened: Callable[[str], Place]) -> Place:
    return opened("memory")


def artifacts(api: str, key: str) -> list[str]:
    wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    answer = httpx.post(f"{api}/artifacts/filter", json=wanted, timeout=30).raise_for_status()
    return [str(each["data"]) for each in answer.json()]


@pytest.mark.parametrize("driver", ["memory", "pg_dump", pytest.param("pgbackrest", marks=pytest.mark.long)])
def test_backup_is_taken_copied_and_catalogued_and_the_older_one_expired(
    opened: Callable[[str], Place], prefect_api: str, driver: str
) -> None:
    place = opened(driver)
    place.rig.write("one")
    place.run()
    (first,) = place.entries()
    assert first.digest == digest_of(first.stored)
    place.rig.write("two")
    place.run()
    (second,) = place.entries()
    place.require_in_line()
    assert second.stored.started_at > first.stored.started_at
    assert place.ledger.catalogue.entry(first.id).expired_at is not None
    assert names_of(prefect_api, second.run_id) == ["slipway.backup.taken"]
    shown = artifacts(prefect_api, f"backup-{PLAN}")[0]
    assert "It worked" in shown
    assert second.stored.label in shown.replace("\\", "")
    assert "expired" in shown
    assert not any(secret in shown for secret in place.rig.secrets)
    assert f"| {PLAN} |" in artifacts(prefect_api, "backups")[0]
    assert artifacts(prefect_api, f"backup-{PLAN}-take")[0] == "100"


def test_hold_that_comes_while_the_backup_is_taken_counts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run()
    (old,) = place.entries()
    real = MemoryEngine.copy

    def copy(self: MemoryEngine, label: str, on_progress: OnProgress) -> StoredBackup:
        place.ledger.catalogue.hold(old.id, "audit", "ada", old.stored.ended_at)
        return real(self, label, on_progress)

    monkeypatch.setattr(MemoryEngine, "copy", copy)
    place.run()
    assert old.id in [each.id for each in place.entries()]


def test_catalogue_is_brought_in_line_with_the_repository(place: Place) -> None:
    place.run()
    (lost,) = place.entries()
    place.ledger.catalogue.hold(lost.id, "audit", "ada", lost.stored.ended_at)
    place.run()
    by_hand = place.rig.open().take(BackupKind.FULL, lambda progress: None)
    del place.rig.world.repositories[FIRST].backups[lost.stored.label]
    place.run()
    known = {each.stored.label for each in place.ledger.catalogue.entries(PLAN, expired=True)}
    assert by_hand.label in known
    assert place.ledger.catalogue.entry(lost.id).expired_at is not None
    place.require_in_line()


def test_backup_that_is_damaged_at_rest_is_unsound_and_nothing_is_expired_or_copied(
    place: Place, monkeypatch: pytest.MonkeyPatch, prefect_api: str
) -> None:
    place.rig.write("one")
    place.run()
    (good,) = place.entries()
    real = MemoryEngine.take

    def spoilt(self: MemoryEngine, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST) -> StoredBackup:
        stored = real(self, kind, on_progress, repository)
        place.rig.damage(stored.label, Damage.FLIPPED)
        return stored

    with monkeypatch.context() as patched:
        patched.setattr(MemoryEngine, "take", spoilt)
        error = place.fails(Unsafe)
    kept, bad = place.entries()
    assert kept.id == good.id
    assert error.on == bad.id
    assert bad.unsound_at is not None
    assert "not those that were written" in bad.stored.error
    assert [each.stored.label for each in place.entries(SECOND)] == [good.stored.label]
    assert names_of(prefect_api, bad.run_id) == ["slipway.backup.failed"]
    assert "**It failed**" in artifacts(prefect_api, f"backup-{PLAN}")[0]
    place.run()
    assert [each.unsound_at for each in place.entries()] == [None], "the next one is good, and the bad one expired"


def test_failed_run_leaves_the_catalogue_as_it_was_and_expires_nothing(place: Place) -> None:
    place.run()
    (older,) = place.entries()
    place.ledger.catalogue.hold(older.id, "audit", "ada", older.stored.ended_at)
    place.run()
    before = [each.id for each in place.entries()]
    assert older.id in before, "what is held stays"
    place.ledger.catalogue.hold(older.id, "", "ada", older.stored.ended_at)
    for method in ("check", "take", "verify"):
        fault = Refused(f"{method} is refused", on="the repository", next_action="mend it")
        place.rig.world.faults = {method: fault}
        assert place.fails(Refused).what == fault.what
        assert [each.id for each in place.entries()] == before, "a run that works would drop the older one"
    place.rig.world.faults = {}
    place.run()
    place.require_in_line()
    assert not set(before) & {each.id for each in place.entries()}


def test_first_repository_gets_its_backup_while_the_second_is_away(opened: Callable[[str], Place]) -> None:
    place = opened("pg_dump")
    place.rig.write("one")
    place.run()
    (older,) = place.entries()
    second = place.rig.folder / "repository-2"
    second.rename(place.rig.folder / "away")
    error = place.fails(Refused)
    assert "repository 2" in error.on
    assert "the new backup is whole" in place.told[-1].title
    kept, newest = place.entries()
    assert (kept.id, newest.unsound_at) == (older.id, None)
    assert not second.exists(), "whoever only looks makes nothing in the place of a disk that is not mounted"
    (place.rig.folder / "away").rename(second)
    place.run()
    place.require_in_line()


@pytest.mark.long
def test_second_repository_that_is_added_to_a_plan_gets_its_wal_and_its_backup(opened: Callable[[str], Place]) -> None:
    place = opened("pgbackrest")
    both = SETTINGS["pgbackrest"](place.rig)
    repositories = both["repositories"]
    assert isinstance(repositories, list)
    place.write({**both, "repositories": repositories[:1]})
    place.rig.write("one")
    place.run()
    assert not (place.rig.folder / "two").exists()
    place.write(both)
    place.rig.write("two")
    place.run()
    place.require_in_line()
    assert len(place.entries(SECOND)) == 1


def test_store_that_is_gone_is_tried_again_and_then_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take, "retry_delay_seconds", 0.1)
    gone = Retryable("the store does not answer", on="the repository", next_action="start it")
    place.rig.world.faults["take"] = gone
    assert place.fails(Retryable).what == gone.what
    assert place.entries() == []
    assert [each.title for each in place.told] == [f"backup of {PLAN} failed: no new backup that is whole"]


@pytest.mark.parametrize("repository", [FIRST, SECOND])
def test_repository_that_reads_as_empty_is_refused_until_a_person_says_that_it_is_lost(
    place: Place, repository: int
) -> None:
    place.run()
    before = (place.entries(FIRST), place.entries(SECOND))
    mounted = dict(place.rig.world.repositories[repository].backups)
    place.rig.world.repositories[repository].backups.clear()
    error = place.fails(Refused)
    assert error.on == f"repository {repository} of {PLAN}"
    assert "mounted" in error.next_action
    assert (place.entries(FIRST), place.entries(SECOND)) == before, "nothing is on record as gone"
    assert place.rig.world.repositories[repository].backups == {}, "nothing was written into the wrong place"
    place.rig.world.repositories[repository].backups.update(mounted)
    place.run()
    place.require_in_line()
    (lost,) = place.entries(repository)
    place.rig.world.repositories[repository].backups.clear()
    place.run(accept_loss=True)
    assert place.ledger.catalogue.entry(lost.id).expired_why == GONE
    place.require_in_line()


def test_disk_that_goes_while_a_backup_is_taken_gets_no_backup_in_its_place(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take, "retry_delay_seconds", 0.1)
    place.run()
    before = place.entries()
    tries: list[int] = []

    def unmounted(
        self: MemoryEngine, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST
    ) -> StoredBackup:
        tries.append(repository)
        place.rig.world.repositories[FIRST].backups.clear()
        raise Retryable("the disk does not answer", on="the repository", next_action="mount it")

    monkeypatch.setattr(MemoryEngine, "take", unmounted)
    assert "is not the one that was written" in place.fails(Refused).what
    assert tries == [FIRST]
    assert place.entries() == before


def test_disk_that_goes_while_a_backup_is_read_says_nothing_against_the_backup(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bring_in_line, "retry_delay_seconds", 0.1)
    place.run()
    before = place.entries()
    mounted = dict(place.rig.world.repositories[FIRST].backups)

    def gone(self: MemoryEngine, label: str, repository: int = FIRST) -> tuple[str, ...]:
        mounted.update(place.rig.world.repositories[FIRST].backups)
        place.rig.world.repositories[FIRST].backups.clear()
        return (f"{label}: its file is missing",)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryEngine, "verify", gone)
        assert "is not the one that was written" in place.fails(Refused).what
    assert place.entries() == before, "nothing is on record of what could not be read"
    place.rig.world.repositories[FIRST].backups.update(mounted)
    place.run()
    place.require_in_line()


def test_removal_that_was_put_on_record_and_not_done_is_done_by_the_next_run(place: Place) -> None:
    place.run()
    (old,) = place.entries()
    place.rig.world.faults["expire"] = Refused("no access", on="the repository", next_action="give it")
    place.fails(Refused)
    assert "the new backup is whole" in place.told[-1].title
    assert old.id not in [each.id for each in place.entries()], "nobody counts on what may be removed in part"
    assert old.stored.label in place.rig.world.repositories[FIRST].backups
    place.rig.world.faults = {}
    place.run()
    place.require_in_line()
    assert old.stored.label not in place.rig.world.repositories[FIRST].backups


SOURCE = {"database": {"driver": "memory"}, "scratch": {"driver": "memory"}, "name": "shop"}


@pytest.mark.parametrize(("hours", "said"), [(5, "5 h behind"), (-5, "5 h ahead of")])
def test_clocks_that_are_apart_fail_the_run_after_the_backup_is_taken_and_before_anything_is_expired(
    place: Place, monkeypatch: pytest.MonkeyPatch, hours: int, said: str
) -> None:
    place.run()
    (old,) = place.entries()
    place.write(SETTINGS["memory"](place.rig), verification=SOURCE)
    with monkeypatch.context() as patched:
        skew = timedelta(hours=hours)
        patched.setattr(MemoryDatabase, "moment", lambda self: Moment(datetime.now(UTC) + skew, "0/1"))
        assert said in place.fails(Refused).what
    assert "the new backup is whole" in place.told[-1].title
    kept, new = place.entries()
    assert kept.id == old.id, "nothing was expired"
    place.run()
    assert new.id not in [each.id for each in place.entries()]
    place.require_in_line()


def test_wal_that_piles_up_is_told_and_the_backup_is_taken_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = Slot("old_standby", False, 2**33)
    held = WalHeld(2**30, waiting=9, waiting_bytes=9 * 2**24, oldest_s=301.0, slots=[slot])
    place.write(SETTINGS["memory"](place.rig), verification=SOURCE)
    monkeypatch.setattr(MemoryDatabase, "wal", lambda self: held)
    place.run()
    (message,) = place.told
    assert message.title == f"the source of {PLAN}: NEEDS A PERSON NOW; its WAL piles up, or was lost"
    assert "9 pieces of WAL" in message.text and "old_standby" in message.text
    place.require_in_line()


@pytest.mark.parametrize(
    ("driver", "wrong"),
    [("memory", "key"), ("memory", "password"), pytest.param("pgbackrest", "key", marks=pytest.mark.long)],
)
def test_wrong_key_or_password_is_refused_and_nothing_is_catalogued(
    opened: Callable[[str], Place], driver: str, wrong: str
) -> None:
    place = opened(driver)
    place.run()
    before = place.entries()
    settings = place.rig.settings(key="file:wrong") if driver == "pgbackrest" else SETTINGS[driver](place.rig)
    place.write(settings if driver == "pgbackrest" else {**settings, wrong: "file:wrong"})
    place.fails(Refused)
    assert place.entries() == before


def test_progress_is_shown_every_few_seconds_and_its_end_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = MemoryEngine.take

    def talkative(
        self: MemoryEngine, kind: BackupKind, on_progress: OnProgress, repository: int = FIRST
    ) -> StoredBackup:
        for done in range(100):
            on_progress(Progress(done, 100))
        for _ in range(100):
            on_progress(Progress(100, 100))
        return real(self, kind, on_progress, repository)

    monkeypatch.setattr(MemoryEngine, "take", talkative)
    place.run()
    shown = [line for line in caplog.messages if line.startswith("take: ")]
    assert shown == [line for line in shown if "100 B of 100 B" in line]
    assert len(shown) == 1


def test_run_while_another_is_at_work_is_refused_and_names_it(place: Place) -> None:
    place.ledger.prepare()
    other = str(uuid4())
    lease = place.ledger.leases.acquire(f"backup/{PLAN}", other, 5)
    assert isinstance(lease, Lease)
    kept = KeptLease(place.ledger.leases, lease, 5, print)
    try:
        error = place.fails(Refused)
    finally:
        kept.give_up()
    assert other in error.what
    assert other in error.next_action
    assert place.rig.world.repositories == {FIRST: MemoryRepository(), SECOND: MemoryRepository()}


def test_unknown_plan_is_refused(place: Place) -> None:
    with pytest.raises(Refused, match="no backup plan 'bd'"):
        backup(BackupRequest(plan="bd", estate=str(place.file)))


@pytest.mark.parametrize("moment", [MOMENTS[0], *(pytest.param(each, marks=pytest.mark.long) for each in MOMENTS[1:])])
def test_run_after_one_that_was_killed_puts_right_what_that_has_left(
    opened: Callable[[str], Place], prefect_api: str, tmp_path: Path, moment: str
) -> None:
    place = opened("pg_dump")
    place.rig.write("one")
    for _ in range(2 if moment == "in the expiry" else 0):
        place.run()
    killed(place.file, PLAN, "pg_dump", moment, prefect_api)
    assert all(each.verified_at is None for each in place.entries()), "nothing is called good"
    if moment != "in the take":
        place.free_lease()
    place.rig.write("two")
    place.run()
    place.require_in_line()
    for number, entry in enumerate(place.entries()):
        restored = tmp_path / f"restored-{number}"
        place.rig.open().restore(RestoreTo(label=entry.stored.label), restored, lambda progress: None)
        assert place.rig.read(restored)[0] == "one"


def test_backup_is_taken_and_others_expired_while_one_is_verified_which_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run()
    (verified,) = place.entries()
    place.ledger.catalogue.hold(verified.id, "audit", "ada", verified.stored.ended_at)
    place.run()
    (idle,) = (each for each in place.entries() if each.id != verified.id)
    place.ledger.catalogue.hold(verified.id, "", "ada", verified.stored.ended_at)
    reads = MemoryEngine.verify
    meanwhile: list[dict[str, bool]] = []

    def read(self: MemoryEngine, label: str, repository: int = FIRST) -> tuple[str, ...]:
        if label == verified.stored.label and not meanwhile:
            meanwhile.append({})
            place.run()
            there = {each.id for each in place.entries()}
            meanwhile[0] |= {"verified": verified.id in there, "idle": idle.id in there, "taken": len(there) == 2}
        return reads(self, label, repository)

    monkeypatch.setattr(MemoryEngine, "verify", read)
    verify_backup(VerifyRequest(plan=PLAN, which=verified.id, estate=str(place.file)))
    assert meanwhile == [{"verified": True, "idle": False, "taken": True}]
    place.run()
    assert verified.id not in {each.id for each in place.entries()}, "nobody works with it any more"


@pytest.mark.parametrize("answers", [True, False])
def test_what_the_source_was_is_on_record_or_people_are_told_that_it_is_not(
    place: Place, database_url: str, prefect_api: str, answers: bool
) -> None:
    address = database_url if answers else f"postgresql://ada:the-password-of-the-source@127.0.0.1:{free_port()}/db"
    (place.folder / "source").write_text(address)
    how = {
        "database": {"driver": "postgresql", "address": "file:source"},
        "scratch": {"driver": "memory"},
        "name": "db",
    }
    place.write(SETTINGS["memory"](place.rig), verification=how)
    place.run()
    for entry in (*place.entries(FIRST), *place.entries(SECOND)):
        found = place.ledger.catalogue.source_of(entry.id)
        assert (found is not None) is answers
        assert found is None or (found.steady and "table slipway.backup" in found.facts.objects)
    shown = artifacts(prefect_api, f"backup-{PLAN}")[0]
    assert ("What the source was is not on record: the database does not answer" in shown) is not answers
    assert "It worked" in shown and "the-password-of-the-source" not in shown
