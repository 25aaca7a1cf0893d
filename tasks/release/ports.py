"""What a release needs from the outside: sources, a builder, an artefact store, the ledger, HTTP requests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tasks.common.backups import Catalogue
from tasks.common.delivery import Deliveries
from tasks.common.drill_notes import DrillNotes
from tasks.common.lease import Leases
from tasks.common.model import HttpCheck
from tasks.common.moves import Moves
from tasks.common.restores import Restores
from tasks.common.service import Build
from tasks.release.model import Artifact, Commit, Evidence, Outcome, ReleaseRecord

OnLine = Callable[[str], None]
"""Receives each line of a command's output, already redacted."""


class Source(Protocol):
    """Where the commits of one service come from."""

    def resolve(self, revision: str) -> Commit:
        """Return the commit that a hash, branch or tag names.

        Raises:
            Refused: the repository is missing or is no repository; the revision is unknown or ambiguous.
        """
        ...

    def default(self) -> Commit:
        """Return the newest commit of the default branch.

        Raises:
            Refused: there is none.
        """
        ...

    def with_ref(self, ref: str, sha: str, into: Path) -> "Source":
        """Return a source that has this commit by way of a ref, such as that of a pull request.

        What has to be fetched for it is kept in `into` and nowhere else. *Idempotent:* yes.

        Raises:
            Refused: there is no such ref, or it does not lead to the commit.
        """
        ...

    def check_out(self, commit: Commit, into: Path) -> None:
        """`into` holds the commit's tree and nothing else (no .git). *Idempotent:* yes; what was there is replaced."""
        ...

    def history(self, commit: Commit, into: Path) -> None:
        """`into` is a git repository with the commit checked out, whose only branch is the commit with its ancestors.

        It has nothing newer, no other branch or tag, no remote and no hook. *Idempotent:* yes; what was there is
        replaced.

        Raises:
            Refused: the commit is unknown, or the source does not have all of its ancestors.
        """
        ...

    def read_file(self, commit: Commit, path: str) -> str:
        """Return one file of the commit, without a check-out.

        Raises:
            Refused: the commit has no such file.
        """
        ...

    def log(self, after: str | None, until: Commit, limit: int) -> tuple[Commit, ...]:
        """Return the commits after `after` (a hash; none: from the beginning) up to `until`, newest first."""
        ...


class Builder(Protocol):
    """Turns a checked-out tree into an archive."""

    def build(
        self, tree: Path, spec: Build, commit: Commit, out: Path, *, env: dict[str, str], on_line: OnLine
    ) -> Artifact:
        """`out` is the archive. The same commit gives the same digest, whatever the clock, folder and user (REL-2).

        *Idempotent:* yes.

        Raises:
            Refused: the command failed or timed out, no file was included, or a file leads out of the tree.
        """
        ...


class ArtifactStore(Protocol):
    """Keeps archives under their digest ('sha256:<hex>')."""

    def put(self, archive: Path) -> str:
        """The archive is stored; returns its digest. *Idempotent:* yes; a damaged copy is replaced."""
        ...

    def fetch(self, digest: str, into: Path) -> None:
        """`into` is the archive, its digest checked while reading; nothing is left behind when the check fails.

        Raises:
            Refused: no such artefact.
            Unsafe: what is stored is not what was put (damaged or tampered with).
        """
        ...

    def exists(self, digest: str) -> bool:
        """Return whether an archive is stored under the digest (its bytes are not checked)."""
        ...

    def digests(self) -> tuple[str, ...]:
        """Return all stored digests, sorted."""
        ...

    def delete(self, digest: str) -> None:
        """The archive is not stored any more. *Idempotent:* yes."""
        ...


class Ledger(Protocol):
    """Append-only evidence of what was done, and who may do something now."""

    @property
    def leases(self) -> Leases:
        """Return the leases that are kept beside the evidence."""
        ...

    @property
    def deliveries(self) -> Deliveries:
        """Return the deliveries that are kept beside the evidence."""
        ...

    @property
    def catalogue(self) -> Catalogue:
        """Return the catalogue of backups that is kept beside the evidence."""
        ...

    @property
    def restores(self) -> Restores:
        """Return what is on record of restores, beside the evidence."""
        ...

    @property
    def moves(self) -> Moves:
        """Return what is on record of moves between sites, beside the evidence."""
        ...

    @property
    def drills(self) -> DrillNotes:
        """Return what is on record of drills, beside the evidence."""
        ...

    def prepare(self) -> None:
        """The ledger's tables exist and are of this version. *Idempotent:* yes; safe to call from several processes."""
        ...

    def begin(self, record: ReleaseRecord) -> None:
        """The record exists. *Idempotent:* yes, by its id (a flow run that is retried has one record)."""
        ...

    def append(self, evidence: Evidence) -> None:
        """The evidence is kept, in order. *Idempotent:* no."""
        ...

    def end(self, record_id: str, outcome: Outcome, at: datetime, error: str | None, digest: str | None) -> None:
        """The record has its outcome. *Idempotent:* yes: the first outcome stands; another one is refused.

        Raises:
            Refused: no such record, or it ended otherwise.
        """
        ...

    def record(self, record_id: str) -> ReleaseRecord:
        """Return one record; a unique prefix of its id is enough.

        Raises:
            Refused: none or several match.
        """
        ...

    def records(self, service: str | None, environment: str | None, limit: int) -> tuple[ReleaseRecord, ...]:
        """Return the latest records, newest first."""
        ...

    def evidence(self, record_id: str) -> tuple[Evidence, ...]:
        """Return what was appended for a record, in order."""
        ...

    def succeeded(self, service: str, environment: str, limit: int) -> tuple[ReleaseRecord, ...]:
        """Return the latest successful records with different releases, newest first: what can be rolled back to."""
        ...

    def figure(self, sql: str, parameters: Mapping[str, str]) -> float | None:
        """Return the number that one SELECT returns; None where there is none (no row, null, NaN, infinite).

        Nothing can be changed by it.

        Args:
            sql: one SELECT; `%(service)s` is a parameter, `%%` a per cent sign.
            parameters: bound by name, never spliced into the text.

        Raises:
            Retryable: the ledger does not answer, or not within 10 s.
            Refused: it is no single SELECT, would change something, or returns anything but one number.
        """
        ...


@dataclass(frozen=True)
class HttpResult:
    """What one HTTP check got. status is None where no answer came; then problem says why."""

    check: HttpCheck
    passed: bool
    status: int | None
    duration_s: float
    problem: str = ""


class Prober(Protocol):
    """Sends the HTTP checks of a service file."""

    def probe(self, base_url: str, checks: Sequence[HttpCheck]) -> tuple[HttpResult, ...]:
        """Return one result a check, in order; a request that fails is a result, not an error."""
        ...
