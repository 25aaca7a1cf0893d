"""A scanner that finds what it was told to find."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from blocks.context import Context
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.service import Scan
from tasks.scan.model import Finding, ScanReport


class MemoryScanner:
    """Starts no tool. Every tool finds nothing until a finding is planted, and answers until it is broken."""

    class Settings(StrictModel):
        """It has none."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings
        self._context = context
        self._planted: list[Finding] = []
        self._broken: dict[str, str] = {}

    def plant(self, finding: Finding) -> None:
        """The finding's tool finds it from now on."""
        self._planted.append(finding)

    def break_tool(self, tool: str, problem: str) -> None:
        """The tool gives no answer from now on."""
        self._broken[tool] = problem

    def scan(
        self,
        tree: Path,
        spec: Scan,
        *,
        env: dict[str, str],
        on_line: Callable[[str], None],
        stop: threading.Event | None = None,
    ) -> ScanReport:
        """Return what was planted for the tool.

        Raises:
            Refused: the tool was broken or stopped, or the tree has no files.
        """
        del env
        problem = self._broken.get(spec.tool)
        if not tree.is_dir() or not any(tree.iterdir()):
            problem = "there is nothing to scan"
        if stop is not None and stop.is_set():
            problem = "it was stopped"
        if problem is not None:
            raise Refused(
                f"the scan gave no answer that can be trusted: {problem}",
                on=f"scan {spec.tool}",
                state="nothing was published or deployed",
                next_action="mend what keeps the tool from its end",
            )
        on_line(f"{spec.tool}: no tool was started, as this scanner is kept in memory")
        redact = self._context.secrets.redact
        found = (replace(finding, message=redact(finding.message)) for finding in self._planted)
        return ScanReport(spec.tool, tuple(finding for finding in found if finding.tool == spec.tool), 0.0)
