"""What is kept of a drill so that anybody can count again, and what counting again has come to. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.drill.judge import Round, Seen


@dataclass(frozen=True)
class Kept:
    """What a round leaves besides the client's log.

    Args:
        number: of the round, from 1.
        moments: when what has happened, in seconds of the monotonic clock.
        there: ids that were read when all was well again; None where they could not be.
        probes: what they have seen.
        aborted: the rule that has ended it early.
        by_hand: what a person has to do.
        objectives: what had to be achieved, in seconds: 'rto', 'rpo'.
    """

    number: int
    moments: Mapping[str, float]
    there: Sequence[str] | None
    probes: Sequence[Seen]
    aborted: str
    by_hand: Sequence[str]
    objectives: Mapping[str, float]

    def text(self) -> str:
        """Return it as it is kept."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read_kept(text: str) -> Kept:
    """Return what was kept.

    Raises:
        ValueError: it is something else.
    """
    try:
        data = json.loads(text)
        return Kept(**{**data, "probes": tuple(Seen(**each) for each in data["probes"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"no round of a drill ({type(error).__name__})") from None


_BLOCK = 50
_DIGITS = 12


@dataclass(frozen=True)
class Seal:
    """By what a log is known again, and by which lines it is another one.

    Args:
        digest: of all of it.
        blocks: beginnings of the digests of every 50 lines.
    """

    digest: str
    blocks: tuple[str, ...]


def seal(lines: Sequence[str]) -> Seal:
    """Return the seal of a log's lines."""
    blocks = ["".join(lines[start : start + _BLOCK]) for start in range(0, len(lines), _BLOCK)]
    return Seal(f"sha256:{_digest(''.join(lines))}", tuple(_digest(each)[:_DIGITS] for each in blocks))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def facts_of(one: Round, of_log: Seal) -> dict[str, Any]:
    """Return a round as it is on record.

    Args:
        one: the round.
        of_log: the seal of the client's log.
    """
    lost = one.loss
    return {
        "outcome": one.outcome.value,
        "expected": one.expected.value,
        "passed": one.passed,
        "problems": list(one.problems),
        "rto_s": one.recovery.rto_s,
        "over": one.recovery.ended,
        "rto_reads_s": one.recovery_reads.rto_s,
        "acknowledged": lost.acknowledged if lost is not None else None,
        "lost": list(lost.lost) if lost is not None else None,
        "rpo_s": lost.rpo_s if lost is not None else None,
        "unknown_there": lost.unknown_there if lost is not None else None,
        "failed_there": list(lost.failed_there) if lost is not None else None,
        "unsent_there": list(lost.unsent_there) if lost is not None else None,
        "together": [asdict(each) for each in one.together],
        "unseen_s": dict(one.unseen_s),
        "leaders": [list(each) for each in one.leaders],
        "probes": [asdict(each) for each in one.probes],
        "aborted": one.aborted,
        "late_s": one.late_s,
        "by_hand": list(one.by_hand),
        "moments": dict(one.moments),
        "log": of_log.digest,
        "blocks": list(of_log.blocks),
    }


COMPARED = (
    "outcome",
    "rto_s",
    "rto_reads_s",
    "acknowledged",
    "lost",
    "rpo_s",
    "unknown_there",
    "failed_there",
    "unsent_there",
    "together",
    "problems",
    "log",
)


def differences(recorded: Mapping[str, object], counted: Mapping[str, object]) -> tuple[str, ...]:
    """Return what counting again has found to be otherwise than it is on record."""
    plain = json.loads(json.dumps(counted))
    found = [
        f"{name}: {recorded[name]} is on record, {plain[name]} was counted"
        for name in COMPARED
        if name in recorded and recorded[name] != plain[name]
    ]
    return (*found, *_changed(list(recorded.get("blocks") or ()), plain["blocks"]))  # type: ignore[call-overload]


def _changed(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Return where the log is not as it was. From the first line that was added or is missing, every block differs."""
    if not before or before == now:
        return []
    first = next((at for at, (one, other) in enumerate(zip(before, now, strict=False)) if one != other), len(now))
    until = f" to {first * _BLOCK + _BLOCK}" if before[first + 1 :] == now[first + 1 :] else " on"
    return [f"the client's log: from line {first * _BLOCK + 1}{until}, it is not as it was when it was recorded"]
