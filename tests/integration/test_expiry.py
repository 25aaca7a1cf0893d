"""How long a reconciliation waits for the leases of a dead run; with the leases that are kept in memory."""

import threading
import time

import pytest

from blocks.memory.leases import MemoryLeases
from tasks.common.lease import Lease
from tasks.release.reconcile_steps import await_expiry

SCOPES = ["campus/staging", "campus/production"]


def take(leases: MemoryLeases, scope: str, ttl_s: float, holder: str = "dead") -> Lease:
    lease = leases.acquire(scope, holder, ttl_s)
    assert isinstance(lease, Lease)
    return lease


def live(leases: MemoryLeases) -> list[str]:
    return [scope for scope in SCOPES if (lease := leases.find(scope)) is not None and lease.live]


@pytest.mark.parametrize(("staging_s", "production_s"), [(0.6, 0.2), (0.2, 0.6)])
def test_all_leases_of_the_run_have_expired_whichever_is_last(staging_s: float, production_s: float) -> None:
    leases = MemoryLeases()
    take(leases, SCOPES[0], staging_s)
    take(leases, SCOPES[1], production_s)
    await_expiry(leases, SCOPES, "dead")
    assert not live(leases)


def test_lease_that_somebody_else_has_is_not_waited_for() -> None:
    leases = MemoryLeases()
    take(leases, SCOPES[1], 3600, "other")
    await_expiry(leases, SCOPES, "dead")
    assert live(leases) == SCOPES[1:]


def test_lease_that_is_still_renewed_is_left_after_the_time_in_which_it_would_have_expired() -> None:
    leases, ended = MemoryLeases(), threading.Event()
    lease = take(leases, SCOPES[1], 1)

    def renew() -> None:
        while not ended.wait(0.1):
            leases.renew(lease, 1)

    renewing = threading.Thread(target=renew)
    renewing.start()
    began_s = time.monotonic()
    try:
        await_expiry(leases, SCOPES, "dead")
        assert live(leases) == SCOPES[1:]
        assert time.monotonic() - began_s > 1
    finally:
        ended.set()
        renewing.join()
