"""Whether a site is down, by what several vantage points have seen: a state machine without a clock. Pure.

One point says a site is down when enough looks in a row have failed, and up again when enough have succeeded. A look
that reached none of the control addresses says nothing: then it is the point that is cut off. A site is down when a
quorum of the points says so, and the outage is over when a quorum says that it is up.
*Source:* DR-2: every 10 s, 3 failures in a row.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tasks.failover.model import Detection, Finding


@dataclass(frozen=True)
class Look:
    """What one vantage point has seen of one site in one look.

    Args:
        site: whether the site answered.
        database: whether its database takes writes.
        control: whether any of the control addresses answered.
    """

    site: bool
    database: bool
    control: bool


class Says(StrEnum):
    """What one vantage point says of a site."""

    UP = "up"
    SITE_DOWN = "site down"
    DATABASE_DOWN = "database down"
    NOTHING = "nothing"
    """It was not heard of, or reaches nothing at all, or has not looked often enough."""


@dataclass(frozen=True)
class Point:
    """What is kept of one vantage point and one site.

    Args:
        says: what it says.
        failed: looks in a row that have failed.
        unreached: looks in a row that have not reached the site at all.
        succeeded: looks in a row that have succeeded.
        since: when the first of the failures in a row was seen.
    """

    says: Says = Says.NOTHING
    failed: int = 0
    unreached: int = 0
    succeeded: int = 0
    since: datetime | None = None


@dataclass(frozen=True)
class Rule:
    """How sure a detector must be.

    Args:
        points: names of the vantage points.
        quorum: how many of them must agree; more than half.
        failures: looks in a row that must fail.
        recoveries: looks in a row that must succeed.
    """

    points: tuple[str, ...]
    quorum: int
    failures: int = 3
    recoveries: int = 3


@dataclass(frozen=True)
class State:
    """What is known of one site.

    Args:
        points: by name.
        finding: of the site.
        down: what the outage is that goes on; None where there is none.
    """

    points: Mapping[str, Point] = field(default_factory=dict)
    finding: Finding = Finding.UNKNOWN
    down: Detection | None = None


@dataclass(frozen=True)
class Change:
    """An outage has begun, or is over.

    Args:
        detection: of the outage.
        over: whether it is over.
    """

    detection: Detection
    over: bool


def advance(
    state: State, region: str, looks: Mapping[str, Look | None], at: datetime, rule: Rule
) -> tuple[State, Change | None]:
    """Return what is known after a round of looks, and whether an outage has begun or is over by it.

    An outage begins once: it is not told again before it is over.

    Args:
        state: what was known before.
        region: the site.
        looks: by vantage point; None where one was not heard of.
        at: when the round was; aware.
        rule: how sure to be.
    """
    points = {name: _heard(state.points.get(name, Point()), looks.get(name), at, rule) for name in rule.points}
    finding = _found(points, rule)
    if state.down is None and finding in (Finding.SITE_DOWN, Finding.DATABASE_DOWN):
        down = _detection(region, finding, points, rule, at)
        return State(points, finding, down), Change(down, over=False)
    if state.down is not None and finding is Finding.UP:
        return State(points, finding), Change(state.down, over=True)
    return State(points, finding, state.down), None


def _heard(point: Point, look: Look | None, at: datetime, rule: Rule) -> Point:
    if look is None or not (look.control or look.site):
        # A point that is cut off must not go on to say what it said long ago.
        return Point()
    if look.site and look.database:
        succeeded = point.succeeded + 1
        up = point.says is Says.UP or succeeded >= rule.recoveries
        return Point(Says.UP if up else point.says, succeeded=succeeded, since=None if up else point.since)
    failed, unreached = point.failed + 1, 0 if look.site else point.unreached + 1
    since = point.since if point.failed and point.since is not None else at
    says = point.says
    if failed >= rule.failures:
        # A site that answered once in the meantime is not gone, whatever is wrong with its database.
        says = Says.SITE_DOWN if unreached >= rule.failures else Says.DATABASE_DOWN
    return Point(says, failed, unreached, since=since)


def _found(points: Mapping[str, Point], rule: Rule) -> Finding:
    says = Counter(point.says for point in points.values())
    down = says[Says.SITE_DOWN] + says[Says.DATABASE_DOWN]
    if says[Says.SITE_DOWN] >= rule.quorum:
        return Finding.SITE_DOWN
    if down >= rule.quorum:
        return Finding.DATABASE_DOWN
    if says[Says.UP] >= rule.quorum:
        return Finding.NETWORK if down else Finding.UP
    return Finding.NETWORK if down and says[Says.UP] else Finding.UNKNOWN


def _detection(region: str, finding: Finding, points: Mapping[str, Point], rule: Rule, at: datetime) -> Detection:
    agreeing = [point for point in points.values() if point.says in (Says.SITE_DOWN, Says.DATABASE_DOWN)]
    if finding is Finding.SITE_DOWN:
        agreeing = [point for point in agreeing if point.says is Says.SITE_DOWN]
    since = min((point.since for point in agreeing if point.since is not None), default=at)
    return Detection(region, finding, len(agreeing), rule.quorum, since)
