"""Writes what a run does to the ledger, without ever standing in the way of a roll-back."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from blocks.files import replacing
from tasks.common.errors import Refused, SlipwayError
from tasks.release.model import Evidence, Outcome
from tasks.release.ports import Ledger

_UNSENT = "unsent-evidence-"


class TakesEvidence(Protocol):
    """Where evidence goes: a ledger, as a rule."""

    def append(self, evidence: Evidence) -> None:
        """The evidence is kept, in order."""
        ...


class Journal:
    """Evidence of one run, in order.

    Noting never raises, also where the ledger refuses: what it does not take now is kept and sent before the next note.
    A step that moves a release forward asks `require_kept` first, so that nothing goes on unrecorded; a roll-back does
    not ask. Several threads may note at the same time.

    Args:
        ledger: where it goes.
        record_id: the run's record.
        redact: applied to every text of the facts.
    """

    def __init__(self, ledger: TakesEvidence, record_id: str, redact: Callable[[str], str]) -> None:
        self._ledger = ledger
        self._redact = redact
        self._unsent: list[Evidence] = []
        self._lock = threading.RLock()
        self._problem: SlipwayError | None = None
        self.record_id = record_id

    def note(self, kind: str, name: str, *, duration_s: float | None = None, **facts: object) -> None:
        """The fact is in the ledger, or waits to be sent there."""
        with self._lock:
            self._keep(kind, name, facts, duration_s)
            self._send()

    def keep(self, kind: str, name: str, **facts: object) -> None:
        """The fact waits to be sent, also where the ledger would take it by now: it may not have taken its other half.

        So the end of a run that the ledger has refused goes to a file, and is delivered whole.
        """
        with self._lock:
            self._keep(kind, name, facts, None)

    @contextmanager
    def timed(self, kind: str, name: str, **facts: object) -> Iterator[dict[str, object]]:
        """Note the block's duration, and its error if it raises; facts can be added to the yielded dict."""
        more: dict[str, object] = dict(facts)
        began = time.monotonic()
        try:
            yield more
        except BaseException as error:
            more["error"] = str(error) or type(error).__name__
            raise
        finally:
            self.note(kind, name, duration_s=time.monotonic() - began, **more)

    def require_kept(self) -> None:
        """Everything noted so far is in the ledger.

        Raises:
            Retryable: it is not; the ledger does not answer.
            Refused: it is not; the ledger does not let us in, or does not take it.
        """
        with self._lock:
            self._send()
            problem = self._problem
        if problem is not None:
            raise problem

    @property
    def unsent(self) -> tuple[Evidence, ...]:
        """Return what the ledger has not taken."""
        return tuple(self._unsent)

    def _keep(self, kind: str, name: str, facts: dict[str, object], duration_s: float | None) -> None:
        clean = {key: self._clean(value) for key, value in facts.items()}
        self._unsent.append(Evidence(self.record_id, kind, name, datetime.now(UTC), clean, duration_s))

    def _send(self) -> None:
        self._problem = None
        while self._unsent:
            try:
                self._ledger.append(self._unsent[0])
            except SlipwayError as problem:
                self._problem = problem
                return
            del self._unsent[0]

    def _clean(self, value: object) -> object:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {str(key): self._clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self._redact(str(value))


def unsent_file(folder: Path, record_id: str) -> Path:
    """Return the file that keeps what the ledger has not taken of a run."""
    return folder / f"{_UNSENT}{record_id}.jsonl"


def save_unsent(journal: Journal, folder: Path) -> Path:
    """What the ledger has not taken is in a file of JSON lines; returns its path. *Idempotent:* yes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = unsent_file(folder, journal.record_id)
    lines = [json.dumps(asdict(evidence), default=str) for evidence in journal.unsent]
    _write(path, lines)
    return path


def deliver_unsent(ledger: Ledger, folder: Path) -> tuple[str, ...]:
    """What runs could not send is in the ledger, and their files are gone; returns the records that it was about.

    A file that cannot be delivered does not stand in the way of the others, and loses no line: what the ledger has
    taken of it is not sent again. *Idempotent:* yes, but for a process that dies half way: then facts may be there
    twice.

    Raises:
        Retryable: the ledger does not answer; the files that are left will be delivered the next time.
        Refused: the ledger does not take it, or a file is not as it was written.
    """
    delivered, problems = [], list[Refused]()
    for path in sorted(folder.glob(f"{_UNSENT}*.jsonl")):
        try:
            _deliver(ledger, path)
        except Refused as problem:
            problems.append(problem)
        else:
            delivered.append(path.stem.removeprefix(_UNSENT))
    if problems:
        first, *others = problems
        first.facts.update({other.on: other.what for other in others})
        raise first
    return tuple(delivered)


def _deliver(ledger: Ledger, path: Path) -> None:
    items, sent = _read(path), 0
    try:
        for evidence in items:
            if evidence.kind == "end":
                _end(ledger, evidence)
            ledger.append(evidence)
            sent += 1
    finally:
        if 0 < sent < len(items):
            _write(path, path.read_text(encoding="utf-8").splitlines()[sent:])
    path.unlink(missing_ok=True)


def _end(ledger: Ledger, evidence: Evidence) -> None:
    """The run's end is on record, unless another run has put one there meanwhile: that one stands."""
    if ledger.record(evidence.record_id).outcome is not Outcome.RUNNING:
        return
    error, digest = evidence.facts.get("error"), evidence.facts.get("digest")
    ledger.end(
        evidence.record_id,
        Outcome(evidence.name),
        evidence.at,
        str(error) if error is not None else None,
        str(digest) if digest is not None else None,
    )


def _read(path: Path) -> list[Evidence]:
    """Return everything that the file holds; nothing of it is sent if it is not as it was written."""
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            item = json.loads(line)
            items.append(Evidence(**{**item, "at": datetime.fromisoformat(item["at"])}))
            if items[-1].kind == "end":
                Outcome(items[-1].name)
        except (ValueError, TypeError, KeyError) as error:
            raise Refused(
                f"line {number} is not evidence as a run has written it ({type(error).__name__})",
                on=str(path),
                state="nothing of this file was sent to the ledger; its run is left as it is on record",
                next_action="mend the line or take it out, and the next reconciliation delivers the rest; or move the "
                "file away, and give up what it says",
            ) from None
    return items


def _write(path: Path, lines: Sequence[str]) -> None:
    with replacing(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
