"""What scanning needs from the outside: scanners."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tasks.common.service import Scan
from tasks.scan.model import ScanReport


class Scanner(Protocol):
    """Runs one tool over a tree."""

    def scan(
        self,
        tree: Path,
        spec: Scan,
        *,
        env: dict[str, str],
        on_line: Callable[[str], None],
        stop: threading.Event | None = None,
    ) -> ScanReport:
        """Return what the tool found. A missing, crashed or stopped tool, or one without a valid report, never passes.

        Args:
            tree: folder that the tool is started in.
            spec: what to run, and how its answer is read.
            env: environment variables of the tool.
            on_line: receives what the tool prints, redacted.
            stop: the tool is ended, with no answer, as soon as this is set.

        Raises:
            Refused: the tool gave no answer that can be trusted; says why and how to mend it.
        """
        ...
