"""Figure 9: what the flow `backup` costs beside the bare command of its engine, on the same database."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.backup.request import BackupRequest
from tests.bench import bare
from tests.bench.arithmetic import FlowTimes, Spread, ratios
from tests.bench.plans import ENGINES, Plans
from tests.bench.report import Grid, Section
from tests.bench.source import DATABASE, Source

if TYPE_CHECKING:
    from tests.bench.place import Place

CLAIM = (
    "The time of the backup flow over that of the bare engine command on the same pgbench database of 1 GB, both warm, "
    "in one run: at most 1.10 with pgBackRest, the default engine."
)
_BOUND = 1.10
_READING, _TAKING = "repository 1 and the catalogue", "take a backup"
_ENOUGH_BYTES = 10**9
_PGBACKREST = ENGINES[0]


@dataclass
class Compared:
    """Runs of one engine, in pairs: the flow's, the bare command's, and those of the bare command that reads."""

    flows: list[FlowTimes] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)
    read_s: list[float] = field(default_factory=list)

    @property
    def flow_s(self) -> list[float]:
        """From each flow's first line to its end."""
        return [each.flow_s for each in self.flows]

    @property
    def reading_s(self) -> list[float]:
        """How long each flow read its new backup where it lies."""
        return [each.last_s(_READING) for each in self.flows]

    @property
    def taking(self) -> Spread:
        """What the task that takes the backup is of the bare command: what grows with the database."""
        return ratios([each.last_s(_TAKING) for each in self.flows], self.bare_s)

    @property
    def fixed_s(self) -> Spread:
        """What each flow took beside taking and reading the backup: what a larger database does not make longer."""
        taking_s = [each.last_s(_TAKING) for each in self.flows]
        parts = zip(self.flow_s, taking_s, self.reading_s, strict=True)
        return Spread.of(whole - taken - read for whole, taken, read in parts)

    @property
    def without_reading(self) -> Spread:
        """What the flow is of the bare command, but for reading the backup."""
        rest_s = [whole - part for whole, part in zip(self.flow_s, self.reading_s, strict=True)]
        return ratios(rest_s, self.bare_s)

    @property
    def whole(self) -> Spread:
        """What the flow is of the bare command that takes a backup."""
        return ratios(self.flow_s, self.bare_s)

    @property
    def asked(self) -> Spread:
        """The same, from the moment when it was asked for."""
        return ratios([each.flow_s + each.start_up_s for each in self.flows], self.bare_s)

    @property
    def both(self) -> Spread:
        """What the flow is of the bare commands that take a backup and read it."""
        return ratios(self.flow_s, [first + then for first, then in zip(self.bare_s, self.read_s, strict=True)])


def measure(place: "Place", source: Source, plans: Plans, count: int) -> Section:
    """Return what each engine's flow costs, `count` times in turn with its bare command."""
    compared = {name: Compared() for name in ENGINES}
    for number in range(-1, count):
        for name, found in compared.items():
            place.say(f"{name}, {'to warm up' if number < 0 else f'{number + 1} of {count}'}")
            times = _flow(place, plans, name)
            bare_s, read_s = _BARE[name](source)
            if number >= 0:
                found.flows.append(times)
                found.bare_s.append(bare_s)
                found.read_s.append(read_s)
    return section(compared, source.size_bytes())


def _flow(place: "Place", plans: Plans, name: str) -> FlowTimes:
    return place.run("backup", BackupRequest(plan=name, estate=str(plans.file), requested_by="make bench"))


def _pgbackrest(source: Source) -> tuple[float, float]:
    before = _labels(source)
    took_s = bare.timed(lambda: bare.pgbackrest(source, "--type=full", "backup"))
    (new,) = _labels(source) - before
    read_s = bare.timed(lambda: bare.pgbackrest(source, "verify"))
    # Each backup of the flow has the same past: one.
    bare.pgbackrest(source, "--repo=1", f"--set={new}", "expire")
    return took_s, read_s


def _labels(source: Source) -> set[str]:
    folder = next((source.folder / "pgbackrest" / "backup").iterdir())
    return {path.name for path in folder.iterdir() if path.is_dir() and path.name.endswith("F")}


