"""What there is to look at in an environment, and looking at all of it side by side."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from tasks.common.errors import SlipwayError
from tasks.common.estate import Environment
from tasks.common.preflight import ServerCertificate
from tasks.preflight.judge import judge_capacity, judge_certificate, judge_free, judge_routing
from tasks.preflight.model import Finding, Look, Looked
from tasks.preflight.ports import Network, Place

_AT_ONCE = 32


def look(name: str, ask: Callable[[], object]) -> Look:
    """Return a look that is well where `ask` does not raise; text that it returns is what was found."""

    def asked() -> list[Finding]:
        found = ask()
        return [Finding(name, True, found if isinstance(found, str) else "answers")]

    return Look(name, asked)


def site_looks(where: str, site: Place, network: Network) -> list[Look]:
    """Return what there is to look at in one environment, whatever is released there (REL-3).

    Args:
        where: first word of each finding's name.
        site: one service in the environment.
        network: looks at servers.
    """
    wanted = site.environment.preflight
    return [
        look(f"{where}: runtime answers", lambda: f"{len(site.runtime.observe())} instances"),
        Look(f"{where}: capacity", lambda: judge_capacity(where, site.runtime.capacity(), site.environment)),
        Look(
            f"{where}: router answers, and stable is healthy",
            lambda: judge_routing(where, site.router.observe(), site.environment),
        ),
        look(f"{where}: metrics answer", site.metrics.check),
        *(_reachable(f"{where}: {each.name} is reachable", each.address, network) for each in wanted.reachable),
        *(_certificate(where, each, site.environment, network) for each in wanted.certificates),
    ]


def workspace_look(environments: Sequence[Environment], free_percent: Callable[[], float]) -> Look:
    """Return the look at the workspace's file system, held against the strictest of the environments' bounds."""
    name, at_least = "workspace: disk", max(each.preflight.disk_free_at_least for each in environments)
    return Look(name, lambda: [judge_free(name, "disk", free_percent(), at_least)])


def examine(looks: Sequence[Look]) -> tuple[Looked, ...]:
    """Return what each look has found, in order; all are made side by side. *Idempotent:* yes; nothing is changed."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return tuple(pool.map(_made, looks))


def _made(each: Look) -> Looked:
    began = time.monotonic()
    try:
        findings = tuple(each.ask())
    except SlipwayError as error:
        says = "".join(f": {value}" for name, value in error.facts.items() if name.endswith("says"))
        findings = (Finding(each.name, False, f"{error.what} [{error.on}]{says}", error.next_action),)
    return Looked(findings, time.monotonic() - began)


def _reachable(name: str, address: str, network: Network) -> Look:
    return look(name, lambda: network.reach(address))


def _certificate(where: str, wanted: ServerCertificate, environment: Environment, network: Network) -> Look:
    whose = f"{wanted.server_name} at {wanted.address}" if wanted.server_name else wanted.address
    name = f"{where}: certificate of {whose}"
    valid_for_s = environment.preflight.certificate_valid_for_s

    def ask() -> list[Finding]:
        found = network.certificate(wanted.address, wanted.server_name, wanted.ca)
        return [judge_certificate(name, found, datetime.now(UTC), valid_for_s)]

    return Look(name, ask)
