"""Suites, evaluated by Great Expectations in a process of its own, so that its memory is not the worker's."""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blocks import shell
from blocks.expectations.runner_data import DSN
from tasks.common.errors import Refused, Retryable
from tasks.common.expectations import MOST_KEYS, Expectation, OfTable, Suite
from tasks.expectations.model import Checked, Found, Report

_ROOT = Path(__file__).resolve().parents[2]
_ON = "expectations"
_LONGEST_KEY = 100


def run_suites(
    suites: Mapping[str, Suite],
    address: str,
    folder: Path,
    redact: Callable[[str], str],
    *,
    timeout_s: float = 3600.0,
) -> Report:
    """Return what came of every expectation, each in its place; the database is only read.

    An expectation whose table or column is missing, that takes too long or that the database refuses is reported as
    not evaluated. A process that fails, or a database that goes away, is an error: it says nothing about the data.

    Args:
        suites: by the files that they are from.
        address: of the restored database; it is given to the process in its environment.
        folder: where a private folder is made for the length of the call: the scratch folder of the verification.
        redact: takes the secrets out of a line.
        timeout_s: longest time for all of it.

    Raises:
        Retryable: the database does not answer, or stopped to; or the process failed or was killed.
        Refused: there is nothing to evaluate, the folder cannot be used, or it took longer than `timeout_s`.

    *Idempotent:* yes; nothing is changed, and no file is left.
    """
    if not suites:
        raise Refused("there is no suite of expectations", on=_ON, next_action="write one: docs/how-to/expectations.md")
    with tempfile.TemporaryDirectory(prefix="expectations-", dir=folder) as name:
        private = Path(name)
        told, took_s = _told(_request(suites, timeout_s), address, private, redact, timeout_s)
    answers = told["suites"]
    checked = []
    for suite, results in zip(suites.values(), answers, strict=True):
        checked += [_checked(suite, *pair) for pair in zip(suite.expectations, results, strict=True)]
    return Report(tuple(checked), took_s, int(told["memory_bytes"]), str(told["version"]))


def _request(suites: Mapping[str, Suite], timeout_s: float) -> dict[str, Any]:
    return {"timeout_s": timeout_s, "suites": [_asked(suite) for suite in suites.values()]}


def _asked(suite: Suite) -> dict[str, Any]:
    schema, table = suite.schema_and_table
    expectations = [
        {
            "type": each.type,
            "arguments": each.arguments,
            "columns": each.columns,
            "of_rows": not isinstance(each, OfTable),
            "most_keys": MOST_KEYS,
        }
        for each in suite.expectations
    ]
    return {
        "schema": schema,
        "table": table,
        "key": suite.key or [],
        "may_be_empty": suite.may_be_empty,
        "timeout_s": suite.timeout_s,
        "expectations": expectations,
    }


def _told(
    request: dict[str, Any], address: str, private: Path, redact: Callable[[str], str], timeout_s: float
) -> tuple[dict[str, Any], float]:
    asked, result = private / "request.json", private / "result.json"
    asked.write_text(json.dumps(request), encoding="utf-8")
    env = {
        DSN: address,
        "PYTHONPATH": str(_ROOT),
        "GX_ANALYTICS_ENABLED": "false",
        "HOME": str(private),
        "TMPDIR": str(private),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "blocks.expectations.runner", str(asked), str(result)]
    # Its lines are not shown: the library's warnings and tracebacks quote rows.
    try:
        ended = shell.run(command, cwd=private, timeout_s=timeout_s, redact=redact, env=env)
    except shell.TimedOut:
        # Not as it is: it has the last lines.
        raise Refused(
            f"the expectations took longer than {timeout_s:g} s",
            on=_ON,
            state="nothing is known about the data; nothing was changed",
            next_action="give them more time, or take expectations away",
        ) from None
    if ended.exit_code != 0 or not result.exists():
        raise Retryable(
            f"the process of the expectations failed with exit code {ended.exit_code}",
            on=_ON,
            state="nothing is known about the data; nothing was changed",
            next_action="see whether the machine is out of memory (a negative code is a signal), then verify again",
        )
    told: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    if told.get("gone"):
        raise Retryable(
            "the database does not answer, or does not let us in",
            on=_ON,
            state="nothing is known about the data; nothing was changed",
            next_action="see whether the scratch server runs and what its log says, then verify again",
        )
    return told, ended.duration_s


def _checked(suite: Suite, expectation: Expectation, result: Mapping[str, Any]) -> Checked:
    problem = str(result.get("problem", ""))
    found = Found.NOT_EVALUATED if problem else Found.HELD if result["held"] else Found.FAILED
    failed = found is Found.FAILED
    return Checked(
        table=suite.table,
        type=expectation.type,
        about=expectation.about,
        critical=expectation.severity == "critical",
        why=expectation.why,
        found=found,
        observed=str(result.get("observed", "")),
        unexpected=result.get("unexpected"),
        keys=tuple("/".join(key)[:_LONGEST_KEY] for key in result.get("keys", ()) if key) if failed else (),
        problem=problem,
    )
