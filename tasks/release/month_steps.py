"""The month's figures, from the ledger into the Prefect UI."""

from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_markdown_artifact

from blocks.estate import OpenEstate
from tasks.common.errors import Refused
from tasks.common.steps import TRANSIENT
from tasks.release.month import lines, month_of, report
from tasks.release.request import AggregateRequest

_AT_MOST = 100_000


@task(name="aggregate", task_run_name="aggregate {request.month}", **TRANSIENT)
def aggregate_month(estate: OpenEstate, request: AggregateRequest) -> str:
    """The month is an artifact of this run, and its Markdown is returned. *Idempotent:* yes.

    Raises:
        Refused: the month is none.
        Retryable: the ledger or the Prefect server does not answer.
    """
    try:
        begin, end = month_of(request.month, datetime.now(UTC))
    except ValueError:
        raise Refused(
            f"{request.month!r} is no month", on="the request", next_action="write it as 2026-10, or leave it out"
        ) from None
    text = report(begin, lines(estate.ledger.records(None, None, _AT_MOST), begin, end))
    create_markdown_artifact(key=f"releases-{begin:%Y-%m}", markdown=text, description=f"releases in {begin:%Y-%m}")
    return text
