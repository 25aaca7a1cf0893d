"""What was observed means this for a backup. What is not known never holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from tasks.common.backups import RungOutcome
from tasks.common.clocks import APART_S, apart
from tasks.common.units import show_duration, show_percent
from tasks.verification.fingerprint import differences
from tasks.verification.model import Checked, DatabaseFacts, Finding, Moment, Orphans, Replayed, SequenceState

SHOWN = 20
"""So many differences are named; all are counted."""


def judge_freshness(reaches: datetime | None, source: Moment, rpo_s: float, ahead_s: float = 0.0) -> Finding:
    """Return whether what lies in the repository is new enough. The source's archiver is quoted, and not believed.

    Args:
        reaches: newest moment that can be restored, by what lies there.
        source: where the source is now.
        rpo_s: what may be lost.
        ahead_s: by how much the worker's clock, which many engines' times come from, is ahead of the source's.
    """
    if reaches is None:
        return _broken("nothing in the repository can be restored", rpo_objective_s=rpo_s)
    lag_s = (source.at - reaches).total_seconds()
    facts: dict[str, object] = {
        "reaches": reaches.isoformat(),
        "source_at": source.at.isoformat(),
        "source_lsn": source.lsn,
        "lag_s": lag_s,
        "rpo_objective_s": rpo_s,
        "archiver_says": source.archived_at.isoformat() if source.archived_at else "never",
    }
    if wrong := apart(ahead_s):
        return _broken(f"{wrong}: how old the newest backup is, is not known", **facts, ahead_s=ahead_s)
    if lag_s < -APART_S:
        ahead = show_duration(-lag_s)
        return _broken(f"the repository reaches {ahead} beyond the source's clock: a clock is wrong", **facts)
    lag_s = max(lag_s, 0.0)
    told = f"the repository reaches to {show_duration(lag_s)} ago; the objective is {show_duration(rpo_s)}"
    if lag_s <= rpo_s:
        return Finding(RungOutcome.HELD, told, facts)
    claims_more = source.archived_at is not None and source.archived_at - reaches > timedelta(seconds=rpo_s)
    green = "; the source's archiver claims more than has arrived" if claims_more else ""
    idle = "" if green else "; a source without changes writes no WAL: 'slipway heartbeat' makes some"
    return _broken(told + green + idle, **facts)


def judge_repository(problems: Sequence[str]) -> Finding:
    """Return whether every byte in the repository is as it was written."""
    if problems:
        return _broken(f"{_many(len(problems), 'problem')} in the repository: {problems[0]}", problems=problems[:SHOWN])
    return Finding(RungOutcome.HELD, "the backup, and what it needs, lies there as it was written")


def judge_restore(fetch_s: float, copy: Replayed, label: str) -> Finding:
    """Return what a restore that has come to its end says.

    Args:
        fetch_s: how long it took to bring the files out of the repository.
        copy: the server that has answered.
        label: the backup that it started from.
    """
    facts = {
        "label": label,
        "fetch_s": fetch_s,
        "replay_s": copy.replay_s,
        "first_query_s": copy.first_query_s,
        "version": copy.version,
        "fence": copy.fence,
    }
    if copy.found:
        took = f"fetched in {show_duration(fetch_s)}, read in {show_duration(copy.replay_s)}"
        return Finding(RungOutcome.HELD, f"{copy.found}: {took}", {**facts, "found": copy.found})
    parts = f"fetched in {show_duration(fetch_s)}, replayed in {show_duration(copy.replay_s)}"
    fence = "" if copy.fenced else f"; {copy.fence}"
    return Finding(RungOutcome.HELD, f"PostgreSQL {copy.version} answers: {parts}{fence}", facts)


def judge_checked(what: str, checked: Checked) -> Finding:
    """Return what a program's look means.

    Args:
        what: that was looked at, in the plural: 'pages'.
        checked: what it has found.
    """
    if checked.left_out:
        return Finding(RungOutcome.LEFT_OUT, checked.left_out)
    figures = ", ".join(f"{name} {count}" for name, count in checked.looked_at.items())
    if checked.count:
        first = f"{_many(checked.count, 'problem')} with {what}: {checked.problems[0]}"
        return _broken(first, problems=list(checked.problems), **checked.looked_at)
    return Finding(RungOutcome.HELD, f"nothing is wrong with {what} ({figures})", dict(checked.looked_at))


def judge_schema(source: DatabaseFacts, copy: DatabaseFacts) -> Finding:
    """Return whether the copy has the objects of its source, each with its definition."""
    found = differences(source.objects, copy.objects)
    facts: dict[str, object] = {
        "objects": len(copy.objects),
        "missing": found.missing[:SHOWN],
        "additional": found.additional[:SHOWN],
        "changed": found.changed[:SHOWN],
    }
    if found:
        parts = [f"{word}: {_few(names)}" for word, names in vars(found).items() if names]
        return _broken(f"the schema of {copy.name} differs: {'; '.join(parts)}", **facts)
    if not source.objects:
        return _broken(f"{source.name} has no objects that could be compared", **facts)
    return Finding(RungOutcome.HELD, f"all {len(copy.objects)} objects of {copy.name} are as in the source", facts)


def judge_counts(
    expected: Mapping[str, int | None], copy: DatabaseFacts, tolerance_percent: float, tolerance_rows: int
) -> Finding:
    """Return whether each table has about the rows that it should have.

    Args:
        expected: rows when the backup was taken, or at the last verification; None where they were not counted.
        copy: what came back.
        tolerance_percent: how far a count may be off, of the expected one.
        tolerance_rows: so many rows may be missing or more whatever the share; small tables change by large shares.
    """
    known = {table: rows for table, rows in expected.items() if rows is not None}
    if not known:
        return Finding(RungOutcome.LEFT_OUT, "it is not known how many rows there should be")
    off: dict[str, str] = {}
    for table, rows in sorted(known.items()):
        found = copy.rows.get(table)
        if found is None:
            off[table] = f"not there; {rows} expected"
        elif abs(found - rows) > max(rows * tolerance_percent / 100, tolerance_rows if found else 0):
            off[table] = f"{found}; {rows} expected"
    band = f"{show_percent(tolerance_percent)} or {tolerance_rows} rows"
    unknown = len(expected) - len(known)
    facts: dict[str, object] = {"tables": len(known), "not_counted": unknown, "band": band}
    if off:
        named = ", ".join(f"{table} ({text})" for table, text in list(off.items())[:3])
        first = f"{_many(len(off), 'table')} out of band ({band}): {named}"
        return _broken(first, off=dict(list(off.items())[:SHOWN]), **facts)
    rest = f"; {_many(unknown, 'table')} not counted in the source" if unknown else ""
    return Finding(RungOutcome.HELD, f"{_many(len(known), 'table')} within {band}{rest}", facts)


def judge_sequences(sequences: Sequence[SequenceState]) -> Finding:
    """Return whether no sequence gives a value that its column has passed: the next insert would fail."""
    behind = {
        f"{each.name} gives {each.next_value}, {each.column} is at {each.furthest}"
        for each in sequences
        if each.furthest is not None and (each.furthest - each.next_value) * (1 if each.increment > 0 else -1) >= 0
    }
    facts: dict[str, object] = {"sequences": len(sequences), "behind": sorted(behind)[:SHOWN]}
    if behind:
        return _broken(f"{_many(len(behind), 'sequence')} behind: {_few(sorted(behind))}", **facts)
    return Finding(RungOutcome.HELD, f"{_many(len(sequences), 'sequence')} ahead of the columns", facts)


def judge_foreign_keys(keys: Sequence[Orphans]) -> Finding:
    """Return whether every foreign key leads somewhere; values of keys are named, contents of rows never."""
    broken = {each.constraint: {"rows": each.count, "keys": list(each.keys)} for each in keys if each.count}
    facts: dict[str, object] = {"constraints": len(keys), "orphans": dict(list(broken.items())[:SHOWN])}
    if broken:
        rows = sum(each.count for each in keys)
        return _broken(f"{_many(rows, 'row')} without a parent: {_few(sorted(broken))}", **facts)
    return Finding(RungOutcome.HELD, f"{_many(len(keys), 'foreign key')} validated anew", facts)


def judge_heartbeat(target: datetime, newest: datetime | None, rpo_s: float) -> Finding:
    """Return the measured RPO: from the newest heartbeat that came back to the moment that was to be restored.

    Args:
        target: that moment, by the source's clock.
        newest: the newest heartbeat in the copy; None where there is none.
        rpo_s: the objective.
    """
    if newest is None:
        return Finding(RungOutcome.LEFT_OUT, "no heartbeat came back: 'slipway heartbeat' writes them into the source")
    measured_s = max((target - newest).total_seconds(), 0.0)
    facts: dict[str, object] = {
        "rpo_s": measured_s,
        "rpo_objective_s": rpo_s,
        "newest": newest.isoformat(),
        "target": target.isoformat(),
    }
    told = f"{show_duration(measured_s)} of changes are missing; the objective is {show_duration(rpo_s)}"
    return Finding(RungOutcome.HELD if measured_s <= rpo_s else RungOutcome.BROKEN, told, facts)


def _broken(said: str, **facts: object) -> Finding:
    return Finding(RungOutcome.BROKEN, said, facts)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
