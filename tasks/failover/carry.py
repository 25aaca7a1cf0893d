"""Carries out the steps of a plan over the ports: looks, asks whether a step may be done, and does it. No Prefect."""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.moves import Move
from tasks.common.sites import Answer, Cluster, Door, Region, Upstream
from tasks.common.units import show_duration, show_size
from tasks.failover.model import Act, Phase, Rules, Seen, SiteSeen, Step
from tasks.failover.plan import caught_up, guard, plan, require_fenced
from tasks.failover.ports import Dns, SiteCluster, SiteDoor

T = TypeVar("T")
_NEARLY_BYTES = 16 * 2**20
"""A segment of WAL: what is left of it is received while the old site stops."""


@dataclass(frozen=True)
class OpenSite:
    """A site whose drivers are open.

    Args:
        region: where it is.
        cluster: its database.
        door: its entrance.
        addresses: where users reach it, sorted.
        primary_at: host and port where its primary is followed.
    """

    region: Region
    cluster: SiteCluster
    door: SiteDoor
    addresses: tuple[str, ...]
    primary_at: tuple[str, int]


@dataclass(frozen=True)
class Tools:
    """What steps are carried out with.

    Args:
        sites: by region.
        dns: of the names.
        rules: of the failover.
        validate: sends the smoke tests as a user; raises where one fails.
        pause: waits so many seconds between two looks.
        catch_up_s: longest wait for a standby that catches up while users wait, in seconds.
        rebuild_s: longest wait for one that is rebuilt while they do not.
        given_up: regions whose databases did not answer, and which are shut: they are not waited for again.
    """

    sites: Mapping[str, OpenSite]
    dns: Dns
    rules: Rules
    validate: Callable[[str], str]
    pause: Callable[[float], object]
    catch_up_s: float
    rebuild_s: float
    given_up: set[str]


OnStep = Callable[[Step], AbstractContextManager[list[str]]]
"""Opened around each step; what came of it is added to its list."""


def look(tools: Tools, without: Collection[str] = ()) -> Seen:
    """Return the sites and the names as they are now, all asked at the same time. Nothing is changed.

    Args:
        tools: with the drivers.
        without: regions whose databases are not asked.
    """
    with ThreadPoolExecutor(max_workers=max(1, 2 * len(tools.sites) + len(tools.rules.names))) as threads:
        clusters = {
            name: threads.submit(_or_problem, site.cluster.observe)
            for name, site in tools.sites.items()
            if name not in without
        }
        doors = {name: threads.submit(_or_problem, site.door.observe) for name, site in tools.sites.items()}
        answers = {name: threads.submit(_answer, tools.dns, name) for name in tools.rules.names}
        seen = {
            name: _site_seen(
                site,
                clusters[name].result() if name in clusters else (None, "its database did not answer before"),
                doors[name].result(),
            )
            for name, site in tools.sites.items()
        }
        return Seen(seen, {name: found.result() for name, found in answers.items()})


def carry_out(phase: Phase, move: Move, tools: Tools, on_step: OnStep, seen: Seen | None = None) -> None:
    """The steps of this part of the plan are done, those that are still left. *Idempotent:* yes.

    Args:
        phase: the part.
        move: what is planned.
        tools: to do it with.
        on_step: opened around each step.
        seen: what was just seen; without it, it is looked.

    Raises:
        Refused: a step may not be done now; nothing was changed by it.
        Retryable: something did not answer.
        Unsafe: two sites may take writes.
    """
    seen = seen or look(tools, tools.given_up)
    steps = [step for step in plan(move, seen, tools.rules) if step.phase is phase]
    for number, step in enumerate(steps):
        seen = seen if number == 0 else look(tools, tools.given_up)
        seen, refusal = _allowed(step, move, tools, seen)
        with on_step(step) as said:
            try:
                if refusal is not None:
                    raise refusal
                said.append(_act(step, move, tools, seen))
            except SlipwayError as error:
                if not step.best_effort:
                    raise
                said.append(f"not done: {error.what}")
    if phase is Phase.FENCE:
        seen = look(tools, tools.given_up)
        require_fenced(move, seen)
        # Nobody waits for what does not answer, once it does not matter any more what it would say.
        silent = [site for site in seen.sites.values() if site.cluster is None and site.name != move.target]
        tools.given_up.update(site.name for site in silent if site.shut or (move.unfenced and site.name == move.source))


