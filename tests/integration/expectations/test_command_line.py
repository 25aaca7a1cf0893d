"""The commands as people call them: a suite is derived and tried, rules are checked, and no password is told."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support import pagila
from tests.support.docs import ROOT
from tests.support.postgresql import Cluster

pytestmark = pytest.mark.server


def slipway(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COPY_DSN": url, "COLUMNS": "200"}
    command = [sys.executable, "-m", "deployments.cli", *arguments, "--dsn-ref", "env:COPY_DSN"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_suites_are_derived_and_tried_and_never_overwritten(pagila_cluster: Cluster, tmp_path: Path) -> None:
    url = pagila.copy(pagila_cluster, "by_command")
    made = slipway(tmp_path, url, "expectations", "suggest", "--table", "language", "--table", "store")
    assert (made.returncode, sorted(path.name for path in (tmp_path / "expectations").iterdir())) == (
        0,
        ["language.yaml", "store.yaml"],
    )
    again = slipway(tmp_path, url, "expectations", "suggest", "--table", "language")
    assert again.returncode == 2
    assert "there are suites already" in again.stderr
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica; delete from store where store_id > 100")
    tried = slipway(tmp_path, url, "expectations", "try")
    assert tried.returncode == 1, tried.stderr
    assert "store: table row count to be between (found 101)" in tried.stdout.replace("\n", " ")
    assert pagila_cluster.password not in made.stdout + again.stderr + tried.stdout + tried.stderr


def test_rules_are_checked_on_a_database_that_is_no_copy(pagila_cluster: Cluster, tmp_path: Path) -> None:
    url = pagila.copy(pagila_cluster, "to_check")
    example = ROOT / "docs/reference/examples/masking.yaml"
    good = slipway(tmp_path, url, "masking", "check", str(example))
    assert (good.returncode, good.stdout.strip()) == (0, "nothing stands against it"), good.stderr
    fewer = tmp_path / "masking.yaml"
    fewer.write_text(example.read_text(encoding="utf-8").replace("  staff.email: {rule: email}\n", ""))
    bad = slipway(tmp_path, url, "masking", "check", str(fewer))
    assert bad.returncode == 1
    assert "staff.email looks personal" in bad.stdout
