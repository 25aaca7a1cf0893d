"""The nouns of a release: commits, artefacts, records."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True)
class Commit:
    """One commit. committed_at is aware."""

    sha: str
    subject: str
    author: str
    committed_at: datetime

    @property
    def short(self) -> str:
        """Return the first seven characters of the hash."""
        return self.sha[:7]


@dataclass(frozen=True)
class Artifact:
    """A content-addressed build result. digest is 'sha256:<hex>' of the archive's bytes."""

    digest: str
    size_bytes: int
    files: int

    @property
    def short(self) -> str:
        """Return the digest's first twelve characters, for names."""
        return self.digest.removeprefix("sha256:")[:12]


class Outcome(StrEnum):
    """How a release or rollback ended."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It ended before production was touched."""
    ROLLED_BACK = "rolled-back"
    """Production was touched, and the former release serves again."""
    UNSAFE = "unsafe"
    """The state of production is not known to be good: a person must look."""
    INTERRUPTED = "interrupted"
    """Its run ended without a word; another run has carried on from what it left."""


class Kind(StrEnum):
    """What was asked for."""

    RELEASE = "release"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class ReleaseRecord:
    """One row of the ledger: a release or rollback from start to end (REL-13). Times are aware.

    `id` is the flow run's id: one record a run. `release` is the version's name, as instances carry it.
    """

    id: str
    kind: Kind
    service: str
    environment: str
    release: str
    commit: str
    subject: str
    strategy: str
    requested_by: str
    started_at: datetime
    outcome: Outcome = Outcome.RUNNING
    digest: str | None = None
    ended_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True)
class Evidence:
    """One fact about a run, in order: a step taken, a sample, a verdict, an artefact, a check. `facts` is JSON data."""

    record_id: str
    kind: str
    name: str
    at: datetime
    facts: dict[str, object] = field(default_factory=dict, hash=False)
    duration_s: float | None = None
