"""Runs a scanner and reads the report that it writes: SARIF, or a known JSON format."""

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pydantic import Field

from blocks.context import Context
from blocks.files import read_made
from blocks.shell import Completed, TimedOut, run
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.common.service import ReportFormat, Scan
from tasks.common.units import Size
from tasks.scan.model import Finding, ScanReport
from tasks.scan.parse import InvalidReport, parse_report

_OUTPUT = "{output}"
# Some tools choose their format by the file's name.
_FILE_NAMES: dict[ReportFormat, str] = {
    "sarif": "report.sarif",
    "detect-secrets": "report.json",
    "pip-audit": "report.json",
    "npm-audit": "report.json",
}
_LINES_SHOWN = 20


class ReportScanner:
    """Runs the command of a service file's scan; only a whole report of a tool that ran to its end is an answer."""

    class Settings(StrictModel):
        """Settings in the estate file."""

        report_at_most_bytes: Size = Field(
            default=64 * 2**20, alias="report_at_most", description="a longer report is refused"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context

    def scan(
        self,
        tree: Path,
        spec: Scan,
        *,
        env: dict[str, str],
        on_line: Callable[[str], None],
        stop: threading.Event | None = None,
    ) -> ScanReport:
        """Return what the tool found in the tree; changes nothing, apart from what the tool itself does.

        Args:
            tree: what the tool is started in: the checked-out tree, or a repository with the commit's history.
            spec: what to run, and how its answer is read.
            env: environment variables of the tool.
            on_line: receives what the tool prints, redacted; not a report that it prints to stdout.
            stop: the tool is ended, with no answer, as soon as this is set.

        Raises:
            Refused: the tree has no files; the tool is missing, timed out, crashed, was stopped or ended with a code
                that means so; its report is missing, cut short, too long, contradicts the exit code or tells of errors.
        """
        attempt = _Attempt(spec, on_line)
        tree = tree.resolve()
        if not tree.is_dir() or not any(tree.iterdir()):
            raise attempt.refused("there is nothing to scan", f"check that {tree} holds the checked-out commit")
        if spec.report == "file" and not any(_OUTPUT in part for part in spec.command):
            raise attempt.refused(
                "its command does not say where to write the report",
                f"put {_OUTPUT} into the scan's command, or set 'report: stdout', in slipway.yaml",
            )
        guest = self._context.guest
        with TemporaryDirectory(prefix="slipway-scan-", dir=guest.scratch if guest else None) as folder:
            if guest is not None and guest.uid is not None and guest.gid is not None:
                os.chown(folder, guest.uid, guest.gid)
            output = Path(folder) / _FILE_NAMES[spec.format]
            completed = self._run(attempt, tree, output, env, stop)
            text = completed.stdout if spec.report == "stdout" else self._read(attempt, output, completed)
        findings = _findings(attempt, completed, text, tree)
        return ScanReport(spec.tool, tuple(map(self._redacted, findings)), completed.duration_s)

    def _run(
        self, attempt: "_Attempt", tree: Path, output: Path, env: dict[str, str], stop: threading.Event | None
    ) -> Completed:
        spec = attempt.spec
        try:
            completed = run(
                [part.replace(_OUTPUT, str(output)) for part in spec.command],
                cwd=tree,
                timeout_s=spec.timeout_s,
                redact=self._context.secrets.redact,
                # Else git, and what runs it, would look for a repository in the folders above, and scan that one.
                env={"GIT_CEILING_DIRECTORIES": str(tree.parent), **env},
                path=[str(self._context.resolve(folder)) for folder in self._context.path],
                on_line=attempt.line,
                capture_stdout=spec.report == "stdout",
                stop=stop,
                guest=self._context.guest,
            )
        except TimedOut as error:
            # Not chained: its last lines may be lines of the report, and they may quote a secret.
            raise attempt.refused(
                error.what, "see what it waits for, or give the scan a longer timeout in slipway.yaml"
            ) from None
        if completed.exit_code not in spec.findings_exit:
            expected = " or ".join(map(str, spec.findings_exit))
            raise attempt.refused(
                "it did not run to its end",
                "mend what its last lines tell; if this code means that it did its work, add it to findings_exit",
                completed,
                expected=f"exit code {expected}",
            )
        return completed

    def _read(self, attempt: "_Attempt", output: Path, completed: Completed) -> str:
        guest = self._context.guest
        try:
            # A link or a pipe in its place could lead anywhere, or be waited for without end.
            data = read_made(output, self._settings.report_at_most_bytes + 1, guest.uid if guest else None)
        except OSError:
            raise attempt.refused("it wrote no report", "mend what its last lines tell", completed) from None
        if len(data) > self._settings.report_at_most_bytes:
            raise attempt.refused(
                f"its report is longer than {self._settings.report_at_most_bytes} bytes",
                "leave generated and vendored files out of the scan",
                completed,
            )
        try:
            return data.decode()
        except UnicodeDecodeError:
            # Not chained: the error carries the report.
            raise attempt.refused("its report is no UTF-8 text", "check its version", completed) from None

    def _redacted(self, finding: Finding) -> Finding:
        redact = self._context.secrets.redact
        return replace(finding, rule=redact(finding.rule), path=redact(finding.path), message=redact(finding.message))


class _Attempt:
    """One run of a tool, and what is told when it gives no answer."""

    def __init__(self, spec: Scan, on_line: Callable[[str], None]) -> None:
        self.spec = spec
        self._on_line = on_line
        # Not the shell's own last lines: they hold a report that is printed, and thereby the secrets that it quotes.
        self._last: deque[str] = deque(maxlen=_LINES_SHOWN)

    def line(self, text: str) -> None:
        """The line is handed on, and kept for an error."""
        self._last.append(text)
        self._on_line(text)

    def refused(self, problem: str, next_action: str, completed: Completed | None = None, **facts: object) -> Refused:
        """Return the error that says why the tool's answer is not trusted."""
        if completed is not None:
            facts = {"exit code": completed.exit_code, **facts}
        if self._last:
            facts["last lines"] = "\n".join(self._last)
        return Refused(
            f"the scan gave no answer that can be trusted: {problem}",
            on=f"scan {self.spec.tool}",
            state="nothing was published or deployed",
            next_action=next_action,
            facts=facts,
        )


def _findings(attempt: _Attempt, completed: Completed, text: str, tree: Path) -> tuple[Finding, ...]:
    spec = attempt.spec
    try:
        findings = parse_report(spec.format, text, tool=spec.tool, tree=PurePosixPath(tree))
    except InvalidReport as error:
        raise attempt.refused(
            str(error), f"run {spec.tool} by hand in the tree, and mend what keeps it from its end", completed
        ) from None
    if completed.exit_code != 0 and not findings:
        # A crash often ends with 1, the code that scanners also use for findings.
        raise attempt.refused(
            "it ended with an error, and its report names no finding",
            "mend what its last lines tell; a tool that found nothing has to end with 0",
            completed,
        )
    return findings
