"""A migration's folder: read strictly, everything that is wrong told at once, with file and line. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.common.document import Document, Mistake, read
from tasks.common.errors import Refused
from tasks.common.load import load_suites
from tasks.common.migrations import PHASES, Phase
from tasks.common.mistakes import mistakes, refused, validate
from tasks.common.model import StrictModel
from tasks.common.units import COLUMN_PATTERN, TABLE_PATTERN, Duration, Expected, PositiveDuration
from tasks.migration.model import Backfill, Compiled, Expect, Step, Table
from tasks.migration.mongodb_file import MongodbFile
from tasks.migration.normalise import checksum
from tasks.migration.operations import AnyOperation
from tasks.migration.settings import LEFT_OUT, Settings
from tasks.migration.sql import BadSql, statements
from tasks.migration.written import mistakes_of, steps_of

NAME = re.compile(r"[0-9]{4,}_[a-z0-9_]{1,54}")
NAME_WORDS = "four or more digits and words: 0003_merge_names"
SETTINGS = "migration.yaml"
REFERENCE = "docs/reference/migration-file.md"

_NO_FILE = Mistake(1, "the file", "none", "a description at least")
UNDO = ".undo"
"""Between a phase and '.sql' in the name of the file that takes it back."""


def _sql(text: str) -> str:
    try:
        found = statements(text)
    except BadSql as error:
        raise Expected(f"an SQL expression ({error.found})", text) from None
    if len(found) != 1:
        raise Expected("one SQL expression", text)
    return text


Expression = Annotated[str, Field(min_length=1), AfterValidator(_sql)]
"""An SQL expression."""


class BackfillSpec(StrictModel):
    """Rows that are changed in batches by key, in the phase execute."""

    table: str = Field(pattern=TABLE_PATTERN, description="the table, with its schema where that is not on the path")
    set_: dict[Annotated[str, Field(pattern=COLUMN_PATTERN)], Expression] = Field(
        alias="set", min_length=1, description="column to SQL expression over the row's columns"
    )
    where: Expression | None = Field(
        default=None,
        description="SQL condition on the rows to change; it must leave out rows that were changed if an expression "
        "gives another value each time",
    )
    key: list[Annotated[str, Field(pattern=COLUMN_PATTERN)]] = Field(
        default_factory=list, description="columns to go by; the primary key if left out, else a unique index"
    )
    batch: int = Field(default=1000, ge=1, le=2_000_000, description="rows of the first batch (MIG-1)")
    most: int = Field(default=2_000_000, ge=1, le=2_000_000, description="rows of the largest batch")
    interval_s: PositiveDuration = Field(
        default=0.25, alias="interval", le=60, description="how long a batch may take: users wait as long for a row"
    )
    pause_s: Duration = Field(default=0.05, alias="pause", le=60, description="pause between two batches")

    def step(self) -> Backfill:
        """Return it as a step."""
        schema, _, name = self.table.rpartition(".")
        columns = ", ".join(self.set_)
        return Backfill(
            what=f"fill {columns} of {self.table}",
            table=Table(name=name, schema_=schema),
            set_=self.set_,
            where=self.where or "",
            key=tuple(self.key),
            batch=self.batch,
            most=self.most,
            interval_s=self.interval_s,
            pause_s=self.pause_s,
        )


class MigrationFile(Settings):
    """What stands in `migration.yaml`."""

    version: str | None = Field(
        default=None,
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="schema of views that clients of the new shape name in their search_path",
    )
    operations: list[AnyOperation] = Field(
        default_factory=list, description="changes that write their phases themselves, in this order; instead of SQL"
    )
    backfill: list[BackfillSpec] = Field(default_factory=list, description="what execute fills, in this order")
    expectations: list[str] = Field(
        default_factory=list, description="suites of Great Expectations that validate checks: files of this folder"
    )


@dataclass(frozen=True)
class Written:
    """A migration as it was written: sound as far as one can tell without its database.

    Args:
        name: of the folder.
        file: what stands in `migration.yaml`.
        sql: the other files' texts by name.
        checksum: of all that decides what is done.
        lines: where each operation, or change of a MongoDB's prepare, stands in `migration.yaml`.
    """

    name: str
    file: MigrationFile | MongodbFile
    sql: Mapping[str, str]
    checksum: str
    lines: tuple[int, ...] = ()

    @property
    def version(self) -> str:
        """Return the schema of views that its clients name: as written, else 'v' and the folder's name; '' for none."""
        if isinstance(self.file, MongodbFile):
            return ""
        return self.file.version or (f"v{self.name}"[:63] if self.file.operations else "")

    @property
    def operations(self) -> Sequence[AnyOperation]:
        """Return what is declared; () where nothing is."""
        return () if isinstance(self.file, MongodbFile) else self.file.operations

    def compiled(self) -> Compiled:
        """Return what is written by hand as typed steps; operations come to steps in a database (`for_database`).

        The undo of a phase stands with its first step, as it takes back all of it.
        """
        return Compiled(
            name=self.name,
            checksum=self.checksum,
            phases={phase: self._steps(phase, self.file) for phase in PHASES},
            no_return=self.file.no_return,
            version=self.version,
            limits=self.file.limits,
        )

    def _steps(self, phase: Phase, file: MigrationFile | MongodbFile) -> tuple[Step, ...]:
        if isinstance(file, MongodbFile):
            return file.steps(phase)
        found = list(steps_of(self.sql.get(f"{phase}.sql", ""), phase, undo=False))
        if phase is Phase.EXECUTE:
            found += [each.step() for each in file.backfill]
        if phase is Phase.VALIDATE:
            found += [Expect(what=f"meets {name}", suite=self.sql[name], name=name) for name in file.expectations]
        text = self.sql.get(f"{phase}{UNDO}.sql")
        undo = None if text is None else steps_of(text, phase, undo=True)
        if found and phase is not Phase.VALIDATE:
            found[0] = found[0].model_copy(update={"undo": undo})
        return tuple(found)


