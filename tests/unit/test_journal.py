"""Evidence of a run: in order, nothing lost while the ledger is away, and no secret in it."""

import json
import threading
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.journal import Journal, deliver_unsent, save_unsent, unsent_file
from blocks.memory.ledger import MemoryLedger
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.redaction import Redactor
from tasks.release.model import Evidence, Outcome
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


# Delivered later


def ended_while_away(ledger: AwayLedger, folder: Path, run: str = "run-1") -> Path:
    """A run has noted two facts and its end, and the ledger has taken none of it."""
    ledger.begin(record(run))
    ledger.away = SILENT
    journal = Journal(ledger, run, str)
    journal.note("step", "shift", weight_percent=5.0)
    journal.note("step", "drain")
    journal.keep("end", Outcome.ROLLED_BACK, error="errors of 3 %", digest="sha256:ab")
    path = save_unsent(journal, folder)
    ledger.away = None
    return path


def test_what_was_not_sent_is_delivered_with_its_end_and_its_file_is_gone(ledger: AwayLedger, tmp_path: Path) -> None:
    path = ended_while_away(ledger, tmp_path)
    assert deliver_unsent(ledger, tmp_path) == ("run-1",)
    assert ledger.names() == ["shift", "drain", "rolled-back"]
    assert ledger.evidence("run-1")[0].facts == {"weight_percent": 5.0}
    ended = ledger.record("run-1")
    assert (ended.outcome, ended.error, ended.digest) == (Outcome.ROLLED_BACK, "errors of 3 %", "sha256:ab")
    assert ended.ended_at == ledger.evidence("run-1")[2].at
    assert not path.exists()


def test_delivering_again_changes_nothing(ledger: AwayLedger, tmp_path: Path) -> None:
    ended_while_away(ledger, tmp_path)
    deliver_unsent(ledger, tmp_path)
    before = (ledger.evidence("run-1"), ledger.record("run-1"))
    assert deliver_unsent(ledger, tmp_path) == ()
    assert deliver_unsent(ledger, tmp_path / "no such folder") == ()
    assert (ledger.evidence("run-1"), ledger.record("run-1")) == before


@AWAY
def test_ledger_that_is_still_away_leaves_the_file_as_it_is(
    ledger: AwayLedger, tmp_path: Path, away: SlipwayError
) -> None:
    path = ended_while_away(ledger, tmp_path)
    text, ledger.away = path.read_text(), away
    with pytest.raises(type(away), match=away.what):
        deliver_unsent(ledger, tmp_path)
    assert path.read_text() == text
    assert ledger.names() == []


class TiredLedger(AwayLedger):
    """A ledger that goes away after it has taken a number of facts."""

    strength = 1

    def append(self, evidence: Evidence) -> None:
        """As `MemoryLedger.append`, until it is tired."""
        super().append(evidence)
        self.strength -= 1
        if self.strength == 0:
            self.away = SILENT


def test_ledger_that_goes_away_half_way_is_not_told_the_same_twice(tmp_path: Path) -> None:
    ledger = TiredLedger()
    path = ended_while_away(ledger, tmp_path)
    with pytest.raises(Retryable):
        deliver_unsent(ledger, tmp_path)
    assert ledger.names() == ["shift"]
    assert len(path.read_text().splitlines()) == 2
    ledger.away = None
    assert deliver_unsent(ledger, tmp_path) == ("run-1",)
    assert ledger.names() == ["shift", "drain", "rolled-back"]


def test_end_that_another_run_has_put_on_record_meanwhile_stands(ledger: AwayLedger, tmp_path: Path) -> None:
    path = ended_while_away(ledger, tmp_path)
    ledger.end("run-1", Outcome.INTERRUPTED, record().started_at, "taken over", None)
    assert deliver_unsent(ledger, tmp_path) == ("run-1",)
    assert ledger.record("run-1").outcome is Outcome.INTERRUPTED
    assert ledger.names()[-1] == "rolled-back", "what the run said is kept beside it"
    assert not path.exists()


def test_end_is_kept_for_the_file_also_where_the_ledger_is_back_by_then(ledger: AwayLedger, tmp_path: Path) -> None:
    journal = Journal(ledger, "run-1", str)
    journal.keep("end", Outcome.SUCCEEDED, error=None, digest="sha256:ab")
    save_unsent(journal, tmp_path)
    deliver_unsent(ledger, tmp_path)
    assert (ledger.record("run-1").outcome, ledger.record("run-1").error) == (Outcome.SUCCEEDED, None)


MALFORMED = [
    "{",
    "[]",
    "null",
    "{}",
    '{"record_id": "run-1"}',
    '{"record_id": "run-1", "kind": "step", "name": "shift", "at": "noon"}',
    '{"record_id": "run-1", "kind": "step", "name": "shift", "at": 5}',
    '{"record_id": "run-1", "kind": "step", "name": "x", "at": "2026-03-01T12:00:00+00:00", "colour": "red"}',
    '{"record_id": "run-1", "kind": "end", "name": "exploded", "at": "2026-03-01T12:00:00+00:00"}',
    "\x00\ufffd",
]


@pytest.mark.parametrize("line", MALFORMED)
def test_file_that_is_not_as_it_was_written_is_refused_by_its_line_and_nothing_of_it_is_sent(
    ledger: AwayLedger, tmp_path: Path, line: str
) -> None:
    path = ended_while_away(ledger, tmp_path)
    whole = path.read_text()
    path.write_text(f"{whole}{line}\n")
    with pytest.raises(Refused, match="line 4 is not evidence as a run has written it") as caught:
        deliver_unsent(ledger, tmp_path)
    assert caught.value.on == str(path)
    assert "move the file away" in caught.value.next_action
    assert ledger.names() == []
    path.write_text(whole)
    assert deliver_unsent(ledger, tmp_path) == ("run-1",), "the mended file is delivered"


def test_file_that_is_cut_off_inside_a_character_is_refused(ledger: AwayLedger, tmp_path: Path) -> None:
    path = ended_while_away(ledger, tmp_path)
    path.write_bytes(path.read_bytes()[:-20] + b"\xc3")
    with pytest.raises(Refused, match="line 3"):
        deliver_unsent(ledger, tmp_path)


def test_files_that_cannot_be_delivered_are_all_named_and_keep_nothing_else_back(
    ledger: AwayLedger, tmp_path: Path
) -> None:
    ended_while_away(ledger, tmp_path)
    broken, stranger = unsent_file(tmp_path, "run-0"), unsent_file(tmp_path, "run-9")
    broken.write_text("{\n")
    stranger.write_text(unsent_file(tmp_path, "run-1").read_text().replace("run-1", "run-9"))
    with pytest.raises(Refused) as caught:
        deliver_unsent(ledger, tmp_path)
    assert caught.value.on == str(broken)
    assert ledger.names() == ["shift", "drain", "rolled-back"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [broken.name, stranger.name]
    assert len(caught.value.facts) == 1, "the run that the ledger does not know is named as well"
