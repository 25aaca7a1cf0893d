"""The watch: asks the vantage points about the site that serves, and says when it is down. It is no flow."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from tasks.common.errors import SlipwayError
from tasks.common.failovers import FailoverPlan, Watch
from tasks.common.sites import RegionRole
from tasks.failover.detect import Change, Look, Rule, State, advance
from tasks.failover.ports import Dns

_AGAIN_FOR_S = 120.0
"""An event is sent again for so long: the Prefect server may be away. For 300 s it drops one that it knows (3.8)."""
_MORE_S = 1.0
"""A vantage point that has waited for a site answers a little after that."""

OnChange = Callable[[str, Change], None]
"""Called with the name of the failover where an outage has begun, goes on or is over: again and again at first."""


@dataclass
class Watcher:
    """What is known of the site that serves one failover.

    Args:
        name: of the failover.
        plan: what the estate file says of it.
        roles: of its regions.
        dns: says which site serves.
        tell: is called with each change.
        say: is told a line for whoever follows the process.
    """

    name: str
    plan: FailoverPlan
    roles: Mapping[str, RegionRole]
    dns: Dns
    tell: OnChange
    say: Callable[[str], None]
    serving: str = ""
    state: State = field(default_factory=State)
    telling: tuple[Change, float] | None = None

    @property
    def watch(self) -> Watch:
        """Return how it is watched."""
        assert self.plan.watch is not None, "only failovers with a watch are watched"
        return self.plan.watch

    def round(self) -> Mapping[str, Look | None]:
        """Every vantage point was asked once, and what follows from that was told; returns what they have seen."""
        self._follow_users()
        seen = ask_points(self.name, self.watch)
        looks = {name: each.get(self.serving) if each is not None else None for name, each in seen.items()}
        rule = Rule(tuple(self.watch.points), self.watch.quorum, self.watch.failures, self.watch.recoveries)
        before = self.state.finding
        self.state, change = advance(self.state, self.serving, looks, datetime.now(UTC), rule)
        if self.state.finding is not before:
            self.say(f"{self.name}: {self.serving}: {self.state.finding}")
        if change is not None:
            self.telling = (change, time.monotonic())
        if self.telling is not None:
            told, since_s = self.telling
            self.tell(self.name, told)
            self.telling = self.telling if time.monotonic() - since_s < _AGAIN_FOR_S else None
        return looks

    def _follow_users(self) -> None:
        """The site that the names point to is the one that is watched; a silent DNS changes nothing."""
        regions = {tuple(sorted(site.addresses)): name for name, site in self.plan.sites.items()}
        found = set()
        for name in self.plan.names:
            try:
                found.add(regions.get(self.dns.observe(name).addresses))
            except SlipwayError:
                found.add(None)
        pointed = found.pop() if len(found) == 1 else None
        first = next((name for name, role in self.roles.items() if role is RegionRole.PRIMARY), next(iter(self.roles)))
        serving = pointed or self.serving or first
        if serving != self.serving:
            self.say(f"{self.name}: watching {serving}")
            self.serving, self.state, self.telling = serving, State(), None


def ask_points(failover: str, watch: Watch) -> dict[str, dict[str, Look] | None]:
    """Return what each vantage point sees of each site, all asked at once; None for one that is not heard of."""

    def ask(url: str) -> dict[str, Look] | None:
        try:
            answer = httpx.get(f"{url.rstrip('/')}/looks/{failover}", timeout=watch.within_s + _MORE_S, trust_env=False)
            answer.raise_for_status()
            found = answer.json()
            control = found["control"] is True
            sites = found["sites"].items()
            return {name: Look(each["site"] is True, each["database"] is True, control) for name, each in sites}
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
            return None

    with ThreadPoolExecutor(max_workers=len(watch.points)) as threads:
        asked = {name: threads.submit(ask, point.url) for name, point in watch.points.items()}
        return {name: found.result() for name, found in asked.items()}


def keep_watching(watchers: list[Watcher], stop: threading.Event) -> None:
    """Every failover is watched, each at its own pace, until it is told to stop. Nothing ends it but that."""
    threads = [threading.Thread(target=_keep, args=(each, stop), daemon=True) for each in watchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _keep(watcher: Watcher, stop: threading.Event) -> None:
    next_s = time.monotonic()
    while not stop.wait(max(0.0, next_s - time.monotonic())):
        next_s = max(next_s + watcher.watch.every_s, time.monotonic())
        try:
            watcher.round()
        except Exception as error:
            # A watch that has ended sees no outage at all.
            watcher.say(f"{watcher.name}: a round was lost: unexpected {type(error).__name__}: {error}")
