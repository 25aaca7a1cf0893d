"""Figure 2: how long a release with a fault is met by users, after the fault shows."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import httpx

from tasks.common.errors import Refused
from tasks.release.model import Evidence, Outcome, ReleaseRecord
from tests.bench.arithmetic import Spread
from tests.bench.place import Place
from tests.bench.report import Grid, Section
from tests.bench.traffic import TurnBack, turn_back

CLAIM = (
    "After the fault shows: detected within one analysis interval; from the decision to the last response of the bad "
    "version under 1 s (requests being drained aside)."
)
INTERVAL_S = 1.0
"""The lab's analysis interval, and its scrape interval."""

_GONE_WITHIN_S = 1.0
_ERRORS = "campus_unhandled_errors_total"
_MEASURES = (
    ("first bad answer to the scrape that has it", "shown_to_metrics_s"),
    ("that scrape to the decision", "shown_to_decision_s"),
    ("first bad answer to the decision", "fault_to_decision_s"),
    ("decision to the shift, noted in the ledger", "decision_to_shift_s"),
    ("decision to the last request sent to the release", "decision_to_last_sent_s"),
    ("decision to its last answer to a request sent later", "decision_to_last_answer_s"),
)


def measure(place: Place, count: int) -> Section:
    """Return how v3, which breaks under traffic, is turned back, so many times."""
    place.have("v2")
    return _section([_turned_back(place, number, count) for number in range(1, count + 1)])


def _turned_back(place: Place, number: int, count: int) -> TurnBack:
    place.say(f"v3 is released, {number} of {count}")
    place.start_load()
    record = place.release("v3", Outcome.ROLLED_BACK)
    load = place.end_load()
    evidence = place.estate.ledger.evidence(record.id)
    decided = _first(evidence, lambda e: e.kind == "verdict" and e.facts.get("decision") == "roll-back")
    shifted = _first(evidence, lambda e: e.kind == "step" and e.name.startswith("shift ") and e.at > decided.at)
    return turn_back(
        load.lines,
        record.release,
        decided_at=decided.at,
        shifted_at=shifted.at,
        scraped_at=_first_scrape(place.lab.ports["prometheus"], record),
    )


def _first(evidence: tuple[Evidence, ...], wanted: Callable[[Evidence], bool]) -> Evidence:
    found = next((item for item in evidence if wanted(item)), None)
    if found is None:
        raise Refused(
            "the release was not turned back by its checks",
            on="the ledger",
            state="this figure was not measured",
            next_action="'slipway releases show' says why it was turned back",
        )
    return found


def _first_scrape(port: int, record: ReleaseRecord) -> datetime | None:
    """Return when Prometheus first had an error of the release; None if it never had."""
    assert record.ended_at is not None, "it has ended"
    window_s = int((datetime.now(UTC) - record.started_at).total_seconds()) + 1
    query = f'{_ERRORS}{{environment="{record.environment}",release="{record.release}"}}[{window_s}s]'
    with httpx.Client(transport=httpx.HTTPTransport()) as client:
        answer = client.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}).raise_for_status().json()
    since = record.started_at - timedelta(seconds=INTERVAL_S)
    samples = [
        datetime.fromtimestamp(at, UTC)
        for series in answer["data"]["result"]
        for at, value in series["values"]
        if float(value) > 0
    ]
    return min((at for at in samples if at > since), default=None)


def _section(runs: list[TurnBack]) -> Section:
    rows = []
    for words, name in _MEASURES:
        values = [getattr(run, name) for run in runs]
        known = [value for value in values if value is not None]
        each = ", ".join("-" if value is None else f"{value:.2f} s" for value in values)
        rows.append((words, each, f"{Spread.of(known).median:.2f} s" if known else "-"))
    for words, name in (("bad answers", "bad"), ("answers in all", "served"), ("finished while drained", "drained")):
        rows.append((words, ", ".join(str(getattr(run, name)) for run in runs), ""))
    detected = all(run.shown_to_decision_s is not None and run.shown_to_decision_s <= INTERVAL_S for run in runs)
    gone = all((run.decision_to_last_answer_s or 0.0) < _GONE_WITHIN_S for run in runs)
    return Section(
        name="fault",
        title="A fault that shows under traffic",
        claim=CLAIM,
        met=detected and gone,
        facts=(
            f"The analysis interval is {INTERVAL_S:g} s here, and Prometheus scrapes every {INTERVAL_S:g} s. A fault "
            "shows to whoever judges when a scrape has it: up to one scrape interval after the user who met it first. "
            "From there to the decision at most one analysis interval is allowed.",
            f"Detected in time: {'yes' if detected else 'no'}; gone in time: {'yes' if gone else 'no'}. Negative: the "
            "decision came before the event, as it was taken for another figure.",
        ),
        grids=(Grid("Each repetition", ("time", "repetitions", "median"), tuple(rows)),),
        data={"runs": [asdict(run) for run in runs], "detected": detected, "gone": gone},
    )
