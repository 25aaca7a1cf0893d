"""How steps of every capability hold a place: the lease in the ledger, and the claim on what it is about."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.estate import OpenEstate, Site
from blocks.lease_keeper import KeptLease, await_lease
from tasks.common.lease import scope_of


def holder() -> str:
    """Return this run's id, as leases name it."""
    found = flow_run.get_id()
    assert found is not None, "called from a flow run"
    return str(found)


def claim(site: Site) -> None:
    """Router and runtime refuse every older lease from now on. *Idempotent:* yes.

    Raises:
        LeaseLost: a newer one has been here.
    """
    site.runtime.claim()
    site.router.claim()


@contextmanager
def held(estate: OpenEstate, service: str, environment: str) -> Iterator[Site]:
    """This run alone may change the place within the block.

    Raises:
        Refused: somebody else is at work there.
    """
    leases, log = estate.ledger.leases, get_run_logger()
    ttl_s = estate.site(service, environment).environment.lease_s
    lease = await_lease(leases, scope_of(service, environment), holder(), ttl_s, 0.0, log.info)
    kept = KeptLease(leases, lease, ttl_s, log.warning)
    try:
        site = estate.site(service, environment, grant=kept)
        claim(site)
        yield site
    finally:
        kept.give_up()
