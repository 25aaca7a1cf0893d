"""The undo journal: what has to be undone, until when, whoever is still alive. Pure.

An entry is written, and is on the disk, before the fault is injected. So there may be one whose fault was never
injected, and never a fault without one. Expiry goes by the clock that nobody sets, as long as the machine runs.

*Source:* write-ahead logging (Mohan et al., ARIES, 1992).
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from tasks.common.errors import Unsafe

FORMAT = 1
SUFFIX = ".json"
GRACE_S = 30.0
"""A drill undoes its own faults; the reaper does where that has not come about for so long."""


@dataclass(frozen=True)
class Now:
    """A moment, by both clocks.

    Args:
        at: by the wall clock; aware.
        boot_s: seconds since the machine was started, its sleep included.
        boot_id: changes when it is started anew.
    """

    at: datetime
    boot_s: float
    boot_id: str


@dataclass(frozen=True)
class Entry:
    """A fault that may be there, and what undoes it.

    Args:
        id: unique; names its file.
        drill: name of the experiment.
        run_id: the flow run that it is of.
        number: of the fault within the drill, from 0; undone the last one first.
        driver: name of the fault's driver.
        settings: of the driver; references in place of secrets.
        aim: what exactly is hit, and what is needed to undo it.
        base: folder that relative paths of the settings start from.
        tools: folders in front of the PATH.
        written: when it was written.
        expires_s: so long after that it is undone by whoever sees it.
        node: what it is about; '' where no node is.
    """

    id: str
    drill: str
    run_id: str
    number: int
    driver: str
    settings: Mapping[str, Any]
    aim: Mapping[str, Any]
    base: str
    written: Now
    expires_s: float
    tools: tuple[str, ...] = ()
    node: str = ""

    def __str__(self) -> str:
        """Return 'kill on a1 of postmaster-killed'."""
        return f"{self.driver}{f' on {self.node}' if self.node else ''} of {self.drill}"


def left_s(entry: Entry, now: Now) -> float:
    """Return the seconds until an entry expires; 0 or less: it has expired.

    After a new start of the machine it has: whoever was to undo it is gone, and undoing what is gone does no harm. A
    wall clock that is set changes nothing.
    """
    if now.boot_id != entry.written.boot_id:
        return 0.0
    return entry.written.boot_s + entry.expires_s - now.boot_s


def due(entries: Iterable[Entry], now: Now) -> tuple[Entry, ...]:
    """Return the entries to be undone now, in the order of undoing: of each run the last fault first.

    If one fault of a run has expired, all of the run have: a cut link is not mended under a stopped server that nobody
    would continue.
    """
    known = list(entries)
    expired = {each.run_id for each in known if left_s(each, now) <= 0}
    return in_order(each for each in known if each.run_id in expired)


def in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries in the order of undoing: of each run the last fault first, runs as they were begun."""
    return tuple(sorted(entries, key=lambda each: (each.written.at, each.run_id, each.id)))[::-1]


def write(entry: Entry) -> str:
    """Return the text of an entry, with a digest: half an entry, or one that was tampered with, undoes nothing."""
    data = asdict(entry)
    data["written"]["at"] = entry.written.at.isoformat()
    body = json.dumps({"format": FORMAT, **data}, ensure_ascii=False, allow_nan=False, sort_keys=True)
    return json.dumps({"entry": json.loads(body), "digest": _digest(body)}, ensure_ascii=False, indent=1) + "\n"


def read(text: str, origin: str) -> Entry:
    """Return the entry of a text.

    Raises:
        Unsafe: it is not as it was written, so nobody knows what has to be undone.
    """
    try:
        outer = json.loads(text)
        body = outer["entry"]
        if outer["digest"] != _digest(json.dumps(body, ensure_ascii=False, allow_nan=False, sort_keys=True)):
            raise ValueError("the digest is another one")
        if body.pop("format") != FORMAT:
            raise ValueError("another format")
        written = Now(datetime.fromisoformat(body["written"]["at"]), *_clock(body["written"]))
        if written.at.utcoffset() is None or not math.isfinite(float(body["expires_s"])):
            raise ValueError("a time without a zone, or without an end")
        entry = Entry(**{**body, "written": written, "tools": tuple(body["tools"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unsafe(
            f"an entry of the undo journal is not as it was written ({type(error).__name__})",
            on=origin,
            state="a fault may be in place that nobody undoes",
            next_action="read the file for what was injected where, undo it by hand, then move the file away",
        ) from None
    return entry


def now_of(at: datetime, boot_s: float, boot_id: str) -> Now:
    """Return the moment, in UTC."""
    return Now(at.astimezone(UTC), boot_s, boot_id)


def _clock(written: Mapping[str, Any]) -> tuple[float, str]:
    return float(written["boot_s"]), str(written["boot_id"])


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
