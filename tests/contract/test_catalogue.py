"""What every catalogue of backups does."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from blocks.memory.catalogue import MemoryCatalogue
from tasks.common.backups import BackupKind, Catalogue, Entry, Rung, RungOutcome
from tasks.common.challenges import TrialOutcome
from tasks.common.errors import Refused
from tasks.common.source_facts import DatabaseFacts, SourceFacts
from tests.support.catalogue import NOW, PLAN, entry, rung, verification
from tests.support.challenges import UNSOUND, challenge, trial
from tests.support.ledger import open_ledger

HOUR = timedelta(hours=1)
WHY = "nothing asks for it"
HELD, BROKEN, LEFT_OUT = RungOutcome.HELD, RungOutcome.BROKEN, RungOutcome.LEFT_OUT


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.server)])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Catalogue:
    if request.param == "memory":
        return MemoryCatalogue()
    ledger = open_ledger(tmp_path, request.getfixturevalue("database_url"))
    ledger.prepare()
    return ledger.catalogue


def added(catalogue: Catalogue, *entries: Entry) -> None:
    for each in entries:
        catalogue.add(each)


# --- entries


@pytest.mark.parametrize("kind", BackupKind)
def test_backup_comes_back_as_it_was_added(catalogue: Catalogue, kind: BackupKind) -> None:
    wanted = entry(needs=["a", "b"], label="20261120-143000F_20261120-150000I")
    wanted = replace(wanted, stored=replace(wanted.stored, kind=kind, error="page 7 is damaged", size_bytes=2**40))
    catalogue.add(wanted)
    assert catalogue.entry(wanted.id) == wanted
    assert catalogue.entries() == catalogue.entries(PLAN) == (wanted,)


def test_time_of_another_zone_comes_back_in_utc(catalogue: Catalogue) -> None:
    catalogue.add(entry(NOW.astimezone(timezone(timedelta(hours=5))), label="a"))
    found = catalogue.entry(f"{PLAN}/1/a").stored.ended_at
    assert (found, found.utcoffset()) == (NOW, timedelta(0))


def test_text_that_no_database_can_keep_is_kept_readable(catalogue: Catalogue) -> None:
    wanted = entry()
    catalogue.add(replace(wanted, stored=replace(wanted.stored, error="a\0b\ud800")))
    assert catalogue.entry(wanted.id).stored.error == "a\ufffdb\ufffd"


def test_backups_of_a_plan_come_newest_first_and_those_of_others_do_not(catalogue: Catalogue) -> None:
    older, newer, same_time = entry(NOW - HOUR), entry(NOW, label="a"), entry(NOW, label="b")
    other = entry(NOW - 2 * HOUR, plan="uploads", repository=2)
    added(catalogue, newer, other, older, same_time)
    assert catalogue.entries(PLAN) == (same_time, newer, older)
    assert catalogue.entries("uploads") == (other,)
    assert catalogue.entries() == (same_time, newer, older, other)
    assert catalogue.entries("nobody") == ()


def test_same_backup_is_added_once_also_when_another_run_finds_it(catalogue: Catalogue) -> None:
    first = entry()
    found_again = replace(first, run_id="another", stored=replace(first.stored, stored_bytes=999_999))
    added(catalogue, first, first, found_again)
    assert catalogue.entries() == (first,)


@pytest.mark.parametrize(
    "other",
    [
        replace(entry(), digest="sha256:" + "1" * 64),
        replace(entry(), engine="pgbackrest"),
        replace(entry(), stored=replace(entry().stored, ended_at=NOW + HOUR)),
        replace(entry(), stored=replace(entry().stored, kind=BackupKind.DIFFERENTIAL)),
    ],
    ids=["digest", "engine", "time", "kind"],
)
def test_another_backup_under_the_same_id_is_refused(catalogue: Catalogue, other: Entry) -> None:
    catalogue.add(entry())
    with pytest.raises(Refused, match="another backup has this id"):
        catalogue.add(other)
    assert catalogue.entries() == (entry(),)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (replace(entry(), id="campus-db/1/other"), "id of another one"),
        (replace(entry(), repository=2), "id of another one"),
        (entry(verified_at=NOW), "something is known"),
        (entry(unsound_at=NOW), "something is known"),
        (entry(held="audit"), "something is known"),
        (entry(expired_at=NOW), "something is known"),
        (entry(repository=0), "a repository below 1"),
        (replace(entry(), stored=replace(entry().stored, size_bytes=-1)), "a size below zero"),
        (entry(NOW.replace(tzinfo=None)), "without its zone"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_entry_that_cannot_be_new_is_refused(catalogue: Catalogue, wrong: Entry, said: str) -> None:
    with pytest.raises(Refused, match=said):
        catalogue.add(wrong)
    assert catalogue.entries(expired=True) == ()


def test_unknown_backup_is_refused_naming_those_that_come_near(catalogue: Catalogue) -> None:
    added(catalogue, entry(label="20261120-143000F"), entry(plan="uploads", label="7c3f"))
    for ask in (
        lambda: catalogue.entry(f"{PLAN}/1/20261120-143001F"),
        lambda: catalogue.hold(f"{PLAN}/1/20261120-143001F", "audit", "ada", NOW),
        lambda: catalogue.expired(f"{PLAN}/1/20261120-143001F", "old", "r", NOW),
        lambda: catalogue.note(verification(entry(label="20261120-143001F"))),
    ):
        with pytest.raises(Refused, match="no such backup") as caught:
            ask()
        assert caught.value.facts == {"near it": f"{PLAN}/1/20261120-143000F"}
    with pytest.raises(Refused, match="no such backup") as caught:
        catalogue.entry("\0")
    assert caught.value.facts == {}


def test_of_many_runs_that_add_the_same_backup_none_fails(catalogue: Catalogue) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(catalogue.add, [replace(entry(), run_id=f"run-{n}") for n in range(8)]))
    assert len(catalogue.entries()) == 1


# --- holds and expiry


def test_backup_is_held_with_the_last_reason_until_it_is_let_go(catalogue: Catalogue) -> None:
    wanted = entry()
    added(catalogue, wanted, entry(NOW - HOUR))
    for reason in ("audit", "audit", "court order", "", "", "audit"):
        catalogue.hold(wanted.id, reason, "ada", NOW)
        assert catalogue.entry(wanted.id) == replace(wanted, held=reason)
    assert [each.held for each in catalogue.entries()] == ["audit", ""]


def test_expired_backup_is_only_shown_to_who_asks_and_its_first_time_stands(catalogue: Catalogue) -> None:
    gone, there = entry(NOW - HOUR), entry()
    added(catalogue, gone, there)
    for after in range(2):
        catalogue.expired(gone.id, f"reason {after}", f"run-{after}", NOW + after * HOUR)
    assert catalogue.entries() == (there,)
    assert catalogue.entries(expired=True) == (there, replace(gone, expired_at=NOW, expired_why="reason 0"))
    assert catalogue.entry(gone.id).expired_at == NOW


def test_expired_backup_can_neither_be_held_nor_come_back(catalogue: Catalogue) -> None:
    gone = entry()
    catalogue.add(gone)
    catalogue.expired(gone.id, WHY, "r", NOW)
    with pytest.raises(Refused, match="was removed and cannot be held"):
        catalogue.hold(gone.id, "audit", "ada", NOW)
    catalogue.add(gone)
    assert catalogue.entry(gone.id) == replace(gone, expired_at=NOW, expired_why=WHY)


def test_removal_of_a_held_backup_is_on_record_for_what_is_gone_is_gone(catalogue: Catalogue) -> None:
    gone = entry()
    catalogue.add(gone)
    catalogue.hold(gone.id, "audit", "ada", NOW)
    catalogue.expired(gone.id, WHY, "r", NOW)
    assert catalogue.entry(gone.id) == replace(gone, held="audit", expired_at=NOW, expired_why=WHY)


@pytest.mark.parametrize("call", ["hold", "expired"])
def test_time_without_its_zone_is_refused(catalogue: Catalogue, call: str) -> None:
    catalogue.add(entry())
    with pytest.raises(Refused, match="without its zone"):
        getattr(catalogue, call)(entry().id, "audit", "ada", NOW.replace(tzinfo=None))
    assert catalogue.entries() == (entry(),)


# --- verifications


def noted(catalogue: Catalogue, *outcomes: RungOutcome) -> tuple[datetime | None, datetime | None]:
    """Return when it was found right and wrong, after verifications an hour apart."""
    for number, outcome in enumerate(outcomes):
        catalogue.note(verification(entry(), outcome, run_id=f"v{number}", ended_at=NOW + number * HOUR))
    found = catalogue.entry(entry().id)
    return found.verified_at, found.unsound_at


@pytest.mark.parametrize(
    ("outcomes", "verified", "unsound"),
    [
        ((), None, None),
        ((HELD,), 0, None),
        ((BROKEN,), None, 0),
        ((LEFT_OUT,), None, None),
        ((HELD, HELD), 1, None),
        ((HELD, BROKEN), 0, 1),
        ((BROKEN, HELD), 1, None),
        ((BROKEN, BROKEN), None, 1),
        ((HELD, BROKEN, LEFT_OUT), 0, 1),
        ((BROKEN, HELD, BROKEN), 1, 2),
        ((BROKEN, HELD, LEFT_OUT), 1, None),
    ],
)
def test_what_was_found_last_counts_and_what_has_proven_nothing_changes_nothing(
    catalogue: Catalogue, outcomes: tuple[RungOutcome, ...], verified: int | None, unsound: int | None
) -> None:
    added(catalogue, entry(), entry(NOW - HOUR))
    wanted = tuple(None if hours is None else NOW + hours * HOUR for hours in (verified, unsound))
    assert noted(catalogue, *outcomes) == wanted
    assert catalogue.entry(entry(NOW - HOUR).id) == entry(NOW - HOUR)


def test_verification_that_is_noted_late_does_not_override_what_ended_after_it(catalogue: Catalogue) -> None:
    catalogue.add(entry())
    catalogue.note(verification(entry(), HELD, run_id="new", ended_at=NOW))
    catalogue.note(verification(entry(), BROKEN, run_id="old", ended_at=NOW - HOUR))
    assert catalogue.entry(entry().id) == entry(verified_at=NOW)
    assert [each.run_id for each in catalogue.verifications(PLAN, 5)] == ["new", "old"]


def test_of_two_verifications_that_end_at_once_the_one_noted_last_counts(catalogue: Catalogue) -> None:
    catalogue.add(entry())
    catalogue.note(verification(entry(), HELD, run_id="a"))
    catalogue.note(verification(entry(), BROKEN, run_id="b"))
    assert catalogue.entry(entry().id) == entry(verified_at=NOW, unsound_at=NOW)
    catalogue.note(verification(entry(), HELD, run_id="c"))
    assert catalogue.entry(entry().id) == entry(verified_at=NOW)


def test_verification_comes_back_with_its_rungs_in_order(catalogue: Catalogue) -> None:
    catalogue.add(entry())
    rungs = (rung(name="restore", bytes=2**40, ratio=0.25), rung(BROKEN, "row counts", tables={"users": [3, None]}))
    wanted = replace(verification(entry(), rto_s=None), rungs=(*rungs, rung(LEFT_OUT, "pages")))
    catalogue.note(wanted)
    assert catalogue.verifications(PLAN, 5) == (wanted,)


def test_figures_that_json_does_not_have_are_kept_as_text_or_nothing(catalogue: Catalogue) -> None:
    catalogue.add(entry())
    odd = Rung("ro\0ws", HELD, "looked", math.nan, {"ratio": math.inf})
    catalogue.note(replace(verification(entry(), rpo_s=math.nan, rto_s=math.inf), rungs=(odd,)))
    (found,) = catalogue.verifications(PLAN, 5)
    assert (found.rpo_s, found.rto_s) == (None, None)
    assert found.rungs == (Rung("ro\ufffdws", HELD, "looked", 0.0, {"ratio": "Infinity"}),)


def test_fact_that_is_no_data_is_refused(catalogue: Catalogue) -> None:
    catalogue.add(entry())
    with pytest.raises(Refused, match="does not take a object"):
        catalogue.note(replace(verification(entry()), rungs=(rung(secret=object()),)))
    assert catalogue.verifications(PLAN, 5) == ()


def test_verification_of_a_run_is_kept_once_and_the_first_stands(catalogue: Catalogue) -> None:
    added(catalogue, entry(), entry(NOW - HOUR))
    first = verification(entry(), BROKEN)
    for each in (first, verification(entry(), HELD, ended_at=NOW + HOUR)):
        catalogue.note(each)
    assert catalogue.verifications(PLAN, 5) == (first,)
    another = verification(entry(NOW - HOUR), HELD, ended_at=NOW + HOUR)
    catalogue.note(another)
    assert catalogue.verifications(PLAN, 5) == (another, first)


def test_only_the_latest_verifications_of_a_plan_come_newest_first(catalogue: Catalogue) -> None:
    other = entry(plan="uploads")
    added(catalogue, entry(), other)
    for hours in (1, 3, 2):
        catalogue.note(verification(entry(), run_id=f"v{hours}", ended_at=NOW + hours * HOUR))
    catalogue.note(verification(other))
    assert [each.run_id for each in catalogue.verifications(PLAN, 2)] == ["v3", "v2"]
    assert [each.entry_id for each in catalogue.verifications("uploads", 9)] == [other.id]
    assert catalogue.verifications("nobody", 9) == ()


def test_verification_of_an_expired_backup_stays_in_the_history(catalogue: Catalogue) -> None:
    catalogue.add(entry())
    catalogue.note(verification(entry()))
    catalogue.expired(entry().id, "nothing asks for it", "r", NOW)
    assert len(catalogue.verifications(PLAN, 5)) == 1


def test_what_a_source_was_comes_back_with_its_backup_and_the_first_look_stands(catalogue: Catalogue) -> None:
    one, two, bare = entry(NOW - HOUR), entry(NOW), entry(NOW + HOUR)
    added(catalogue, one, two, bare)
    facts = DatabaseFacts("shop", "15.18", 8_000_000, True, {"amcheck": "1.3"}, {"table a": "1f", "é": "2"}, {"a": 7})
    seen = SourceFacts(NOW.astimezone(timezone(HOUR)), facts, steady=True)
    later = replace(seen, at=NOW + HOUR, facts=replace(facts, rows={"a": None}), steady=False)
    catalogue.observed(one.id, seen)
    catalogue.observed(one.id, later)
    catalogue.observed(two.id, later)
    assert catalogue.source_of(one.id) == replace(seen, at=NOW)
    assert catalogue.source_of(two.id) == later, "of the same schema"
    assert catalogue.source_of(bare.id) is None
    for ask in (lambda: catalogue.observed("db/1/x", seen), lambda: catalogue.source_of("db/1/x")):
        with pytest.raises(Refused, match="no such backup"):
            ask()
    with pytest.raises(Refused, match="without its zone"):
        catalogue.observed(bare.id, replace(seen, at=NOW.replace(tzinfo=None)))


# --- challenges


def test_challenge_comes_back_as_it_was_and_says_nothing_of_its_backup(catalogue: Catalogue) -> None:
    catalogue.add(entry())
    found = challenge(trial(), trial(TrialOutcome.NOT_FOUND, "a\0b"), control=UNSOUND)
    catalogue.challenged(found)
    (kept,) = catalogue.challenges(PLAN, 10)
    assert kept.trials[0] == found.trials[0] and kept.controls == found.controls
    assert kept.trials[1].fault == "a\ufffdb" and kept.trials[1].outcome is TrialOutcome.NOT_FOUND
    assert (kept.verdict, kept.run_id, kept.ended_at) == (found.verdict, found.run_id, found.ended_at)
    assert catalogue.entry(entry().id) == entry()
    assert catalogue.verifications(PLAN, 10) == ()


def test_first_challenge_of_a_run_stands_and_the_newest_of_a_plan_comes_first(catalogue: Catalogue) -> None:
    catalogue.add(entry())
    first, second = challenge(trial()), challenge(trial(), run_id="run-2", ended_at=NOW + HOUR)
    for each in (second, first, replace(first, trials=())):
        catalogue.challenged(each)
    assert catalogue.challenges(PLAN, 10) == (second, first)
    assert catalogue.challenges(PLAN, 1) == (second,)
    assert catalogue.challenges("uploads", 10) == ()


def test_challenge_on_a_backup_that_there_is_not_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(Refused, match="no such backup"):
        catalogue.challenged(challenge(trial()))
