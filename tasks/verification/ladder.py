"""The ladder of a verification: which rungs there are, which are climbed, and what they say together."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.common import backups
from tasks.common.backups import Form, Rung, RungOutcome, Verification
from tasks.common.errors import Refused, Unsafe
from tasks.verification.model import Finding

_CLUSTER = frozenset({Form.CLUSTER})
_DATABASE = backups.OF_POSTGRESQL
_ANY = frozenset(Form)


@dataclass(frozen=True)
class Place:
    """Where a rung is in the ladder.

    Args:
        name: the rung's.
        level: how high it is; rungs of one level do not depend on each other.
        forms: what it applies to.
        timed: whether it is part of the measured RTO.
    """

    name: str
    level: int
    forms: frozenset[Form]
    timed: bool = True


FRESHNESS = backups.FRESHNESS
REPOSITORY = "repository"
RESTORE = backups.RESTORE
PAGES = "page checksums"
STRUCTURE = "structure"
READING = "full read"
SCHEMA = "schema"
COUNTS = "row counts"
SEQUENCES = "sequences"
FOREIGN_KEYS = "foreign keys"
EXPECTATIONS = "expectations"
HEARTBEAT = backups.HEARTBEAT

LADDER = (
    # How old it is says nothing of whether it can be restored: whoever may be about to lose WAL has to know both.
    Place(FRESHNESS, 9, _ANY, timed=False),
    Place(REPOSITORY, 1, _ANY, timed=False),
    Place(RESTORE, 2, _ANY),
    Place(PAGES, 3, _CLUSTER),
    Place(STRUCTURE, 4, _CLUSTER),
    Place(READING, 5, _DATABASE),
    Place(SCHEMA, 6, _DATABASE),
    Place(COUNTS, 6, _DATABASE),
    Place(SEQUENCES, 6, _DATABASE),
    Place(FOREIGN_KEYS, 6, _DATABASE),
    Place(EXPECTATIONS, 6, _DATABASE),
    Place(HEARTBEAT, 7, _DATABASE, timed=False),
)
"""In the order in which they are climbed. *Source:* reference, backup and disaster recovery, section 3."""

_PLACES = {place.name: place for place in LADDER}
_NOT_FOR_A_DUMP = {
    PAGES: "a dump is loaded into new pages, which say nothing of the old ones",
    STRUCTURE: "a dump is loaded into new tables and indexes, which say nothing of the old ones",
}


def excused(name: str, form: Form, below: Sequence[Rung]) -> Rung | None:
    """Return the rung as left out, if it does not apply to the form or a lower one is broken; else None.

    Args:
        name: of the rung.
        form: of what was restored.
        below: those that were climbed before.
    """
    place = _PLACES[name]
    if form not in place.forms:
        nothing = f"there are no tables in a backup of the form {form.value}"
        why = _NOT_FOR_A_DUMP[name] if form is Form.DUMP else nothing
        return Rung(name, RungOutcome.LEFT_OUT, why, 0.0)
    broken = [each for each in below if each.outcome is RungOutcome.BROKEN and _PLACES[each.name].level < place.level]
    if broken:
        return Rung(name, RungOutcome.LEFT_OUT, f"the rung '{broken[0].name}' below it is broken", 0.0)
    return None


def climb(name: str, form: Form, below: Sequence[Rung], look: Callable[[], Finding]) -> Rung:
    """Return the rung with what was found. A look that is refused, or finds damage, breaks it: that is no pass.

    Raises:
        Retryable: something did not answer; the rung may be climbed again.
    """
    left_out = excused(name, form, below)
    if left_out is not None:
        return left_out
    began = time.monotonic()
    try:
        found = look()
    except (Refused, Unsafe) as error:
        facts = {"on": error.on, "next": error.next_action, **error.facts}
        found = Finding(RungOutcome.BROKEN, error.what, facts)
    return Rung(name, found.outcome, found.said, time.monotonic() - began, found.facts)


def conclude(entry_id: str, run_id: str, began_at: datetime, ended_at: datetime, rungs: Sequence[Rung]) -> Verification:
    """Return what the rungs say together, with the measured RPO and RTO.

    The RTO is the time of the restore and of all looks at the copy; there is none for a copy that is not right.
    """
    measured = next((each.facts.get("rpo_s") for each in rungs if each.name == HEARTBEAT), None)
    restored = any(each.name == RESTORE and each.outcome is RungOutcome.HELD for each in rungs)
    whole = [each for each in rungs if _PLACES[each.name].timed]
    right = restored and all(each.outcome is not RungOutcome.BROKEN for each in whole)
    rto_s = sum(each.took_s for each in whole) if right else None
    rpo_s = float(measured) if isinstance(measured, int | float) else None
    return Verification(entry_id, run_id, began_at, ended_at, tuple(rungs), rpo_s, rto_s)
