"""Take a backup, and remove what is kept no longer."""

from collections.abc import Sequence

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from blocks.estate import open_estate
from tasks.backup.request import BackupRequest
from tasks.backup.source_steps import look_at_wal, require_clocks
from tasks.backup.steps import (
    Work,
    announce_taken,
    bring_in_line,
    check,
    clean,
    copy,
    expire,
    record_source,
    require_sound,
    take,
    working,
)
from tasks.common.backups import FIRST, SECOND
from tasks.common.schedule_steps import end_if_left_out


def _run_name() -> str:
    request = BackupRequest.model_validate(flow_run.parameters["request"])
    return f"{request.kind} backup of {request.plan}"


@flow(name="backup", flow_run_name=_run_name)
def backup(request: BackupRequest) -> State | None:
    """Take a backup, read it where it lies, copy it to the second repository, and remove what is kept no longer.

    Running it again after a crash puts right what that has left. Whether a backup can be restored, only verifying it by
    a restore can tell. The first repository gets its backup also while the second is away, unless WAL has to arrive in
    both. Nothing is removed where anything has failed.
    """
    estate = open_estate(request.estate)
    left_out = end_if_left_out(estate)
    if left_out is not None:
        return left_out
    with working(estate, request) as work:
        look_at_wal(work)
        make_ready(work, work.needed_to_take)
        label = take(work)
        enter(work, FIRST, label)
        announce_taken(work, label)
        if SECOND in work.repositories:
            make_ready(work, work.needed_to_copy)
            copied = copy(work, label)
            enter(work, SECOND, copied)
        require_clocks(work)
        for repository in work.repositories:
            expire(work, repository)
    return None


def make_ready(work: Work, repositories: Sequence[int]) -> None:
    """The repositories are as the catalogue has them, without anything that a dead run has left, and can get a backup.

    Nothing is made in any of them before all of them are known to be those that were written.
    """
    for repository in repositories:
        clean(work, repository)
        bring_in_line(work, repository)
    for repository in repositories:
        check(work, repository)


def enter(work: Work, repository: int, label: str) -> None:
    """The backup was read where it lies, was not found damaged, and is in the catalogue with what its source was."""
    bring_in_line(work, repository)
    record_source(work, repository, label)
    require_sound(work, repository, label)
