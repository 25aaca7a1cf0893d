"""What scanning needs from the outside: scanners."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tasks.common.service import Scan
from tasks.scan.model import ScanReport


class Scanner(Protocol):
    """Runs one tool over a tree."""

    def scan(self, tree: Path, spec: Scan, *, env: dict[str, str], on_line: Callable[[str], None]) -> ScanReport:
        """Return what the tool found. A missing, crashed or stopped tool, or one without a valid report, never passes.

        Raises:
            Refused: the tool gave no answer that can be trusted; says why and how to mend it.
        """
        ...
