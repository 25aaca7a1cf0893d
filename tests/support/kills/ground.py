"""Where the kills happen: a source, two repositories, a scratch server, a ledger; and what must hold after each."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.scratch.rooms import works_in
from tasks.common.backups import FIRST, SECOND, Entry, RestoreTo
from tasks.common.lease import scope_of
from tasks.common.uses import uses_of_plan
from tests.support.backup_engines import pg_basebackup, pgbackrest
from tests.support.backup_engines.clusters import ClusterRig
from tests.support.kills import REFUSED, Moment, Phase, Target, Tick
from tests.support.kills.stage import Stage, running_stage
from tests.support.ledger import open_ledger
from tests.support.postgresql import SUPERUSER, Cluster
from tests.support.processes import short_folder, wait_until
from tests.support.verifying import superuser_address

PLAN = "db"
RIGS = {"pg_basebackup": pg_basebackup.rigs, "pgbackrest": pgbackrest.rigs}
_IN_MEMORY = {each: {"driver": "memory"} for each in ("runtime", "router", "metrics")}
_NONE_BY_TIME = {"hourly": 0, "daily": 0, "weekly": 0, "monthly": 0, "minimum": 1}
_LEFT = (".partial", ".gone", ".restoring")


@dataclass(frozen=True)
class Blow:
    """A kill that was struck, and how the run and the next one have ended.

    Args:
        struck: whether it was; a run that was faster than the undisturbed one may be over before.
        last: the last tick before it.
        ended: how the run ended: 'killed', 'well', or with which of our errors.
        restored: how many backups that the catalogue called good after it were restored.
    """

    struck: bool
    last: str
    ended: str
    restored: int


class Ground:
    """A plan of one engine, whose lines are counted.

    Args:
        driver: the engine's.
        rig: its source and repositories.
        scratch: folder for scratch servers.
        ledger: address of the ledger's database.
        api: of the Prefect server.
        stage: forks the runs.
    """

    def __init__(self, driver: str, rig: ClusterRig, scratch: Path, ledger: str, api: str, stage: Stage) -> None:
        self.driver, self.rig, self.scratch, self.api = driver, rig, scratch, api
        self._stage, self._written = stage, list[tuple[datetime, str]]()
        self.ticks: dict[Phase, list[Tick]] = {}
        self.ledger = open_ledger(rig.folder, ledger)
        self.file = rig.folder / "estate.yaml"
        (rig.folder / "address").write_text(superuser_address(rig.cluster, "postgres"))
        self.file.write_text(json.dumps(self._estate()))
        rig.execute("create extension if not exists amcheck")

    def prepare(self) -> None:
        """There is a backup in each repository, and one was verified; what the runs did are the ticks of each phase."""
        for flow in ("backup", "backup", "verify"):
            self.write()
            assert self._play(flow) == 0, self._said()
            found = json.loads(self._path("ticks").read_text())
            self.ticks |= {Phase(phase): [Tick(*each) for each in ticks] for phase, ticks in found.items()}

    def strike(self, phase: Phase, target: Target, moment: Moment) -> Blow:
        """The target was killed at the moment, all was put right that a person would, and all that must hold does."""
        self.write()
        for name in ("struck", "error"):
            self._path(name).unlink(missing_ok=True)
        store = self.rig.folder / ("two" if phase is Phase.COPY else "one")
        code = self._play(_flow(phase), phase=phase, target=target, moment=vars(moment), store=str(store))
        struck = json.loads(self._path("struck").read_text()) if self._path("struck").exists() else None
        self._put_right(store)
        ended = {0: "well", -9: "killed"}.get(code) or self._said()
        assert code in (0, -9, REFUSED), f"the run ended with code {code}, which is no error of ours: {ended}"
        bad = [each.id for each in self.ledger.catalogue.entries(PLAN) if each.unsound_at or each.stored.error]
        assert bad == [], f"a kill damages no backup, and yet these are called unsound: {bad}"
        restored = self.require_good_ones_restorable()
        self._free_lease()
        self.require_next_run(_flow(phase))
        return Blow(struck is not None, struck["last"] if struck else "", ended.partition(":")[0], restored)

    def require_good_ones_restorable(self) -> int:
        """Every backup that the catalogue calls good is restored, started and read; returns how many."""
        good = [each for each in self.ledger.catalogue.entries(PLAN) if not each.unsound_at and not each.stored.error]
        for entry in good:
            into = self.rig.folder / "restored"
            try:
                self.rig.open().restore(
                    RestoreTo(entry.stored.label, backup_only=True), into, _unseen, entry.repository
                )
                self._require_lines(entry, self.rig.read(into))
            except Exception as error:
                raise AssertionError(f"{entry.id} is called good, and cannot be restored: {error}") from error
            finally:
                shutil.rmtree(into, ignore_errors=True)
        return len(good)

    def require_next_run(self, flow: str) -> None:
        """The next run ends well, and leaves nothing of this one: no process, no folder, no difference."""
        self.write()
        assert self._play(flow) == 0, f"the next run fails: {self._said()}"
        wait_until(lambda: not self._processes(), within_s=5, what="the end of what was left")
        left = [path.name for path in self.rig.folder.rglob("*") if path.name.endswith(_LEFT)]
        assert left == [] and list(self.scratch.iterdir()) == []
        assert self.rig.open().clean() == ()
        for repository in (FIRST, SECOND):
            there = [each.label for each in self.rig.open().stored(repository)]
            entries = [each for each in self.ledger.catalogue.entries(PLAN)[::-1] if each.repository == repository]
            assert [each.stored.label for each in entries] == there
            assert all(each.unsound_at is None for each in entries)
        if flow == "verify":
            newest = next(each for each in self.ledger.catalogue.entries(PLAN) if each.repository == FIRST)
            assert newest.verified_at is not None

    def write(self) -> None:
        """The source has a line more."""
        text = f"line {len(self._written)}"
        self.rig.write(text)
        self._written.append((datetime.now(UTC), text))

    def _require_lines(self, entry: Entry, lines: tuple[str, ...]) -> None:
        all_lines = [text for _, text in self._written]
        before = sum(at < entry.stored.started_at for at, _ in self._written)
        assert list(lines) == all_lines[: len(lines)] and len(lines) >= before, f"{lines} of {before} at least"

    def _play(self, flow: str, **more: object) -> int:
        files = {name: str(self._path(name)) for name in ("ticks", "struck", "error")}
        folders = [str(self.rig.folder), str(self.scratch)]
        job: dict[str, Any] = {"flow": flow, "plan": PLAN, "estate": str(self.file), "api": self.api}
        job |= {"folders": folders, "postmaster": self.rig.cluster.process.pid, "phase": None, **files, **more}
        return self._stage.play(job)

    def _put_right(self, store: Path) -> None:
        """The store is back, as when its disk is mounted again, and the source runs."""
        away = Path(f"{store}.away")
        if away.exists():
            shutil.rmtree(store, ignore_errors=True)
            away.rename(store)
        if self.rig.cluster.process.poll() is not None:
            _start_again(self.rig.cluster)

    def _free_lease(self) -> None:
        """What a killed run has held is free, as it is when it has expired."""
        leases = self.ledger.leases
        held = [leases.find(scope_of(what, PLAN)) for what in ("backup", "verify", "expire")]
        for lease in [*filter(None, held), *leases.under(uses_of_plan(PLAN))]:
            leases.give_up(lease)

    def _said(self) -> str:
        path = self._path("error")
        return path.read_text() if path.exists() else "it says nothing"

    def _path(self, name: str) -> Path:
        return self.rig.folder / f"run-{name}"

    def _processes(self) -> list[str]:
        """Return the command lines of processes that work in the folders of the plan."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal() and int(folder.name) != os.getpid():
                with contextlib.suppress(OSError):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if any(f"{place}/" in command for place in (self.rig.folder, self.scratch)):
                        found.append(command)
        return found

    def _estate(self) -> Mapping[str, object]:
        how = {
            "database": {"driver": "postgresql", "address": "file:address"},
            "scratch": {"driver": "postgresql", "folder": str(self.scratch), "superuser": SUPERUSER},
            "name": "postgres",
        }
        plan = {
            "engine": {"driver": self.driver, **self.rig.settings()},
            "verification": how,
            "retention": _NONE_BY_TIME,
            "objectives": {"rto": "1h", "rpo": "1h"},
            "lease": "5s",
        }
        return {
            "estate": "lab",
            "workspace": "work",
            "ledger": {"driver": "postgresql", "dsn": "file:dsn"},
            "store": {"driver": "memory"},
            "environments": {"production": {"url": "http://127.0.0.1:1", "replicas": 1, **_IN_MEMORY}},
            "services": {"campus": {"repository": "nowhere"}},
            "backups": {PLAN: plan},
        }


