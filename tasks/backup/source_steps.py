"""The @task functions that look at the source of a backup, beside taking it: its clock, and what fills its disk."""

from datetime import UTC, datetime

from prefect import task
from prefect.logging import get_run_logger

from tasks.backup.steps import Work
from tasks.common.clocks import ahead_s, apart
from tasks.common.errors import Refused, SlipwayError
from tasks.common.run_steps import page_of
from tasks.common.steps import ONCE
from tasks.common.wal import problems
from tasks.notify.messages import wal_held, wal_let_go
from tasks.notify.steps import tell


@task(name="WAL", task_run_name="{work}: look what WAL the source holds", **ONCE)
def look_at_wal(work: Work) -> None:
    """People are told where WAL fills the source's disk, or is lost to whoever reads it. Changes nothing.

    The backup is taken all the same: it is needed then more than ever.
    """
    database, log = work.estate.database(str(work)), get_run_logger()
    if database is None:
        return
    try:
        held = database.wal()
    except SlipwayError as error:
        log.warning("it is not known what WAL the source holds: %s", error.what)
        return
    if held.unseen:
        log.warning("WAL that waits to be archived was not counted: %s", held.unseen)
    found, estate, now = problems(held, work.plan.objectives.rpo_s), work.estate, datetime.now(UTC)
    for each in found:
        log.error("%s", each)
    if found:
        message = wal_held(str(work), estate.file.estate, now, found, run=work.run_id, link=page_of(work.run_id))
        tell(estate.notifiers, message, None)
    elif not held.unseen:
        keeping = [each for each in estate.notifiers if each.notifier.keeps_trouble_open]
        tell(keeping, wal_let_go(str(work), estate.file.estate, now), None)


@task(name="clocks", task_run_name="{work}: compare the clocks", **ONCE)
def require_clocks(work: Work) -> None:
    """The worker's clock goes as the source's does, as far as the source can be asked. Changes nothing.

    Raises:
        Refused: they are apart: the times of backups, and how old they are, are wrong.
    """
    database = work.estate.database(str(work))
    if database is None:
        return
    before = datetime.now(UTC)
    try:
        source_at = database.moment().at
    except SlipwayError as error:
        get_run_logger().warning("the clocks were not compared: %s", error.what)
        return
    if wrong := apart(ahead_s(before, source_at, datetime.now(UTC))):
        raise Refused(
            f"{wrong}: nobody knows how old backups are",
            on=f"the source of {work}",
            state="the new backup is whole and in the catalogue; nothing was expired",
            next_action="see which of the two is wrong ('timedatectl'), set it, then run this again",
        )
