"""Checklists are filled in by what is on record; what is not on record is open, never done."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.release.checklist import Item, State, checklist
from tasks.release.model import Evidence, Kind, Outcome
from tests.support.ledger import record

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

APPROVED, TESTS, SCANS, LOAD, BACKUP, WAY_BACK = "a person", "tests", "scans", "load", "a backup", "rollback plan"
MIGRATIONS, SECRETS, CERTIFICATES = "migrations", "configuration", "certificates"
ROUTING, HEALTH, MONITORING = "routing", "health", "monitoring"
SMOKE, PERFORMANCE, ERRORS, TOLD = "smoke", "performance", "error rates", "people"


def evidence(kind: str, name: str, **facts: object) -> Evidence:
    return Evidence("run-1", kind, name, NOON, facts)


def verdict(decision: str, *samples: tuple[str, str, float | None], reasons: tuple[str, ...] = ()) -> Evidence:
    return evidence(
        "verdict",
        "validation",
        environment="production",
        decision=decision,
        reasons=list(reasons),
        samples=[{"metric": metric, "unit": unit, "candidate": value} for metric, unit, value in samples],
    )


def item(start: str, *found: Evidence, kind: Kind = Kind.RELEASE) -> Item:
    """Return the item whose text starts so."""
    sections = checklist(replace(record(), kind=kind, outcome=Outcome.SUCCEEDED), found)
    (wanted,) = [each for section in sections for each in section.items if each.text.startswith(start)]
    return wanted


def test_there_is_a_list_before_during_and_after() -> None:
    assert [section.name for section in checklist(record(), [])] == ["before", "during", "after"]


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("kind", Kind)
def test_nothing_is_done_where_nothing_is_recorded(outcome: Outcome, kind: Kind) -> None:
    sections = checklist(replace(record(), kind=kind, outcome=outcome), [])
    states = {each.state for section in sections for each in section.items}
    assert states <= {State.OPEN, State.NOT_APPLICABLE}
    assert kind is Kind.ROLLBACK or states == {State.OPEN}
    assert all(each.fact for section in sections for each in section.items)


SOUND = [
    (APPROVED, evidence("approval", "start", decision="approve", by="ada", reason="fine")),
    (TESTS, evidence("test", "unit", exit_code=0)),
    (TESTS, evidence("coverage", "coverage.json", covered_percent=90.0, at_least_percent=80.0)),
    (SCANS, evidence("scan", "bandit", blocking=0)),
    (LOAD, evidence("load-test", "nightly")),
    (BACKUP, evidence("gate", "verified backup", open=True)),
    (WAY_BACK, evidence("preflight", "production: a release to roll back to is kept", ok=True)),
    (WAY_BACK, evidence("roll-back", "production", to="aaaaaaabbbbb")),
    (MIGRATIONS, evidence("migration", "0001")),
    (SECRETS, evidence("preflight", "production: secrets are there", ok=True)),
    (CERTIFICATES, evidence("preflight", "production: certificate of campus", ok=True)),
    (ROUTING, evidence("stage", "100 %", environment="production", weight_percent=100.0)),
    (HEALTH, evidence("smoke", "production: green 1", passed=2)),
    (MONITORING, verdict("pass", ("errors", "percent", 0.1))),
    (SMOKE, evidence("smoke", "production: critical features", passed=2)),
    (PERFORMANCE, verdict("pass", ("p95", "seconds", 0.25))),
    (ERRORS, verdict("pass", ("errors", "percent", 0.1))),
    (TOLD, evidence("notification", "ops-chat", sent=True)),
]


@pytest.mark.parametrize(("start", "found"), SOUND)
def test_item_is_done_by_its_evidence_and_by_no_other(start: str, found: Evidence) -> None:
    assert item(start, found).state is State.DONE
    others = [each for other, each in SOUND if other != start and each.kind != "verdict"]
    assert item(start, *others).state is not State.DONE


@pytest.mark.parametrize(
    ("start", "found", "said"),
    [
        (APPROVED, evidence("approval", "start", decision="reject", by="ada", reason="no"), "reject by ada (not auth"),
        (TESTS, evidence("test", "unit", error="Refused: exit code 1\n  on: x"), "unit: Refused: exit code 1"),
        (TESTS, evidence("coverage", "c.json", covered_percent=70.0, at_least_percent=80.0), "c.json"),
        (SCANS, evidence("scan", "bandit", blocking=2), "bandit: 2 findings block"),
        (SCANS, evidence("scan", "bandit", error="Refused: is missing"), "bandit: Refused: is missing"),
        (BACKUP, evidence("gate", "verified backup", open=False, why="none"), "verified backup: none"),
        (BACKUP, evidence("gate", "verified backup"), "verified backup"),
        (SECRETS, evidence("preflight", "secrets", ok=False, problem="is missing"), "secrets: is missing"),
        (SECRETS, evidence("preflight", "secrets", ok="yes"), "secrets"),
        (CERTIFICATES, evidence("preflight", "certificate", ok=False, problem="expired"), "certificate: expired"),
        (ROUTING, evidence("roll-back", "production", to="aaaaaaabbbbb"), "returned to aaaaaaa"),
        (HEALTH, evidence("smoke", "production: green 1", error="Refused: 1 of 2"), "green 1: Refused: 1 of 2"),
        (MONITORING, verdict("roll-back", ("errors", "percent", None)), "no data: errors"),
        (SMOKE, evidence("smoke", "production: through the router", error="Refused: no"), "through the router: Ref"),
        (
            PERFORMANCE,
            verdict("roll-back", ("p95", "seconds", 9.0), reasons=("p95 9 s > 2 s", "errors 9 %")),
            "p95 9 s > 2 s",
        ),
        (ERRORS, verdict("roll-back", ("errors", "percent", 9.0), reasons=("errors 9 % > 1 %",)), "errors 9 % > 1 %"),
        (TOLD, evidence("notification", "ops-chat", sent=False, reason="HTTP 404"), "ops-chat: HTTP 404"),
    ],
)
def test_item_has_failed_by_its_evidence_and_says_why(start: str, found: Evidence, said: str) -> None:
    failed = item(start, found)
    assert failed.state is State.FAILED
    assert said in failed.fact


@pytest.mark.parametrize(
    ("start", "found"),
    [
        (ROUTING, evidence("stage", "25 %", environment="production", weight_percent=25.0)),
        (ROUTING, evidence("stage", "100 %", environment="staging", weight_percent=100.0)),
        (HEALTH, evidence("smoke", "staging: green 1", passed=2)),
        (SMOKE, evidence("smoke", "staging: through the router", passed=2)),
        (ERRORS, verdict("hold", ("errors", "percent", 0.1))),
        (ERRORS, verdict("roll-back", ("errors", "percent", 0.1), reasons=("p95 9 s > 2 s",))),
        (PERFORMANCE, verdict("pass", ("errors", "percent", 0.1))),
        (BACKUP, evidence("gate", "cost per user", open=True)),
    ],
)
def test_item_stays_open_where_the_evidence_is_of_something_else_or_of_half(start: str, found: Evidence) -> None:
    assert item(start, found).state is State.OPEN


def test_requests_that_nobody_named_are_not_applicable() -> None:
    assert item(SMOKE, evidence("smoke", "production: critical features", passed=0)).state is State.NOT_APPLICABLE


def test_what_was_done_again_counts_as_it_was_the_last_time() -> None:
    wrong, right = evidence("test", "unit", error="no"), evidence("test", "unit")
    assert item(TESTS, wrong, right).state is State.DONE
    assert item(TESTS, right, wrong).state is State.FAILED


def test_one_of_several_that_failed_is_enough() -> None:
    found = item(TESTS, evidence("test", "unit"), evidence("test", "contract", error="no"))
    assert (found.state, found.fact) == (State.FAILED, "contract: no")


def test_rollback_runs_no_tests_and_no_scans() -> None:
    assert item(TESTS, kind=Kind.ROLLBACK).state is State.NOT_APPLICABLE
    assert item(SCANS, kind=Kind.ROLLBACK).state is State.NOT_APPLICABLE
    assert item(ROUTING, kind=Kind.ROLLBACK).state is State.OPEN


def test_figures_are_told() -> None:
    assert item(ERRORS, verdict("pass", ("errors", "percent", 0.1234567))).fact == "errors 0.1235 %"
    assert item(PERFORMANCE, verdict("pass", ("p95", "seconds", 0.25))).fact == "p95 0.25 s"


def test_an_approval_is_no_code_review() -> None:
    assert item("code was reviewed", evidence("approval", "start", decision="approve")).state is State.OPEN


def test_a_question_without_an_answer_is_open() -> None:
    asked = item(APPROVED, evidence("approval-asked", "start"))
    assert (asked.state, asked.fact) == (State.OPEN, "asked, and not answered")
