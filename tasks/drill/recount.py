"""What is kept of a drill so that anybody can count again, and what counting again has come to. Pure."""

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


def facts_of(one: Round, digest: str) -> dict[str, Any]:
    """Return a round as it is on record.

    Args:
        one: the round.
        digest: of the client's log.
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
        "together": [asdict(each) for each in one.together],
        "unseen_s": dict(one.unseen_s),
        "leaders": [list(each) for each in one.leaders],
        "probes": [asdict(each) for each in one.probes],
        "aborted": one.aborted,
        "late_s": one.late_s,
        "by_hand": list(one.by_hand),
        "moments": dict(one.moments),
        "log": digest,
    }


COMPARED = ("outcome", "rto_s", "rto_reads_s", "acknowledged", "lost", "rpo_s", "together", "problems", "log")


def differences(recorded: Mapping[str, object], counted: Mapping[str, object]) -> tuple[str, ...]:
    """Return what counting again has found to be otherwise than it is on record."""
    plain = json.loads(json.dumps(counted))
    return tuple(
        f"{name}: {recorded.get(name)} is on record, {plain.get(name)} was counted"
        for name in COMPARED
        if recorded.get(name) != plain.get(name)
    )
