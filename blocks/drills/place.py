"""What a drill works with: experiment, cluster, client, undo journal, and the folder for its evidence."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from blocks import DRIVERS, open_driver, shell
from blocks.drills.client import Orders
from blocks.drills.ids import TABLE, VARIABLE
from blocks.drills.undo_journal import UndoJournal
from blocks.estate import OpenEstate, settings_model
from blocks.files import system_errors
from tasks.common.drills import DrillCluster, Drills, Experiment, Load
from tasks.common.errors import Refused, Retryable, SlipwayError
from tasks.common.load import load_experiment
from tasks.common.model import DriverSpec
from tasks.drill.model import Injection
from tasks.drill.ports import Fault, Nodes

_ROOT = Path(__file__).parents[2]
_LONGEST_S = 24 * 3600.0
_TABLE_WITHIN_S = 60.0


def drills_of(estate: OpenEstate) -> Drills:
    """Return what the estate says of drills.

    Raises:
        Refused: nothing.
    """
    if estate.file.drills is None:
        raise Refused(
            f"the estate {estate.file.estate} has nothing that may be practised on",
            on="the request",
            next_action="describe it under drills of the estate file (docs/how-to/practise-failover.md)",
        )
    return estate.file.drills


def journal_of(estate: OpenEstate) -> UndoJournal:
    """Return the estate's undo journal.

    Raises:
        Refused: the estate says nothing of drills.
    """
    return UndoJournal(estate.context.resolve(drills_of(estate).journal))


def experiments_of(estate: OpenEstate) -> Mapping[str, Experiment]:
    """Return every experiment of the estate, by name.

    Raises:
        Refused: one has mistakes, or two have the same name.
    """
    folder = estate.context.resolve(drills_of(estate).experiments)
    found: dict[str, Experiment] = {}
    with system_errors("the experiments cannot be read", folder):
        texts = {path: path.read_text("utf-8", errors="replace") for path in sorted(folder.glob("*.yaml"))}
    for path, text in texts.items():
        one = load_experiment(text, str(path), settings_model, DRIVERS)
        if one.drill in found:
            raise Refused(f"there are two drills named {one.drill!r}", on=str(path), next_action="rename one of them")
        found[one.drill] = one
    return found


class DrillPlace:
    """Everything that one drill works with.

    Args:
        estate: where it is.
        drill: name of the experiment.

    Raises:
        Refused: there is no such experiment, or no such cluster.
    """

    def __init__(self, estate: OpenEstate, drill: str) -> None:
        self.estate, self.drills = estate, drills_of(estate)
        known = experiments_of(estate)
        if drill not in known:
            raise Refused(
                f"there is no drill {drill!r}",
                on=self.drills.experiments,
                next_action=f"use one of: {', '.join(sorted(known)) or 'none; write one'}",
            )
        self.experiment = known[drill]
        if self.experiment.cluster not in self.drills.clusters:
            raise Refused(
                f"the cluster {self.experiment.cluster!r} may not be practised on: the estate does not list it",
                on=drill,
                next_action=f"use one of: {', '.join(sorted(self.drills.clusters))}",
            )
        self.cluster: DrillCluster = self.drills.clusters[self.experiment.cluster]
        self.journal = journal_of(estate)
        self.nodes = self._nodes()

    def _nodes(self) -> Nodes | None:
        if not self.cluster.nodes:
            return None
        addresses = {name: each.address for name, each in self.cluster.nodes.items()}
        entrances = {name: each.entrance for name, each in self.cluster.nodes.items() if each.entrance is not None}
        spec = DriverSpec(driver="postgresql", nodes=addresses, entrances=entrances)
        found: Nodes = open_driver("nodes", spec, self.estate.context)
        return found

    @property
    def address(self) -> str:
        """Return the address of the database as users reach it; '' for an application.

        Raises:
            Refused: the reference cannot be resolved.
        """
        return self._resolved(self.cluster.address) if self.cluster.address is not None else ""

    def fault(self, injection: Injection) -> Fault:
        """Return a fault, open."""
        spec = DriverSpec(driver=injection.driver, **injection.settings)
        found: Fault = open_driver("fault", spec, self.estate.context)
        return found

    def evidence(self, run_id: str) -> Path:
        """Return the folder for what a run leaves behind, which exists.

        Raises:
            Refused: it cannot be made.
        """
        folder = self.estate.context.resolve(self.drills.evidence) / run_id
        with system_errors("the evidence of a drill cannot be kept there", folder):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        return folder

    def orders(self, name: str, log: Path, load: Load) -> Orders:
        """Return what a client is to do."""
        return Orders(
            run=name,
            log=str(log),
            address=self.address,
            url=self.cluster.url or "",
            nodes={name: self._resolved(each.address) for name, each in sorted(self.cluster.nodes.items())},
            entrances={
                name: self._resolved(each.entrance)
                for name, each in sorted(self.cluster.nodes.items())
                if each.entrance is not None
            },
            writes_per_s=load.writes_per_s if self.cluster.address is not None else 0,
            reads_per_s=load.reads_per_s if self.cluster.address is not None else 0,
            requests_per_s=load.requests_per_s if self.cluster.url is not None else 0,
            within_s=load.answered_within_s,
        )

    def prepare(self, run: str) -> None:
        """The client's table is there, as users reach it, without rows of other runs. *Idempotent:* yes.

        Raises:
            Retryable: the database does not answer, or does not let the role make the table.
        """
        self._table("prepare", run)

    def ids(self, run: str) -> frozenset[str]:
        """Return every id of a run that is in the table, as users reach it.

        Raises:
            Retryable: the database does not answer.
        """
        return frozenset(self._table("ids", run).split())

    def _table(self, what: str, run: str) -> str:
        argv = [*shell.ENDS_WITH_US, *self._where_users_are, sys.executable, "-m", "blocks.drills.ids", what]
        redact = self.estate.context.secrets.redact
        variables = {VARIABLE: json.dumps({"address": self.address, "run": run, "on": self.experiment.drill})}
        done = shell.run(argv, cwd=_ROOT, timeout_s=_TABLE_WITHIN_S, redact=redact, env=variables, capture_stdout=True)
        if done.exit_code:
            raise Retryable(
                (done.tail or ("the client of the drill cannot be started",))[-1],
                on=self.experiment.drill,
                next_action=f"check that {self.experiment.cluster} can be reached as users reach it, and that the role "
                f"of its address may make the table {TABLE}",
            )
        return done.stdout

    @property
    def _where_users_are(self) -> tuple[str, ...]:
        """Return what a command of the client starts with."""
        return ("ip", "netns", "exec", self.cluster.namespace) if self.cluster.namespace else ()

    @contextmanager
    def client(self, orders: Orders) -> Iterator[None]:
        """The client sends within the block, and has its last answers at its end. It dies with this process.

        Raises:
            Refused: it has ended by itself, and what it has said.
        """
        stop, ended = threading.Event(), list[SlipwayError | shell.Completed]()

        def work() -> None:
            argv = [*shell.ENDS_WITH_US, *self._where_users_are, sys.executable, "-m", "blocks.drills.client"]
            redact = self.estate.context.secrets.redact
            variables = {VARIABLE: orders.text()}
            try:
                ended.append(shell.run(argv, cwd=_ROOT, timeout_s=_LONGEST_S, redact=redact, env=variables, stop=stop))
            except SlipwayError as error:
                ended.append(error)

        thread = threading.Thread(target=work, name="client of a drill")
        thread.start()
        try:
            yield
            self._require_alive(ended)
        finally:
            stop.set()
            thread.join()

    def _require_alive(self, ended: Sequence[SlipwayError | shell.Completed]) -> None:
        if ended:
            said = ended[0].tail if isinstance(ended[0], shell.Completed) else (str(ended[0]),)
            raise Refused(
                "the client of the drill has ended by itself",
                on=self.experiment.drill,
                state="every fault is undone; nothing was measured",
                next_action="read what it said last",
                facts={"last lines": "\n".join(said)},
            )

    def _resolved(self, reference: str) -> str:
        """Return an address; its password is redacted from now on."""
        secrets = self.estate.context.secrets
        address = secrets.resolve(reference)
        try:
            secrets.redactor.add(str(conninfo_to_dict(address).get("password") or ""))
        except psycopg.Error:
            raise Refused(
                "the address of a database cannot be read (it is not shown, as it may hold a password)",
                on=reference,
                next_action="write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            ) from None
        return address
