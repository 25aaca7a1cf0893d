"""What people read about a verification."""

from dataclasses import replace
from datetime import timedelta

from tasks.common.backup_plans import Objectives
from tasks.common.backups import Rung, RungOutcome, Verification
from tasks.verification.report import HISTORY, Told, bar, report, verdict
from tests.support.catalogue import NOW, entry, rung, verification

WANTED = Objectives(rto="2m", rpo="5s")
BACKUP = entry()


def of(*rungs: Rung, **figures: float) -> Verification:
    return replace(verification(BACKUP), rungs=rungs, **figures)


def told(found: Verification, **about: object) -> str:
    return report(Told(found, WANTED, **about), str)  # type: ignore[arg-type]


def test_summary_says_first_which_rung_broke() -> None:
    found = of(rung(name="restore"), rung(RungOutcome.BROKEN, "heartbeat"), rung(RungOutcome.BROKEN, "schema"))
    assert verdict(found) == "not sound: schema: the schema were looked at"
    assert told(found).splitlines()[2] == "**Not sound: schema: the schema were looked at.**"


def test_data_that_are_too_old_are_not_called_wrong() -> None:
    late = rung(RungOutcome.BROKEN, "heartbeat")
    assert verdict(of(rung(name="restore"), late)).startswith("what came back is right, and too old: heartbeat")
    left_out = rung(RungOutcome.LEFT_OUT, "restore")
    assert verdict(of(left_out, rung(RungOutcome.BROKEN, "freshness"))).startswith("nothing was restored, and too old")


def test_backup_that_was_only_read_is_not_called_sound() -> None:
    found = of(rung(name="repository"), rung(RungOutcome.LEFT_OUT, "restore"))
    assert (found.sound, found.unsound) == (False, False)
    assert verdict(found).startswith("nothing was restored")
    assert "| only read |" in told(found)


def test_figures_stand_against_their_objectives() -> None:
    text = told(verification(BACKUP, rpo_s=6.0, rto_s=60.0))
    assert "- RPO 6 s; the objective is 5 s, which is missed\n- RTO 1 min; the objective is 2 min\n" in text
    assert "- RPO not measured; the objective is 5 s" in told(verification(BACKUP, rpo_s=None))


def test_bar_is_full_at_the_objective() -> None:
    assert bar(60.0, 120.0) == "█" * 5 + "░" * 5
    assert bar(120.0, 120.0) == "█" * 10
    assert bar(121.0, 120.0) == "█" * 10 + "+"
    assert bar(None, 120.0) == ""


def test_trend_begins_with_this_one_which_is_there_once_and_has_an_end() -> None:
    this = verification(BACKUP)
    past = [verification(BACKUP, run_id=f"run-{n}", ended_at=NOW - timedelta(days=n)) for n in range(1, 30)]
    rows = told(this, history=[this, *past]).partition("## Trend")[2].count("| sound |")
    assert rows == HISTORY


def test_what_a_rung_says_can_change_nothing_and_shows_no_secret() -> None:
    hostile = Rung("schema", RungOutcome.BROKEN, "a | b <img> hunter2", 1.0, {"missing": ["hunter2", "x|y"]})
    text = report(Told(of(hostile), WANTED, ["hunter2"]), lambda text: text.replace("hunter2", "[redacted]"))
    assert "hunter2" not in text and "<img>" not in text
    assert r"\[redacted\], x\|y" in text
