"""How many instances a share of the traffic needs.

Weights are counted in thousandths of a per cent, so that sums are exact.
"""

FULL = 100_000
"""All traffic, in thousandths of a per cent."""


def thousandths(weight_percent: float) -> int:
    """Return a percentage in thousandths of a per cent, the step that routers are set in."""
    return round(weight_percent * 1000)


def percent(weight: int) -> float:
    """Return thousandths of a per cent as a percentage."""
    return weight / 1000


def needed(weight: int, floor: int) -> int:
    """Return how many serving instances a slot needs for its weight, when `floor` are needed for all traffic.

    A weight stands for anything that rounds to it: 66.667 % of 3 is 2, not 3.

    Args:
        weight: in thousandths of a per cent.
        floor: instances, from 1 to 100,000.
    """
    return -(-(2 * weight - 1) * floor // (2 * FULL))


def share(serving: int, floor: int) -> int:
    """Return the greatest weight that so many serving instances can take: the inverse of `needed`.

    Args:
        serving: instances, from 0.
        floor: instances that are needed for all traffic, from 1.
    """
    return min(FULL, (2 * FULL * serving // floor + 1) // 2)
