"""Bad input, and what is missing: found before anything is placed, said so that it can be mended at once."""

import contextlib
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tasks.common.errors import Refused, Retryable
from tasks.release.model import Outcome
from tests.support.postgresql import Cluster
from tests.support.processes import free_port, wait_until
from tests.support.small import RUN_SECRET, Small, sarif
from tests.support.small_checks import (
    assert_not_begun,
    assert_recorded,
    assert_says,
    assert_untouched,
    facts_of,
    python,
)
from tests.unit.common.test_load_service import TEN_LINES, TEN_MISTAKES

pytestmark = pytest.mark.server


# What is refused before anything begins


def test_unknown_commit_is_refused_by_name(small: Small, serving: str) -> None:
    ended = small.release("deadbeef")
    assert_says(ended, Refused, "no such revision", "deadbeef in campus", "nothing was changed", "was pushed there")
    assert facts_of(ended) == {"latest branches and tags": "main"}
    assert_not_begun(small, ended)
    assert_untouched(small, ended, serving)


def test_missing_repository_is_refused_with_its_path(small: Small, serving: str, metrics: str) -> None:
    small.write_estate(metrics, services={"campus": {"repository": "gone"}})
    try:
        ended = small.release("main")
    finally:
        small.write_estate(metrics)
    assert_says(ended, Refused, "repository", str(small.folder / "gone"), "nothing was changed", "estate file")
    assert_not_begun(small, ended)
    assert_untouched(small, ended, serving)


def test_service_file_with_ten_mistakes_is_refused_with_all_ten_before_anything_begins(
    small: Small, serving: str
) -> None:
    stored = set((small.folder / "store").rglob("*"))
    ended = small.release(small.commit(files={"slipway.yaml": TEN_MISTAKES}))
    assert_says(ended, Refused, "10 mistakes", "slipway.yaml of ", "nothing was changed", "correct what is listed")
    wanted = re.findall(r"slipway.yaml(:\d+: .*)", TEN_LINES)
    found = facts_of(ended)["mistakes"].splitlines()
    assert len(wanted) == len(found) == 10
    assert all(line.endswith(text) for line, text in zip(found, wanted, strict=True))
    assert_not_begun(small, ended)
    assert set((small.folder / "store").rglob("*")) == stored
    assert_untouched(small, ended, serving)


def test_unknown_service_is_refused_with_those_that_there_are(small: Small, serving: str) -> None:
    ended = small.release("main", service="campsu")
    assert_says(ended, Refused, "no service 'campsu'", "the request", "nothing was changed", "campus")
    assert_not_begun(small, ended)
    assert_untouched(small, ended, serving)


def test_unknown_environment_is_refused_with_those_that_there_are(small: Small, serving: str) -> None:
    ended = small.release("main", environment="prod")
    assert_says(ended, Refused, "no environment 'prod'", "the request", "nothing was changed", "production, staging")
    assert_not_begun(small, ended)
    assert_untouched(small, ended, serving)


def test_missing_estate_file_is_refused_with_its_path(small: Small, serving: str) -> None:
    path = small.folder / "gone.yaml"
    ended = small.release("main", estate=str(path))
    assert_says(ended, Refused, "No such file", str(path), "nothing was changed", "check the path")
    assert_not_begun(small, ended)
    assert_untouched(small, ended, serving)


def test_ledger_that_does_not_answer_stops_a_release_before_it_begins(
    small: Small, serving: str, postgresql_cluster: Cluster
) -> None:
    commit = small.commit()
    postgresql_cluster.stop()
    try:
        ended = small.release(commit)
    finally:
        postgresql_cluster.start()
    assert_says(ended, Retryable, "ledger's database does not answer", "file:dsn", "nothing was", "its server runs")
    assert_not_begun(small, ended)
    assert_untouched(small, ended, serving)


# What is found before anything is built


def test_secret_that_is_missing_in_the_environment_is_found_before_the_build(
    small: Small, serving: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUN_SECRET)
    ended = small.release(small.commit())
    assert_says(ended, Refused, "preflight found 2 problems", "campus to production", "nothing was changed", "mend all")
    found = facts_of(ended)
    for environment in ("staging", "production"):
        assert f"set the variable {RUN_SECRET}" in found[f"{environment}: secrets are there"]
    assert small.evidence(ended, "build") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def test_missing_socket_of_haproxy_is_found_before_the_build(small: Small, serving: str) -> None:
    elsewhere = small.haproxy.socket.with_suffix(".moved")
    commit = small.commit()
    small.haproxy.socket.rename(elsewhere)
    try:
        ended = small.release(commit)
    finally:
        elsewhere.rename(small.haproxy.socket)
    assert_says(ended, Refused, "preflight found 2 problems", "campus to production", "nothing was changed", "mend all")
    found = facts_of(ended)
    for environment in ("staging", "production"):
        assert "socket" in found[f"{environment}: router answers, and stable is healthy"]
    assert small.evidence(ended, "build") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def test_dead_haproxy_is_found_before_the_build(small: Small, serving: str) -> None:
    commit = small.commit()
    small.haproxy.kill()
    try:
        ended = small.release(commit)
    finally:
        small.haproxy.start()
    assert_says(ended, Refused, "preflight found 2 problems", "campus to production", "nothing was changed", "mend all")
    for environment in ("staging", "production"):
        assert "HAProxy does not answer" in facts_of(ended)[f"{environment}: router answers, and stable is healthy"]
    assert small.evidence(ended, "build") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert small.served() == {serving}


