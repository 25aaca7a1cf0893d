"""Shows the status of all backup plans in the Prefect UI; imports Prefect."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.estate import OpenEstate
from tasks.backup.report import report
from tasks.backup.status import look
from tasks.common.errors import SlipwayError
from tasks.common.steps import only_shown


def show_status(estate: OpenEstate) -> None:
    """The artifact `backups` has the status of all plans as it is now; where the ledger is away, that is logged."""
    try:
        now = datetime.now(UTC)
        statuses = look(estate.file, estate.ledger.catalogue, now)
    except SlipwayError as error:
        get_run_logger().warning("the status of the plans is not shown: %s", error.what)
        return
    with only_shown():
        markdown = estate.context.secrets.redact(report(statuses, now))
        create_markdown_artifact(key="backups", markdown=markdown, description="status of all plans")


@contextmanager
def status_shown(estate: OpenEstate) -> Iterator[None]:
    """The status is shown anew at the end of the block, however that ends."""
    try:
        yield
    finally:
        show_status(estate)
