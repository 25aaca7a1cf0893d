"""A challenge on its way, and the ladder that it climbs: the very tasks of `verify-backup`."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from blocks.challenges.workplace import Workplace
from blocks.estate import OpenEstate
from blocks.lease_keeper import KeptLease
from tasks.backup.ports import BackupEngine
from tasks.challenge.choice import left_out_because
from tasks.challenge.model import Fault, expected
from tasks.challenge.ports import SourceServer
from tasks.challenge.request import ChallengeRequest
from tasks.common.backups import FIRST, BackupKind, Entry, Form, Rung, RungOutcome, StoredBackup
from tasks.common.challenges import Control, Trial, TrialOutcome
from tasks.common.errors import Refused
from tasks.verification import steps as verification
from tasks.verification.choice import newest
from tasks.verification.expected import UNSEEN, Expected
from tasks.verification.model import Moment
from tasks.verification.request import VerifyRequest
from tasks.verification.steps import Verifying

Evaluate = Callable[[str, Path], Rung]
_STATES = {
    TrialOutcome.FOUND: "Found",
    TrialOutcome.NOT_FOUND: "NotFound",
    TrialOutcome.LEFT_OUT: "LeftOut",
    TrialOutcome.UNDECIDED: "NoVerdict",
}


class Challenging:
    """A challenge on its way.

    Args:
        estate: the open estate.
        request: what is asked for.
        evaluate: the plan's expectations; None where it names none.
        kept: the lease on the plan's backups.

    Raises:
        Refused: its engine cannot be challenged here, or there is no backup yet.
    """

    def __init__(
        self, estate: OpenEstate, request: ChallengeRequest, evaluate: Evaluate | None, kept: KeptLease
    ) -> None:
        self.estate, self.request, self.evaluate, self.kept = estate, request, evaluate, kept
        self.plan = estate.backup_plan(request.plan)
        self.engine = estate.backup(request.plan)
        self.subject = estate.subject(request.plan)
        self.repository = self.subject.repository()
        self.redact = estate.context.secrets.redact
        entries = [each for each in estate.ledger.catalogue.entries(request.plan) if each.repository == FIRST]
        if not entries:
            raise Refused(
                "there is no backup to damage a copy of",
                on=f"the plan {request.plan}",
                next_action=f"take one: 'slipway backup {request.plan}'",
            )
        self.entry = newest(entries)
        self.began_at = datetime.now(UTC)
        self.place = Workplace(estate.challenge_place(request.plan))
        self.moment = Moment(self.began_at, "")
        self.compared = Expected(None, why=UNSEEN)
        self.older: StoredBackup | None = None
        self.source: Source | None = None
        self.no_source = ""
        self.controls: list[Control] = []
        self.trials: list[Trial] = []

    @property
    def form(self) -> Form:
        """Return what is there when a backup was restored."""
        return self.engine.form

    @property
    def driver(self) -> str:
        """Return the engine's name."""
        return self.plan.engine.driver

    def expected(self, fault: Fault) -> str:
        """Return the name of the rung that should find a damage."""
        return expected(fault, self.form, tells_swapped=self.subject.tells_swapped)

    def left_out_because(self, fault: Fault) -> str:
        """Return why a damage cannot be made."""
        in_folders = self.subject.folder(self.entry.stored.label) is not None
        return left_out_because(fault, self.driver, in_folders=in_folders)

    @property
    def in_vain(self) -> bool:
        """Return whether an undamaged copy was not found sound: then finding damage proves nothing."""
        return not all(each.sound for each in self.controls)

    def verifying(self, engine: BackupEngine, entry: Entry) -> Verifying:
        """Return a verification as the flow `verify-backup` does it, but of what the engine has."""
        request = VerifyRequest(plan=self.request.plan, estate=self.request.estate)
        made = Verifying(self.estate, request, entry, True, self.kept)
        made.engine, made.source, made.expected = engine, self.moment, self.compared
        return made

    def controlled(self, control: Control) -> State:
        """The control is kept; returns what its task's state says of it. *Idempotent:* no."""
        self.controls.append(replace(control, said=self.redact(control.said)))
        return Completed(name="Held" if control.sound else "Broken", message=self.controls[-1].said)

    def tried(self, trial: Trial) -> State:
        """The trial is kept; returns what its task's state says of it. *Idempotent:* no."""
        self.trials.append(replace(trial, done=self.redact(trial.done), said=self.redact(trial.said)))
        if trial.outcome in (TrialOutcome.NOT_FOUND, TrialOutcome.UNDECIDED):
            get_run_logger().error("%s: %s: %s", trial.fault, trial.outcome, self.trials[-1].said)
        return Completed(name=_STATES[trial.outcome], message=self.trials[-1].said)


class Source:
    """A throw-away database that is served, and the engine that backs it up into a repository of its own.

    Args:
        server: serves it.
        engine: backs it up.
        name: the database.
        command: archives its WAL; empty for none.
    """

    def __init__(self, server: SourceServer, engine: BackupEngine, name: str, command: Sequence[str]) -> None:
        self.server, self.engine, self.name, self.command = server, engine, name, command
        self.facts = server.database(name).facts()
        self.entry: Entry | None = None

    def back_up(self, plan: str, driver: str) -> Entry:
        """A new backup is taken; returns it as the catalogue would have it. *Idempotent:* no."""
        # Those that came back with the copy are as old as that.
        self.server.database(self.name).beat()
        stored = self.engine.take(BackupKind.FULL, lambda _: None)
        self.entry = Entry(f"{plan}/challenge/{stored.label}", plan, driver, FIRST, stored, "", "")
        return self.entry


def verifying_source(work: Challenging, source: Source, entry: Entry) -> Verifying:
    """Return a verification of a backup of the throw-away database, which is compared with what that was."""
    made = work.verifying(source.engine, entry)
    made.source, made.expected = source.server.database(source.name).moment(), Expected(source.facts)
    return made


def climb(work: Challenging, climbing: Verifying) -> Sequence[Rung]:
    """Return the rungs of the ladder up to the first broken one; climbed by the very tasks of `verify-backup`."""
    work.kept.require()
    with closing(_rungs(climbing, work.evaluate)) as rungs:
        for _ in rungs:
            if any(each.outcome is RungOutcome.BROKEN for each in climbing.rungs):
                break
    return climbing.rungs


def _rungs(climbing: Verifying, evaluate: Evaluate | None) -> Generator[object, None, None]:
    """Climb one more rung for each one that is asked for."""
    yield verification.check_freshness(climbing)
    yield verification.check_repository(climbing)
    with verification.scratch_server(climbing):
        yield verification.restore(climbing)
        yield verification.check_pages(climbing)
        yield verification.check_structure(climbing)
        yield verification.read_all(climbing)
        yield verification.compare_schema(climbing)
        yield verification.compare_counts(climbing)
        yield verification.check_sequences(climbing)
        yield verification.check_foreign_keys(climbing)
        yield verification.check_expectations(climbing, evaluate)
        yield verification.measure_rpo(climbing)


@contextmanager
def variant(work: Challenging) -> Iterator[tuple[Path, Path, BackupEngine]]:
    """Yield a copy of the repository that may be damaged, a home for its engine, and the engine; gone afterwards."""
    repository, home = work.place.variant(), work.place.folder("home")
    try:
        yield repository, home, work.subject.on_copy(repository, home)
    finally:
        work.place.drop(repository, home)