def test_everything_that_is_wrong_is_found_at_once_before_the_build(
    fresh: Small, metrics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fresh.commit()
    assert fresh.release(first).error is None
    instances = fresh.processes()
    fresh.write_estate(f"http://127.0.0.1:{free_port()}")
    (fresh.folder / "store" / "sha256").rename(fresh.folder / "store" / "moved")
    (fresh.folder / "store" / "sha256").write_text("a file where a folder belongs")
    monkeypatch.delenv(RUN_SECRET)
    os.kill(fresh.supervisor.pid, signal.SIGKILL)
    try:
        ended = fresh.release(fresh.commit())
        served = fresh.served()
        fresh.haproxy.kill()
        without_router = fresh.release("main")
    finally:
        for instance in instances:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(instance, signal.SIGKILL)
    assert_says(ended, Refused, "preflight found 8 problems", "campus to production", "nothing was changed", "mend all")
    assert list(facts_of(ended)) == [
        "artefact store answers",
        "staging: runtime answers",
        "staging: metrics answer",
        "staging: secrets are there",
        "production: runtime answers",
        "production: metrics answer",
        "production: secrets are there",
        "production: a release to roll back to is kept",
    ]
    assert_recorded(fresh, ended, Outcome.FAILED)
    assert ended.visitors.failures == []
    assert served == {first[:12]}, "instances outlive their supervisord"
    assert "preflight found 10 problems" in str(without_router.error)
    assert_recorded(fresh, without_router, Outcome.FAILED)


# What stops a release before anything is placed


def test_build_that_hangs_is_ended_with_everything_that_it_started(small: Small, serving: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import os, subprocess, time; child = subprocess.Popen(['sleep', '600']); "
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}'); print('linking', flush=True); "
        "time.sleep(600)"
    )
    ended = small.release(small.commit(build={"command": python(script), "timeout": "2s"}))
    assert_says(ended, Refused, "within 2 s", "python3", "everything that it started was ended", "longer timeout")
    assert facts_of(ended)["last lines"] == "linking"
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: _is_gone(pid), what=f"the end of process {pid}")  # type: ignore[misc]
    assert small.evidence(ended, "test") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def _is_gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_build_that_fails_shows_its_last_lines(small: Small, serving: str) -> None:
    commit = small.commit(build={"command": python("raise SystemExit('undefined: frobnicate')")})
    ended = small.release(commit)
    assert_says(ended, Refused, "exit code 1", f"commit {commit[:7]}", "no archive was made", "last lines")
    assert "undefined: frobnicate" in facts_of(ended)["last lines"]
    assert small.evidence(ended, "test") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def test_failing_test_step_stops_the_release_and_shows_its_last_lines(small: Small, serving: str) -> None:
    steps = [{"name": "sums", "command": python("print('expected 4, found 5'); raise SystemExit(3)")}]
    ended = small.release(small.commit(test={"steps": steps}))
    assert_says(
        ended, Refused, "test 'sums' failed with exit code 3", "campus", "production was not touched", "mend it"
    )
    assert facts_of(ended) == {"last lines": "expected 4, found 5"}
    assert small.evidence(ended, "scan") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def test_too_little_coverage_stops_the_release(small: Small, serving: str) -> None:
    report = json.dumps({"totals": {"percent_covered": 71.25}})
    test = {
        "steps": [{"name": "unit", "command": ["true"]}],
        "coverage": {"report": "coverage.json", "at_least": "80%"},
    }
    ended = small.release(small.commit(test=test, files={"coverage.json": report}))
    assert_says(ended, Refused, "71.25 %, less than 80 %", "campus", "production was not touched", "add tests")
    assert small.evidence(ended, "scan") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def test_missing_scanner_is_no_pass(small: Small, serving: str) -> None:
    scan = [{"tool": "sniffer", "command": ["no-such-sniffer", "{output}"]}]
    ended = small.release(small.commit(scan=scan))
    assert_says(ended, Refused, "no program 'no-such-sniffer'", "sniffer", "nothing was", "install no-such-sniffer")
    assert small.evidence(ended, "publish") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def test_crashing_scanner_is_no_pass(small: Small, serving: str) -> None:
    scan = [{"tool": "sniffer", "command": [*python("raise RuntimeError('out of rules')"), "{output}"]}]
    ended = small.release(small.commit(scan=scan))
    assert_says(ended, Refused, "no answer that can be trusted", "scan sniffer", "nothing was published", "mend what")
    assert "out of rules" in facts_of(ended)["last lines"]
    assert small.evidence(ended, "publish") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)


def test_blocking_finding_stops_the_release_and_names_its_line(small: Small, serving: str) -> None:
    ended = small.release(small.commit(files={"report.sarif": sarif("eval of user input")}))
    assert_says(ended, Refused, "clean found 1 that block", "clean", "nothing was published", "mend")
    assert facts_of(ended) == {"clean": "high: app.py:7: planted: eval of user input"}
    assert small.evidence(ended, "publish") == []
    assert_recorded(small, ended, Outcome.FAILED)
    assert_untouched(small, ended, serving)
