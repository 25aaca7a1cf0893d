"""One run of a release or a rollback: what it is about, its folder, its journal."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from blocks.estate import OpenEstate, Site
from blocks.journal import Journal
from blocks.lease_keeper import KeptLease
from blocks.work import Work
from tasks.common.errors import Refused
from tasks.common.lease import scope_of
from tasks.common.load import load_service
from tasks.common.service import ServiceFile
from tasks.release.model import Artifact, Commit, Evidence, Kind, ReleaseRecord
from tasks.rollout.model import Workload

SERVICE_FILE = "slipway.yaml"
_LOOK_BACK = 1000
_SUSPENDED_BY_HAND_S = 3600.0
_TO_COME_BACK_S = 60.0
"""An answer in the last second counts: the run has its leases for as long as a worker needs to start it again."""


class Job(Work):
    """What the steps of one run share.

    Args:
        estate: where.
        service: the service file, as the commit has it.
        record: the run's record in the ledger.
        commit: what is released.
        artifact: what was built; None until then.

        past: what the same run had put on record before it was suspended; nothing for a run that begins.

    `moved` names the environments where the release was given traffic, `turned_back` those that were returned to
    their former release. `waits_s` is how long the run may stay suspended: until a question that it has asked
    expires, or an hour where somebody has suspended it by hand.
    """

    def __init__(
        self,
        estate: OpenEstate,
        service: ServiceFile,
        record: ReleaseRecord,
        commit: Commit,
        artifact: Artifact | None = None,
        past: Sequence[Evidence] = (),
    ) -> None:
        journal = Journal(estate.ledger, record.id, estate.context.secrets.redact)
        super().__init__(estate, service, commit, journal, estate.workspace / "runs" / record.id)
        self.record = record
        self.artifact = artifact
        self.moved: set[str] = set()
        self.turned_back: set[str] = set()
        self.past = tuple(past)
        self.leases: dict[str, KeptLease] = {}
        self.waits_s = _SUSPENDED_BY_HAND_S
        self._sites: dict[str, Site] = {}

    @property
    def release(self) -> str:
        """Return the release's name, as instances carry it."""
        return self.record.release

    @property
    def environment(self) -> str:
        """Return the environment where it must serve in the end."""
        return self.record.environment

    @property
    def path(self) -> Sequence[str]:
        """Return the environments on the way, the wanted one last."""
        return self.estate.path_to(self.environment)

    @property
    def environments(self) -> Sequence[str]:
        """Return the environments that this run changes: a rollback does not touch those on the way."""
        return self.path if self.record.kind is Kind.RELEASE else [self.environment]

    def site(self, environment: str) -> Site:
        """Return the service's site in an environment: only to observe, until a lease is held."""
        if environment not in self._sites:
            lease = self.leases.get(environment)
            self._sites[environment] = self.estate.site(self.service.service, environment, grant=lease)
        return self._sites[environment]

    def hold(self, environment: str, lease: KeptLease) -> None:
        """What is changed in the environment from now on is changed under this lease."""
        self.leases[environment] = lease
        self._sites.pop(environment, None)

    def require_lease(self, environment: str) -> None:
        """The environment's lease is held, as far as is known. *Idempotent:* yes.

        Raises:
            LeaseLost: another run has taken over.
        """
        if environment in self.leases:
            self.leases[environment].require()

    def scope(self, environment: str) -> str:
        """Return what a lease for the environment is called."""
        return scope_of(self.service.service, environment)

    def has(self, phase: str) -> bool:
        """Return whether this run has finished a phase before it was suspended."""
        return any((item.kind, item.name) == ("phase", phase) for item in self.past)

    def soaked(self, environment: str) -> set[str]:
        """Return the stages that this run has watched to their end before it was suspended."""
        return {e.name for e in self.past if e.kind == "soaked" and e.facts.get("environment") == environment}

    def previous(self, environment: str) -> str | None:
        """Return the release that was last recorded as successful in an environment."""
        return previous_release(self.estate, self.service.service, environment, self.release)

    def is_recorded(self, environment: str) -> bool:
        """Return whether this very release is the one that was last recorded as successful in an environment."""
        found = self.estate.ledger.succeeded(self.service.service, environment, 1)
        return [record.release for record in found] == [self.release]

    def evidence_of_previous(self) -> tuple[Evidence, ...] | None:
        """Return what the run has recorded that released what serves now; None where nothing was released before."""
        ledger = self.estate.ledger
        for record in ledger.succeeded(self.service.service, self.environment, self.estate.file.keep_releases):
            if record.release != self.release and record.kind is Kind.RELEASE:
                return ledger.evidence(record.id)
        return None

    def fetch(self, digest: str, into: Path) -> None:
        """`into` is the archive of the digest, which was checked."""
        into.parent.mkdir(parents=True, exist_ok=True)
        self.estate.store.fetch(digest, into)

    def kept(self, site: Site, release: str) -> tuple[Workload, Callable[[Path], None]]:
        """Return the workload of a kept release, and a function that fetches its archive.

        Raises:
            Refused: the ledger knows no artefact of that release.
        """
        service, record = kept_release(self.estate, self.service.service, release)
        artifact = Artifact(str(record.digest), 0, 0)
        return site.workload(service, release, artifact), lambda into: self.fetch(artifact.digest, into)

    def suspend(self) -> None:
        """The leases are kept for this run while it waits for an answer, and its folder is gone. *Idempotent:* yes."""
        for lease in self.leases.values():
            lease.park(self.waits_s + _TO_COME_BACK_S)
        self._remove_folder()

    def close(self) -> None:
        """The leases are free, and the run's folder is gone. *Idempotent:* yes."""
        for lease in self.leases.values():
            lease.give_up()
        self._remove_folder()

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def previous_release(estate: OpenEstate, service: str, environment: str, release: str) -> str | None:
    """Return the release other than this one that was last recorded as successful in an environment."""
    found = estate.ledger.succeeded(service, environment, 2)
    return next((record.release for record in found if record.release != release), None)


def kept_release(estate: OpenEstate, service: str, release: str) -> tuple[ServiceFile, ReleaseRecord]:
    """Return the service file and the latest record of a release whose artefact was published.

    Raises:
        Refused: there is none, or several match a shortened name.
    """
    records = [r for r in estate.ledger.records(service, None, _LOOK_BACK) if r.release.startswith(release)]
    names = {record.release for record in records}
    if len(names) != 1:
        raise Refused(
            f"{'no' if not names else 'more than one'} kept release is named {release!r}",
            on=service,
            next_action="'slipway releases list' shows what is kept",
        )
    for record in records:
        evidence = {(item.kind, item.name): item for item in estate.ledger.evidence(record.id)}
        published = [name for kind, name in evidence if kind == "publish"]
        if published and ("service-file", SERVICE_FILE) in evidence:
            text = str(evidence["service-file", SERVICE_FILE].facts["text"])
            return load_service(text, f"{SERVICE_FILE} of {record.release[:7]}"), replace(record, digest=published[0])
    raise Refused(
        f"nothing was ever published as {release}",
        on=service,
        next_action="release that commit again instead",
    )
