"""Leases on a real PostgreSQL: raced for, paused, cut off, and with clocks that jump."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from blocks.backup_uses import in_use_now
from blocks.lease_keeper import KeptLease
from blocks.ledger import PostgresqlLedger
from tasks.common.errors import Retryable
from tasks.common.lease import Lease, LeaseLost, Leases, Waiting
from tasks.common.uses import Doing, use_of
from tests.support.leases import SCOPE, Clock, Holder, holding
from tests.support.ledger import open_ledger
from tests.support.needs import need_faketime
from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import wait_until

pytestmark = pytest.mark.server

HOUR_S = 3600
SHORT_S = 3.0


@pytest.fixture
def ledger(tmp_path: Path, database_url: str) -> PostgresqlLedger:
    opened = open_ledger(tmp_path, database_url)
    opened.prepare()
    return opened


@pytest.fixture
def leases(ledger: PostgresqlLedger) -> Leases:
    return ledger.leases


def expires_at(address: str) -> float:
    with psycopg.connect(address) as connection:
        row = connection.execute("select extract(epoch from expires_at)::float8 from slipway.lease").fetchone()
    assert row is not None
    return float(row[0])


def wait_renewals(address: str, count: int) -> None:
    for _ in range(count):
        before = expires_at(address)
        wait_until(lambda before=before: expires_at(address) != before, what="a renewal")  # type: ignore[misc]


def asked(leases: Leases, holder: str, ttl_s: float = 60) -> Lease | Waiting:
    return leases.acquire(SCOPE, holder, ttl_s)


def taken(leases: Leases, holder: str, ttl_s: float = 60) -> Lease:
    found = asked(leases, holder, ttl_s)
    assert isinstance(found, Lease), found
    return found


def wait_taken(leases: Leases, holder: str) -> Lease:
    """Return the lease as soon as it is had."""

    def ask() -> Lease | None:
        found = asked(leases, holder)
        return found if isinstance(found, Lease) else None

    found = wait_until(ask, what=f"the lease for {holder}")
    assert found is not None
    return found


# --- races and pauses


def test_two_processes_race_twenty_times_and_each_time_one_wins(
    ledger: PostgresqlLedger, postgresql_cluster: Cluster, database_url: str, tmp_path: Path
) -> None:
    with postgresql_cluster.as_superuser(database_url) as root:
        # The hardest setting: a snapshot from before the lock would not see who was first.
        name = sql.Identifier(root.info.dbname)
        root.execute(sql.SQL("alter database {} set default_transaction_isolation = 'serializable'").format(name))
    with holding(tmp_path, database_url, "ann") as ann, holding(tmp_path, database_url, "bob") as bob:
        for race in range(20):
            # Every second one is for a lease that has expired, and not for the first of its scope.
            scope = f"service-{race // 2}/production"
            for process in (ann, bob):
                process.tell(f"try_for {scope}")
            answers = {"ann": ann.answer(to="try_for"), "bob": bob.answer(to="try_for")}
            winners = [holder for holder, answer in answers.items() if answer == f"has {race % 2 + 1}"]
            assert len(winners) == 1, (race, answers)
            (loser,) = answers.keys() - winners
            assert answers[loser] == f"waits {winners[0]}"
            with psycopg.connect(database_url) as connection:
                connection.execute("update slipway.lease set expires_at = clock_timestamp() - interval '1 second'")


def test_process_that_was_paused_beyond_expiry_is_told_that_it_lost_its_lease(
    leases: Leases, database_url: str, tmp_path: Path
) -> None:
    with holding(tmp_path, database_url, "ann") as ann:
        assert ann.ask(f"keep {SCOPE} {SHORT_S}") == "has 1"
        wait_renewals(database_url, 3)
        assert isinstance(asked(leases, "bob"), Waiting)
        assert ann.ask("require") == "held"
        ann.pause()
        assert wait_taken(leases, "bob").token == 2
        ann.wake()
        assert ann.ask("require").startswith("LeaseLost the lease was lost to bob | what was done before stands")
        wait_until(lambda: ann.said, what="a word of its keeper")
        assert "lost to bob" in ann.said[0]
        assert taken(leases, "bob").token == 3


def test_process_that_was_killed_leaves_a_lease_that_expires(leases: Leases, database_url: str, tmp_path: Path) -> None:
    with holding(tmp_path, database_url, "ann") as ann:
        ann.ask(f"keep {SCOPE} {SHORT_S}")
        ann.process.kill()
        assert wait_taken(leases, "bob").token == 2


def test_verification_that_was_killed_keeps_its_backup_from_expiry_until_its_use_has_run_out(
    leases: Leases, database_url: str, tmp_path: Path
) -> None:
    with holding(tmp_path, database_url, "ada") as holder:
        assert holder.ask(f"keep {use_of('db/1/a', Doing.VERIFIED, 'ada')} {SHORT_S}") == "has 1"
        holder.process.kill()
        holder.process.wait()
        assert in_use_now(leases, "db") == {"db/1/a": ["is being verified by run ada"]}
        wait_until(lambda: not in_use_now(leases, "db"), within_s=SHORT_S + 10, what="the end of the use")


def test_process_that_is_paused_within_a_transaction_keeps_nobody_out(
    leases: Leases, database_url: str, tmp_path: Path
) -> None:
    with holding(tmp_path, database_url, "ann") as ann:
        ann.tell(f"stand_in_a_transaction {SCOPE}")
        ann.answer(to="inside")
        ann.pause()
        assert taken(leases, "bob").token == 1
        ann.wake()
        ann.tell("")
        answer = ann.answer(to="stand_in_a_transaction")
        assert answer.startswith("Retryable the ledger's database did not finish")
        assert (leases.find(SCOPE) or pytest.fail("no lease")).holder == "bob"


# --- a ledger that is away


def test_killed_postgresql_stops_no_change_and_renewals_go_on_after_its_restart(tmp_path: Path) -> None:
    said: list[str] = []
    with running_cluster(tmp_path) as cluster:
        address = cluster.database()
        ledger = open_ledger(tmp_path, address)
        ledger.prepare()
        kept = KeptLease(ledger.leases, taken(ledger.leases, "ann", SHORT_S), SHORT_S, said.append)
        try:
            wait_renewals(address, 2)
            cluster.process.kill()
            cluster.stop()

            def warned() -> bool:
                kept.require()
                return any("going on without knowing" in line for line in said)

            wait_until(warned, what="a warning")
            assert said[0] == f"the lease on {SCOPE} is not renewed, and tried again: {away(ledger).what}"
            cluster.start()
            wait_until(lambda: f"the lease on {SCOPE} is renewed again" in said, what="renewals")
            wait_renewals(address, 2)
            before = list(said)
            kept.require()
            assert said == before
            assert [line for line in said if "not renewed" in line] == said[:1]
            waiting = asked(ledger.leases, "bob")
            assert isinstance(waiting, Waiting)
            assert waiting.held_by == "ann"
        finally:
            kept.give_up()
        assert taken(ledger.leases, "bob").token == kept.token + 1


def away(ledger: PostgresqlLedger) -> Retryable:
    """Return how every operation fails while the database is away."""
    leases, lease = ledger.leases, Lease(SCOPE, "ann", 1, 1.0)
    errors = []
    for call in (
        lambda: leases.acquire(SCOPE, "bob", 60),
        lambda: leases.renew(lease, 60),
        lambda: leases.park(lease, 60),
        lambda: leases.give_up(lease),
        lambda: leases.leave(SCOPE, "bob"),
        lambda: leases.find(SCOPE),
    ):
        with pytest.raises(Retryable) as caught:
            call()
        errors.append(caught.value)
    assert {error.state for error in errors} == {"nothing was changed"}
    return errors[0]


# --- clocks that jump


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path, need_faketime())


def now_of(holder: Holder) -> float:
    return float(holder.ask("clock")) - time.time()


def test_holder_whose_clock_jumps_loses_nothing_and_nobody_else_gets_the_lease(
    leases: Leases, database_url: str, tmp_path: Path, clock: Clock
) -> None:
    with holding(tmp_path, database_url, "ann", clock.env) as ann:
        assert ann.ask(f"keep {SCOPE} {SHORT_S}") == "has 1"
        for offset_s in (HOUR_S, 0, -HOUR_S):
            clock.set(offset_s)
            assert abs(now_of(ann) - offset_s) < HOUR_S / 2, "its clock has jumped"
            for _ in range(2):
                assert ann.ask("require") == "held"
                assert isinstance(asked(leases, "bob"), Waiting)
                wait_renewals(database_url, 1)
        assert ann.said == []
        assert (leases.find(SCOPE) or pytest.fail("no lease")).token == 1


@pytest.fixture
def jumping(tmp_path: Path, clock: Clock) -> Iterator[str]:
    """The address of a prepared ledger whose server has the clock that can be set."""
    folder = tmp_path / "jumping"
    folder.mkdir()
    with running_cluster(folder, clock.env) as cluster:
        yield cluster.database()


def offset_of(address: str) -> float:
    with closing(psycopg.connect(address)) as connection:
        row = connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(row[0]) - time.time()


def test_lease_expires_when_the_ledgers_clock_jumps_ahead_and_its_holder_is_told_who_took_it(
    jumping: str, tmp_path: Path, clock: Clock
) -> None:
    ledger = open_ledger(tmp_path, jumping)
    ledger.prepare()
    said: list[str] = []
    lease = taken(ledger.leases, "ann", HOUR_S / 2)
    assert isinstance(asked(ledger.leases, "bob"), Waiting)
    clock.set(HOUR_S)
    assert offset_of(jumping) > HOUR_S / 2, "the ledger's clock has jumped"
    assert not (ledger.leases.find(SCOPE) or pytest.fail("no lease")).live
    assert taken(ledger.leases, "bob").token == lease.token + 1
    kept = KeptLease(ledger.leases, lease, HOUR_S / 2, said.append)
    try:
        with pytest.raises(LeaseLost, match="lost to bob"):
            kept.require()
    finally:
        kept.give_up()
    assert (ledger.leases.find(SCOPE) or pytest.fail("no lease")).holder == "bob"


def test_holder_keeps_its_lease_and_the_queue_its_order_when_the_ledgers_clock_jumps_back(
    jumping: str, tmp_path: Path, clock: Clock
) -> None:
    ledger = open_ledger(tmp_path, jumping)
    ledger.prepare()
    said: list[str] = []
    kept = KeptLease(ledger.leases, taken(ledger.leases, "ann", SHORT_S), SHORT_S, said.append)
    try:
        for holder in ("bob", "cid"):
            assert isinstance(asked(ledger.leases, holder), Waiting)
        clock.set(-HOUR_S)
        assert offset_of(jumping) < -HOUR_S / 2, "the ledger's clock has jumped"
        wait_renewals(jumping, 3)
        kept.require()
        places = {}
        for holder in ("bob", "cid", "bob"):
            waiting = asked(ledger.leases, holder)
            assert isinstance(waiting, Waiting)
            assert waiting.held_by == "ann"
            assert waiting.left_s <= SHORT_S
            places[holder] = waiting.ahead
        assert places == {"bob": 0, "cid": 1}
        assert said == []
    finally:
        kept.give_up()
    assert taken(ledger.leases, "bob").token == kept.token + 1


def test_killed_holder_and_waiter_keep_nobody_out_for_longer_when_the_ledgers_clock_jumps_back(
    jumping: str, tmp_path: Path, clock: Clock
) -> None:
    ledger = open_ledger(tmp_path, jumping)
    ledger.prepare()
    lease = taken(ledger.leases, "ann", SHORT_S)
    assert isinstance(asked(ledger.leases, "bob"), Waiting)
    clock.set(-HOUR_S)
    found = ledger.leases.find(SCOPE)
    assert found is not None
    assert found.left_s <= SHORT_S
    assert wait_taken(ledger.leases, "cid").token == lease.token + 1
