"""The @task functions of restores: thin; only they and `ending_steps` import Prefect here."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prefect import task
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from blocks.files import system_errors
from blocks.lease_keeper import KeptLease, await_lease
from tasks.common.backup_plans import BackupPlan, RestoreTarget
from tasks.common.backups import Ability, Form
from tasks.common.errors import Refused, SlipwayError
from tasks.common.lease import scope_of
from tasks.common.lease_steps import holder
from tasks.common.load import load_masking
from tasks.common.masking import Masking
from tasks.common.restores import RestoreNote
from tasks.common.steps import ONCE, TRANSIENT, done_as, tell_restored
from tasks.restore.choose import choose, recheck, wish_of
from tasks.restore.decide import must_ask, require_room, settle, state_of
from tasks.restore.model import Chosen, Journal, Phase, Settlement
from tasks.restore.ports import TargetServer
from tasks.restore.report import Account, came_back_to
from tasks.restore.request import RestoreRequest

_PATIENCE_S = 3600.0
"""A backup that is being taken, or verified, is waited for."""
_LOOK_BACK = 50
_BEFORE = "the restore"


@dataclass(eq=False)
class Restoring:
    """A restore on its way, which alone may change its target.

    Args:
        estate: where the plan is.
        request: what was asked for.
        plan: what the estate file says of the plan.
        spec: and of the target.
        target: the server or folder, open, with the right to change it.
        lease: that right.
        account: what was done, for people.
        masking: the rules of an anonymous copy, with their key; None for another restore.

    `chosen` and `asks` are set by `decide`; `expires_at` while an answer is waited for.
    """

    estate: OpenEstate
    request: RestoreRequest
    plan: BackupPlan
    spec: RestoreTarget
    target: TargetServer
    lease: KeptLease
    account: Account
    masking: tuple[Masking, str] | None = None
    chosen: Chosen | None = None
    asks: bool = False
    expires_at: datetime | None = None
    began_s: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        """Return 'campus-db into spare', as task names show it."""
        return f"{self.request.plan} into {self.request.to}"

    @property
    def picked(self) -> Chosen:
        """Return what is restored."""
        assert self.chosen is not None, "decide comes first"
        return self.chosen

    @property
    def form(self) -> Form:
        """Return what comes back of the plan's backups."""
        return self.estate.backup(self.request.plan).form

    @property
    def database(self) -> str:
        """Return the database that is masked, and whose heartbeat is read; '' where the estate names none."""
        how = self.plan.verification
        return self.spec.database or (how.name if how is not None else None) or ""

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        return self.estate.context.secrets.redact(text)

    def say(self, text: str) -> None:
        """It is in the run's log."""
        get_run_logger().info("%s", self.redact(text))

    def note(self, kind: str, **facts: object) -> None:
        """It is on record. *Idempotent:* yes; the first of a kind stands."""
        now = datetime.now(UTC)
        about = (holder(), self.request.plan, self.request.to)
        self.estate.ledger.restores.note(RestoreNote(*about, kind, now, facts))

    def step(self, what: str) -> AbstractContextManager[list[str]]:
        """What the block does is a step of the account; what came of it, it adds to the list that it is given."""
        return done_as(what, self.redact, self.account.steps.append)


def read_masking(estate: OpenEstate, spec: RestoreTarget) -> tuple[Masking, str] | None:
    """Return the rules of an anonymous copy with their key; None where the target has none.

    They are read before anything is touched.

    Raises:
        Refused: the file has mistakes, or the key cannot be had.
    """
    if spec.masking is None:
        return None
    file = estate.context.resolve(spec.masking)
    with system_errors("the rules of the masking cannot be read", file):
        masking = load_masking(file.read_text("utf-8", errors="replace"), str(file))
    return masking, estate.context.secrets.resolve(masking.key)


@task(name="settle", task_run_name="see what is at {work.request.to}, and settle what a dead run has left", **ONCE)
def settle_dead_run(work: Restoring) -> bool:
    """Nothing of a run that has died is half done at the target; returns whether that was this same restore, now whole.

    *Idempotent:* yes.

    Raises:
        Unsafe: somebody has moved folders since, or a server cannot be ended or started.
    """
    seen = work.target.observe()
    what = settle(seen, work.target.where)
    if what is Settlement.NOTHING:
        return False
    assert seen.journal is not None
    get_run_logger().warning("run %s has died at '%s': %s", seen.journal.run_id, seen.journal.phase, what)
    with work.step(f"settle what run {seen.journal.run_id[:8]} has left") as said:
        if what is not Settlement.CARRY_ON:
            said.append(work.target.bring_back())
            return False
        work.target.carry_on()
        there = f"answers now on {work.target.address}" if work.target.address else "is in its place now"
        said.append(f"it had restored {seen.journal.wish}, which is whole, and {there}")
    work.account.entry_id, work.account.aside = seen.journal.entry_id, seen.journal.aside
    return seen.journal.wish == wish_of(work.request)


