"""When a person is asked, what the question says, and what the answers on record mean."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.service import Approval
from tasks.release.approval import START, approved, asked, question, unanswered, wanted_before, where
from tasks.release.model import Commit, Evidence, Kind, ReleaseRecord

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
RECORD = ReleaseRecord(
    "run-1", Kind.RELEASE, "campus", "production", "3f2c1a9b0d4e", "3f2c1a9b0d4e" + "0" * 28, "Say hello", "canary",
    "ada", NOON,
)  # fmt: skip


def approval(*before: str) -> Approval:
    return Approval.model_validate({"before": list(before)} if before else {}, strict=True)


def commit(number: int, subject: str = "Change something", author: str = "ada") -> Commit:
    return Commit(f"{number:040x}", subject, author, NOON)


def put(before: str = START, at: datetime = LATER) -> Evidence:
    return Evidence("run-1", "approval-asked", before, NOON, {"expires_at": at.isoformat()})


def said(decision: str, before: str = START) -> Evidence:
    return Evidence("run-1", "approval", before, NOON, {"decision": decision, "reason": "why", "by": "bob"})


# When a person is asked


@pytest.mark.parametrize(
    ("file", "always", "weight", "wanted"),
    [
        (None, False, None, False),
        (None, False, 5.0, False),
        (None, True, None, True),
        (None, True, 5.0, False),
        (approval(), False, None, True),
        (approval(), False, 5.0, False),
        (approval("5%"), False, None, False),
        (approval("5%"), True, None, True),
        (approval("5%"), False, 5.0, True),
        (approval("5%"), False, 50.0, True),
        (approval("5%"), False, 0.5, False),
        (approval("start", "100%"), False, None, True),
        (approval("start", "100%"), False, 100.0, True),
        (approval("start", "100%"), False, 99.9, False),
    ],
)
def test_person_is_asked_where_the_service_or_the_environment_wants_it(
    file: Approval | None, always: bool, weight: float | None, wanted: bool
) -> None:
    assert wanted_before(file, always, weight) is wanted


@pytest.mark.parametrize(("written", "weight"), [("33.3333%", 33.333), ("66.6666%", 66.667), ("0.0001%", 0.001)])
def test_share_that_the_router_can_only_round_is_asked_about_all_the_same(written: str, weight: float) -> None:
    assert wanted_before(approval(written), False, weight)


@pytest.mark.parametrize(("present", "stage", "wanted"), [(5.0, 25.0, False), (0.1, 5.0, True), (5.0, 5.0, False)])
def test_share_that_is_out_already_is_not_asked_about(present: float, stage: float, wanted: bool) -> None:
    assert wanted_before(approval("5%"), False, stage, present) is wanted


def test_stage_that_jumps_over_a_share_is_asked_about() -> None:
    assert wanted_before(approval("5%", "25%"), False, 100.0, 0.0)


def test_places_have_the_names_that_people_read() -> None:
    assert [where(None), where(0.1), where(100.0)] == ["start", "0.1 %", "100 %"]


# What the answers on record mean


def test_run_that_has_asked_nothing_waits_for_nothing() -> None:
    assert asked([], START) is None
    assert unanswered([]) is None
    assert not approved([], START)


def test_question_is_found_again_with_the_time_that_was_promised() -> None:
    found = asked([put("5 %"), put(START)], START)
    assert found is not None
    assert (found.before, found.expires_at) == (START, LATER)
    assert asked([put("5 %")], START) is None


def test_question_that_was_put_twice_keeps_its_first_end() -> None:
    found = asked([put(at=NOON), put(at=LATER)], START)
    assert found is not None
    assert found.expires_at == NOON


def test_open_question_is_the_last_one_without_an_answer() -> None:
    found = unanswered([put(START), said("approve"), put("5 %")])
    assert found is not None
    assert found.before == "5 %"
    assert unanswered([put(START), said("approve"), put("5 %"), said("approve", "5 %")]) is None
    assert unanswered([put(START), said("reject")]) is None


def test_yes_counts_for_the_place_that_it_was_given_for_and_no_other() -> None:
    assert approved([put(), said("approve")], START)
    assert not approved([put(), said("approve")], "5 %")
    assert not approved([put("5 %"), said("approve", "5 %")], START)


@pytest.mark.parametrize("decision", ["reject", "", "yes", "APPROVE", "approved"])
def test_nothing_but_approve_is_a_yes(decision: str) -> None:
    assert not approved([put(), said(decision)], START)


def test_evidence_of_another_kind_is_no_answer() -> None:
    facts: dict[str, object] = {"decision": "approve"}
    assert not approved([Evidence("run-1", "gate", START, NOON, facts)], START)


# What the question says


def ask(commits: list[Commit], stable: str | None = "aaaaaaabbbbb", before: str = START) -> str:
    return question(RECORD, before, 86400.0, commits, stable, "| tests | 12 passed |", ["shift 5 %", "watch | 1 h"])


def test_question_shows_version_commits_results_plan_and_risk() -> None:
    text = ask([commit(2, "Fix the login", "bob"), commit(1, "Add grades")])
    assert text.startswith("## May campus 3f2c1a9 go to production?")
    for part in (
        "_Say hello_, asked for by ada (not authenticated).",
        "Without an answer within 24 h this is a **no**, and what is out is rolled back.",
        "cannot prove who answers",
        "| commits | 2 |",
        "| authors | ada, bob |",
        "| strategy | canary |",
        "| way back | aaaaaaa, without a rebuild |",
        "### Commits since aaaaaaa",
        "| 0000000 | Fix the login | bob |",
        "### Results so far\n\n| tests | 12 passed |",
        "1. shift 5 %\n2. watch ",
    ):
        assert part in text, text


def test_question_about_a_share_names_the_share() -> None:
    assert ask([], before="5 %").startswith("## May campus 3f2c1a9 get 5 % of the traffic of production?")


def test_first_release_says_that_there_is_no_way_back() -> None:
    text = ask([commit(1)], stable=None)
    assert "| way back | **none**: nothing serves there yet |" in text
    assert "### Commits since the beginning" in text


def test_question_without_commits_says_so_and_names_nobody() -> None:
    text = ask([])
    assert "None: the same commit serves already, or history does not connect the two." in text
    assert "| commits | 0 |" in text
    assert "| authors | unknown |" in text


def test_more_commits_than_are_shown_are_counted_as_such() -> None:
    text = ask([commit(n) for n in range(25)])
    assert "| commits | 25 or more |" in text
    assert text.count("| Change something | ada |") == 20


def test_text_of_commits_cannot_break_the_form() -> None:
    text = ask([commit(1, "a | b <script>x</script>", "eve | <img>")])
    assert "<script>" not in text
    assert "<img>" not in text
    assert "a \\| b" in text
