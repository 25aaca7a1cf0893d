"""The @task functions of moves between sites: thin; only they and the other `*_steps` import Prefect here."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event
from types import MappingProxyType
from urllib.parse import urlsplit

from prefect import task
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from blocks.failovers import failover_plan, open_dns, open_sites, open_visitor, rules_of
from blocks.lease_keeper import KeptLease
from tasks.common.accounts import Done
from tasks.common.errors import Retryable, SlipwayError
from tasks.common.failovers import FailoverPlan
from tasks.common.lease_steps import holder
from tasks.common.moves import DECIDED, PROMOTING, Move, MoveKind, MoveNote, last_target, open_move
from tasks.common.steps import ONCE, done_as
from tasks.failover.carry import Tools, carry_out, look
from tasks.failover.decide import decide as decided
from tasks.failover.decide import loss_on_record, show_loss
from tasks.failover.model import Act, Phase, Seen, Step
from tasks.failover.report import Account
from tasks.failover.request import MoveRequest

LOOK_BACK = 50
"""So many of the latest moves are read: the last one counts."""
_AGAIN_S = 0.5


@dataclass(eq=False)
class Moving:
    """A move between sites on its way, whose run alone may change them.

    Args:
        estate: where the failover is.
        request: what was asked for.
        kind: as what.
        plan: what the estate file says.
        tools: the drivers, open, with the right to change.
        lease: that right.
        account: what was done, for people.

    `seen` is what `decide` saw; `expires_at` while an answer is waited for.
    """

    estate: OpenEstate
    request: MoveRequest
    kind: MoveKind
    plan: FailoverPlan
    tools: Tools
    lease: KeptLease
    account: Account
    seen: Seen | None = None
    expires_at: datetime | None = None
    step_number: int = 0

    def __str__(self) -> str:
        """Return 'campus', as task names show it."""
        return self.request.failover

    @property
    def move(self) -> Move:
        """Return what is carried out."""
        assert self.account.move is not None, "decide comes first"
        return self.account.move

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        return self.estate.context.secrets.redact(text)

    def note(self, kind: str, facts: Mapping[str, object] = MappingProxyType({})) -> None:
        """It is on record. *Idempotent:* yes; the first of a kind stands."""
        move_id = self.account.move.id if self.account.move is not None else holder()
        note = MoveNote(move_id, holder(), self.request.failover, kind, datetime.now(UTC), dict(facts))
        self.estate.ledger.moves.note(note)

    def note_if_it_can(self, kind: str, facts: Mapping[str, object] = MappingProxyType({})) -> None:
        """It is on record, or in the log: users do not wait for a ledger that is away."""
        try:
            self.note(kind, facts)
        except SlipwayError as error:
            get_run_logger().warning("'%s' is not on record: %s", kind, error.what)


def open_tools(estate: OpenEstate, name: str, lease: KeptLease | None = None) -> Tools:
    """Return the drivers of a failover; without a lease, they only observe.

    Raises:
        Refused: there is no such failover.
    """
    plan, dns, visitor = failover_plan(estate, name), open_dns(estate, name, lease), open_visitor(estate, name)
    sites = open_sites(estate, name, lease)
    host = urlsplit(plan.url).hostname or ""

    def validate(region: str) -> str:
        deadline_s = time.monotonic() + plan.smoke_within_s
        while True:
            problem = ""
            try:
                answer = dns.observe(host)
                strange = set(answer.addresses) - set(sites[region].addresses)
                problem = f"{host} points to {', '.join(sorted(strange))}, too" if strange else ""
                visits = [each for at in answer.addresses for each in visitor.visit(plan.url, at, plan.smoke)]
                problem = problem or next((f"{each.label}: {each.problem}" for each in visits if each.problem), "")
                if visits and not problem:
                    return f"{len(visits)} requests to {', '.join(answer.addresses)}, which the DNS gives, are answered"
                problem = problem or f"{host} has no address"
            except Retryable as error:
                problem = error.what
            if time.monotonic() > deadline_s:
                raise Retryable(
                    f"users are not served at {region}: {problem}",
                    on=plan.url,
                    state=f"the database of {region} takes writes, its door is open, and the names point there",
                    next_action=f"see why the application in {region} does not answer; running this again only "
                    "looks once more",
                )
            Event().wait(_AGAIN_S)

    pause = Event().wait
    return Tools(
        sites, dns, rules_of(name, plan), validate, pause, plan.catch_up_within_s, plan.rebuild_within_s, set()
    )


@task(name="decide", task_run_name="decide where {work} goes", **ONCE)
def decide(work: Moving) -> None:
    """It is known and on record what is done, and whether a person is asked before; or it is refused.

    Nothing is changed at the sites.

    Raises:
        Refused: it is not done; why, and what to do in its place.
        Unsafe: two sites take writes.
        Retryable: what has to be known does not answer.
    """
    name, log = work.request.failover, get_run_logger()
    history = work.estate.ledger.moves.history(name, LOOK_BACK)
    work.seen = look(work.tools)
    wish, begun = work.request.wish(work.kind), open_move(history)
    found = decided(wish, work.seen, work.tools.rules, holder(), begun, last_target(history))
    if found.carried_on:
        found = replace(found, loss=loss_on_record(found.move.id, history) or found.loss)
    # A run that was suspended comes here again, and must do what it has asked for.
    account = work.account
    account.decision, account.move = found, found.move
    account.down_since = wish.detection.since if wish.detection is not None else wish.down_since
    if account.down_since is None and not found.move.planned:
        account.remark("nobody said since when users were not served: it is counted from the first step")
    for remark in found.remarks:
        log.warning("%s", work.redact(remark))
        account.remark(work.redact(remark))
    log.info("%s; lost: %s (%s)", found.move, show_loss(found.loss), found.loss.how)


def on_record(work: Moving) -> None:
    """What was decided is on record, so that another run can carry it on. *Idempotent:* yes.

    Raises:
        Retryable: the ledger does not answer; nothing was changed at the sites.
    """
    found = work.account.decision
    assert found is not None, "decide comes first"
    # Who carries a move on may take a risk that nobody has taken before.
    if not found.carried_on or found.move.unfenced:
        loss = {"loss_s": found.loss.seconds, "loss_bytes": found.loss.bytes, "loss": found.loss.how}
        facts = {**found.move.facts, **loss, "by": work.redact(work.account.by), "remarks": list(work.account.remarks)}
        work.note(DECIDED, facts)


def _phase(work: Moving, phase: Phase) -> None:
    work.lease.require()
    # What `decide` saw is a moment old: the first thing that is done need not wait for another look.
    seen, work.seen = work.seen, None
    carry_out(phase, work.move, work.tools, lambda step: on_step(work, step), seen)


@contextmanager
def on_step(work: Moving, step: Step) -> Iterator[list[str]]:
    """What the block does is a step of the account, and on record; what came of it, it adds to the list it is given."""

    def keep(done: Done) -> None:
        work.account.steps.append(done)
        work.step_number += 1
        facts = {"what": done.what, "said": done.said, "took_s": done.took_s}
        work.note_if_it_can(f"step {work.step_number:02}", facts)

    _before(work, step, datetime.now(UTC))
    with done_as(str(step), work.redact, keep) as said:
        yield said
        if step.act is Act.VALIDATE and work.account.served_at is None:
            work.account.served_at = datetime.now(UTC)


def _before(work: Moving, step: Step, at: datetime) -> None:
    if step.phase is Phase.FENCE:
        work.account.changed = True
        # A planned move is when users stop to be served; else they were not served before.
        if work.account.down_since is None:
            work.account.down_since = at
    if step.act is Act.PROMOTE and not work.move.way_back:
        if work.move.planned:
            work.note(PROMOTING)
        else:
            work.note_if_it_can(PROMOTING)
        work.account.move = replace(work.move, promoting=True)


@task(name="make ready", task_run_name="make {work.move.target} ready", **ONCE)
def make_ready(work: Moving) -> None:
    """The new site is a standby of the old one; only a failback has to do anything for it. *Idempotent:* yes.

    Raises:
        Refused: it cannot be rebuilt now. Retryable: it did not catch up.
    """
    if work.move.kind is MoveKind.FAILBACK:
        _phase(work, Phase.READY)


@task(name="fence", task_run_name="fence {work.move.source}", **ONCE)
def fence(work: Moving) -> None:
    """It is shown that no user's write is taken at the old site, or a person took the risk. *Idempotent:* yes.

    Raises:
        Refused: it cannot be shown; nothing was promoted.
    """
    _phase(work, Phase.FENCE)


@task(name="catch up", task_run_name="wait until {work.move.target} has everything", **ONCE)
def catch_up(work: Moving) -> None:
    """The new site has everything that the old one wrote; an unplanned move does not wait for it. *Idempotent:* yes.

    Raises:
        Retryable: it did not come about in time.
    """
    _phase(work, Phase.CATCH_UP)


@task(name="promote", task_run_name="promote {work.move.target}", **ONCE)
def promote(work: Moving) -> None:
    """The new site takes writes: the point of no return, which is on record before. *Idempotent:* yes.

    Raises:
        Refused: it may not, as the old site is not fenced, or has more.
        Unsafe: a third site is a primary.
        Retryable: it did not come about in time.
    """
    _phase(work, Phase.PROMOTE)


@task(name="let in", task_run_name="let users in at {work.move.target}", **ONCE)
def let_in(work: Moving) -> None:
    """The door of the new site is open. *Idempotent:* yes.

    Raises:
        Retryable: its database does not take writes, or the door did not answer.
    """
    _phase(work, Phase.LET_IN)


@task(name="point", task_run_name="point the names to {work.move.target}", **ONCE)
def point(work: Moving) -> None:
    """The DNS server answers every name with the new site. *Idempotent:* yes.

    Raises:
        Retryable: it takes no changes.
        Refused: it is not for us to change.
    """
    _phase(work, Phase.POINT)


@task(name="validate", task_run_name="visit {work} as a user", **ONCE)
def validate(work: Moving) -> None:
    """The smoke tests are answered at the address that the DNS server gives.

    Raises:
        Retryable: they were not, in their time.
    """
    _phase(work, Phase.VALIDATE)


@task(name="follow", task_run_name="have standbys follow {work.move.target}", **ONCE)
def follow(work: Moving) -> None:
    """Standbys follow the new site; one that does not is told of, and fails nothing. *Idempotent:* yes."""
    before = len(work.account.steps)
    _phase(work, Phase.FOLLOW)
    for done in work.account.steps[before:]:
        if done.said.startswith("not done"):
            work.account.remark(f"{done.what}: {done.said}; it is no standby until it is")
    if not work.move.planned and not work.move.way_back:
        again = f"'slipway failback {work.request.failover} --to {work.move.source}'"
        work.account.remark(
            f"{work.move.source} is left as it is; do not open it by hand. When it is sound again: {again}"
        )
