"""The summary of a run: what happened first, then why, then the tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.errors import Refused
from tasks.release.model import Evidence, Kind, Outcome, ReleaseRecord
from tasks.release.report import escape, summary

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORD = ReleaseRecord(
    id="run-1",
    kind=Kind.RELEASE,
    service="campus",
    environment="production",
    release="3f2c1a9b0d4e",
    commit="3f2c1a9b0d4e" + "0" * 28,
    subject="Say hello",
    strategy="canary",
    requested_by="ada",
    started_at=NOON,
)


def ended(outcome: Outcome, error: str | None = None) -> ReleaseRecord:
    ended_at = NOON + timedelta(minutes=5)
    return replace(RECORD, outcome=outcome, error=error, ended_at=ended_at, digest="sha256:ab")


def evidence(kind: str, name: str, at_s: float = 0.0, duration_s: float | None = None, **facts: object) -> Evidence:
    return Evidence("run-1", kind, name, NOON + timedelta(seconds=at_s), facts, duration_s)


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.SUCCEEDED, "The release **succeeded**."),
        (Outcome.FAILED, "The release **failed**; production was not changed."),
        (Outcome.ROLLED_BACK, "The release was **rolled back**; the former release serves production."),
        (
            Outcome.UNSAFE,
            "The release needs a **person now**: the state of production is not known to be good.",
        ),
        (
            Outcome.INTERRUPTED,
            "The release was **interrupted** before its end, and has handed production over: see why below.",
        ),
    ],
)
def test_first_lines_say_what_happened_to_whom(outcome: Outcome, told: str) -> None:
    title, _, headline = summary(ended(outcome), []).splitlines()[:3]
    assert title == "# campus 3f2c1a9 to production"
    assert headline == f"{told} _Say hello_"


def test_every_outcome_has_a_headline() -> None:
    for outcome in Outcome:
        assert summary(replace(RECORD, outcome=outcome), [])


def test_facts_name_the_commit_artefact_and_who_asked() -> None:
    text = summary(ended(Outcome.SUCCEEDED), [])
    assert f"| commit | {RECORD.commit} |" in text
    assert "| artefact | sha256:ab |" in text
    assert "| asked for by | ada (not authenticated) |" in text
    assert "| took | 5 min |" in text


def test_run_that_has_not_ended_says_so() -> None:
    text = summary(RECORD, [])
    assert "The release is running." in text
    assert "| took | not ended |" in text
    assert "| artefact | none |" in text


def test_error_block_stands_whole_before_the_tables() -> None:
    error = Refused("it broke", on="campus", state="v1 serves", next_action="mend it", facts={"last lines": "a\nb"})
    text = summary(ended(Outcome.FAILED, str(error)), [evidence("stage", "canary 5 %", environment="production")])
    assert f"## Why\n\n```text\n{error}\n```" in text
    assert text.index("## Why") < text.index("## Stages")


def test_long_lines_of_an_error_are_broken_and_lose_no_word() -> None:
    error = Refused("word " * 60 + "end", on="campus", next_action="mend it")
    text = summary(ended(Outcome.FAILED, str(error)), [])
    why = text.partition("```text\n")[2].partition("\n```")[0]
    assert max(map(len, why.splitlines())) <= 110
    assert why.split() == str(error).split()


def test_stages_and_roll_backs_are_listed_in_order() -> None:
    text = summary(
        ended(Outcome.ROLLED_BACK),
        [
            evidence("stage", "canary 5 %", 60, environment="production", weight_percent=5.0),
            evidence("roll-back", "production", 61, to="aaaaaaabbbbb", reason="errors"),
            evidence("stage", "stable", 62, environment="production", weight_percent=0.0),
        ],
    )
    rows = [line for line in text.splitlines() if line.startswith("| production |")]
    assert rows == [
        "| production | canary 5 % | 5 % | 2026-03-01 12:01:00 UTC |",
        "| production | **roll back** to aaaaaaa | | 2026-03-01 12:01:01 UTC |",
        "| production | stable | 0 % | 2026-03-01 12:01:02 UTC |",
    ]


def test_only_the_last_verdict_of_each_watch_is_told() -> None:
    def verdict(name: str, decision: str, *reasons: str) -> Evidence:
        return evidence("verdict", name, environment="production", decision=decision, reasons=list(reasons))

    text = summary(
        ended(Outcome.ROLLED_BACK),
        [
            verdict("canary 5 %", "hold", "no data"),
            verdict("canary 5 %", "roll-back", "errors 9 % > 1 %", "p95 | high"),
        ],
    )
    rows = [line for line in text.splitlines() if line.startswith("| production |")]
    assert rows == ["| production | canary 5 % | **roll-back** | errors 9 % &gt; 1 %; p95 \\| high |"]


def test_ten_slowest_steps_are_told_slowest_first_and_failures_are_marked() -> None:
    steps = [evidence("step", f"step {n}", duration_s=float(n)) for n in range(1, 12)]
    text = summary(ended(Outcome.FAILED), [*steps, evidence("build", "v1", duration_s=60.0, error="it broke")])
    rows = text.partition("## Where the time went")[2].splitlines()[4:]
    assert rows[0] == "| build | v1 | 1 min | failed |"
    assert rows[1] == "| step | step 11 | 11 s | done |"
    assert len(rows) == 10


def test_tables_without_rows_are_left_out() -> None:
    text = summary(ended(Outcome.SUCCEEDED), [])
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Checklist"]


def test_checklist_stands_after_facts_and_error_and_before_the_other_tables() -> None:
    found = [
        evidence("gate", "errors", open=True),
        evidence("approval", "start", decision="approve", by="ada", reason="fine"),
        evidence("notification", "ops-chat", sent=True),
        evidence("stage", "canary 5 %", environment="production"),
    ]
    text = summary(ended(Outcome.FAILED, "it broke"), found)
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["Why", "Checklist", "Gates", "Approvals", "Notifications", "Stages"]
    assert text.index("| commit |") < text.index("## Why")


def test_checklist_tells_what_nothing_is_known_of() -> None:
    text = summary(ended(Outcome.SUCCEEDED), [evidence("test", "unit | all")])
    assert "| before | tests pass | done | unit \\| all |" in text
    assert "| before | code was reviewed | **open** | not checked by Slipway |" in text


def test_closed_gates_are_told_first_with_figure_bound_source_and_reason() -> None:
    found = [
        evidence("gate", "tests", phase="start", open=True, figure=None, bound="", source="this run", why="passed"),
        evidence(
            "gate", "cost", phase="start", open=False, figure=0.07, bound="<= 0.05", source="SQL", why="too | much"
        ),
    ]
    rows = summary(ended(Outcome.FAILED), found).partition("## Gates")[2].splitlines()[4:6]
    assert rows == [
        "| cost | **closed** | 0.07 | &lt;= 0.05 | SQL | too \\| much |",
        "| tests | open | | | this run | passed |",
    ]


def test_gate_that_was_asked_twice_is_told_once_as_it_was_at_last() -> None:
    found = [evidence("gate", "cost", open=False, why="first"), evidence("gate", "cost", open=True, why="last")]
    text = summary(ended(Outcome.SUCCEEDED), found)
    assert "| cost | open | | | | last |" in text
    assert "first" not in text


def test_gate_without_an_answer_is_closed() -> None:
    assert "| cost | **closed** |" in summary(ended(Outcome.FAILED), [evidence("gate", "cost")])


def test_approvals_are_told_with_reason_and_that_nobody_was_authenticated() -> None:
    found = [evidence("approval", "25 %", decision="reject", by="eve | x", reason="no <b>")]
    text = summary(ended(Outcome.FAILED), found)
    assert "| 25 % | reject | eve \\| x (not authenticated) | no &lt;b&gt; | 2026-03-01 12:00:00 UTC |" in text


def test_notification_that_failed_is_seen_in_the_first_lines() -> None:
    found = [
        evidence("notification", "ops-mail", occasion="failed", sent=True, tries=1, reason=""),
        evidence("notification", "ops-chat", occasion="failed", sent=False, tries=3, reason="HTTP 404"),
    ]
    text = summary(ended(Outcome.FAILED), found)
    assert text.splitlines()[4] == "**Not everybody was told.** ops-chat: HTTP 404"
    assert "| ops-mail | failed | sent | 1 | |" in text
    assert "| ops-chat | failed | **not sent** | 3 | HTTP 404 |" in text
    assert "Not everybody" not in summary(ended(Outcome.FAILED), found[:1])


def test_long_text_of_others_does_not_fill_the_page() -> None:
    found = [evidence("gate", "cost", open=False, why="w" * 10_000)]
    assert len(summary(ended(Outcome.FAILED), found)) < 5_000


def test_commit_subject_cannot_break_out_of_the_summary() -> None:
    record = replace(ended(Outcome.SUCCEEDED), subject="a | b\n# owned <script>", requested_by="eve | x")
    text = summary(record, [])
    assert "_a \\| b # owned &lt;script&gt;_" in text
    assert "eve \\| x (not authenticated)" in text


@pytest.mark.parametrize(
    ("text", "cell"), [("plain", "plain"), ("a|b", "a\\|b"), ("a\nb", "a b"), ("<b>", "&lt;b&gt;"), ("", "")]
)
def test_text_stays_within_its_cell(text: str, cell: str) -> None:
    assert escape(text) == cell
