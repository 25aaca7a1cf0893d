"""A throw-away PostgreSQL server for one restored copy."""

import signal
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import psycopg
from pydantic import Field

from blocks.context import Context
from blocks.databases.observing import ObservedDatabase
from blocks.postgresql import USERS, find_binaries
from blocks.scratch import private
from blocks.scratch.checking import PROGRAMS, Programs
from blocks.scratch.fence import fetches_wal, kernel_fence, require_inside
from blocks.scratch.private import killed, recovers_by_itself, require_owner
from blocks.scratch.rooms import Room, clear_dead, end, processes_of, works_in
from blocks.users import find_user, own
from tasks.common.backups import OF_POSTGRESQL, Form
from tasks.common.errors import Refused, SlipwayError, Unsafe
from tasks.common.model import StrictModel
from tasks.common.units import PositiveDuration
from tasks.verification.model import Checked, DatabaseFacts, Replayed

_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by 1"
_TICK_S = 0.05
_ALONE_WITHIN_S = 30.0
_STOP_WITHIN_S = 600.0


class PostgresqlScratch:
    """Implements `ScratchServer`. Only a socket in a folder of its own leads to it, which others cannot enter.

    Recovery settings are read from the copy's postgresql.auto.conf; all other configuration that came back with it is
    left aside.

    Args:
        settings: where, and how long things may take.
        context: redacts, and resolves paths.
    """

    class Settings(StrictModel):
        """Settings of the driver `postgresql`."""

        folder: str = Field(
            min_length=1, description="copies are restored below it; it needs room for one, decompressed"
        )
        superuser: str = Field(default="postgres", description="name of the copy's superuser, as initdb was given it")
        preload: list[str] = Field(
            default_factory=list,
            description="libraries that the copy cannot be read without (shared_preload_libraries)",
        )
        jobs: int = Field(default=2, ge=1, le=64, description="tables that are loaded or checked at a time")
        start_within_s: PositiveDuration = Field(
            default=3600.0, alias="start_within", description="longest time until all WAL is replayed, or a dump loaded"
        )
        check_within_s: PositiveDuration = Field(
            default=4 * 3600.0, alias="check_within", description="longest time of any one look at the copy"
        )

    forms = OF_POSTGRESQL

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._place = context.resolve(settings.folder)
        self._redact = context.secrets.redact
        self._room: Room | None = None
        self._copies: dict[str, CopiedDatabase] = {}
        self._consistent = False

    def clean(self) -> tuple[str, ...]:
        """Nothing is left of verifications that were killed; returns what was removed. *Idempotent:* yes."""
        return clear_dead(self._place)

    def check(self, version: str = "") -> str:
        """A copy could be restored, started and looked at here; returns how it would be fenced off. *Idempotent:* yes.

        Raises:
            Refused: a program is missing, or is not of this version, or there can be no folder.
        """
        binaries = find_binaries(version.partition(".")[0])
        absent = [name for name in PROGRAMS if not (binaries / name).exists()]
        if absent:
            raise Refused(
                f"{', '.join(absent)} cannot be found",
                on=str(binaries),
                next_action="install all of PostgreSQL's programs, e.g. 'apt-get install postgresql'",
            )
        Room(self._place).leave()
        return f"programs in {binaries}; {self._fence[1]}"

    def open(self) -> Path:
        """Return an empty folder to restore into. *Idempotent:* no: each call makes one."""
        find_binaries()
        self.remove()
        self._room = Room(self._place)
        own(self._restored, find_user(USERS))
        return self._restored

    def replay(self, form: Form) -> Replayed:
        """The copy is consistent, has answered once and is stopped cleanly. *Idempotent:* no."""
        began = time.monotonic()
        if form is Form.DUMP:
            self._load()
        elif form is Form.CLUSTER:
            self._prepare()
            # Its WAL may come over the network. Nobody can connect meanwhile, and no code of a user's runs.
            self._start(fenced=not fetches_wal(self._data))
        else:
            raise Refused(
                f"a backup of the form {form.value} is not for PostgreSQL",
                on=str(self._restored),
                next_action="use the scratch server of its engine",
            )
        replayed = time.monotonic()
        version = self._ask()
        answered = time.monotonic()
        self._require_alive()
        self.stop()
        self._consistent = True
        prefix, fence = self._fence
        return Replayed(replayed - began, answered - replayed, version, fence, bool(prefix))

    def check_pages(self) -> Checked:
        """Return which pages of the stopped copy are not as they were written."""
        if processes_of(self._folder):
            raise Refused("the copy is not stopped", on=str(self._data), next_action="call 'stop' first")
        return self._programs.check_pages(self._data)

    def serve(self) -> str:
        """The copy answers, fenced off; returns how. *Idempotent:* yes."""
        if self._folder and not self._consistent:
            # A start now would end its recovery wherever it is.
            raise Unsafe(
                "the copy is not consistent yet",
                on=str(self._data),
                state="no server was started",
                next_action="call 'replay' first",
            )
        if not processes_of(self._folder):
            self._start(fenced=True)
        return self._fence[1]

    def databases(self) -> Sequence[str]:
        """Return the names of the databases of the served copy, templates left out."""
        try:
            with psycopg.connect(self.address("template1"), autocommit=True) as session:
                return [name for (name,) in session.execute(_DATABASES).fetchall()]
        except psycopg.Error as error:
            raise self._silent(error) from None

    def database(self, name: str) -> "CopiedDatabase":
        """Return one database of the served copy: the same each time, as it keeps what was counted in it."""
        if name not in self._copies:
            on = f"the copy of {name}"
            within_s = self._settings.check_within_s
            self._copies[name] = CopiedDatabase(lambda: self.address(name), on, within_s, self._redact)
        return self._copies[name]

    def address(self, name: str) -> str:
        """Return the address of one database of the served copy, which holds no password."""
        return private.address_in(self._folder, self._settings.superuser, name)

    def check_structure(self) -> Checked:
        """Return where tables and indexes of the served copy do not fit together, in all databases."""
        programs, superuser = self._programs, self._settings.superuser
        return self._looked(lambda: programs.check_structure(superuser, self.databases(), self.address))

    def read_all(self) -> Checked:
        """Return which databases of the served copy cannot be read from the first to the last row."""
        return self._looked(lambda: self._programs.read_all(self.databases(), self.address))

    def stop(self) -> None:
        """The copy is stopped cleanly. *Idempotent:* yes."""
        for number in processes_of(self._folder) if self._room else ():
            # SIGINT: PostgreSQL's fast shutdown; what was replayed is on the disk afterwards.
            if not end(number, self._folder, signal.SIGINT, _STOP_WITHIN_S):
                raise Unsafe(
                    "the scratch server does not stop",
                    on=str(self._folder),
                    state=f"process {number} runs on, cut off",
                    next_action=f"read {self._folder / private.LOG}; the next verification removes it",
                )

    def remove(self) -> None:
        """Nothing is left of the copy, its server and its folder. *Idempotent:* yes."""
        self._consistent = False
        self._copies.clear()
        if self._room is not None:
            self._room.leave()
            self._room = None

    @property
    def _folder(self) -> Path:
        if self._room is None:
            raise Refused("no scratch server is open", on=str(self._place), next_action="call 'open' first")
        return self._room.folder

    @property
    def _restored(self) -> Path:
        return self._folder / "restored"

    @property
    def _data(self) -> Path:
        # A dump is loaded into a cluster beside it.
        loaded = self._folder / "loaded"
        return loaded if loaded.exists() else self._restored

    @cached_property
    def _fence(self) -> tuple[list[str], str]:
        return kernel_fence()

    @property
    def _programs(self) -> Programs:
        settings = self._settings
        return Programs(self._binaries(), self._folder, settings.jobs, settings.check_within_s, self._redact)

    def _prepare(self) -> None:
        """The restored folder can be started from."""
        require_inside(self._data)
        recovers_by_itself(self._data)
        require_owner(self._data)

    def _load(self) -> None:
        """The dump is in a new cluster, whose server runs."""
        data = self._folder / "loaded"
        own(data, find_user(USERS))
        self._programs.make_cluster(data, self._settings.superuser)
        self._start(fenced=True)
        self._programs.load(self._restored, self.address("template1"), self._settings.start_within_s)

    def _binaries(self) -> Path:
        """Return the folder of the programs of the copy's version."""
        version_file = self._data / "PG_VERSION"
        return find_binaries(version_file.read_text().strip() if version_file.exists() else "")

    def _start(self, *, fenced: bool) -> None:
        """The server runs and takes connections on its socket."""
        self._await_alone()
        prefix = self._fence[0] if fenced else []
        number = private.start(self._binaries(), self._data, self._folder, self._options(fenced=fenced), prefix)
        given = self._settings
        private.wait_ready(number, self._data, self._folder, given.superuser, given.start_within_s, self._redact)

    def _await_alone(self) -> None:
        """Nothing is left of a server that was killed here: its processes hold its memory for a moment."""
        deadline = time.monotonic() + _ALONE_WITHIN_S
        while works_in(self._data):
            if time.monotonic() > deadline:
                raise killed(self._data)
            time.sleep(_TICK_S)

    def _options(self, *, fenced: bool) -> dict[str, str]:
        """Return the server's settings, which count more than what the copy's files say."""
        return {
            **self._programs.limits(self._data),
            "shared_preload_libraries": ",".join(self._settings.preload),
            **({"restore_command": ""} if fenced else {}),
        }

    def _ask(self) -> str:
        """Return the version of the server, by its own words."""
        try:
            with psycopg.connect(self.address("template1"), autocommit=True) as session:
                row = session.execute("select current_setting('server_version'), count(*) from pg_class").fetchone()
        except psycopg.Error as error:
            raise self._silent(error) from None
        assert row is not None
        return str(row[0]).split(" ")[0]

    def _looked(self, look: Callable[[], Checked]) -> Checked:
        """Return what a look has found; what is found while the server goes says nothing of the copy."""
        try:
            found = look()
        except psycopg.Error as error:
            raise self._silent(error) from None
        self._require_alive()
        return found

    def _silent(self, error: psycopg.Error) -> SlipwayError:
        self._require_alive()
        return Unsafe(
            f"the copy does not answer: {self._redact(error.diag.message_primary or str(error)).strip()}",
            on=str(self._data),
            state="its server runs, fenced off",
            next_action="if the role is unknown, name the copy's superuser in the scratch server's settings; else "
            "do not count on this backup",
        )

    def _require_alive(self) -> None:
        """The server was not killed: of damage its processes die, and it starts them anew."""
        if not processes_of(self._folder):
            raise killed(self._data)


class CopiedDatabase(ObservedDatabase):
    """A database that nobody changes: what is in it is counted once."""

    def facts(self, count_within_s: float | None = None) -> DatabaseFacts:
        """Return what is in it, counted to the end. *Idempotent:* yes."""
        del count_within_s
        return self._facts

    @cached_property
    def _facts(self) -> DatabaseFacts:
        return super().facts()
