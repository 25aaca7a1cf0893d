"""Evidence of a run: in order, nothing lost while the ledger is away, and no secret in it."""

import json
import threading
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.journal import Journal, save_unsent
from blocks.memory.ledger import MemoryLedger
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.redaction import Redactor
from tasks.release.model import Evidence
from tests.support.ledger import record


class AwayLedger(MemoryLedger):
    """A ledger that takes no evidence while `away` holds an error."""

    def __init__(self) -> None:
        super().__init__(self.Settings(), Context(Path()))
        self.away: SlipwayError | None = None
        self.begin(record())

    def append(self, evidence: Evidence) -> None:
        """As `MemoryLedger.append`, unless it is away."""
        if self.away is not None:
            raise self.away
        super().append(evidence)

    def names(self) -> list[str]:
        """Return the names of the evidence that it has, in order."""
        return [evidence.name for evidence in self.evidence("run-1")]


SILENT = Retryable("the ledger does not answer", on="the ledger", next_action="start it")
CLOSED = Refused("the ledger does not let us in", on="the ledger", next_action="check the password")
AWAY = pytest.mark.parametrize("away", [SILENT, CLOSED], ids=["silent", "closed"])


@pytest.fixture
def ledger() -> AwayLedger:
    return AwayLedger()


@pytest.fixture
def journal(ledger: AwayLedger) -> Journal:
    return Journal(ledger, "run-1", Redactor(["hunter2"]).redact)


def test_what_is_noted_is_in_the_ledger_at_once(ledger: AwayLedger, journal: Journal) -> None:
    journal.note("step", "shift", environment="production", weight_percent=5.0)
    (kept,) = ledger.evidence("run-1")
    assert (kept.kind, kept.name, kept.facts) == ("step", "shift", {"environment": "production", "weight_percent": 5.0})
    assert journal.unsent == ()
    journal.require_kept()


@AWAY
def test_noting_never_raises_and_nothing_goes_forward_unrecorded(
    ledger: AwayLedger, journal: Journal, away: SlipwayError
) -> None:
    ledger.away = away
    journal.note("roll-back", "production")
    with pytest.raises(type(away), match=away.what):
        journal.require_kept()


@AWAY
def test_evidence_of_a_ledger_that_was_away_comes_in_order_and_once(
    ledger: AwayLedger, journal: Journal, away: SlipwayError
) -> None:
    journal.note("step", "start")
    ledger.away = away
    journal.note("step", "await")
    journal.note("step", "admit")
    assert [evidence.name for evidence in journal.unsent] == ["await", "admit"]
    ledger.away = None
    journal.note("step", "shift")
    assert ledger.names() == ["start", "await", "admit", "shift"]
    times = [evidence.at for evidence in ledger.evidence("run-1")]
    assert times == sorted(times), "each has the time when it happened, not when it was sent"
    journal.require_kept()
    assert ledger.names() == ["start", "await", "admit", "shift"]


def test_asking_whether_all_is_kept_sends_what_waits(ledger: AwayLedger, journal: Journal) -> None:
    ledger.away = SILENT
    journal.note("step", "start")
    ledger.away = None
    journal.require_kept()
    assert ledger.names() == ["start"]


def test_timed_block_is_noted_with_what_it_found_and_how_long_it_took(ledger: AwayLedger, journal: Journal) -> None:
    with journal.timed("build", "v1", commit="abc") as facts:
        facts["files"] = 3
    (kept,) = ledger.evidence("run-1")
    assert kept.facts == {"commit": "abc", "files": 3}
    assert kept.duration_s is not None
    assert kept.duration_s >= 0


@pytest.mark.parametrize(
    ("error", "told"),
    [(CLOSED, str(CLOSED)), (RuntimeError("it broke"), "it broke"), (KeyboardInterrupt(), "KeyboardInterrupt")],
)
def test_timed_block_that_fails_is_noted_with_its_error(
    ledger: AwayLedger, journal: Journal, error: BaseException, told: str
) -> None:
    with pytest.raises(type(error)), journal.timed("build", "v1"):
        raise error
    assert ledger.evidence("run-1")[0].facts == {"error": told}


def test_secrets_are_taken_out_of_facts_however_deep(ledger: AwayLedger, journal: Journal) -> None:
    journal.note("smoke", "x", failed=["said hunter2", {"body": ("hunter2",)}], where=Path("/hunter2/x"), passed=2)
    assert ledger.evidence("run-1")[0].facts == {
        "failed": ["said [redacted]", {"body": ["[redacted]"]}],
        "where": "/[redacted]/x",
        "passed": 2,
    }


def test_what_the_ledger_never_took_is_in_a_file_in_order(ledger: AwayLedger, journal: Journal, tmp_path: Path) -> None:
    journal.note("step", "start")
    ledger.away = SILENT
    journal.note("step", "shift", said="hunter2")
    journal.note("roll-back", "production", to="v0")
    path = save_unsent(journal, tmp_path / "work")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.name == "unsent-evidence-run-1.jsonl"
    assert [(line["record_id"], line["kind"], line["name"]) for line in lines] == [
        ("run-1", "step", "shift"),
        ("run-1", "roll-back", "production"),
    ]
    assert lines[0]["facts"] == {"said": "[redacted]"}
    assert save_unsent(journal, tmp_path / "work") == path
    assert len(path.read_text().splitlines()) == 2, "writing it again changes nothing"


class SlowLedger(AwayLedger):
    """A ledger that keeps the first evidence waiting until told to go on, and notices whoever comes meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.crowded, self.go_on = threading.Event(), threading.Event(), threading.Event()

    def append(self, evidence: Evidence) -> None:
        """As `MemoryLedger.append`, later."""
        (self.crowded if self.reached.is_set() else self.reached).set()
        assert self.go_on.wait(30)
        super().append(evidence)


def test_threads_that_note_at_the_same_time_note_everything_once() -> None:
    ledger = SlowLedger()
    journal = Journal(ledger, "run-1", str)
    first, second = (threading.Thread(target=journal.note, args=("scan", name)) for name in ("first", "second"))
    first.start()
    assert ledger.reached.wait(30)
    second.start()
    # Without a lock the second thread would send what the first one is sending.
    ledger.crowded.wait(0.5)
    ledger.go_on.set()
    first.join()
    second.join()
    assert ledger.names() == ["first", "second"]
