"""Verdicts over samples: what lets a rollout go on, what turns it back, and what only makes it wait."""

import math
from collections.abc import Sequence
from typing import Protocol

from tasks.analysis.model import Decision, Sample, Verdict
from tasks.common.model import Unit, show_quantity
from tasks.common.promql import fill, window


class Judge(Protocol):
    """Turns samples into a verdict. `judge` is one; a statistical one has the same shape."""

    def __call__(self, samples: Sequence[Sample], *, deadline_passed: bool) -> Verdict:
        """Return the verdict; PASS only where the data says so."""
        ...


def judge(samples: Sequence[Sample], *, deadline_passed: bool) -> Verdict:
    """Return PASS if every check has data and holds, ROLL_BACK if one is broken or data never came, else HOLD.

    No data is not a pass, and no timer makes it one: when the deadline has passed it is a failure. A relative check
    needs data of both releases. Where stable measures 0 the bound is 0 as well: a candidate's first error breaks
    `at_most_times_stable`, and `at_least_times_stable` holds.

    Args:
        samples: one for each configured check, with None where there is no data. An empty list means that no checks
            are configured, and passes.
        deadline_passed: the time to wait for data is over.

    Raises:
        ValueError: a bound is not written in its metric's unit.

    *Source:* house rule 9; requirements, REL-6 and REL-7.
    """
    broken = [_reason(sample) for sample in samples if _holds(sample) is False]
    if broken:
        return Verdict(Decision.ROLL_BACK, tuple(broken))
    silent = [f"no data for {_silent_side(sample)}" for sample in samples if _holds(sample) is None]
    if silent and deadline_passed:
        return Verdict(Decision.ROLL_BACK, tuple(f"{reason}, and the time to wait for it is over" for reason in silent))
    if silent:
        return Verdict(Decision.HOLD, tuple(silent))
    return Verdict(Decision.PASS, tuple(map(_reason, samples)) or ("no checks are configured",))


def triggers(samples: Sequence[Sample]) -> Verdict:
    """Return ROLL_BACK if a check is broken, else PASS: without data nothing is known to be broken.

    For the checks that roll back at once, at any stage. They come on top of the stage's checks, whose verdict is what
    needs data.

    Raises:
        ValueError: a bound is not written in its metric's unit.
    """
    broken = [_reason(sample) for sample in samples if _holds(sample) is False]
    if broken:
        return Verdict(Decision.ROLL_BACK, tuple(broken))
    held = [_reason(s) if _holds(s) else f"no data for {_silent_side(s)}, which triggers nothing" for s in samples]
    return Verdict(Decision.PASS, tuple(held) or ("no triggers are configured",))


def expression(query: str, *, service: str, environment: str, slot: str, release: str, window_s: float) -> str:
    """Return the query with `$service`, `$environment`, `$slot`, `$release` and `$window` filled in.

    Args:
        query: PromQL with names.
        service: its name.
        environment: its name.
        slot: the slot that is measured.
        release: the release that is measured.
        window_s: how far back to look, above 0; whole milliseconds are kept.

    Raises:
        ValueError: an unknown name, a window that is not above zero, or a value that would end a string in the query.
    """
    values = {
        "service": service,
        "environment": environment,
        "slot": slot,
        "release": release,
        "window": window(window_s),
    }
    return fill(query, values)


def _holds(sample: Sample) -> bool | None:
    """Return whether the check holds; None where there is no data."""
    check, bound = sample.check, sample.check.bound(sample.unit)
    value = _figure(sample.candidate)
    if _relative(sample):
        stable = _figure(sample.stable)
        if stable is None:
            return None
        bound *= stable
    if value is None:
        return None
    if check.at_most is not None or check.at_most_times_stable is not None:
        return value <= bound
    return value >= bound


def _reason(sample: Sample) -> str:
    """Return 'error rate 5.2 % > 2 % (stable 0 %)', or the same with the sign of a check that holds."""
    check, bound = sample.check, sample.check.bound(sample.unit)
    upper = check.at_most is not None or check.at_most_times_stable is not None
    sign = {(True, True): "<=", (True, False): ">", (False, True): ">=", (False, False): "<"}[
        upper, bool(_holds(sample))
    ]
    found = f"{_words(check.metric)} {_shown(sample.candidate, sample.unit)} {sign}"
    stable = _figure(sample.stable)
    if _relative(sample):
        return f"{found} {bound:g} x stable ({_shown(stable, sample.unit)})"
    return f"{found} {_shown(bound, sample.unit)}" + (
        f" (stable {_shown(stable, sample.unit)})" if stable is not None else ""
    )


def _silent_side(sample: Sample) -> str:
    sides = [
        side
        for side, value in (("candidate", sample.candidate), ("stable", sample.stable))
        if _figure(value) is None and (side == "candidate" or _relative(sample))
    ]
    return f"{_words(sample.check.metric)} of the {' and the '.join(sides)}"


def _relative(sample: Sample) -> bool:
    return sample.check.at_most_times_stable is not None or sample.check.at_least_times_stable is not None


def _figure(value: float | None) -> float | None:
    """Return the value, or None where it is no figure: nothing can be said about NaN."""
    return value if value is not None and math.isfinite(value) else None


def _words(metric: str) -> str:
    return metric.replace("_", " ").replace("-", " ")


def _shown(value: float | None, unit: Unit) -> str:
    assert value is not None, "only what was measured is shown"
    return show_quantity(value, unit)