@contextmanager
def grounds(shared: Path, ledger: Callable[[], str], api: str) -> Iterator[Callable[[str], Ground]]:
    """Yield what makes a prepared ground for an engine, once each.

    Args:
        shared: a folder for the length of the `with`.
        ledger: gives the address of an empty database.
        api: of the Prefect server.
    """
    with ExitStack() as stack:
        stage = stack.enter_context(running_stage(shared / "stage.log"))
        made: dict[str, Ground] = {}

        def ground(driver: str) -> Ground:
            if driver not in made:
                rigs = stack.enter_context(RIGS[driver](shared))
                rig = stack.enter_context(rigs(shared))
                assert isinstance(rig, ClusterRig)
                scratch = stack.enter_context(short_folder())
                found = Ground(driver, rig, scratch, ledger(), api, stage)
                found.prepare()
                made[driver] = found
            return made[driver]

        yield ground


def _flow(phase: Phase) -> str:
    return "verify" if phase is Phase.VERIFICATION else "backup"


def _start_again(cluster: Cluster) -> None:
    """The server runs again, once the processes of the one that was killed hold its memory no more."""

    cluster.stop()
    wait_until(lambda: not works_in(cluster.data), what="the end of the server that was killed")
    cluster.start()


def _unseen(progress: object) -> None:
    del progress