def load_migrations(files: Mapping[str, str], origin: str) -> tuple[Written, ...]:
    """Return the migrations of a folder, in the order of their names.

    Args:
        files: texts by path within the folder: '0001_names/migration.yaml'.
        origin: what the folder is called in messages.

    Raises:
        Refused: some have mistakes; those of all are listed, with file and line.
    """
    sound, found = read_migrations(files)
    if found:
        raise refused("the migrations have", found, origin, REFERENCE)
    return sound


def read_migrations(files: Mapping[str, str]) -> tuple[tuple[Written, ...], list[tuple[str, Mistake]]]:
    """Return the migrations of a folder that are sound, and the mistakes of the others by path within the folder.

    Args:
        files: texts by path within the folder: '0001_names/migration.yaml'.
    """
    folders: dict[str, dict[str, str]] = {}
    found: list[tuple[str, Mistake]] = []
    for path, text in sorted(files.items()):
        first, _, rest = path.partition("/")
        if not rest:
            found.append((path, Mistake(1, "the file", "a file beside the migrations", "a folder a migration")))
        else:
            folders.setdefault(first, {})[rest] = text
    sound = []
    for name, inside in folders.items():
        written, wrong = _migration(name, inside)
        found += wrong
        sound += [written] if written is not None else []
    found += _order(list(folders))
    return tuple(sound), found


def _migration(name: str, files: Mapping[str, str]) -> tuple[Written | None, list[tuple[str, Mistake]]]:
    found: list[tuple[str, Mistake]] = []
    if not NAME.fullmatch(name):
        found.append((name, Mistake(1, "the folder's name", repr(name), NAME_WORDS)))
    document = read(files.get(SETTINGS, ""))
    wrong, file = _settings(document) if SETTINGS in files else ([_NO_FILE], None)
    found += [(f"{name}/{SETTINGS}", each) for each in wrong]
    if _for_mongodb(document):
        found += [(f"{name}/{path}", each) for path, each in _besides(files, file)]
    else:
        known = file if isinstance(file, MigrationFile) else None
        found += [(f"{name}/{path}", each) for path, each in _file_mistakes(files, known)]
    if file is None or found:
        return None, found
    if isinstance(file, MongodbFile):
        lines = tuple(document.line(("prepare", number)) for number in range(len(file.prepare)))
        return Written(name, file, {}, checksum({"steps": file.text(), **_no_return(file)}, {}), lines), []
    sql = {path: text for path, text in files.items() if path != SETTINGS}
    settings = file.model_dump(mode="json", by_alias=True, exclude={*LEFT_OUT, "engine"})
    suites = {path: text for path, text in sql.items() if not path.endswith(".sql")}
    written = {path: text for path, text in sql.items() if path.endswith(".sql")}
    lines = tuple(document.line(("operations", number)) for number in range(len(file.operations)))
    return Written(name, file, sql, checksum({**settings, "suites": suites}, written), lines), []


