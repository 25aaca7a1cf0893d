"""Figure 10: what a verified restore costs beside a bare restore and the bare checks, on the same database."""

import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.databases import catalogs
from tasks.backup.request import BackupRequest
from tasks.verification.request import VerifyRequest
from tests.bench import bare
from tests.bench.arithmetic import FlowTimes, Spread, ratios
from tests.bench.plans import PROVEN, Plans
from tests.bench.report import Grid, Section
from tests.bench.source import DATABASE, TABLES, Source

if TYPE_CHECKING:
    from tests.bench.place import Place

CLAIM = (
    "A verified restore over the bare restore plus the bare checks on the same pgbench database of 1 GB, both warm, in "
    "one run: at most 1.15."
)
_BOUND = 1.15
_ENOUGH_BYTES = 10**9
_KEYS = (
    ("pgbench_tellers", "bid", "pgbench_branches", "bid"),
    ("pgbench_accounts", "bid", "pgbench_branches", "bid"),
    ("pgbench_history", "bid", "pgbench_branches", "bid"),
    ("pgbench_history", "tid", "pgbench_tellers", "tid"),
    ("pgbench_history", "aid", "pgbench_accounts", "aid"),
)
"""The foreign keys of pgbench, as `pgbench --foreign-keys` makes them."""

Step = tuple[str, float]


def measure(place: "Place", source: Source, plans: Plans, count: int) -> Section:
    """Return what the flow `verify-backup` costs, `count` times in turn with the bare commands."""
    place.run("backup", BackupRequest(plan=PROVEN, estate=str(plans.file), requested_by="make bench"))
    flows: list[FlowTimes] = []
    steps: list[list[Step]] = []
    for number in range(-1, count):
        place.say(f"a verified restore, {'to warm up' if number < 0 else f'{number + 1} of {count}'}")
        times = place.run("verify-backup", VerifyRequest(plan=PROVEN, estate=str(plans.file)))
        done = bare_steps(source)
        if number >= 0:
            flows.append(times)
            steps.append(done)
    return section(flows, steps, source.size_bytes())


def bare_steps(source: Source) -> list[Step]:
    """The newest backup was restored and looked at by hand, and nothing is left; returns each step and its seconds."""
    steps: list[Step] = []

    def step(name: str, work: Callable[[], object]) -> None:
        steps.append((name, bare.timed(work)))

    room = source.folder / "room"
    data = room / "data"
    step("queries on the source", lambda: _look(source.environment, [DATABASE], source.folder))
    step("pgbackrest verify", lambda: bare.pgbackrest(source, "verify"))
    with bare.emptied(room), bare.emptied(data):
        step("pgbackrest restore", lambda: _restore(source, data))
        step("start, replay, first query, stop", lambda: _first_start(data, room))
        step("pg_checksums", lambda: bare.run([bare.program("pg_checksums"), "--check", f"--pgdata={data}"]))
        steps += _served(data, room)
        step("remove", lambda: shutil.rmtree(room))
    return steps


def _restore(source: Source, data: Path) -> None:
    bare.pgbackrest(source, f"--pg1-path={data}", "--archive-mode=off", "restore")


def _first_start(data: Path, room: Path) -> None:
    with bare.served(data, room) as env:
        _ask(env, "template1", "select count(*) from pg_class")


def _served(data: Path, room: Path) -> list[Step]:
    steps: list[Step] = []
    databases = [DATABASE, "postgres"]

    def work() -> None:
        with bare.served(data, room) as env:
            amcheck = ["--all", "--install-missing", "--heapallindexed", "--parent-check", "--jobs=2"]
            argv = [bare.program("pg_amcheck"), *amcheck, "--maintenance-db=template1"]
            steps.append(("pg_amcheck", bare.timed(lambda: bare.run(argv, env))))
            steps.append(("pg_dump to nowhere", bare.timed(lambda: [_dump(env, each) for each in databases])))
            steps.append(("queries on the copy", bare.timed(lambda: _look(env, databases, room, keys=True))))

    whole_s = bare.timed(work)
    return [*steps, ("start and stop", whole_s - sum(took_s for _, took_s in steps))]


def _dump(env: dict[str, str], database: str) -> None:
    bare.run([bare.program("pg_dump"), "--format=plain", "--file=/dev/null", database], env)


def _look(env: dict[str, str], databases: list[str], folder: Path, *, keys: bool = False) -> None:
    """Objects and rows were asked for in the first database, and sequences and foreign keys in all."""
    queries = [*catalogs.OBJECTS, *(f"select count(*) from only public.{table}" for table in TABLES)]
    if keys:
        queries += [
            f"select count(*) from {table} c where {column} is not null "
            f"and not exists (select from {parent} p where p.{key} = c.{column})"
            for table, column, parent, key in _KEYS
        ]
    script = folder / "look.sql"
    script.write_text("set search_path = pg_catalog, public;\n" + ";\n".join(queries) + ";\n")
    script.chmod(0o644)
    bare.run([bare.program("psql"), "-X", "-q", "-At", "-o", "/dev/null", "-f", str(script), databases[0]], env)
    for each in databases[1:]:
        _ask(env, each, catalogs.SEQUENCES, catalogs.FOREIGN_KEYS)


def _ask(env: dict[str, str], database: str, *queries: str) -> None:
    argv = [bare.program("psql"), "-X", "-q", "-At", "-o", "/dev/null"]
    bare.run([*argv, *(part for query in queries for part in ("-c", query)), database], env)


def section(flows: list[FlowTimes], steps: list[list[Step]], size_bytes: int) -> Section:
    """Return the figure of what was measured."""
    flow_s, bare_s = [each.flow_s for each in flows], [sum(took_s for _, took_s in each) for each in steps]
    ratio = ratios(flow_s, bare_s)
    asked = ratios([each.flow_s + each.start_up_s for each in flows], bare_s)
    facts = (
        f"{ratio.plain}: {Spread.of(flow_s)} over {Spread.of(bare_s)}. From the moment when it was asked for, the "
        f"start of the run's process included: {asked.plain}.",
        f"The database has {size_bytes / 1e9:.2f} GB, and lies in a repository of pgBackRest. Bare is what a person "
        "would run one after another: the same programs with the same options, a server with the same settings. What "
        "the flow has besides, such as measuring how far the repository reaches, counts as its cost.",
    )
    return Section(
        name="verify",
        title="Verified restore over the bare commands",
        claim=CLAIM,
        met=ratio.median <= _BOUND and size_bytes >= _ENOUGH_BYTES,
        facts=facts,
        grids=(_bare_grid(steps), _flow_grid(flows)),
        data={
            "size_bytes": size_bytes,
            "flow_s": flow_s,
            "start_up_s": [each.start_up_s for each in flows],
            "bare_s": bare_s,
            "bare_steps_s": [dict(each) for each in steps],
            "shares_s": [each.shares_s() for each in flows],
        },
    )


def _bare_grid(steps: list[list[Step]]) -> Grid:
    rows = [(name, f"{statistics.median(dict(each)[name] for each in steps):.2f} s") for name, _ in steps[0]]
    return Grid("The bare commands", ("command", "median"), tuple(rows))


def _flow_grid(flows: list[FlowTimes]) -> Grid:
    # The backup's label is part of a name, and is the same in all of them.
    names = flows[0].shares_s()
    rows = [(name, f"{statistics.median(each.shares_s().get(name, 0.0) for each in flows):.2f} s") for name in names]
    return Grid("The flow", ("task", "median"), tuple(rows))
