"""Another client beside a drill's own, to compare with what the drill has measured."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from deployments.lab.sites.sites import DATABASE
from deployments.lab.sites.topology import DATABASE_NAME
from tests.support import independent_client
from tests.support.drilling import longest_outage
from tests.support.processes import running, wait_until
from tests.support.sites import Sites

AGREE_WITHIN_S = 0.2
"""So far may what a drill has measured be from what another client has seen (issue: RTO)."""


class AnotherClient:
    """What the other client's log says, by an arithmetic of its own."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def asked(self) -> list[tuple[int, float, float, bool]]:
        """Return number, due, ended and whether it was acknowledged, of each that has ended."""
        try:
            lines = self._log.read_text().split("\n")[:-1]
        except FileNotFoundError:
            return []
        return [tuple(json.loads(line)) for line in lines if line.startswith("[")]

    def late_s(self) -> float:
        """Return the longest time by which the other client was held up itself."""
        return max((float(line) for line in self._log.read_text().split("\n")[:-1] if line[0] != "["), default=0.0)

    def outage(self, from_s: float, until_s: float) -> tuple[float, float]:
        """Return the longest time from a failure to the first success after which 5 s passed without another one."""
        return longest_outage([each[1:] for each in self.asked() if from_s <= each[1] <= until_s], until_s)

    def rto_s(self, from_s: float, until_s: float) -> float:
        """Return how long that was."""
        first_s, back_s = self.outage(from_s, until_s)
        return back_s - first_s


@contextlib.contextmanager
def writing_beside(sites: Sites, folder: Path) -> Iterator[AnotherClient]:
    """Another client writes to the database of site A, as users do, for the length of a `with`."""
    with psycopg.connect(sites.lab.dsn(sites.leader("a")), autocommit=True) as session:
        session.execute(f"create table if not exists {independent_client.TABLE} (id bigint)")
    address = sites.lab.dsn(DATABASE_NAME, DATABASE).partition("?")[0]
    with _asking(sites.lab.network.command("client", _program(folder, 50, 2.0)), folder, address) as found:
        yield found


@contextlib.contextmanager
def visiting_beside(url: str, folder: Path, a_second: float, within_s: float) -> Iterator[AnotherClient]:
    """Another client visits the page, for the length of a `with`."""
    with _asking(_program(folder, a_second, within_s), folder, url) as found:
        yield found


def _program(folder: Path, a_second: float, within_s: float) -> list[str]:
    program = [sys.executable, "-m", "tests.support.independent_client", str(folder / "independent.jsonl")]
    return [*program, str(a_second), str(within_s)]


@contextlib.contextmanager
def _asking(command: Sequence[str], folder: Path, address: str) -> Iterator[AnotherClient]:
    with running(command, log=folder / "independent.log", env={"CLIENT_ADDRESS": address}):
        found = AnotherClient(folder / "independent.jsonl")
        wait_until(lambda: sum(good for *_, good in found.asked()) > 50, what="the other client's first answers")
        yield found
