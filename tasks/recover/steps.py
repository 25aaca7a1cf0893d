"""The @task functions of a whole recovery: thin. Restores and the deployment are flows of their own within it."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from blocks.failovers import open_dns
from blocks.job import kept_release
from blocks.lease_keeper import KeptLease, await_lease
from tasks.common.errors import Refused
from tasks.common.failovers import FailoverPlan
from tasks.common.lease import scope_of
from tasks.common.lease_steps import holder
from tasks.common.steps import TRANSIENT, done_as, only_shown
from tasks.recover.plan import Account, Back, report, restores_of
from tasks.recover.request import RecoverRequest


@dataclass(eq=False)
class Recovering:
    """A recovery on its way.

    Args:
        estate: what is to be there again.
        request: what was asked for.
        account: what was done, for people.

    `back` is set by `decide`.
    """

    estate: OpenEstate
    request: RecoverRequest
    account: Account
    back: Back = field(default_factory=lambda: Back((), ""))

    def __str__(self) -> str:
        """Return 'campus in production', as task names show it."""
        return self.account.what

    def step(self, what: str) -> AbstractContextManager[list[str]]:
        """What the block does is a step of the account; what came of it, it adds to the list that it is given."""
        return done_as(what, self.estate.context.secrets.redact, self.account.steps.append)


@contextmanager
def recovering(estate: OpenEstate, request: RecoverRequest) -> Iterator[Recovering]:
    """However the block ends, its time is shown beside the objective, with every step."""
    work = Recovering(estate, request, Account(f"{request.service} in {request.environment}"))
    began_s, problem = time.monotonic(), ""
    try:
        yield work
    except BaseException as error:
        problem = estate.context.secrets.redact(str(error)) or type(error).__name__
        raise
    finally:
        with only_shown():
            create_markdown_artifact(
                key=f"recover-{request.service}-{request.environment}",
                markdown=report(work.account, time.monotonic() - began_s, problem),
                description=f"recovery of {work}: {'failed' if problem else 'it is back'}",
            )


@task(name="decide", task_run_name="decide what of {work} is brought back", **TRANSIENT)
def decide(work: Recovering) -> None:
    """It is known which data and which release come back; or it is refused. Nothing is changed.

    Raises:
        Refused: something is left there that would be in the way, or there is nothing to bring back; what to do.
    """
    with work.step("decide what is brought back") as said:
        work.back = found(work.estate, work.request)
        said.extend(f"{plan} into {to}" for plan, to in work.back.restores)
        said.append(f"release {work.back.release[:7]}")


def found(estate: OpenEstate, request: RecoverRequest) -> Back:
    """Return what is brought back; nothing is changed.

    Raises:
        Refused: as `decide`.
    """
    site = estate.site(request.service, request.environment)
    estate.ledger.prepare()
    serving = sorted({each.release[:7] for each in site.runtime.observe()})
    if serving:
        raise Refused(
            f"instances of {', '.join(serving)} are there: this is for an environment where nothing is left",
            on=str(site.target),
            next_action="for a bad release 'slipway rollback', for lost data 'slipway restore'; or stop them first",
        )
    restores = restores_of(estate.file.backups, request.plans)
    filled = [f"{plan} into {to}" for plan, to in restores if estate.target(plan, to).observe().filled]
    if filled:
        raise Refused(
            f"there is data where this would come back to: {', '.join(filled)}",
            on=str(site.target),
            next_action="'slipway restore' asks before it puts that aside; then name the other plans by --data",
        )
    good = estate.ledger.succeeded(request.service, request.environment, 1)
    release = request.release or (good[0].release if good else "")
    if not release:
        raise Refused(
            "the ledger knows no release that has succeeded there",
            on=str(site.target),
            next_action="restore the ledger first: docs/how-to/recover-everything.md; without it, restore the data, "
            f"then 'slipway release {request.service} COMMIT'",
        )
    kept_release(estate, request.service, release)
    _plan_of(estate, request)
    return Back(restores, release)


@task(name="point", task_run_name="point the names of {work} to {work.request.site}", **TRANSIENT)
def point(work: Recovering) -> None:
    """The DNS server answers every name with the site, where one was named. *Idempotent:* yes.

    Raises:
        Refused: it is not for us to change, or another run moves the users.
        Retryable: it takes no changes.
    """
    known = _plan_of(work.estate, work.request)
    if known is None:
        return
    name, plan = known
    addresses = tuple(sorted(plan.sites[work.request.site].addresses))
    leases, log, ttl_s = work.estate.ledger.leases, get_run_logger(), plan.lease_s
    lease = await_lease(leases, scope_of("failover", name), holder(), ttl_s, 2 * ttl_s, log.info)
    kept = KeptLease(leases, lease, ttl_s, log.warning)
    try:
        with work.step(f"point the names to {work.request.site}") as said:
            dns = open_dns(work.estate, name, kept)
            for each in plan.names:
                dns.point(each, addresses, round(plan.ttl_s))
            said.append(f"{', '.join(plan.names)}: {', '.join(addresses)}")
    finally:
        kept.give_up()


@task(name="visit", task_run_name="visit {work} as a user", **TRANSIENT)
def visit(work: Recovering) -> None:
    """The service answers its smoke tests where users ask for it.

    Raises:
        Refused: it does not; the data and the release are in place.
    """
    site = work.estate.site(work.request.service, work.request.environment)
    service, _ = kept_release(work.estate, work.request.service, work.back.release)
    with work.step("visit it as a user") as said:
        wrong = [each for each in work.estate.prober.probe(site.environment.url, service.smoke) if not each.passed]
        if wrong:
            raise Refused(
                f"{wrong[0].check.label}: {wrong[0].problem}",
                on=site.environment.url,
                state="the data and the release are in place",
                next_action="see why users do not reach it; 'slipway status' shows what serves",
            )
        said.append(f"{len(service.smoke)} requests to {site.environment.url} are answered")


def _plan_of(estate: OpenEstate, request: RecoverRequest) -> tuple[str, FailoverPlan] | None:
    """Return the failover whose names are pointed; None where no site was named.

    Raises:
        Refused: there is none for the service with that site.
    """
    if not request.site:
        return None
    for name, plan in estate.file.failovers.items():
        if (plan.service, plan.environment) == (request.service, request.environment) and request.site in plan.sites:
            return name, plan
    raise Refused(
        f"no failover of {request.service} in {request.environment} has a site in {request.site!r}",
        on="the request",
        next_action="name a region of its failover in the estate file, or none: then the names stay as they are",
    )