@task(name="decide", task_run_name="decide what is restored into {work.request.to}", **TRANSIENT)
def decide(work: Restoring) -> None:
    """It is known what is restored, and whether a person is asked before; or it is refused. Nothing is changed.

    A run that has asked already restores what it has asked for, though there may be something newer by now.

    Raises:
        Refused: nothing can be restored as it was asked for, or the target may not be touched.
    """
    seen, entries = work.target.observe(), work.estate.ledger.catalogue.entries(work.request.plan)
    asked = work.estate.ledger.restores.notes(holder())
    engine = work.estate.backup(work.request.plan)
    if asked:
        work.chosen = recheck(asked[0].facts, entries)
    else:
        can = Ability.POINT_IN_TIME in engine.abilities().can
        work.chosen = choose(work.request, entries, engine.reaches, point_in_time=can)
    work.asks = must_ask(seen, work.spec, work.target.where, work.target.address)
    require_room(work.picked, seen, work.target.where)
    work.target.check(work.form, work.picked.entry.stored.source_version)
    work.account.entry_id = work.picked.entry.id
    for remark in work.picked.remarks:
        get_run_logger().warning("%s: %s", work.picked.entry.id, remark)
        work.account.remark(remark)
    if work.asks and work.plan.verification is None:
        raise Refused(
            "there is something at the target, and the plan has no 'verification': what was never restored elsewhere "
            "is not put over it",
            on=str(work),
            next_action=f"describe backups.{work.request.plan}.verification, or restore into an empty folder",
        )
    work.say(f"{work.picked.entry.id} is restored, to {state_of(work.picked, work.form)}")


@contextmanager
def nothing_expires(work: Restoring) -> Iterator[None]:
    """Within the block no backup of the plan, nor of others that back up the target, is taken, verified or expired.

    Raises:
        Refused: a run that is at work on one of them does not end.
    """
    log, leases = get_run_logger(), work.estate.ledger.leases
    with ExitStack() as stack:
        for plan in sorted({work.request.plan, *backed_up_by(work)}):
            ttl_s = work.estate.backup_plan(plan).lease_s
            lease = await_lease(leases, scope_of("backup", plan), holder(), ttl_s, _PATIENCE_S, log.info)
            stack.callback(KeptLease(leases, lease, ttl_s, log.warning).give_up)
        if work.asks:
            notes = work.estate.ledger.restores.notes(holder())
            work.chosen = recheck(notes[0].facts, work.estate.ledger.catalogue.entries(work.request.plan))
        yield


def backed_up_by(work: Restoring) -> tuple[str, ...]:
    """Return the plans whose source is the target."""
    return tuple(
        plan
        for plan, each in sorted(work.estate.file.backups.items())
        for name, spec in each.targets.items()
        if spec.source and work.estate.target(plan, name).where == work.target.where
    )


@task(name="put aside", task_run_name="put aside what is at {work.request.to}", **ONCE)
def put_aside(work: Restoring) -> None:
    """The target's folder is empty, and what was there is put aside whole.

    Raises:
        Unsafe: the server that is there does not stop.
        Refused: its folder cannot be renamed.
    """
    work.lease.require()
    work.began_s = time.monotonic()
    request = work.request
    begun = Journal(holder(), request.plan, wish_of(request), work.picked.entry.id, datetime.now(UTC), Phase.FILLING)
    with work.step("put aside what is there") as said:
        work.account.aside = work.target.put_aside(begun)
        said.append(f"it is in {work.account.aside}" if work.account.aside else "there was nothing")


@task(name="fetch", task_run_name="fetch {work.picked.entry.id}", **TRANSIENT)
def fetch(work: Restoring) -> None:
    """The backup is in the target's folder, or beside it. *Idempotent:* yes; what a failed try has left is replaced.

    Raises:
        Unsafe: what is stored is damaged.
        Refused: WAL on the way is missing.
        Retryable: the repository failed on the way, or the disk is full.
    """
    work.lease.require()
    entry, to = work.picked.entry, work.picked.to
    with work.step("fetch the backup") as said:
        engine = work.estate.backup(work.request.plan)
        engine.restore(to, work.target.fetches_into(work.form), tell_restored(), entry.repository)
        said.append(f"{entry.id}, from repository {entry.repository}")


@task(name="recover", task_run_name="recover {work}, seen by nobody", **ONCE)
def recover(work: Restoring) -> None:
    """What was restored is whole, seen by nobody, and it is known which moment it is of.

    Raises:
        Unsafe: it does not start, cannot be loaded or read, or cannot reach what was asked for.
    """
    work.lease.require()
    account, stored = work.account, work.picked.entry.stored
    with work.step("recover, seen by nobody") as said:
        found = work.target.recover(work.form, stored.source_version)
        account.replayed_at = found.replayed_at
        if work.form is not Form.CLUSTER:
            account.taken = stored.started_at, stored.ended_at
        for remark in found.remarks:
            account.remark(remark)
        if work.database:
            try:
                account.heartbeat = work.target.heartbeat(work.database)
            except SlipwayError as error:
                account.remark(f"the heartbeat in {work.database} could not be read: {work.redact(error.what)}")
        said.append(f"{found.what}: {came_back_to(account)}; {found.fence}")


@task(name="mask", task_run_name="mask {work}", **ONCE)
def mask(work: Restoring) -> None:
    """Where the target is for an anonymous copy, nothing personal is left in it; nobody has reached it so far.

    Raises:
        Refused: the rules do not fit what was restored.
        Unsafe: mail addresses are left.
    """
    if work.masking is None:
        return
    work.lease.require()
    with work.step("mask the copy") as said:
        said.extend(work.target.mask(work.database, *work.masking, work.say))


@task(name="open", task_run_name="open {work} to its users", **ONCE)
def open_to_users(work: Restoring) -> None:
    """The restored server answers on its address, or the files are in their place, and that is on record.

    Raises:
        Unsafe: it does not start, or does not answer there.
    """
    work.lease.require()
    account = work.account
    with work.step("open it to its users") as said:
        work.target.open(account.remark)
        work.target.finish()
        account.rto_s = time.monotonic() - work.began_s
        said.append(f"it answers on {account.address}" if account.address else f"it is in {work.target.folder}")
    for plan in backed_up_by(work) if account.address else ():
        account.remark(f"'slipway backup {plan}' now: it backs this server up, whose history is another from here on")
