"""Weights as routers take them."""

from collections.abc import Iterable, Mapping

from tasks.common.errors import Refused
from tasks.common.units import show_percent
from tasks.rollout.model import SLOTS, Admission, Member

WHOLE = 100_000
"""100 %, in thousandths of a per cent."""

_TOLERANCE = 1e-6


def shares(weights: Mapping[str, float], members: Iterable[Member], on: str) -> dict[str, int]:
    """Return the share of every slot in thousandths of a per cent, which sum to `WHOLE`.

    Args:
        weights: per cent by slot, in steps of 0.001; a slot that is not named gets nothing.
        members: what the router knows.
        on: whose weights they are, for the error.

    Raises:
        Refused: an unknown slot, weights that do not sum to 100, or weight on a slot without a member that is up.
    """
    unknown = sorted(weights.keys() - set(SLOTS))
    if unknown:
        raise _refused(f"there is no slot {', '.join(unknown)}", on, f"use {' and '.join(SLOTS)}")
    for slot, weight in weights.items():
        if not 0 <= weight <= 100 or abs(weight * 1000 - round(weight * 1000)) > _TOLERANCE:
            raise _refused(f"{slot} cannot have the weight {weight!r}", on, "use 0 to 100 in steps of 0.001")
    found = {slot: round(weights.get(slot, 0.0) * 1000) for slot in SLOTS}
    if sum(found.values()) != WHOLE:
        raise _refused(f"the weights sum to {show_percent(sum(found.values()) / 1000)}", on, "make them sum to 100 %")
    serving = {member.slot for member in members if member.up and member.admission is Admission.IN}
    for slot, share in found.items():
        if share and slot not in serving:
            raise _refused(
                f"{slot} was to get {show_percent(share / 1000)} of the traffic and has no member that is up",
                on,
                f"admit an instance to {slot} that passes its readiness probe, then shift again",
            )
    return found


def _refused(what: str, on: str, next_action: str) -> Refused:
    return Refused(what, on=on, state="nothing was changed; the weights are as before", next_action=next_action)
