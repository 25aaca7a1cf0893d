"""What a move between sites would do now, without doing it."""

from dataclasses import dataclass

from blocks.estate import open_estate
from tasks.common.lease import scope_of
from tasks.common.moves import MoveKind, last_target, open_move
from tasks.failover.carry import look
from tasks.failover.decide import decide, show_loss
from tasks.failover.plan import plan
from tasks.failover.report import plan_lines
from tasks.failover.request import MoveRequest
from tasks.failover.steps import LOOK_BACK, open_tools


@dataclass(frozen=True)
class PlannedMove:
    """What would be done: from where to where, the steps in order, what a person has to know."""

    what: str
    steps: tuple[str, ...]
    remarks: tuple[str, ...]


def plan_move(flow: str, request: MoveRequest) -> PlannedMove:
    """Return what a move would do, in order, and what a person has to know. Nothing is changed.

    Raises:
        Refused: it would be refused.
        Unsafe: two sites take writes.
        Retryable: what has to be known does not answer.
    """
    estate = open_estate(request.estate)
    tools = open_tools(estate, request.failover)
    estate.ledger.prepare()
    history = estate.ledger.moves.history(request.failover, LOOK_BACK)
    seen = look(tools)
    wish = request.wish(MoveKind(flow))
    found = decide(wish, seen, tools.rules, "a plan", open_move(history), last_target(history))
    remarks = [f"lost: {show_loss(found.loss)} ({found.loss.how})", *found.remarks]
    lease = estate.ledger.leases.find(scope_of("failover", request.failover))
    if lease is not None and lease.live:
        remarks.append(f"run {lease.holder} moves it now, or waits for an answer before it does")
    return PlannedMove(str(found.move), plan_lines(found, plan(found.move, seen, tools.rules)), tuple(remarks))
