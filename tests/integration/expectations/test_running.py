"""Suites on a real database, by Great Expectations in its own process."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from blocks.expectations.running import run_suites
from blocks.secrets import Secrets
from tasks.common.backups import RungOutcome
from tasks.common.errors import Refused, Retryable
from tasks.common.expectations import Suite
from tasks.common.load import load_suites
from tasks.expectations.judge import artifact, judge
from tasks.expectations.model import Found, Report
from tests.support import pagila
from tests.support.docs import ROOT
from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import wait_until

pytestmark = pytest.mark.server

EXAMPLE = ROOT / "docs/reference/examples/expectations/customer.yaml"
WRONG = """
table: customer
expectations:
  - {type: expect_column_values_to_match_regex, column: email, regex: '^nobody'}
  - {type: expect_column_values_to_not_be_null, column: nickname, severity: warning}
  - {type: expect_column_values_to_be_in_set, column: store_id, value_set: [-1], severity: warning}
  - {type: expect_column_max_to_be_between, column: customer_id, max_value: 10}
"""
NO_TABLE = "table: nowhere\nexpectations: [{type: expect_table_row_count_to_be_between, min_value: 0}]"
EMPTY = "table: nothing_in_it\nexpectations: [{type: expect_column_values_to_not_be_null, column: id}]"
SLOW = "table: slow\ntimeout: 1s\nexpectations: [{type: expect_column_values_to_not_be_null, column: id}]"


def suites(*texts: str) -> dict[str, Suite]:
    return dict(load_suites({f"{number}.yaml": text for number, text in enumerate(texts)}))


def run(wanted: dict[str, Suite], url: str, folder: Path) -> Report:
    return run_suites(wanted, url, folder, Secrets().redact, timeout_s=90)


def test_good_holds_and_each_kind_of_bad_is_told_by_keys_and_never_by_contents(
    pagila_cluster: Cluster, tmp_path: Path
) -> None:
    url = pagila.copy(pagila_cluster, "kinds")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table nothing_in_it (id int)")
        connection.execute("create view slow as select pg_sleep(5)::text as id")
    good = EXAMPLE.read_text(encoding="utf-8")
    report = run(suites(good, *WRONG_OF_OTHERS, NO_TABLE, EMPTY, SLOW), url, tmp_path)
    by_table = {table: [each for each in report.checked if each.table == table] for table in TABLES}

    assert [each.found for each in by_table["customer"]] == [Found.HELD] * 6
    mail, nickname, store, most = by_table["public.staff"]
    assert (mail.found, mail.unexpected, len(mail.keys)) == (Found.FAILED, 1500, 20)
    assert mail.keys[:2] == ("0", "1")
    assert (nickname.found, nickname.problem) == (Found.NOT_EVALUATED, "there is no such column: nickname")
    assert (store.found, store.critical) == (Found.FAILED, False)
    assert (most.found, most.observed, most.keys) == (Found.FAILED, "1499", ())
    assert by_table["nowhere"][0].problem == "there is no such table"
    assert by_table["nothing_in_it"][0].problem == "the table has no rows, so that nothing could be looked at"
    assert by_table["slow"][0].problem.endswith(("timeout", "QueryCanceled"))

    rung = judge(report)
    text = artifact(report, rung)
    assert rung.outcome is RungOutcome.BROKEN
    assert (rung.facts["not_evaluated"], rung.facts["warnings"]) == (4, 1)
    assert text.startswith("**Broken**: 6 of 13 expectations")
    assert "@" not in repr(report) + text.replace("\\@", "")
    assert pagila_cluster.password not in repr(report) + text
    assert 100 * 2**20 < report.memory_bytes < 400 * 2**20
    assert list(tmp_path.iterdir()) == []


PEAK = "from blocks.expectations.runner import peak_memory_bytes; print(peak_memory_bytes())"
LARGE = (
    "import subprocess, sys; kept = b'x' * (400 * 2**20); subprocess.run([sys.executable, *sys.argv[1:]], check=True)"
)


def test_memory_of_whoever_starts_the_process_is_not_its_own() -> None:
    argv = [sys.executable, "-c", LARGE, "-c", PEAK]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert 10 * 2**20 < int(done.stdout) < 200 * 2**20


TABLES = ("customer", "public.staff", "nowhere", "nothing_in_it", "slow")
WRONG_OF_OTHERS = [WRONG.replace("table: customer", "table: public.staff").replace("customer_id", "staff_id")]


def children(name: bytes) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line, parent = (
                (folder / "cmdline").read_bytes(),
                (folder / "stat").read_text().rpartition(")")[2].split()[1],
            )
        except OSError:
            continue
        if name in line and int(parent) == os.getpid():
            found.append(int(folder.name))
    return found


def test_killed_runner_is_an_error_and_no_verdict(pagila_cluster: Cluster, tmp_path: Path) -> None:
    def kill() -> None:
        wait_until(lambda: children(b"blocks.expectations.runner"), within_s=60)
        for process in children(b"blocks.expectations.runner"):
            os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    url = pagila.copy(pagila_cluster, "killed")
    with pytest.raises(Retryable, match="exit code -9"):
        run(suites(NO_TABLE), url, tmp_path)
    killer.join()
    assert list(tmp_path.iterdir()) == []


def test_database_that_does_not_answer_is_an_error_and_no_verdict(pagila_cluster: Cluster, tmp_path: Path) -> None:
    url = pagila.copy(pagila_cluster, "locked_out").replace("locked_out", "never_was")
    with pytest.raises(Retryable) as raised:
        run(suites(NO_TABLE), url, tmp_path)
    assert pagila_cluster.password not in str(raised.value)


def test_database_that_goes_away_in_the_middle_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "work").mkdir()
    with running_cluster(tmp_path / "server") as cluster:
        url = cluster.database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create view slow as select pg_sleep(60)::text as id")

        def stop() -> None:
            with cluster.as_superuser(url) as connection:
                query = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
                wait_until(lambda: (connection.execute(query).fetchone() or (0,))[0] > 0, within_s=60)
            cluster.stop()

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(Retryable, match="does not answer"):
            run(suites(SLOW.replace("1s", "1m")), url, tmp_path / "work")
        stopper.join()
    assert list((tmp_path / "work").iterdir()) == []


def test_suites_that_take_too_long_are_an_error_without_what_the_process_has_printed(
    pagila_cluster: Cluster, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=r"longer than 0\.5 s") as raised:
        run_suites(suites(NO_TABLE), pagila.copy(pagila_cluster, "late"), tmp_path, Secrets().redact, timeout_s=0.5)
    assert raised.value.facts == {}
    assert list(tmp_path.iterdir()) == []


def test_no_suite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no suite"):
        run_suites({}, "host=127.0.0.1", tmp_path, Secrets().redact)