def _for_mongodb(document: Document) -> bool:
    return isinstance(document.data, dict) and document.data.get("engine") == "mongodb"


def _settings(document: Document) -> tuple[list[Mistake], MigrationFile | MongodbFile | None]:
    """Return what is wrong with `migration.yaml`, and what it says where nothing is."""
    model = MongodbFile if _for_mongodb(document) else MigrationFile
    wrong = list(document.mistakes)
    result = validate(model, document.data) if not document.broken else []
    if isinstance(result, MigrationFile | MongodbFile):
        return wrong, result
    assert isinstance(result, list), "mistakes"
    return wrong + (mistakes(model, result, document) if result else []), None


def _no_return(file: MongodbFile) -> dict[str, str]:
    return {"point_of_no_return": file.point_of_no_return}


def _besides(files: Mapping[str, str], file: object) -> Iterator[tuple[str, Mistake]]:
    """Yield what has no meaning beside the `migration.yaml` of a MongoDB database."""
    for path in files:
        if path != SETTINGS and PurePosixPath(path).suffix.lower() != ".md":
            expected = "no such file: what is done in MongoDB stands in migration.yaml"
            yield path, Mistake(1, "the file", "a file of no use", expected)
    if isinstance(file, MongodbFile) and not any(map(file.steps, PHASES)):
        yield SETTINGS, Mistake(1, "the folder", "nothing to do", "prepare, backfill, validate or cleanup")


def _file_mistakes(files: Mapping[str, str], file: MigrationFile | None) -> Iterator[tuple[str, Mistake]]:
    suites = set(file.expectations) if file is not None else set()
    known = {f"{phase}{undo}.sql": (phase, bool(undo)) for phase in PHASES for undo in ("", UNDO)}
    for path, text in files.items():
        if path in known:
            phase, undo = known[path]
            yield from ((path, each) for each in mistakes_of(text, phase, undo=undo))
        elif path != SETTINGS and path not in suites and PurePosixPath(path).suffix.lower() != ".md":
            yield path, Mistake(1, "the file", "a file of no use", f"one of: {', '.join(known)}")
    if file is not None:
        yield from _fitting(files, file)


def _fitting(files: Mapping[str, str], file: MigrationFile) -> Iterator[tuple[str, Mistake]]:
    for name in file.expectations:
        if name not in files:
            yield SETTINGS, Mistake(1, "expectations", f"{name!r}, which is not there", "a file of this folder")
            continue
        try:
            load_suites({name: files[name]})
        except Refused as refused:
            for line in str(refused.facts["mistakes"]).splitlines():
                yield name, Mistake(1, "the suite", line, "a sound one")
    works = {phase: f"{phase}.sql" in files for phase in (Phase.PREPARE, Phase.EXECUTE, Phase.CLEANUP)}
    works[Phase.EXECUTE] = works[Phase.EXECUTE] or bool(file.backfill)
    if file.operations:
        if any(works.values()):
            yield SETTINGS, Mistake(1, "operations", "SQL or a backfill beside them", "'raw sql' among them instead")
        return
    if not any(works.values()) and "validate.sql" not in files:
        yield SETTINGS, Mistake(1, "the folder", "nothing to do", "SQL of a phase, or a backfill")
    for phase, has in works.items():
        undo = f"{phase}{UNDO}.sql"
        before = file.no_return is None or PHASES.index(phase) < PHASES.index(file.no_return)
        if has and before and undo not in files:
            told = "what takes the phase back (a comment that says why nothing does), or an earlier point of no return"
            yield undo, Mistake(1, "the file", "none", told)
        if undo in files and not (has and before):
            why = "the phase does nothing" if not has else "the point of no return is passed with it"
            yield undo, Mistake(1, "the file", f"an undo of no use: {why}", "no such file")
    if f"{Phase.VALIDATE}{UNDO}.sql" in files:
        yield f"{Phase.VALIDATE}{UNDO}.sql", Mistake(1, "the file", "an undo of checks", "no such file")


def _order(names: list[str]) -> Iterator[tuple[str, Mistake]]:
    seen: dict[int, str] = {}
    for name in sorted(each for each in names if NAME.fullmatch(each)):
        number = int(name.partition("_")[0])
        if number in seen:
            yield name, Mistake(1, "the folder's name", f"the number of {seen[number]}", "a number of its own")
        seen.setdefault(number, name)