def _pg_basebackup(source: Source) -> tuple[float, float]:
    with bare.emptied(source.folder / "bare") as folder:
        argv = [bare.program("pg_basebackup"), f"--pgdata={folder}", "--format=plain", "--checkpoint=fast"]
        argv += ["--wal-method=stream", "--manifest-checksums=SHA256", "--compress=server-zstd"]
        took_s = bare.timed(lambda: bare.run(argv, source.environment))
        read_s = bare.timed(lambda: bare.run([bare.program("pg_verifybackup"), "--quiet", str(folder)]))
    return took_s, read_s


def _pg_dump(source: Source) -> tuple[float, float]:
    with bare.emptied(source.folder / "bare") as folder:
        into = folder / "dump"
        argv = [bare.program("pg_dump"), "--format=directory", "--jobs=2", "--no-sync", f"--file={into}", DATABASE]
        took_s = bare.timed(lambda: bare.run(argv, source.environment))
        read_s = bare.timed(lambda: bare.run(["sha256sum", *map(str, into.iterdir())]))
    return took_s, read_s


_BARE: dict[str, Callable[[Source], tuple[float, float]]] = dict(
    zip(ENGINES, (_pgbackrest, _pg_basebackup, _pg_dump), strict=True)
)
"""Takes a backup, reads it, and removes it; returns how long the first two took."""


def section(compared: dict[str, Compared], size_bytes: int) -> Section:
    """Return the figure of what was measured."""
    default = compared[_PGBACKREST]
    facts = (
        f"pgBackRest: {default.whole.plain} with reading the backup, {default.without_reading.plain} without. The "
        "bare command takes a backup and does no more; the flow goes on to read every byte of it where it lies, which "
        "is part of taking one here. Of the bare commands that take it and read it the flow is "
        f"{default.both.plain}.",
        f"The task that takes the backup is {default.taking.plain} of the bare command. All else but the reading, "
        f"which a larger database does not make longer, took {default.fixed_s}: the lease, the checks before, "
        "the catalogue, what is expired, and Prefect's own part.",
        f"The database has {size_bytes / 1e9:.2f} GB; every backup is a full one. The flow is run by a worker's "
        "process, on a real Prefect server and ledger; its time is that from its first line to its end. 'Asked' is "
        "from the moment when it was asked for, the worker's poll and the start of the process included.",
        "The bare reading is pgbackrest verify, pg_verifybackup, or sha256sum. The first of them reads the whole "
        "repository, here the new backup and the one before it; the flow has it read the new one alone. Each flow also "
        "removes the backup before. Nothing is encrypted but the backups of pg_dump, which the flow seals with age and "
        "the bare command does not.",
    )
    return Section(
        name="backup",
        title="Backup over the bare command",
        claim=CLAIM,
        met=default.whole.median <= _BOUND and size_bytes >= _ENOUGH_BYTES,
        facts=facts,
        grids=(_engines_grid(compared), _shares_grid(default)),
        data={
            "size_bytes": size_bytes,
            "engines": {
                name: {
                    "flow_s": each.flow_s,
                    "start_up_s": [flow.start_up_s for flow in each.flows],
                    "reading_s": each.reading_s,
                    "bare_s": each.bare_s,
                    "bare_reading_s": each.read_s,
                    "shares_s": [flow.shares_s() for flow in each.flows],
                }
                for name, each in compared.items()
            },
        },
    )


def _engines_grid(compared: dict[str, Compared]) -> Grid:
    head = ("engine", "bare take", "bare reading", "flow", "its reading", "flow over take", "without its reading")
    rows = [
        (
            name,
            *(str(Spread.of(each)) for each in (found.bare_s, found.read_s, found.flow_s, found.reading_s)),
            found.whole.plain,
            found.without_reading.plain,
            found.both.plain,
            found.asked.plain,
        )
        for name, found in compared.items()
    ]
    return Grid("Engines", (*head, "flow over take and reading", "asked over take"), tuple(rows))


def _shares_grid(found: Compared) -> Grid:
    names = found.flows[0].shares_s()
    rows = [
        (name, f"{statistics.median(each.shares_s().get(name, 0.0) for each in found.flows):.2f} s") for name in names
    ]
    return Grid("Where the flow's time goes, with pgBackRest", ("task", "median"), tuple(rows))
