"""Figure 7: how long it takes to decide which of very many backups stay.

No server has a part in it: it is one call of a pure function.
"""

import time
from datetime import timedelta

from tasks.backup.retention import Decision, plan_retention
from tasks.common.backup_plans import Retention
from tasks.common.backups import Entry
from tests.bench.arithmetic import Spread
from tests.bench.report import Section
from tests.support.catalogue import NOW, entry

CLAIM = (
    "Which of 100,000 backups stay, and why, is planned in under 1 s: increments every 6 minutes with a full one each "
    "week, some of them verified, found unsound or held, in two repositories."
)
_BOUND_S = 1.0
_TIMES = 5
_EVERY = timedelta(minutes=6)
_CHAIN = 7 * 24 * 10
_VERIFIED, _UNSOUND, _HELD = 240, 1009, 9973


def measure(count: int) -> Section:
    """Return how long the plan of `count` backups takes."""
    entries = made(count)
    took = []
    plan: tuple[Decision, ...] = ()
    for _ in range(_TIMES):
        began_s = time.monotonic()
        plan = plan_retention(entries, Retention(), NOW)
        took.append(time.monotonic() - began_s)
    spread, kept = Spread.of(took), sum(each.keep for each in plan)
    facts = (
        f"{count:,} backups were planned in {spread}.",
        f"{kept:,} of them stay: the numbers of the plan ask for few, and each of these needs all of its chain.",
    )
    return Section(
        name="retention",
        title="Retention",
        claim=CLAIM,
        met=spread.median < _BOUND_S and count >= 100_000,
        facts=facts,
        data={"backups": count, "kept": kept, "took_s": took},
    )


def made(count: int) -> list[Entry]:
    """Return the backups, newest first; each increment needs the full one and the one before."""
    began = NOW - count // 2 * _EVERY
    found: list[Entry] = []
    for repository in (1, 2):
        needs: list[str] = []
        for number in range(count // 2):
            at = began + number * _EVERY
            one = entry(
                at,
                repository=repository,
                needs=needs if number % _CHAIN else (),
                verified_at=at + timedelta(hours=1) if number % _VERIFIED == 0 else None,
                unsound_at=at + timedelta(hours=2) if number % _UNSOUND == 0 else None,
                held="audit" if number % _HELD == 0 else "",
            )
            needs = [one.stored.label] if number % _CHAIN == 0 else [needs[0], one.stored.label]
            found.append(one)
    return found[::-1]
