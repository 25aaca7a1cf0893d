"""Great Expectations in a process of its own: `python -m blocks.expectations.runner REQUEST RESULT`.

Importing it costs seconds and hundreds of megabytes, so nothing else may import this module. The address of the
database comes in the environment variable SLIPWAY_EXPECTATIONS_DSN. What is written to RESULT are figures and keys: no
other contents of rows, no messages of the database, which quote rows, and no address.
"""

import datetime
import decimal
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import Conninfo
from sqlalchemy import URL

from blocks.expectations.runner_data import DSN

_FIGURES = (int, float, decimal.Decimal, datetime.date, datetime.datetime)
_GONE = {"OperationalError", "InterfaceError", "AdminShutdown", "CrashShutdown", "CannotConnectNow", "DatabaseDropped"}
_RAISED = re.compile(r"psycopg\.(?:errors\.)?(\w+)")
_KEY = """
    select a.attname from pg_index i join unnest(i.indkey) with ordinality k(number, place) on true
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
    where i.indrelid = to_regclass(%s) and i.indisprimary order by k.place"""


def _connect_by_environment(dsn: str) -> str:
    """Libpq finds the address in the environment; returns the SQLAlchemy address of what has no variable there."""
    left = {}
    for option in Conninfo.parse(dsn.encode()):
        if option.val is not None and option.envvar is not None:
            os.environ[option.envvar.decode()] = option.val.decode()
        elif option.val is not None:
            left[option.keyword.decode()] = option.val.decode()
    return URL.create("postgresql+psycopg", query=left).render_as_string(hide_password=False)


def _options(given: str, timeout_s: float) -> str:
    read_only = f"-c default_transaction_read_only=on -c statement_timeout={max(1, round(timeout_s * 1000))}"
    return f"{given} {read_only} -c timezone=UTC -c lock_timeout={max(1, round(timeout_s * 1000))}".strip()


def _survey(suite: dict[str, Any]) -> dict[str, Any]:
    """Return the table's columns, its key and whether it has rows; no columns where it does not exist."""
    name = sql.Identifier(suite["schema"], suite["table"])
    with psycopg.connect() as connection:
        quoted = name.as_string(connection)
        columns = connection.execute(
            "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            [quoted],
        ).fetchall()
        if not columns:
            return {"columns": [], "key": [], "rows": False}
        key = suite["key"] or [row[0] for row in connection.execute(_KEY, [quoted])]
        (rows,) = connection.execute(sql.SQL("select exists (select from {})").format(name)).fetchone() or (False,)
        return {"columns": [row[0] for row in columns], "key": key, "rows": rows}


def _alive() -> bool:
    try:
        with psycopg.connect(connect_timeout=10) as connection:
            connection.execute("select 1")
    except psycopg.Error:
        return False
    return True


class _Gone(Exception):
    """The database does not answer any more."""


def _evaluate(gx: Any, address: str, number: int, suite: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        there = _survey(suite)
    except psycopg.Error as error:
        if not _alive():
            raise _Gone from None
        return _problem(suite, f"the table cannot be read: {type(error).__name__}")
    missing = sorted(set(suite["key"]) - set(there["columns"]))
    if not there["columns"]:
        return _problem(suite, "there is no such table")
    if missing:
        return _problem(suite, f"its key names columns that are not there: {', '.join(missing)}")
    try:
        batch = _batch(gx, address, number, suite)
    except Exception as error:  # whatever the library raises; its text may quote rows
        return _problem(suite, _why(repr(error)))
    return [_one(batch, each, there, suite["may_be_empty"]) for each in suite["expectations"]]


def _batch(gx: Any, address: str, number: int, suite: dict[str, Any]) -> Any:
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    source = context.data_sources.add_sql(f"suite_{number}", connection_string=address)
    asset = source.add_table_asset(suite["table"], table_name=suite["table"], schema_name=suite["schema"])
    return asset.add_batch_definition_whole_table("all").get_batch()


def _problem(suite: dict[str, Any], text: str) -> list[dict[str, Any]]:
    return [{"problem": text} for _ in suite["expectations"]]


def _one(batch: Any, wanted: dict[str, Any], there: dict[str, Any], may_be_empty: bool) -> dict[str, Any]:
    missing = sorted(set(wanted["columns"]) - set(there["columns"]))
    if missing and wanted["type"] != "expect_column_to_exist":
        return {"problem": f"there is no such column: {', '.join(missing)}"}
    if wanted["of_rows"] and not there["rows"] and not may_be_empty:
        return {"problem": "the table has no rows, so that nothing could be looked at"}
    shape: dict[str, Any] = {"result_format": "SUMMARY", "partial_unexpected_count": wanted["most_keys"]}
    if there["key"]:
        shape |= {"unexpected_index_column_names": there["key"], "return_unexpected_index_query": False}
    from great_expectations.expectations.registry import get_expectation_impl

    try:
        result = batch.validate(get_expectation_impl(wanted["type"])(**wanted["arguments"]), result_format=shape)
    except Exception as error:  # as above
        return {"problem": _why(repr(error))}
    if not result.success and _raised(result.exception_info):
        return {"problem": _why(json.dumps(result.exception_info, default=str))}
    return _told(bool(result.success), result.result, there["key"])


def _raised(info: dict[str, Any]) -> bool:
    parts = [info, *(each for each in info.values() if isinstance(each, dict))]
    return any(each.get("raised_exception") or each.get("exception_traceback") for each in parts)


def _why(text: str) -> str:
    named = set(_RAISED.findall(text)) - {"psycopg"}
    if named & _GONE or not _alive():
        raise _Gone
    if "QueryCanceled" in named:
        return "it took longer than the suite's timeout"
    return f"the database refused: {', '.join(sorted(named))}" if named else "Great Expectations could not evaluate it"


def _told(held: bool, result: dict[str, Any], key: list[str]) -> dict[str, Any]:
    observed = result.get("observed_value")
    rows = result.get("partial_unexpected_index_list") or []
    return {
        "held": held,
        "observed": str(observed) if isinstance(observed, _FIGURES) and not isinstance(observed, bool) else "",
        "unexpected": result.get("unexpected_count") if "element_count" in result else None,
        "keys": [[str(row[column]) for column in key] for row in rows],
    }


def _run(request: dict[str, Any]) -> dict[str, Any]:
    address = _connect_by_environment(os.environ.pop(DSN))
    given = os.environ.get("PGOPTIONS", "")
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
    import great_expectations as gx

    suites = []
    try:
        for number, suite in enumerate(request["suites"]):
            os.environ["PGOPTIONS"] = _options(given, suite["timeout_s"])
            if not _alive():
                raise _Gone
            suites.append(_evaluate(gx, address, number, suite))
    except _Gone:
        return {"gone": True}
    return {"suites": suites, "version": gx.__version__, "memory_bytes": peak_memory_bytes()}


def peak_memory_bytes() -> int:
    """Return the most memory that this process has had at once.

    What getrusage() says is not that: the peak of whoever started the process counts there as its own.
    *Source:* proc(5), VmHWM; measured: a program that was started by one with 600 MB reports these 600 MB.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    """RESULT says what came of REQUEST; no such file: this process failed."""
    request, result = (Path(argument) for argument in sys.argv[1:3])
    asked = json.loads(request.read_text(encoding="utf-8"))
    # Whoever started this process may be killed and not be there to end it.
    signal.alarm(max(1, round(asked["timeout_s"])))
    told = json.dumps(_run(asked))
    new = result.with_suffix(".new")
    new.write_text(told, encoding="utf-8")
    new.replace(result)


if __name__ == "__main__":
    main()
