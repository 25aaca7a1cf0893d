"""The thread that tells forges how runs went: with a ledger in memory, and a fake forge over HTTP or in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from blocks.context import Context
from blocks.forges.github_status import GithubStatus
from blocks.memory.deliveries import MemoryDeliveries
from blocks.memory.forge import MemoryForge
from blocks.memory.leases import MemoryLeases
from blocks.secrets import Secrets
from deployments.receiver import reporter as module
from deployments.receiver.reporter import Reporter
from deployments.receiver.seen import Seen
from tasks.common.delivery import Report, Told
from tasks.common.errors import Refused, Retryable
from tests.support.deliveries import delivery
from tests.support.forge import TOKEN, fake_forge
from tests.support.http_server import plain
from tests.support.processes import wait_until

AWAY = Retryable("the forge does not answer", on="it", next_action="wait")
NO = Refused("the forge refuses the report: HTTP 401", on="it", next_action="check the token")


@dataclass
class Prefect:
    """In place of a Prefect server: the states of runs, and how often it was asked."""

    states: dict[str, str] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)

    def of(self, run_ids: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(list(run_ids))
        return {each: self.states[each] for each in run_ids if each in self.states}


class Place:
    """Deliveries of two sources, each with a forge."""

    def __init__(self) -> None:
        self.deliveries, self.leases, self.prefect, self.seen = MemoryDeliveries(), MemoryLeases(), Prefect(), Seen()
        self.forges = {name: MemoryForge(MemoryForge.Settings(), Context(base=Path())) for name in ("github", "gitlab")}
        self.reporter = self.another()

    def another(self, pause_s: float = 0.0) -> Reporter:
        forges = dict(self.forges)
        return Reporter(
            self.deliveries, self.leases, forges, self.prefect.of, "https://prefect/{}".format, str, self.seen, pause_s
        )

    def start(self, number: int, state: str = "RUNNING", source: str = "github") -> None:
        self.deliveries.keep(delivery(number, source=source))
        self.deliveries.settle(f"delivery-{number}", run_id=f"run-{number}")
        self.prefect.states[f"run-{number}"] = state

    def told(self, source: str = "github") -> list[tuple[str, str]]:
        return [(each.commit.lstrip("0"), each.state.value) for each in self.forges[source].taken]

    def count(self, result: str) -> float:
        return self.seen.registry.get_sample_value("slipway_delivery_reports_total", {"result": result}) or 0.0


@pytest.fixture
def place() -> Place:
    return Place()


def test_beginning_and_end_are_told_once_each_and_prefect_is_asked_once_a_look(place: Place) -> None:
    for number in (1, 2, 3):
        place.start(number)
    for _ in range(3):
        place.reporter.tell_open()
    assert place.told() == [("1", "pending"), ("2", "pending"), ("3", "pending")]
    place.prefect.states |= {"run-1": "COMPLETED", "run-2": "FAILED", "run-3": "CANCELLED"}
    for _ in range(3):
        place.reporter.tell_open()
    assert place.told()[3:] == [("1", "success"), ("2", "failure"), ("3", "error")]
    # Nobody is asked any more where nothing is open.
    assert place.prefect.asked == [["run-1", "run-2", "run-3"]] * 4


def test_run_that_has_ended_before_the_first_look_is_told_as_ended_only(place: Place) -> None:
    place.start(1, "COMPLETED")
    place.reporter.tell_open()
    assert place.told() == [("1", "success")]


@pytest.mark.parametrize(
    ("state", "told"),
    [("PAUSED", "waiting"), ("CRASHED", "error"), ("SCHEDULED", "pending"), ("CANCELLING", "pending")],
)
def test_every_state_has_a_word(place: Place, state: str, told: str) -> None:
    place.start(1, state)
    place.reporter.tell_open()
    assert place.told() == [("1", told)]


def test_run_that_prefect_has_forgotten_is_an_error(place: Place) -> None:
    place.start(1)
    del place.prefect.states["run-1"]
    place.reporter.tell_open()
    assert place.told() == [("1", "error")]


def test_forge_that_is_away_is_told_later_in_order_and_holds_up_no_other(place: Place) -> None:
    place.forges["github"].problems = [AWAY] * 3
    place.start(1)
    place.start(2, source="gitlab")
    place.start(3)
    place.reporter = place.another(pause_s=600)
    for _ in range(2):
        place.reporter.tell_open()
    assert (place.told("github"), place.told("gitlab")) == ([], [("2", "pending")])
    assert len(place.forges["github"].problems) == 2, "it was asked again before its time"
    place.prefect.states["run-1"] = "COMPLETED"
    place.forges["github"].problems = []
    place.leases = MemoryLeases()
    place.another().tell_open()
    assert place.told("github") == [("1", "success"), ("3", "pending")]
    assert (place.count("later"), place.count("told")) == (1.0, 3.0)


def test_report_that_is_refused_is_on_record_and_tried_once_for_each_state(place: Place) -> None:
    place.start(1)
    place.forges["github"].problems = [NO]
    for _ in range(3):
        place.reporter.tell_open()
    (open_,) = place.deliveries.unreported(["github"], delivery().received_at, 9)
    assert open_.last is not None
    assert (open_.last.number, open_.last.state, open_.last.refused) == (1, Told.PENDING, NO.what)
    place.prefect.states["run-1"] = "COMPLETED"
    place.reporter.tell_open()
    assert (place.told(), place.count("refused")) == ([("1", "success")], 1.0)


class ForgetsOnce(MemoryDeliveries):
    """In place of a ledger that goes away between a report and its record."""

    away = True

    def note_report(self, delivery_id: str, report: Report) -> None:
        if self.away:
            self.away = False
            raise Retryable("the ledger does not answer", on="it", next_action="start it")
        super().note_report(delivery_id, report)


def test_report_that_could_not_be_put_on_record_is_told_again_and_nothing_overtakes_it(place: Place) -> None:
    place.deliveries = ForgetsOnce()
    place.reporter = place.another()
    place.start(1)
    with pytest.raises(Retryable):
        place.reporter.tell_open()
    place.reporter.tell_open()
    place.prefect.states["run-1"] = "COMPLETED"
    place.reporter.tell_open()
    assert place.told() == [("1", "pending"), ("1", "pending"), ("1", "success")]


def test_of_two_receivers_one_tells(place: Place) -> None:
    place.start(1)
    other = place.another()
    for each in (place.reporter, other, place.reporter, other):
        each.tell_open()
    assert place.told() == [("1", "pending")]
    place.prefect.states["run-1"] = "COMPLETED"
    other.tell_open()
    assert place.told() == [("1", "pending")], "the first one holds the lease"


def test_thread_survives_a_bug_and_stops_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    place.start(1)
    place.forges["github"].problems = [ZeroDivisionError("a bug")]  # type: ignore[list-item]
    place.reporter.start()
    wait_until(lambda: place.told() == [("1", "pending")], what="the report")
    place.reporter.stop()
    other = place.another()
    place.prefect.states["run-1"] = "COMPLETED"
    other.tell_open()
    assert place.told()[-1] == ("1", "success"), "the lease was given up"


def test_without_forges_no_thread_works(place: Place) -> None:
    place.forges = {}
    idle = place.another()
    idle.start()
    idle.stop()
    assert place.prefect.asked == []


@pytest.mark.server
def test_token_that_a_fake_forge_repeats_is_in_no_log_and_on_no_record(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    secrets = Secrets(tmp_path)
    with fake_forge() as fake:
        settings = GithubStatus.Settings.model_validate({"token": "file:token", "url": fake.url})
        forge = GithubStatus(settings, Context(base=tmp_path, secrets=secrets))
        fake.answers = [plain(500, f"cannot read {TOKEN}"), plain(401, f"bad credentials: {TOKEN}")]
        reporter = Reporter(
            place.deliveries, place.leases, {"github": forge}, place.prefect.of, str, secrets.redact, place.seen, 0.0
        )
        place.start(1)
        with caplog.at_level("DEBUG"):
            reporter.tell_open()
            reporter.tell_open()
    (open_,) = place.deliveries.unreported(["github"], delivery().received_at, 9)
    assert "bad credentials: [redacted]" in str(open_.last)
    assert "told later" in caplog.text
    assert TOKEN not in caplog.text + str(open_)
