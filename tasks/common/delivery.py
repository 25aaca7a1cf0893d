"""Deliveries of webhooks: what was sent, what it means, what becomes of it, and where they are kept."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from tasks.common.webhooks import Happening


@dataclass(frozen=True)
class PullRequest:
    """A pull or merge request.

    Args:
        number: by which people know it.
        ref: where its head can be fetched from the repository that it is for: refs/pull/7/head.
        from_fork: its commits are from another repository, or from one that is gone.
    """

    number: int
    ref: str
    from_fork: bool


@dataclass(frozen=True)
class Event:
    """What has happened in a repository.

    Args:
        id: the sender's own id of the delivery: a repeated one has the same.
        name: what the sender calls the event: 'push'.
        happening: what rules can be about; None for everything else.
        repository: as the forge calls it: OWNER/NAME.
        ref: the branch or tag; of a pull request the branch that it is for.
        commit: 40 or 64 hexadecimal digits; '' where there is none, as when a branch was deleted.
        actor: who did it, as the forge says.
        paths: the files that were changed; None where the event does not say.
        pull: the pull request that it is about.
        workflow: the name of the workflow that has ended.
        unwanted: why no rule can be about it.
    """

    id: str
    name: str
    happening: Happening | None = None
    repository: str = ""
    ref: str = ""
    commit: str = ""
    actor: str = ""
    paths: tuple[str, ...] | None = None
    pull: PullRequest | None = None
    workflow: str = ""
    unwanted: str = ""

    @property
    def about(self) -> str:
        """Return what rules call it; '' where none can be about it."""
        return self.name if self.happening is Happening.OTHER else self.happening or ""


class Status(StrEnum):
    """What has become of a delivery."""

    IGNORED = "ignored"
    """No rule wants it."""
    REPEATED = "repeated"
    """Another delivery has asked for the same before."""
    WAITING = "waiting"
    """Its run is not started yet."""
    STARTED = "started"
    """Its run is started."""
    REFUSED = "refused"
    """The Prefect server does not take the run: the flow is not deployed, or its parameters are wrong."""


@dataclass(frozen=True)
class Start:
    """The run that an event asks for.

    Args:
        flow: whose deployment is started.
        parameters: what it is asked for.
        action: the same for everything that asks for the same about the same commit: (repository, commit, action).
    """

    flow: str
    parameters: Mapping[str, str]
    action: str


@dataclass(frozen=True)
class Delivery:
    """What was sent, and what becomes of it.

    Args:
        id: ours.
        source: under which name the estate file knows the sender.
        event: what it means.
        received_at: when.
        start: the run that it asks for; None where no rule wants it.
        status: what has become of it.
        why: why it starts nothing, or which run it has started.
    """

    id: str
    source: str
    event: Event
    received_at: datetime
    start: Start | None = None
    status: Status = Status.IGNORED
    why: str = ""


class Told(StrEnum):
    """What a forge is told about a run."""

    PENDING = "pending"
    """It is at work, or will be."""
    WAITING = "waiting"
    """It waits for a person."""
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    """It was cancelled, or has ended without a word."""

    @property
    def last(self) -> bool:
        """Return whether there is nothing to be told after it."""
        return self in (Told.SUCCESS, Told.FAILURE, Told.ERROR)


@dataclass(frozen=True)
class Report:
    """What a forge was told about the run of a delivery.

    Args:
        number: 1 for the first one about that run.
        state: what it was told.
        at: when, aware.
        refused: why it did not take that, and will not; '' where it did.
    """

    number: int
    state: Told
    at: datetime
    refused: str = ""


@dataclass(frozen=True)
class Reported:
    """A delivery that has started a run, and what its forge was told last; None where it was told nothing."""

    delivery: Delivery
    last: Report | None


class Deliveries(Protocol):
    """Where deliveries are kept, each once, before anybody is told that they were taken."""

    def keep(self, delivery: Delivery) -> Delivery:
        """The delivery is kept; returns it as it is kept now. *Idempotent:* yes.

        The same delivery id of the same source was kept before: that one is returned. Something else has asked for the
        same run before: it is kept as repeated, and names the first.

        Raises:
            Retryable: the ledger does not answer; nothing is lost if it is sent again.
        """
        ...

    def waiting(self, limit: int) -> tuple[Delivery, ...]:
        """Return those whose runs are not started yet, in the order in which they were kept.

        Raises:
            Retryable: the ledger does not answer.
        """
        ...

    def settle(self, delivery_id: str, *, run_id: str = "", refused: str = "") -> None:
        """The delivery has started a run, or was refused one. *Idempotent:* yes; the first word stands.

        Args:
            delivery_id: ours.
            run_id: the run that was started.
            refused: why there is none and will be none.

        Raises:
            Retryable: the ledger does not answer; the run's key lets it be started once only.
        """
        ...

    def latest(self, limit: int) -> tuple[Delivery, ...]:
        """Return the latest ones, newest first.

        Raises:
            Retryable: the ledger does not answer.
        """
        ...

    def find(self, delivery_id: str) -> Delivery | None:
        """Return one of them; None where there is none.

        Raises:
            Retryable: the ledger does not answer.
        """
        ...

    def unreported(self, sources: Collection[str], since: datetime, limit: int) -> tuple[Reported, ...]:
        """Return deliveries of these sources whose runs' ends were not told, in the order in which they were kept.

        Args:
            sources: names of sources.
            since: only what was started after this time, aware.
            limit: how many; the latest ones.

        Raises:
            Retryable: the ledger does not answer.
        """
        ...

    def note_report(self, delivery_id: str, report: Report) -> None:
        """What a forge was told is on record. *Idempotent:* yes, by its number; the first word stands.

        Raises:
            Retryable: the ledger does not answer.
        """
        ...
