"""What people read about a challenge."""

from tasks.challenge.judge import error_of
from tasks.challenge.report import report
from tasks.common.challenges import TrialOutcome
from tasks.common.occasion import Severity
from tasks.notify.messages import backup_taken, damage_found, damage_not_found
from tests.support.catalogue import NOW, PLAN
from tests.support.challenges import UNSOUND, challenge, trial


def test_first_line_says_in_bold_what_was_not_found() -> None:
    text = report(challenge(trial(), trial(TrialOutcome.NOT_FOUND, "broken foreign key")), str)
    assert text.splitlines()[0] == "**NOT FOUND: broken foreign key.**"
    assert "| broken foreign key | NOT FOUND | repository | nobody | 1.5 s |" in text


def test_each_damage_has_what_was_done_and_who_should_and_who_did_find_it() -> None:
    text = report(challenge(trial(found_by="restore")), str)
    assert text.startswith("**Every damage was found (1 of 1); not by the rung that should: flipped byte.**")
    assert "| flipped byte | found | repository | restore | 1.5 s | one bit of byte 7 | it is not as" in text
    assert "- the undamaged copy: sound, 11 of 12 rungs held (took 4 s)" in text


def test_undamaged_copy_that_is_not_sound_is_named_first() -> None:
    text = report(challenge(control=UNSOUND), str)
    assert text.startswith("**No verdict: the undamaged copy was not found sound: schema: an object is missing.**")
    assert "- the undamaged copy: **not sound**" in text


def test_secrets_and_markdown_in_what_others_wrote_are_taken_out() -> None:
    text = report(challenge(trial(said="hunter2 | [x](http://x)")), lambda each: each.replace("hunter2", "***"))
    assert "hunter2" not in text and "\\|" in text and "\\[x\\]" in text


def test_message_names_the_damage_and_what_to_do_and_is_ended_by_a_challenge_that_finds_all_alone() -> None:
    error = str(error_of(challenge(trial(), trial(TrialOutcome.NOT_FOUND, "broken foreign key"))))
    message = damage_not_found(PLAN, "lab", NOW, error, run="run-1")
    assert message.severity is Severity.CRITICAL
    assert "NOT FOUND: broken foreign key" in message.text and "Next: see in the artifact" in message.text
    assert message.about == damage_found(PLAN, "lab", NOW).about
    assert message.about != backup_taken(PLAN, "lab", NOW).about
