"""A Prefect server is brought to the state that an estate wants: looked at, compared, changed, looked at again."""

from collections.abc import Callable

from deployments.flow_specs import flow_specs, require_parameters
from tasks.common.errors import Refused
from tasks.common.estate import Estate
from tasks.server.model import Change, Plan, Verb
from tasks.server.plan import plan
from tasks.server.ports import Server
from tasks.server.wanted import wanted


def survey(estate: Estate, server: Server) -> Plan:
    """Return what would be changed; nothing is.

    Raises:
        Refused: the estate wants something that cannot be.
        Retryable: the server does not answer.
    """
    goal = wanted(flow_specs(), estate)
    require_parameters(estate)
    return plan(goal, server.observe())


def carry_out(estate: Estate, server: Server, planned: Plan, say: Callable[[str], None]) -> None:
    """The server is as the estate wants it. *Idempotent:* yes; killed in between, it is carried on by the next one.

    Args:
        estate: that wants it.
        server: that is changed.
        planned: what is to be changed there.
        say: is told of each change when it is done.

    Raises:
        Refused: the server does not take a change, or was changed by somebody else meanwhile.
        Retryable: the server does not answer; what was said is done.
    """
    acts = {Verb.MAKE: server.make, Verb.CHANGE: server.change, Verb.REMOVE: server.remove}
    for change in planned.changes:
        acts[change.verb](change.resource)
        say(done(change))
    left = survey(estate, server).changes
    if left:
        raise Refused(
            "the Prefect server is not as it was just made",
            on="\n".join(map(str, left)),
            state="every change of the plan was made; this is different all the same",
            next_action="somebody or something else changes it: find out who; then 'slipway apply --plan' again",
        )


def done(change: Change) -> str:
    """Return 'made deployment release/slipway'."""
    return f"{_DONE[change.verb]} {change.resource}"


_DONE = {Verb.MAKE: "made", Verb.CHANGE: "changed", Verb.REMOVE: "removed"}
