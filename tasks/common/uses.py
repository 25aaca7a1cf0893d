"""Who works with which backup: what a run restores is not expired under it. Pure.

A use is a lease that each run has for itself, so that several may use one backup. It is renewed while its run lives,
and ends by itself after a run that has died. Who uses a backup, and who expires some, pass the same gate one after the
other: so nobody chooses what is being removed. An expiry takes over the uses that have run out, so that a run which was
only paused cannot renew its own: it finds out that its backup may be gone.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from tasks.common.lease import Lease, scope_of

_USES = "use"


class Doing(StrEnum):
    """What a run does with a backup."""

    VERIFIED = "verified"
    RESTORED = "restored"


def gate_of(plan: str) -> str:
    """Return the scope that whoever chooses a backup to use has for a moment, and whoever expires for as long."""
    return scope_of("expire", plan)


def use_of(entry_id: str, doing: Doing, run: str) -> str:
    """Return the scope of one run's use of a backup: 'use/campus-db/1/20261122-010203F/verified/RUN'."""
    return f"{_uses_of(entry_id)}{doing.value}/{run}"


def uses_of_plan(plan: str) -> str:
    """Return how the scopes of all uses of a plan's backups begin."""
    return f"{_USES}/{plan}/"


def live_uses(uses: Iterable[Lease]) -> Mapping[str, list[str]]:
    """Return by whom backups are used now, by their id: 'is being verified by run RUN'.

    Args:
        uses: leases of uses; those that have run out are left out.
    """
    found: dict[str, list[str]] = {}
    for each in uses:
        if each.live:
            entry_id, doing = each.scope.removeprefix(f"{_USES}/").rsplit("/", 2)[:2]
            found.setdefault(entry_id, []).append(f"is being {doing} by run {each.holder}")
    return found


def lapsed_uses(uses: Iterable[Lease], entry_id: str) -> list[Lease]:
    """Return the uses of a backup that have run out, and were not given up."""
    return [each for each in uses if not each.live and each.scope.startswith(_uses_of(entry_id))]


def _uses_of(entry_id: str) -> str:
    return f"{_USES}/{entry_id}/"
