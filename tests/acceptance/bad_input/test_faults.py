"""Faults after the artefact is published: users stay where they were, or are taken back there."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.release.model import Outcome
from tests.support.postgresql import Cluster
from tests.support.processes import wait_until
from tests.support.small import SERVICE, Ended, Small
from tests.support.small_checks import (
    again,
    assert_recorded,
    assert_says,
    assert_turned_back,
    assert_untouched,
    facts_of,
    python,
)

pytestmark = pytest.mark.server


# What stops a release before it gets traffic


def test_port_taken_by_somebody_else_is_named_with_its_holder(small: Small, serving: str) -> None:
    with contextlib.ExitStack() as held:
        ports = [port for slot in small.ports["staging"].values() for port in slot if _take(port, held)]
        assert len(ports) == 1, "one slot is idle"
        ended = small.release(small.commit())
    assert_says(ended, Refused, f"port {ports[0]}", "campus", "no new instance was started", "end that process")
    assert str(os.getpid()) in facts_of(ended)["held by"]
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def _take(port: int, held: contextlib.ExitStack) -> bool:
    listener = held.enter_context(socket.socket())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        return False
    return True


def test_candidate_that_is_never_ready_gets_no_traffic(small: Small, serving: str) -> None:
    staged = small.served("staging")
    commit = small.commit(answers={"/ready": 503}, run=_run(ready_within="1s"))
    ended = small.release(commit)
    assert_says(
        ended, Retryable, "was not ready within 1 s", "campus in staging", again(staged, "staging"), "last lines"
    )
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)
    assert small.served("staging") == staged


def _run(**changes: object) -> dict[str, object]:
    run = SERVICE["run"]
    return {**run, "probes": {**run["probes"], **changes}}


def test_candidate_that_dies_at_its_start_shows_its_last_lines(small: Small, serving: str) -> None:
    staged = small.served("staging")
    ended = small.release(small.commit(answers={"says": ["no database at 10.1.2.3"], "exit": 3}))
    assert_says(
        ended, Retryable, "died before it was ready", "campus in staging", again(staged, "staging"), "last lines"
    )
    assert "no database at 10.1.2.3" in facts_of(ended)["last lines"]
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)
    assert small.served("staging") == staged


def test_candidate_that_fails_its_smoke_test_never_gets_traffic(small: Small, serving: str) -> None:
    staged = small.served("staging")
    ended = small.release(small.commit(answers={"/health": 500}))
    assert_says(ended, Refused, "1 of 1 smoke tests failed", "staging: ", "no traffic was moved", "mend the release")
    assert_says(ended, Refused, "", "", again(staged, "staging"), "")
    assert "expected status 200, found 500" in facts_of(ended)["GET /health"]
    assert not any(step.name.startswith("shift") for step in small.evidence(ended, "step"))
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)
    assert small.served("staging") == staged


def test_failing_end_to_end_test_turns_staging_back_and_never_reaches_production(small: Small, serving: str) -> None:
    staged = small.served("staging")
    ended = small.release(small.commit(answers={"/journey": 500}))
    assert_says(ended, Refused, "end-to-end 'journey' failed", "campus", again(staged, "staging"), "mend it")
    assert "500" in facts_of(ended)["last lines"]
    assert [item.name for item in small.evidence(ended, "roll-back")] == ["staging"]
    assert {str(item.facts["environment"]) for item in small.evidence(ended, "step")} == {"staging"}
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)
    assert small.served("staging") == staged


def test_artefact_that_was_tampered_with_after_its_tests_is_not_deployed(small: Small, serving: str) -> None:
    store = str(small.folder / "store" / "sha256")
    tamper = (
        "import pathlib; "
        f"newest = max(pathlib.Path({store!r}).iterdir(), key=lambda path: path.stat().st_mtime_ns); "
        "data = bytearray(newest.read_bytes()); data[-1] ^= 1; newest.chmod(0o644); newest.write_bytes(data)"
    )
    ended = small.release(small.commit(end_to_end=[{"name": "tamper", "command": python(tamper)}]))
    digest = small.record(ended).digest
    assert_says(ended, Unsafe, "not what was put", str(small.stored(digest)), "", "")
    assert_recorded(small, ended, Outcome.UNSAFE)
    assert_untouched(small, ended, serving)


def test_rollback_to_an_artefact_that_was_tampered_with_leaves_the_present_release(small: Small, serving: str) -> None:
    assert small.release(small.commit()).error is None
    (present,) = small.served()
    (former,) = [r for r in small.ledger.succeeded("campus", "production", 9) if r.release == serving]
    stored = small.stored(former.digest)
    data = bytearray(stored.read_bytes())
    stored.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    ended = small.rollback(to=serving)
    stored.write_bytes(data)
    assert_says(ended, Unsafe, "not what was put", str(stored), "", "")
    assert_recorded(small, ended, Outcome.UNSAFE)
    assert_untouched(small, ended, present)


# What turns production back


def test_silent_metrics_are_no_pass_and_turn_production_back(small: Small, serving: str) -> None:
    silent = {"errors": {"query": 'sum(http_requests_total{release="$release"})', "unit": "percent"}}
    commit = small.commit(metrics=silent)
    ended = small.release(commit)
    assert_says(ended, Refused, "no data", "campus in production", again({serving}, "production"), "read the figures")
    decisions = [item.facts["decision"] for item in small.evidence(ended, "verdict")]
    assert decisions[-1] == "roll-back"
    assert set(decisions[:-1]) == {"hold"}, "it was waited for"
    assert_turned_back(small, ended, serving, commit)


def test_critical_feature_that_fails_after_the_switch_turns_production_back(small: Small, serving: str) -> None:
    commit = small.commit(answers={"/feature": 500})
    ended = small.release(commit)
    assert_says(
        ended,
        Refused,
        "1 of 1 smoke tests failed",
        "critical features",
        again({serving}, "production"),
        "mend the release",
    )
    assert_turned_back(small, ended, serving, commit)


def test_ledger_that_stops_after_traffic_has_moved_does_not_keep_production_from_being_turned_back(
    small: Small, serving: str, postgresql_cluster: Cluster
) -> None:
    commit = small.commit(promotion=GRADUAL)
    try:
        with once_served(small, commit[:12], postgresql_cluster.stop):
            ended = small.release(commit)
    finally:
        postgresql_cluster.start()
    assert_says(
        ended, Retryable, "ledger's database does not answer", "file:dsn", again({serving}, "production"), "server runs"
    )
    assert_turned_back_without_ledger(small, ended, serving, commit)


def test_ledger_that_refuses_after_traffic_has_moved_does_not_keep_production_from_being_turned_back(
    small: Small, serving: str, postgresql_cluster: Cluster
) -> None:
    commit = small.commit(promotion=GRADUAL)
    with postgresql_cluster.as_superuser((small.folder / "dsn").read_text()) as superuser:

        def revoke() -> None:
            superuser.execute("revoke insert on all tables in schema slipway from app")

        try:
            with once_served(small, commit[:12], revoke):
                ended = small.release(commit)
        finally:
            superuser.execute("grant insert on all tables in schema slipway to app")
    assert_says(ended, Refused, "role lacks a right", "file:dsn", again({serving}, "production"), "grant")
    assert_turned_back_without_ledger(small, ended, serving, commit)


GRADUAL = {
    "strategy": "blue-green",
    "shift": "gradual",
    "steps": [{"weight": "50%", "soak": "3s"}],
    "watch": "0s",
    "checks": [],
}


def assert_turned_back_without_ledger(small: Small, ended: Ended, former: str, commit: str) -> None:
    """Users are back at the former release, and what the ledger did not take is in a file."""
    assert ended.visitors.failures == []
    assert ended.visitors.met == {former, commit[:12]}
    assert small.served() == {former}
    assert small.record(ended).outcome is Outcome.RUNNING, "the ledger could not be told"
    unsent = small.folder / "work" / f"unsent-evidence-{ended.run_id}.jsonl"
    kinds = [json.loads(line)["kind"] for line in unsent.read_text().splitlines()]
    assert "roll-back" in kinds
    assert kinds[-2:] == ["stage", "end"], "the way back is written down to its end, and how the run came out"


@contextlib.contextmanager
def once_served(small: Small, release: str, then: Callable[[], None]) -> Iterator[None]:
    """Something is done as soon as users meet a release, while the `with` runs."""

    def wait() -> None:
        wait_until(lambda: release in small.served(), within_s=180, what=f"{release} serving")
        then()

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        yield
    finally:
        waiting.join()


def test_first_release_that_fails_before_its_traffic_says_that_nothing_serves(fresh: Small) -> None:
    ended = fresh.release(fresh.commit(answers={"/health": 500}), environment="staging")
    assert_says(
        ended, Refused, "1 of 1 smoke tests failed", "staging: ", "nothing serves in staging, as before", "mend"
    )
    assert_recorded(fresh, ended, Outcome.FAILED)
    assert fresh.evidence(ended, "roll-back") == []
    assert fresh.served("staging") == {"503"}
    assert fresh.release(fresh.commit(), environment="staging").error is None, "what is left is in nobody's way"


def test_first_release_that_fails_under_its_traffic_says_that_there_is_none_to_go_back_to(fresh: Small) -> None:
    commit = fresh.commit(answers={"/feature": 500})
    ended = fresh.release(commit)
    assert_says(
        ended,
        Unsafe,
        "the first release failed, and there is none to go back to",
        "campus",
        "was left as it is",
        "mend",
    )
    assert_recorded(fresh, ended, Outcome.UNSAFE)
    assert fresh.served() == {commit[:12]}


# What changes nothing


def test_release_that_is_promoted_already_succeeds_again_and_changes_nothing(small: Small) -> None:
    commit = small.commit()
    assert small.release(commit).error is None
    instances, served = small.processes(), small.served()
    ended = small.release(commit)
    assert ended.error is None
    assert_recorded(small, ended, Outcome.SUCCEEDED)
    assert small.evidence(ended, "step") == []
    assert small.processes() == instances
    assert_untouched(small, ended, commit[:12])
    assert served == {commit[:12]}
