"""What is released on a database, and which migrations a release has: read from ledger, router and repository."""

import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from blocks.estate import OpenEstate
from blocks.migrations.folder import read_folder
from tasks.common.errors import SlipwayError
from tasks.common.load import load_service
from tasks.migration.contract import Place, Served
from tasks.migration.files import SETTINGS
from tasks.release.model import Evidence, Kind, Outcome, ReleaseRecord

CARRIES = "migration"
"""Kind of the evidence that says which migrations a release has."""
_LOOK_BACK = 1000
_SERVICE_FILE = "slipway.yaml"


def texts_of(estate: OpenEstate, service: str, revision: str) -> tuple[dict[str, str], str]:
    """Return the texts of a commit's migrations, and where they are, in words; no texts where it names no folder.

    Args:
        estate: names the repository.
        service: whose.
        revision: commit, branch or tag; '' for the newest.

    Raises:
        Refused: the commit is unknown, or its service file has mistakes.
        Retryable: the repository's server does not answer.
    """
    source = estate.source(service)
    commit = source.resolve(revision) if revision else source.default()
    file = load_service(source.read_file(commit, _SERVICE_FILE), f"{_SERVICE_FILE} of {commit.short}")
    if file.migrations is None:
        return {}, f"{_SERVICE_FILE} of {commit.short}"
    estate.workspace.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="migrations-", dir=estate.workspace) as name:
        source.check_out(commit, Path(name) / "tree")
        texts = read_folder(Path(name) / "tree" / file.migrations)
    return texts, f"{file.migrations} of {commit.short}"


def carried(estate: OpenEstate, record: ReleaseRecord) -> frozenset[str] | None:
    """Return the migrations that a release has: from the ledger, else from the repository; None where neither can."""
    return _carried(estate, record, estate.ledger.records(record.service, None, _LOOK_BACK))


def _carried(estate: OpenEstate, record: ReleaseRecord, past: Sequence[ReleaseRecord]) -> frozenset[str] | None:
    for each in past:
        noted = _noted(estate.ledger.evidence(each.id)) if each.release == record.release else None
        if noted is not None:
            return noted
    try:
        texts, _ = texts_of(estate, record.service, record.commit)
    except SlipwayError:
        return None
    return frozenset(path.partition("/")[0] for path in texts if path.endswith(f"/{SETTINGS}"))


def _noted(evidence: Sequence[Evidence]) -> frozenset[str] | None:
    for each in evidence:
        names = each.facts.get("carries") if each.kind == CARRIES else None
        if isinstance(names, list):
            return frozenset(str(name) for name in names)
    return None


def place_of(estate: OpenEstate, service: str, environment: str, since: datetime) -> Place:
    """Return what is released in an environment; what cannot be seen is in words.

    Args:
        estate: names ledger, router and repository.
        service: which.
        environment: where.
        since: aware; releases that had ceased to serve before are left out.
    """
    try:
        estate.ledger.prepare()
        records = estate.ledger.records(service, None, _LOOK_BACK)
        served = _served(estate, records, environment, since)
        return Place(_serving(estate, service, environment), served, _at_work(estate, records, environment))
    except SlipwayError as error:
        return Place({}, (), unseen=f"{error.what} [{error.on}]")


def _served(
    estate: OpenEstate, records: Sequence[ReleaseRecord], environment: str, since: datetime
) -> tuple[Served, ...]:
    found: list[Served] = []
    for record, at in _came(estate, records, environment):
        found.append(Served(record.release, at, _carried(estate, record, records)))
        if at <= since:
            break
    return tuple(sorted(found, key=lambda each: each.at, reverse=True))


def _came(
    estate: OpenEstate, records: Sequence[ReleaseRecord], environment: str
) -> Iterator[tuple[ReleaseRecord, datetime]]:
    """Yield the runs that came to serve the environment, newest first, and when; it was on the way of some."""
    for each in records:
        if each.environment == environment:
            if each.outcome is Outcome.SUCCEEDED and each.ended_at is not None:
                yield each, each.ended_at
        elif _on_the_way(estate, each, environment):
            for item in estate.ledger.evidence(each.id):
                if (item.kind, item.name) == ("phase", f"rehearse in {environment}"):
                    yield each, item.at


def _on_the_way(estate: OpenEstate, record: ReleaseRecord, environment: str) -> bool:
    return record.kind is Kind.RELEASE and environment in estate.path_to(record.environment)


def _serving(estate: OpenEstate, service: str, environment: str) -> dict[str, float]:
    site = estate.site(service, environment)
    weights = site.router.observe().weights
    return {each.release: weights[each.slot] for each in site.runtime.observe() if weights.get(each.slot, 0.0) > 0}


def _at_work(estate: OpenEstate, records: Sequence[ReleaseRecord], environment: str) -> tuple[str, ...]:
    return tuple(
        f"{each.kind} of {each.release[:7]} to {each.environment}, run {each.id[:8]}"
        for each in records
        if each.outcome is Outcome.RUNNING
        and (each.environment == environment or _on_the_way(estate, each, environment))
    )
