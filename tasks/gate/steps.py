"""The @task functions of gates: thin, and the only module here that imports Prefect."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from blocks.journal import Journal
from tasks.common.errors import Refused
from tasks.common.gates import Gate
from tasks.common.steps import ONCE, only_shown
from tasks.gate.judge import closed_facts, judge, verdict_table
from tasks.gate.model import Names, Reading, Verdict, Wanted
from tasks.gate.ports import Recorded
from tasks.gate.reading import Sources, read
from tasks.gate.recorded import built_in, read_recorded

_AT_ONCE = 16


@dataclass(eq=False)
class Gating:
    """What stands before a release.

    Args:
        phase: what the gates stand before, for task names and the record ('production').
        gates: the service's and the environment's own; those that are always there come on top.
        wanted: what this run's evidence must show.
        evidence: reads what this run has recorded.
        sources: where the own gates are read.
        names: what their queries are asked about.
        journal: evidence goes here.
        further: judges what other capabilities look at; none where nothing more is there.
    """

    phase: str
    gates: Sequence[Gate]
    wanted: Wanted
    evidence: Callable[[], Sequence[Recorded]]
    sources: Sources
    names: Names
    journal: Journal
    further: Callable[[], Sequence[Verdict]] = tuple


@task(name="gates", task_run_name="{gating.phase}: gates", **ONCE)
def require_gates(gating: Gating) -> tuple[Verdict, ...]:
    """Every gate is open; returns their verdicts, which the ledger has. *Idempotent:* yes; nothing is changed.

    All are read side by side, and read once: no waiting opens a gate (REL-11).

    Raises:
        Refused: lists every gate that is closed, at once.
        Retryable: the ledger does not take the evidence, or does not give it.
    """
    gating.journal.require_kept()
    verdicts = _verdicts(gating)
    for each in verdicts:
        gating.journal.note(
            "gate",
            each.name,
            phase=gating.phase,
            open=each.open,
            figure=each.figure,
            bound=each.bound,
            source=each.source,
            why=each.why,
        )
    with only_shown():
        create_markdown_artifact(
            key="gates", markdown=verdict_table(verdicts), description=f"Gates before {gating.phase}"
        )
    closed = closed_facts(verdicts)
    if closed:
        raise Refused(
            f"{len(closed)} of {len(verdicts)} gates are closed",
            on=f"{gating.names.service} {gating.names.commit[:7]} to {gating.names.environment}",
            next_action="do what each closed gate says, then release again",
            facts=closed,
        )
    gating.journal.require_kept()
    get_run_logger().info("%s: all %d gates are open", gating.phase, len(verdicts))
    return verdicts


def _verdicts(gating: Gating) -> tuple[Verdict, ...]:
    evidence = gating.evidence()

    def reading(gate: Gate) -> Reading:
        now = datetime.now(UTC)
        if gate.recorded is not None:
            return read_recorded(gate, gating.wanted, evidence, now)
        return read(gate, gating.sources, gating.names, now)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        own = list(zip(gating.gates, pool.map(reading, gating.gates), strict=True))
    now = datetime.now(UTC)
    judged = [judge(gate, found, now) for gate, found in [*built_in(gating.wanted, evidence, now), *own]]
    return (*judged, *gating.further())
