"""What restic prints while it works."""

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from blocks.backups.manifest import unreadable
from tasks.common.backups import OnProgress, Progress, StoredBackup
from tasks.common.errors import Retryable

_PERCENT = re.compile(r"\] ([0-9.]+)%")
_UNREADABLE = re.compile(r"could not load snapshot ([0-9a-f]+): (.*)")
_PASSED_BY = "does not exist, skipping"
_SHOWN = 10

_log = logging.getLogger(__name__)


class Reading:
    """Reads the JSON lines of a backup.

    Args:
        on_progress: told of each.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._left_out: list[str] = []
        self.snapshot = ""
        self.total_bytes = 0
        self.added_bytes = 0

    def line(self, line: str) -> None:
        """The line was understood, or went to the log."""
        message = _message(line)
        match message.get("message_type"):
            case "status":
                total = int(message.get("total_bytes", 0))
                self._on_progress(Progress(min(int(message.get("bytes_done", 0)), total), total))
            case "summary":
                self.snapshot = str(message["snapshot_id"])
                self.total_bytes = int(message["total_bytes_processed"])
                self.added_bytes = int(message["data_added"])
            case "error":
                self._left_out.append(f"{message.get('item')}: {message.get('error')}")
            case _:
                _log.info(line)
                if _PASSED_BY in line:
                    self._left_out.append(line)

    def refuse_left_out(self, where: str) -> None:
        """No file was left out.

        Raises:
            Retryable: some were: the snapshot is no backup.
        """
        if self._left_out:
            raise Retryable(
                f"restic could not read {len(self._left_out)} of the files",
                on=where,
                state="what it has read is not called a backup, and the next one removes it",
                next_action="run this again if they were just being changed; else give Slipway's user the right to "
                "read them, or add them to 'excludes'",
                facts={"left out": "\n".join(self._left_out[:_SHOWN])},
            )


class DamagedSnapshots:
    """Reads what restic says while it lists snapshots: 0.14 leaves out one that is damaged, and calls that a success.

    What such a backup was, or that it was one at all, is not known any more: it is listed under its snapshot's id.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, StoredBackup]] = []

    def line(self, line: str) -> None:
        """The line was understood, or went to the log."""
        _log.warning(line)
        damaged = _UNREADABLE.search(line)
        if damaged is not None:
            why = f"restic cannot read its snapshot: {damaged[2]}"
            self.found.append((damaged[1], unreadable(f"snapshot-{damaged[1]}", datetime.fromtimestamp(0, UTC), why)))


def percent_reader(total: int, on_progress: OnProgress) -> Callable[[str], None]:
    """Return what reads the progress of a command that prints per cent."""
    seen = 0.0

    def read(line: str) -> None:
        nonlocal seen
        _log.info(line)
        percent = _PERCENT.search(line)
        if percent is not None and seen < float(percent[1]) <= 100:
            seen = float(percent[1])
            on_progress(Progress(int(total * seen / 100), total))

    return read


def _message(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
