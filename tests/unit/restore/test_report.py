"""What people read of a restore: the artifact, the question, the messages."""

from datetime import UTC, datetime

from tasks.common.accounts import Done
from tasks.common.backup_plans import Objectives, RestoreTarget
from tasks.common.backups import Form, RestoreTo
from tasks.common.errors import Refused, Unsafe
from tasks.common.model import DriverSpec
from tasks.common.occasion import Occasion, Severity
from tasks.notify.restore_messages import about_restore, restore_asks, restore_failed, restore_finished
from tasks.restore.decide import question
from tasks.restore.model import BroughtBack, Chosen
from tasks.restore.report import Account, came_back_to, report
from tests.support.catalogue import entry

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
OBJECTIVES = Objectives(rto="15m", rpo="5m")
WHERE = "/srv/main on db1"
ABOUT = about_restore("lab", "db", "main")


def account(**more: object) -> Account:
    steps = [Done("fetch the backup", NOON, 61.0, "db/1/x")]
    found = Account("db as of noon", WHERE, steps, entry_id="db/1/x", address="127.0.0.1:5432")
    for name, value in more.items():
        setattr(found, name, value)
    return found


def test_report_says_first_which_moment_came_back_then_how_long_it_took_and_the_way_back() -> None:
    text = report(account(heartbeat=NOON, rto_s=1000.0, aside="/srv/main.aside-1"), OBJECTIVES, "")
    assert text.startswith(
        "# Restore into /srv/main on db1\n\n"
        "**It is up**: the newest heartbeat that came back is of 2026-11-22 12:00:00 UTC.\n\n"
    )
    assert "RTO 16 min 40 s from the first change until it answered; the objective is 15 min, which is missed" in text
    assert "'mv /srv/main /srv/main.restored', 'mv /srv/main.aside-1 /srv/main'" in text
    assert "| fetch the backup | 1 min 1 s | db/1/x |" in text


def test_report_of_a_failed_run_says_what_is_true_now_and_nothing_in_it_becomes_markup() -> None:
    text = report(account(state="the former state is in its place"), OBJECTIVES, "a <b>byte</b> is [wrong](http://x)")
    assert "**It failed**: a &lt;b&gt;byte" in text and "[wrong](" not in text
    assert "- now: the former state is in its place" in text
    assert "- now: nothing was changed" in report(Account("w", WHERE), OBJECTIVES, "no")


def test_moment_that_nothing_shows_is_said_to_be_that_of_the_backup() -> None:
    assert came_back_to(account()) == "it came back as of the end of the backup: no WAL after it was replayed"
    both = came_back_to(account(replayed_at=NOON, heartbeat=NOON))
    assert both.count("12:00:00 UTC") == 2


def test_report_of_files_says_that_nothing_was_started_and_when_they_were_read() -> None:
    text = report(account(address="", taken=(NOON, NOON), rto_s=1.0, aside="/srv/main.aside-1"), OBJECTIVES, "")
    assert "**It is in its place**: it came back as of the backup, which was begun at 2026-11-22 12:00:00 UTC" in text
    assert "until it was in its place" in text and "stop what works with it, 'mv /srv/main" in text
    assert "server" not in text


def test_remark_is_told_once() -> None:
    found = account()
    found.remark("look")
    found.remark("look")
    assert found.remarks == ["look"]


def test_person_is_told_what_gives_way_for_what_and_who_asks() -> None:
    chosen = Chosen(entry(NOON), RestoreTo("x", NOON))
    rows = dict(question("db as of noon", chosen, Form.CLUSTER, WHERE, ["stop it"], "sound", "", "1 h"))
    assert rows["over"] == WHERE and rows["comes back to"] == "2026-11-22 12:00:00 UTC"
    assert rows["asked for by"] == "unknown (not authenticated)" and rows["step 1"] == "stop it"
    assert RestoreTarget(server=DriverSpec(driver="postgresql")).approval_within_s == 3600


def test_messages_say_what_was_asked_for_why_it_failed_and_what_is_next() -> None:
    error = BroughtBack("a page is wrong", on=WHERE, state="it is as before", next_action="take another backup")
    told = restore_failed(ABOUT, "db as of noon", NOON, error.block(), unsafe=False, run="run-1")
    assert told.title == "restore of db into main failed: what was there before is there"
    assert told.text.splitlines() == [
        "Asked for: db as of noon",
        "Why: Failed (brought back): a page is wrong",
        "State: it is as before",
        "Next: take another backup",
    ]
    assert (told.occasion, told.severity) == (Occasion.FAILED, Severity.WARNING)
    worse = Unsafe("it does not start", on=WHERE, state="down", next_action="look").block()
    told = restore_failed(ABOUT, "w", NOON, worse, unsafe=True, run="run-1")
    assert "NEEDS A PERSON NOW" in told.title and told.severity is Severity.CRITICAL
    well = restore_finished(ABOUT, "w", NOON, said="noon came back", run="run-1")
    assert well.ends_trouble and "noon came back" in well.text


def test_question_to_people_says_until_when_and_how_to_answer() -> None:
    told = restore_asks(ABOUT, "db as of noon", NOON, NOON, by="ada", run="run-1")
    assert told.occasion is Occasion.APPROVAL_WANTED
    assert "slipway approve run-1 --reason TEXT" in told.text and "12:00:00 UTC" in told.text


def test_failure_that_was_put_right_is_told_apart_from_a_refusal_that_changed_nothing() -> None:
    error = BroughtBack("a page is wrong", on=WHERE, next_action="look")
    assert isinstance(error, Refused) and error.block().startswith("Failed (brought back): ")
