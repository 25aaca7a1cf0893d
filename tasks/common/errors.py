"""The three meanings that an error can have for whoever has to act on it.

A driver decides which one applies (house rule 7); everybody above only reads it. Each error carries what failed, on
what, the state that things are in now and the next action, so that one readable block can be shown everywhere.
"""

from collections.abc import Mapping

UNCHANGED = "nothing was changed"
"""The state of an error that says nothing else."""


class SlipwayError(Exception):
    """Something failed, and the operator is told what, on what, the state now and what to do next.

    Args:
        what: what failed, one sentence without a full stop, no secrets.
        on: the thing that it failed on (service, environment, server, file).
        state: what is true now ("nothing was changed", "v1 serves 100 % of the traffic").
        next_action: what the operator does next, in the imperative.
        facts: further named figures; printed one a line, and kept in the ledger.
    """

    meaning = "Failed"

    def __init__(
        self,
        what: str,
        *,
        on: str,
        state: str = UNCHANGED,
        next_action: str,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        self.what = what
        self.on = on
        self.state = state
        self.next_action = next_action
        self.facts = dict(facts or {})
        super().__init__(what)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling: Prefect moves exceptions between processes."""
        return (_rebuild, (type(self), self.what, self.on, self.state, self.next_action, self.facts))

    def __str__(self) -> str:
        """Return the whole block, since logs and Prefect states show nothing but str(error)."""
        return self.block()

    def block(self) -> str:
        """Return the readable block: one line each for what, on, state and next, then the facts."""
        rows = [("on", self.on), ("state", self.state), ("next", self.next_action)]
        rows += [(name, str(value)) for name, value in self.facts.items()]
        width = max(len(name) for name, _ in rows) + 1
        lines = [f"{self.meaning}: {self.what}"]
        for name, value in rows:
            first, *rest = value.splitlines() or [""]
            lines.append(f"  {name + ':':<{width}} {first}")
            lines += [f"  {'':<{width}} {line}" for line in rest]
        return "\n".join(lines)


def _rebuild(
    kind: type[SlipwayError], what: str, on: str, state: str, next_action: str, facts: Mapping[str, object]
) -> SlipwayError:
    return kind(what, on=on, state=state, next_action=next_action, facts=facts)


class Retryable(SlipwayError):
    """The same call may succeed later; calling it again does no harm."""

    meaning = "Failed (may be retried)"


class Refused(SlipwayError):
    """A precondition is false; nothing was changed, and calling again without a change will be refused again."""

    meaning = "Refused"


class Unsafe(SlipwayError):
    """The state of production is unknown or wrong: stop, page a person."""

    meaning = "UNSAFE"
