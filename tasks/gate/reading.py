"""Reads the figure of a gate from its source. What goes wrong is a reading too, and keeps the gate closed."""

from dataclasses import dataclass
from datetime import datetime

from tasks.common.errors import SlipwayError
from tasks.common.gates import Gate
from tasks.common.promql import fill
from tasks.gate.model import Names, Reading
from tasks.gate.ports import AnswerSource, QuerySource, RecordSource


@dataclass(frozen=True)
class Sources:
    """Where figures are read: PromQL, SQL over the ledger, HTTP."""

    metrics: QuerySource
    ledger: RecordSource
    http: AnswerSource


def read(gate: Gate, sources: Sources, names: Names, now: datetime) -> Reading:
    """Return what the source of a gate says now; never raises one of our errors.

    Args:
        gate: with the source promql, sql or http.
        sources: where to ask.
        names: what is asked about.
        now: noted as the time of the reading.
    """
    try:
        return Reading(_figure(gate, sources, names), "", gate.source_words(), now)
    except SlipwayError as error:
        says = "".join(f" ({value})" for name, value in error.facts.items() if name.endswith("says"))
        return Reading(None, error.what + says, gate.source_words(), now, mend=error.next_action)
    except ValueError as error:
        return Reading(None, str(error), gate.source_words(), now, mend="correct the gate's query")


def _figure(gate: Gate, sources: Sources, names: Names) -> float | None:
    if gate.promql is not None:
        return sources.metrics.query(fill(gate.promql, names.values()))
    if gate.sql is not None:
        return sources.ledger.figure(gate.sql, names.values())
    assert gate.http is not None, "recorded gates are read from the evidence"
    return sources.http.read(gate.http)
