"""What every ledger does to data before it keeps it, so that each of them returns the same."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from tasks.common.errors import Refused
from tasks.release.model import Evidence, Outcome, ReleaseRecord

# Neither can be kept by PostgreSQL; both occur in the output of programs.
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def kept_text(text: str) -> str:
    """Return the text with every NUL and lone surrogate replaced by U+FFFD."""
    return _NOT_TEXT.sub(_REPLACEMENT, str(text))


def kept_time(at: datetime, what: str) -> datetime:
    """Return the time in UTC.

    Raises:
        Refused: it is naive, so that nobody can say when it was.
    """
    if at.utcoffset() is None:
        raise _refused(what, "a time without its zone", "pass an aware datetime, such as datetime.now(UTC)")
    return at.astimezone(UTC)


def kept_evidence(evidence: Evidence) -> Evidence:
    """Return the evidence as it is kept, its facts copied.

    A number that JSON does not have becomes text ('NaN', 'Infinity', '-Infinity'), and None as a duration: whether a
    figure is one depends on what was measured, and evidence of a bad measurement must not be lost. Aware datetimes
    become ISO 8601 text in UTC.

    Raises:
        Refused: a fact of another type, a naive datetime, or a key that is no text: an error in the calling code.
    """
    duration_s = evidence.duration_s
    return Evidence(
        record_id=kept_text(evidence.record_id),
        kind=kept_text(evidence.kind),
        name=kept_text(evidence.name),
        at=kept_time(evidence.at, "at"),
        facts=kept_facts(evidence.facts),
        duration_s=duration_s if duration_s is not None and math.isfinite(duration_s) else None,
    )


def kept_facts(facts: Mapping[str, object]) -> dict[str, object]:
    """Return facts as `kept_evidence` keeps them, copied.

    Raises:
        Refused: a fact of another type than JSON has, a naive datetime, or a key that is no text.
    """
    return {_key(key, "facts"): _kept(value, f"facts.{key}") for key, value in facts.items()}


def kept_record(record: ReleaseRecord) -> ReleaseRecord:
    """Return the record of a run that begins, as it is kept.

    Raises:
        Refused: it has an outcome already (that is what end() is for), or its time is naive.
    """
    if record.outcome is not Outcome.RUNNING or record.ended_at is not None or record.error is not None:
        raise _refused(record.id, "a record that begins with an outcome", "begin it as running, then call end")
    return ReleaseRecord(
        id=kept_text(record.id),
        kind=record.kind,
        service=kept_text(record.service),
        environment=kept_text(record.environment),
        release=kept_text(record.release),
        commit=kept_text(record.commit),
        subject=kept_text(record.subject),
        strategy=kept_text(record.strategy),
        requested_by=kept_text(record.requested_by),
        started_at=kept_time(record.started_at, "started_at"),
        digest=record.digest,
    )


def check_outcome(record_id: str, outcome: Outcome) -> None:
    """The outcome ends a record.

    Raises:
        Refused: it is 'running'.
    """
    if outcome is Outcome.RUNNING:
        raise _refused(record_id, "an end with the outcome 'running'", "end it with what it came to")


def no_such_record(record_id: str) -> Refused:
    """Return the error for an id that no record has."""
    return Refused(
        "no such record in the ledger",
        on=record_id,
        next_action="check the id: 'slipway releases list' shows what is on record",
    )


def ended_otherwise(record_id: str, before: Outcome, outcome: Outcome) -> Refused:
    """Return the error for a second, different outcome."""
    return Refused(
        f"the record ended as {before} and cannot end as {outcome}",
        on=record_id,
        state=f"{before} stands",
        next_action="find out which of two workers ended it; start a new run for what is left to do",
    )


def the_one(prefix: str, found: list[ReleaseRecord]) -> ReleaseRecord:
    """Return the record that a prefix names, out of those whose id starts with it (in order of their ids).

    Raises:
        Refused: there is none, or there are several and no id is the prefix itself.
    """
    if not found:
        raise no_such_record(prefix)
    if len(found) > 1 and found[0].id != prefix:
        raise Refused(
            "several records in the ledger start with that id",
            on=prefix or "(empty)",
            next_action="give more of the id",
            facts={"among them": ", ".join(record.id for record in found[:3])},
        )
    return found[0]


def _kept(value: object, where: str) -> object:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else json.dumps(value)
        case str():
            return kept_text(value)
        case datetime():
            return kept_time(value, where).isoformat()
        case Mapping():
            return {_key(key, where): _kept(item, f"{where}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [_kept(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise _refused(where, f"a {type(value).__name__}", "pass text, a number, a truth value, a list or a dict")


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise _refused(where, f"a key of type {type(key).__name__}", "use text as key")
    return kept_text(key)


def _refused(on: str, what: str, next_action: str) -> Refused:
    return Refused(f"the ledger does not take {what}", on=on, next_action=next_action)
