"""The @task functions of scanning: thin, and the only module here that imports Prefect."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.journal import Journal
from tasks.common.errors import Refused, SlipwayError, Unsafe
from tasks.common.service import AcceptedFinding, Scan
from tasks.common.steps import ONCE, only_shown
from tasks.scan.judge import facts, judge
from tasks.scan.model import Finding, ScanReport, Verdict
from tasks.scan.ports import Scanner
from tasks.scan.table import scans_text, where

_SHOWN = 10


@dataclass(frozen=True)
class ScanTrees:
    """Where scanners are started.

    Args:
        tree: the commit's files.
        history: makes a repository with the commit and its ancestors; only called if a scan asks for it.
    """

    tree: Path
    history: Callable[[], Path]


@dataclass(frozen=True)
class Terms:
    """What findings are judged by: the accepted ones, those of the last release (None: there was none), the day."""

    accepted: Sequence[AcceptedFinding]
    before: Sequence[Finding] | None
    today: date


def scan(
    scanner: Scanner,
    trees: ScanTrees,
    specs: Sequence[Scan],
    accepted: Sequence[AcceptedFinding],
    before: Sequence[Finding] | None,
    journal: Journal,
    on_line: Callable[[str], None],
) -> None:
    """Every tool of the service file ran to its end and found nothing that blocks (SCN-1, SCN-2).

    The tools run side by side, each to its end whatever the others say.

    Args:
        scanner: runs the tools.
        trees: where they are started.
        specs: the scans of the service file.
        accepted: the accepted findings of the service file.
        before: what the last release's scans found, from `recorded_findings`; None if there was no last release.
        journal: gets each tool's counts and findings.
        on_line: receives what the tools print.

    Raises:
        Refused: lists every tool that gave no answer, and everything that blocks.
        Unsafe: a tool could not be ended, and may still be running.

    *Idempotent:* yes.
    """
    terms, stop = Terms(accepted, before, datetime.now(UTC).date()), threading.Event()
    folders = {"tree": trees.tree, "history": _history(trees, specs)}
    running = [scan_tree.submit(scanner, folders[s.over], s, terms, journal, on_line, stop) for s in specs]
    try:
        answers = [future.result(raise_on_failure=False) for future in running]
    except BaseException:
        # The tools run in other threads, which an interrupt of this one does not reach.
        stop.set()
        raise
    _raise_bugs(answers)
    reports = [(s, answer) for s, answer in zip(specs, answers, strict=True) if isinstance(answer, ScanReport)]
    failed = {s.tool: answer for s, answer in zip(specs, answers, strict=True) if isinstance(answer, SlipwayError)}
    conclude([s.tool for s in specs], judge(reports, accepted, before, terms.today), failed)


def _history(trees: ScanTrees, specs: Sequence[Scan]) -> Path | SlipwayError:
    """Return the repository with the history, or why there is none: the scans that need it say so, beside the rest."""
    if not any(spec.over == "history" for spec in specs):
        return trees.tree
    try:
        return trees.history()
    except SlipwayError as problem:
        return problem


def _raise_bugs(answers: Sequence[object]) -> None:
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, SlipwayError):
            raise answer


@task(name="scan", task_run_name="scan: {spec.tool}", **ONCE)
def scan_tree(
    scanner: Scanner,
    folder: Path | SlipwayError,
    spec: Scan,
    terms: Terms,
    journal: Journal,
    on_line: Callable[[str], None],
    stop: threading.Event,
) -> ScanReport:
    """The tool ran to its end; what it found is in the ledger. *Idempotent:* yes.

    Raises:
        Refused: no answer that can be trusted.
    """
    with journal.timed("scan", spec.tool, stops_on=list(spec.stopping), over=spec.over) as noted:
        if isinstance(folder, SlipwayError):
            raise folder
        report = scanner.scan(folder, spec, env={}, on_line=on_line, stop=stop)
        found = judge([(spec, report)], terms.accepted, terms.before, terms.today)
        noted.update(facts(found))
    counts = f"{len(found.findings)} findings, {len(found.new)} new, {len(found.accepted)} accepted"
    get_run_logger().info("%s: %s, %d block", spec.tool, counts, len(found.blocking))
    return report


@task(name="judge scans", task_run_name="judge scans", **ONCE)
def conclude(tools: Sequence[str], verdict: Verdict, failed: Mapping[str, SlipwayError]) -> None:
    """All findings are shown in the artifact `scans`, and nothing stops the release. *Idempotent:* yes.

    Raises:
        Refused: lists every tool that gave no answer, and everything that blocks.
        Unsafe: one of the tools may still be running.
    """
    with only_shown():
        shown = scans_text(tools, verdict, {tool: problem.what for tool, problem in failed.items()})
        create_markdown_artifact(key="scans", markdown=shown, description=f"Findings of {', '.join(tools)}")
    problems = {tool: _told(problem) for tool, problem in failed.items()} | _blocking(verdict)
    if len(problems) == len(failed) == 1:
        # Nothing has to be put together, and its own block says most.
        raise next(iter(failed.values()))
    if problems:
        kind = Unsafe if any(isinstance(problem, Unsafe) for problem in failed.values()) else Refused
        raise kind(
            f"{len(problems)} of {len(tools)} scanners stop the release: {_in_short(failed, verdict)}",
            on=", ".join(problems),
            state="nothing was published or deployed",
            next_action="mend what is listed (all findings: the run's artifact 'scans'), and release the new commit; "
            "what may stay for a time goes into accepted_findings of slipway.yaml, with a reason and a last day",
            facts=problems,
        )


def _in_short(failed: Mapping[str, SlipwayError], verdict: Verdict) -> str:
    found = Counter(each.finding.tool for each in verdict.blocking)
    silent = [f"{tool} gave no answer that can be trusted" for tool in failed]
    return "; ".join([*silent, *(f"{tool} found {count} that block" for tool, count in found.items())])


def _told(problem: SlipwayError) -> str:
    facts = [f"{name}: {value}" for name, value in problem.facts.items()]
    return "\n".join([problem.what, f"next: {problem.next_action}", *facts])


def _blocking(verdict: Verdict) -> dict[str, str]:
    lines: dict[str, list[str]] = {}
    for each in verdict.blocking:
        finding = each.finding
        expired = f" (accepted until {each.acceptance.until})" if each.acceptance is not None else ""
        line = f"{finding.severity}: {where(each)}: {finding.rule}: {finding.message}{expired}"
        lines.setdefault(finding.tool, []).append(line)
    return {
        tool: "\n".join(found[:_SHOWN] + [f"... and {len(found) - _SHOWN} more"] * (len(found) > _SHOWN))
        for tool, found in lines.items()
    }
