"""How records look on the terminal, and as JSON for scripts."""

import json
from datetime import datetime

from tasks.common.units import show_duration
from tasks.release.model import Kind, ReleaseRecord


def cells(record: ReleaseRecord) -> tuple[str, ...]:
    """Return a run as a row of 'releases list'."""
    took = show_duration((record.ended_at - record.started_at).total_seconds()) if record.ended_at else ""
    return (
        record.id[:8],
        f"{record.started_at:%m-%d %H:%M}",
        f"{record.service} {record.release[:7]}",
        record.environment,
        record.outcome.value if record.kind is Kind.RELEASE else f"rollback {record.outcome}",
        took,
        record.subject,
    )


def print_json(value: object) -> None:
    """The value stands on standard output as JSON, for scripts."""
    print(json.dumps(value, indent=2, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
