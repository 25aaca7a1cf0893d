"""Writes what a run does to the ledger, without ever standing in the way of a roll-back."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tasks.common.errors import SlipwayError
from tasks.release.model import Evidence, Outcome
from tasks.release.ports import Ledger

_UNSENT = "unsent-evidence-"


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

    def __init__(self, ledger: Ledger, record_id: str, redact: Callable[[str], str]) -> None:
        self._ledger = ledger
        self._redact = redact
        self._unsent: list[Evidence] = []
        self._lock = threading.RLock()
        self._problem: SlipwayError | None = None
        self.record_id = record_id

    def note(self, kind: str, name: str, *, duration_s: float | None = None, **facts: object) -> None:
        """The fact is in the ledger, or waits to be sent there."""
        clean = {key: self._clean(value) for key, value in facts.items()}
        with self._lock:
            self._unsent.append(Evidence(self.record_id, kind, name, datetime.now(UTC), clean, duration_s))
            self._send()

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


def save_unsent(journal: Journal, folder: Path) -> Path:
    """What the ledger has not taken is in a file of JSON lines; returns its path. *Idempotent:* yes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_UNSENT}{journal.record_id}.jsonl"
    lines = [json.dumps(asdict(evidence), default=str) for evidence in journal.unsent]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def deliver_unsent(ledger: Ledger, folder: Path) -> tuple[str, ...]:
    """What runs could not send is in the ledger, and their files are gone; returns the records that it was about.

    *Idempotent:* yes, but for a process that dies half way: then facts may be there twice.

    Raises:
        Retryable: the ledger does not answer; the files that are left will be delivered the next time.
        Refused: the ledger does not take it.
    """
    delivered = []
    for path in sorted(folder.glob(f"{_UNSENT}*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            evidence = Evidence(**{**item, "at": datetime.fromisoformat(item["at"])})
            ledger.append(evidence)
            if evidence.kind == "end":
                error, digest = evidence.facts.get("error"), evidence.facts.get("digest")
                ledger.end(
                    evidence.record_id,
                    Outcome(evidence.name),
                    evidence.at,
                    str(error) if error is not None else None,
                    str(digest) if digest is not None else None,
                )
        path.unlink()
        delivered.append(path.stem.removeprefix(_UNSENT))
    return tuple(delivered)