def _allowed(step: Step, move: Move, tools: Tools, seen: Seen) -> tuple[Seen, SlipwayError | None]:
    """Return what was seen at last, and why the step may not be done where it need not be; None where it may.

    A node that is slow to answer once is no reason to give a move up while users wait for it: it is asked again.

    Raises:
        Refused: it may not, and must be done.
        Retryable: something did not answer.
        Unsafe: two sites may take writes.
    """
    began_s, pause_s = monotonic(), 0.1
    while True:
        try:
            guard(step, move, seen, tools.rules)
            return seen, None
        except (Refused, Retryable) as error:
            if monotonic() - began_s >= tools.catch_up_s:
                if step.act is Act.FOLLOW and step.best_effort:
                    return seen, error
                raise
        tools.pause(pause_s)
        pause_s = min(pause_s * 1.5, 2.0)
        seen = look(tools, tools.given_up)


def _act(step: Step, move: Move, tools: Tools, seen: Seen) -> str:
    site = tools.sites[step.site]
    match step.act:
        case Act.CLOSE_DOOR:
            site.door.close()
            if seen.sites[step.site].cluster is None:
                tools.given_up.add(step.site)
            return f"{site.door.where} is shut"
        case Act.OPEN_DOOR:
            site.door.open()
            return f"{site.door.where} is open"
        case Act.FENCE:
            if step.site in tools.given_up and step.best_effort:
                return "its database does not answer, and its door is shut: no user reaches it"
            site.cluster.fence()
            return f"nobody of {site.cluster.where} takes writes"
        case Act.PROMOTE:
            site.cluster.promote()
            return f"{site.cluster.where} takes writes"
        case Act.FOLLOW:
            site.cluster.follow(_upstream(tools.sites[step.toward], seen.sites[step.toward]), rebuild=step.rebuild)
            return f"it follows {step.toward}"
        case Act.POINT:
            for name in step.names:
                tools.dns.point(name, site.addresses, tools.rules.ttl_s)
            return f"{', '.join(step.names)}: {', '.join(site.addresses)}, kept for {tools.rules.ttl_s} s at most"
        case Act.CATCH_UP | Act.NEARLY_CAUGHT_UP:
            return _await_caught_up(step, move, tools, seen)
        case Act.VALIDATE:
            return tools.validate(step.site)


def _await_caught_up(step: Step, move: Move, tools: Tools, seen: Seen) -> str:
    within_s = tools.catch_up_s if step.act is Act.CATCH_UP else tools.rebuild_s
    began_s, pause_s = monotonic(), 0.1
    while True:
        exact = caught_up(move, seen)
        cluster = seen.sites[step.site].cluster
        behind = cluster.lag_bytes if cluster is not None and cluster.streaming else None
        if exact or (step.act is Act.NEARLY_CAUGHT_UP and behind is not None and behind <= _NEARLY_BYTES):
            return "it has everything" if exact else f"it is {show_size(behind or 0)} behind"
        if monotonic() - began_s > within_s:
            raise Retryable(
                f"{step.site} did not catch up with {step.toward} within {show_duration(within_s)}",
                on=str(move),
                state=f"{step.toward} takes no writes" if step.act is Act.CATCH_UP else f"{step.toward} serves",
                next_action="see why it receives nothing, or too slowly; then run this again",
                facts={"behind": "unknown" if behind is None else show_size(behind)},
            )
        tools.pause(pause_s)
        pause_s = min(pause_s * 1.5, 2.0)
        seen = look(tools, tools.given_up)


def _upstream(source: OpenSite, seen: SiteSeen) -> Upstream:
    host, port = source.primary_at
    assert seen.cluster is not None, "the guard has seen that it serves"
    return Upstream(source.region.name, host, port, seen.cluster.system_id)


def _site_seen(site: OpenSite, cluster: tuple[Cluster | None, str], door: tuple[Door | None, str]) -> SiteSeen:
    host, port = site.primary_at
    problem = "; ".join(filter(None, (cluster[1], door[1])))
    return SiteSeen(site.region, cluster[0], door[0], site.addresses, f"{host}:{port}", problem)


def _or_problem(observe: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return observe(), ""
    except (Retryable, Refused) as error:
        return None, error.what


def _answer(dns: Dns, name: str) -> Answer | None:
    return _or_problem(lambda: dns.observe(name))[0]
