"""A PostgreSQL server that is restored into: put aside, filled, recovered unseen, opened, brought back."""

import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from psycopg.pq import PGconn, Ping

from blocks.backups.clusters import is_cut_off
from blocks.context import Context
from blocks.databases.observing import ObservedDatabase
from blocks.files import system_errors
from blocks.postgresql import find_binaries
from blocks.targets import settings as given
from blocks.targets.journalled import JournalledTarget
from blocks.targets.opening import Opening, take_configuration
from blocks.targets.records import ROOM, beside, is_marked, mark
from blocks.targets.servers import end_servers, servers_of
from blocks.targets.unseen import Unseen
from tasks.common.backups import OF_POSTGRESQL, Form
from tasks.common.errors import SlipwayError, Unsafe
from tasks.common.masking import Masking
from tasks.restore.model import Journal, Phase, Recovered

_LOOK_WITHIN_S = 60.0
_DUMP = ".dump"


class PostgresqlTarget(JournalledTarget):
    """Implements `TargetServer`. A dump is fetched beside the data folder, and loaded into a new cluster there.

    Args:
        settings: which server.
        context: resolves paths and redacts; with a grant, it may be changed.
    """

    Settings = given.Settings
    forms = OF_POSTGRESQL
    # What engines put there while they restore, or for tablespaces; and a dump on its way.
    left_beside = (".restoring", ".tablespaces", _DUMP, f"{_DUMP}.restoring")

    def __init__(self, settings: given.Settings, context: Context) -> None:
        self._settings = settings
        super().__init__(context.resolve(settings.data), context)
        self._redact = context.secrets.redact
        self._opening = Opening(settings, self._data, context)

    @property
    def address(self) -> str:
        """Return where it answers when it is open."""
        return f"{self._settings.host}:{self._settings.port}"

    def fetches_into(self, form: Form) -> Path:
        """Return the data folder; for a dump, one beside it."""
        return self._named(_DUMP) if form is Form.DUMP else self._data

    def check(self, form: Form, version: str) -> None:
        """PostgreSQL's programs of the source's major version are here.

        Raises:
            Refused: they are not; how they are installed.
        """
        del form
        find_binaries(version.partition(".")[0])

    def recover(self, form: Form, version: str) -> Recovered:
        """The restored server has recovered, or was loaded; it runs, and only we reach it. *Idempotent:* no."""
        self._note(replace(self._journal, phase=Phase.RECOVERING))
        if form is not Form.DUMP:
            return self._unseen.recover()
        dump = self._named(_DUMP)
        found = self._unseen.load(dump, version)
        with system_errors("the dump, which is loaded, cannot be removed", dump):
            shutil.rmtree(dump)
        return found

    def databases(self) -> Sequence[str]:
        """Return the names of the databases of the recovered server, templates left out."""
        return self._unseen.databases()

    def heartbeat(self, database: str) -> datetime | None:
        """Return the newest heartbeat in a database of the recovered server; None where there is none."""
        on = f"{database} of {self.where}"
        return ObservedDatabase(lambda: self._unseen.address(database), on, _LOOK_WITHIN_S, self._redact).heartbeat()

    def mask(self, database: str, masking: Masking, key: str, say: Callable[[str], None]) -> Sequence[str]:
        """Nothing is left of what the rules replace, nor of other databases. *Idempotent:* no."""
        journal = replace(self._journal, phase=Phase.MASKING)
        self._note(journal)
        return self._unseen.mask(database, masking, key, journal, say)

    def open(self, say: Callable[[str], None]) -> None:
        """The server answers on its address."""
        self._fence.claim()
        end_servers(self._data, signal.SIGINT, self._settings.stop_within_s)
        journal = replace(self._journal, phase=Phase.OPENING, opened=True)
        if journal.aside:
            take_configuration(Path(journal.aside), self._data, say)
        if is_cut_off(self._data):
            say(
                f"it archives nothing, and is nobody's standby: remove the end of {self._data}/postgresql.auto.conf "
                "and restart it where it is to take the place of the original"
            )
        mark(self._data, journal.run_id)
        self._note(journal)
        self._opening.start()

    def carry_on(self) -> None:
        """What a dead run had restored whole is up. *Idempotent:* yes."""
        self._fence.claim()
        if not self._opening.answers():
            self._opening.start()
        self.finish()

    def _put_up(self, journal: Journal | None) -> bool:
        return is_marked(self._data, journal)

    def _runs(self) -> bool:
        return bool(servers_of(self._data))

    def _answers(self) -> bool:
        return PGconn.ping(self._opening.ping_address) not in (Ping.NO_RESPONSE, Ping.NO_ATTEMPT)

    def _start_former(self, journal: Journal) -> str:
        """The former state's server runs if it had."""
        try:
            if journal.was_running and not self._opening.answers():
                # It may have been told to stop by a run that has died since.
                end_servers(self._data, signal.SIGINT, self._settings.stop_within_s)
                self._opening.start()
        except SlipwayError as error:
            raise Unsafe(
                f"the former state is in its place, and its server does not start: {error.what}",
                on=self.where,
                state=f"nobody is served on {self.address}; nothing of the former state was removed",
                next_action="read its log, mend what it names, and start it",
            ) from error
        served = f", and its server answers on {self.address}" if journal.was_running else "; it was not running before"
        return f"the former state is in its place again{served}"

    @cached_property
    def _unseen(self) -> Unseen:
        return Unseen(self._settings, self._data, beside(self._data) / ROOM, self._redact)

    def _stop(self) -> None:
        """No server runs on the folder, and none was killed."""
        if self._grant is not None:
            self._grant.require()
        if self._settings.stop is not None and servers_of(self._data):
            self._opening.run_stop()
        end_servers(self._data, signal.SIGINT, self._settings.stop_within_s)

    def _end(self, *, opened: bool) -> None:
        end_servers(self._data, signal.SIGINT if opened else signal.SIGQUIT, self._settings.stop_within_s)

    def _problem(self, journal: Journal | None, *, filled: bool) -> str:
        return super()._problem(journal, filled=filled) or self._unseen.problem

    def _unfit(self) -> str:
        if not (self._data / "PG_VERSION").is_file():
            return "there is something in the data folder, and it is no PostgreSQL cluster"
        links = [self._data / "pg_wal", *(self._data / "pg_tblspc").glob("*")]
        if any(path.is_symlink() for path in links):
            held = "a tablespace, or its WAL, in another folder"
            return f"the cluster that is there has {held}: it cannot be put aside whole"
        return ""
