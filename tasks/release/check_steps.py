"""How a check is opened, shown and cleared away. It takes no lease, and puts nothing on record that could be released.

Apart from `steps` as those are about releases; the same layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.check import Check
from blocks.estate import OpenEstate, open_estate
from blocks.job import SERVICE_FILE
from blocks.rooms import KEYS, Room, taken_room
from tasks.common.errors import Refused
from tasks.common.load import load_service
from tasks.common.service import ServiceFile
from tasks.common.steps import only_shown
from tasks.release.check_report import Checked, check_text
from tasks.release.model import Commit
from tasks.release.ports import Source
from tasks.release.request import CheckRequest

_FULL_HASH = (40, 64)


@contextmanager
def checking(request: CheckRequest) -> Iterator[Check]:
    """The commit can be checked in a room of its own; afterwards it was shown how, and nothing of it is left here.

    Raises:
        Refused: commands cannot be kept apart here; the service, the commit or the ref is unknown; a file has mistakes.
    """
    estate = open_estate(request.estate)
    estate.service(request.service)
    if request.ref and len(request.commit) not in _FULL_HASH:
        raise Refused(
            "a commit that only a ref leads to is named by its whole hash",
            on=f"{request.commit} of {request.ref}",
            next_action="give all 40 digits",
        )
    folder = estate.file.checks.folder
    place = estate.context.resolve(folder) if folder else estate.workspace / "checks"
    with taken_room(estate.file.checks, place) as room:
        room.prove(_kept_from_guests(estate), estate.context.secrets.redact)
        check, checked = _open(estate, room, request)
        try:
            yield check
        except BaseException as error:
            _show(check, checked, str(error) or type(error).__name__)
            raise
        _show(check, checked, None)


def _open(estate: OpenEstate, room: Room, request: CheckRequest) -> tuple[Check, Checked]:
    estate.ledger.prepare()
    source = estate.source(request.service)
    rules = source.default()
    if request.ref:
        source = source.with_ref(request.ref, request.commit, room.private / "ref")
    commit = source.resolve(request.commit)
    asked, judged = (_service(source, each, request.service) for each in (commit, rules))
    # Else a commit could take its own scans away, or accept what they find.
    service = asked.model_copy(update={"scan": judged.scan, "accepted_findings": judged.accepted_findings})
    run_id = flow_run.get_id() or str(uuid4())
    check = Check(estate.for_guest(room.guest), service, commit, run_id, room, source)
    get_run_logger().info("%s %s '%s' is checked", request.service, commit.short, check.redact(commit.subject))
    without = sorted(set(asked.test.secrets) - set(check.test_env()))
    user = estate.file.checks.user or ""
    return check, Checked(
        request.model_copy(update={"requested_by": check.redact(request.requested_by)}),
        replace(commit, subject=check.redact(commit.subject)),
        rules,
        user if room.guest.uid is not None else "",
        without,
    )


def _service(source: Source, commit: Commit, name: str) -> ServiceFile:
    service = load_service(source.read_file(commit, SERVICE_FILE), f"{SERVICE_FILE} of {commit.short}")
    if service.service != name:
        raise Refused(
            f"the service file is of {service.service!r}, not of {name!r}",
            on=f"{SERVICE_FILE} of {commit.short}",
            next_action="check the repository that the estate file names for this service",
        )
    return service


def _kept_from_guests(estate: OpenEstate) -> list[Path]:
    """Return the files that hold secrets of the estate or of the worker's user, and the worker's environment."""
    references = [text for text in _texts(estate.file.model_dump(mode="json")) if text.startswith("file:")]
    files = [estate.context.resolve(reference.removeprefix("file:")) for reference in references]
    return [Path("/proc/self/environ").resolve(), *files, *(Path.home() / key for key in KEYS)]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _show(check: Check, checked: Checked, error: str | None) -> None:
    with only_shown():
        create_markdown_artifact(
            key=f"check-{checked.request.service}",
            markdown=check_text(checked, check.notes.taken, check.redact(error) if error else None),
            description=f"{checked.request.service} {checked.commit.short}: {'failed' if error else 'passed'}",
        )
