"""Backups in use: kept from expiry while their run lives, and no longer."""

from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from blocks.backup_uses import USES_LAST, BackupUses, in_use_now
from blocks.memory.leases import MemoryLeases
from tasks.common.backups import BackupKind, Entry, StoredBackup, backup_id
from tasks.common.errors import Refused
from tasks.common.lease import LeaseLost
from tasks.common.uses import Doing, gate_of

PLAN, LEASE_S = "db", 60.0
AT = datetime(2026, 11, 22, tzinfo=UTC)


def entry(label: str) -> Entry:
    stored = StoredBackup(label, BackupKind.FULL, AT, AT, 1, 1)
    return Entry(backup_id(PLAN, 1, label), PLAN, "memory", 1, stored, "sha256:0", "run")


class Clock:
    now_s = 1000.0

    def read(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases(clock: Clock) -> MemoryLeases:
    return MemoryLeases(clock.read)


def uses(leases: MemoryLeases, run: str) -> BackupUses:
    return BackupUses(leases, PLAN, run, LEASE_S, print)


def test_backup_is_in_use_by_each_run_that_works_with_it_and_by_nobody_afterwards(leases: MemoryLeases) -> None:
    wanted = entry("a")
    with ExitStack() as stack:
        found, _ = stack.enter_context(uses(leases, "ada").using(Doing.VERIFIED, lambda: wanted))
        assert found is wanted
        stack.enter_context(uses(leases, "bob").using(Doing.RESTORED, lambda: wanted))
        assert in_use_now(leases, PLAN) == {
            wanted.id: ["is being restored by run bob", "is being verified by run ada"],
        }
        assert in_use_now(leases, "d") == {}
    assert in_use_now(leases, PLAN) == {}


def test_use_ends_also_where_the_work_has_failed(leases: MemoryLeases) -> None:
    with pytest.raises(ZeroDivisionError), uses(leases, "ada").using(Doing.VERIFIED, lambda: entry("a")):
        raise ZeroDivisionError
    assert in_use_now(leases, PLAN) == {}


def test_choice_that_is_refused_leaves_nothing_behind(leases: MemoryLeases) -> None:
    def refuse() -> Entry:
        raise Refused("there is no backup", on=PLAN, next_action="take one")

    with pytest.raises(Refused, match="no backup"), uses(leases, "ada").using(Doing.VERIFIED, refuse):
        pass
    with uses(leases, "bob").expiring(0.0):
        assert in_use_now(leases, PLAN) == {}


def test_use_of_a_run_that_has_died_ends_when_it_has_run_out(leases: MemoryLeases, clock: Clock) -> None:
    wanted = entry("a")
    scope = f"use/{wanted.id}/verified/ada"
    leases.acquire(scope, "ada", LEASE_S * USES_LAST)
    clock.now_s += LEASE_S * USES_LAST - 1
    assert in_use_now(leases, PLAN)
    clock.now_s += 2
    assert in_use_now(leases, PLAN) == {}


def test_expiry_and_choice_wait_for_each_other(leases: MemoryLeases) -> None:
    with uses(leases, "bob").expiring(0.0):
        gate = leases.find(gate_of(PLAN))
        assert gate is not None and gate.holder == "bob"
    with uses(leases, "ada").using(Doing.VERIFIED, lambda: entry("a")), uses(leases, "bob").expiring(0.0):
        assert in_use_now(leases, PLAN), "an expiry does not wait for the use itself"

    def choose() -> Entry:
        with pytest.raises(Refused), uses(leases, "bob").expiring(0.0):
            pass
        return entry("a")

    with uses(leases, "ada").using(Doing.VERIFIED, choose):
        pass


def test_run_that_was_paused_while_it_chose_learns_that_an_expiry_has_begun(leases: MemoryLeases, clock: Clock) -> None:
    def slow() -> Entry:
        clock.now_s += LEASE_S + 1
        with uses(leases, "bob").expiring(LEASE_S):
            pass
        return entry("a")

    with pytest.raises(LeaseLost), uses(leases, "ada").using(Doing.VERIFIED, slow):
        pass


def test_run_that_was_paused_while_it_worked_cannot_say_anything_of_what_was_expired_meanwhile(
    leases: MemoryLeases, clock: Clock
) -> None:
    wanted, other = entry("a"), entry("b")
    run = uses(leases, "ada")
    with run.using(Doing.VERIFIED, lambda: wanted) as (_, kept), run.using(Doing.VERIFIED, lambda: other) as (_, same):
        kept.stop()
        same.stop()
        clock.now_s += LEASE_S * USES_LAST + 1
        assert in_use_now(leases, PLAN) == {}
        expiry = uses(leases, "bob")
        with expiry.expiring(0.0):
            expiry.end_lapsed([wanted.id])
        with pytest.raises(LeaseLost):
            leases.renew(kept.lease, LEASE_S)
        assert leases.renew(same.lease, LEASE_S).live, "what was not expired can be worked with on"
