"""What a lost leader costs users, and where the time goes. It has two sites of its own: real Patroni, and synchronous.

Where a part of the time begins and ends is taken from the logs of Patroni and PostgreSQL, from HAProxy's own word for
its servers, and from the log of the drill's client, all of one machine.
"""

import contextlib
import csv
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.common.errors import Retryable
from tests.bench.arithmetic import RECOVERY, Spread, parts_of, percentile
from tests.bench.report import Grid, Section
from tests.support.prefect_server import prefect_server
from tests.support.processes import short_folder
from tests.support.site_drills import SitePlace
from tests.support.sites import Sites, running_sites

CLAIM = (
    "Synchronous mode, 20 runs of leader loss (Patroni and postmaster killed with -9) and 10 of a killed postmaster: "
    "no acknowledged write lost, at no time two nodes writable; recovery beside Patroni's own floor."
)
NODE_LOST, CRASHED = "node-lost", "postmaster-killed"
FLOORS = {NODE_LOST: "19 to 23 s (ttl 20, loop_wait 1, retry_timeout 3)", CRASHED: "1.8 to 4.4 s"}
"""As measured with multi-host libpq and without a proxy, one closed-loop client, on a machine such as this one."""
_LOOK_EVERY_S = 0.02
_MEANING = (
    "lease: until the lost leader's key has expired (its last renewal and 20 s), or Patroni gave it up; lock: until "
    "another node has it; promotion: until its PostgreSQL takes writes; HAProxy: until its health check says so; "
    "client: until the first write is acknowledged. Nodes are asked a few times a second: a part may be "
    "off by 0.3 s, and below nothing"
)


@dataclass(frozen=True)
class Loss:
    """One run.

    Args:
        kind: of the drill.
        number: of the round.
        rto_s: as users saw it.
        parts_s: the same from the fault on, by what it was spent on; None where a log does not say.
        lost: acknowledged writes that are missing.
        together_s: seconds in which two nodes took writes, or may have.
        late_s: by which the client itself was held up.
        problems: why the round failed.
    """

    kind: str
    number: int
    rto_s: float
    parts_s: Mapping[str, float | None]
    lost: int
    together_s: float
    late_s: float
    problems: tuple[str, ...]


def measure(losses: int, crashes: int, say: Callable[[str], None]) -> Section:
    """Return what it cost to lose the leader so many times.

    Args:
        losses: of Patroni and postmaster.
        crashes: of the postmaster alone.
        say: receives a line now and then.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        prefect = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-losses-")))
        sites = stack.enter_context(running_sites(folder))
        api = stack.enter_context(prefect_server(prefect))
        place = SitePlace(folder, sites, api, ())
        place.describe()
        haproxy = stack.enter_context(_watching(sites))
        found: list[Loss] = []
        for kind, count in ((NODE_LOST, losses), (CRASHED, crashes)):
            if count:
                sites.wait_whole()
                say(f"{kind}, {count} times")
                ran = place.practise(kind, repeat=count)
                if not place.rounds(ran):
                    raise Retryable(
                        f"no round of {kind} was measured",
                        on="the lab's sites",
                        next_action="measure again",
                        facts={"why": str(ran.state.message)},
                    )
                found += [_loss(place, kind, facts, haproxy) for facts in place.rounds(ran).values()]
    return _section(found)


@contextlib.contextmanager
def _watching(sites: Sites) -> Iterator[list[tuple[float, str]]]:
    """Every moment at which HAProxy of site A began to hold a node for the primary is in the list."""
    seen, leaving = list[tuple[float, str]](), threading.Event()

    def look() -> None:
        up: set[str] = set()
        while not leaving.wait(_LOOK_EVERY_S):
            with contextlib.suppress(OSError):
                now, up_now = time.monotonic(), _up(sites.lab.edge_socket("a"))
                seen.extend((now, name) for name in sorted(up_now - up))
                up = up_now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        leaving.set()
        thread.join()


def _up(path: Path) -> set[str]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        connection.connect(str(path))
        connection.sendall(b"show stat\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    rows = csv.DictReader(answer.removeprefix("# ").splitlines())
    return {row["svname"] for row in rows if row["pxname"] == "primary" and row["status"].startswith("UP")} - {
        "BACKEND"
    }


def _loss(place: SitePlace, kind: str, facts: Mapping[str, Any], haproxy: Sequence[tuple[float, str]]) -> Loss:
    together = sum(each["until_s"] - each["from_s"] for each in facts["together"])
    names = {node for _, node in facts["leaders"]}
    logs = {node: place.sites.lab.logs(node).read_text(errors="replace").splitlines() for node in sorted(names)}
    return Loss(
        kind,
        int(facts["number"]),
        facts["rto_s"] or 0.0,
        parts_of(facts["moments"], facts["leaders"], logs, haproxy, time.time() - time.monotonic()),
        len(facts["lost"] or ()),
        together,
        facts["late_s"],
        tuple(facts["problems"]),
    )


def _section(found: Sequence[Loss]) -> Section:
    kinds = [kind for kind in FLOORS if any(each.kind == kind for each in found)]
    lost, together_s = sum(each.lost for each in found), sum(each.together_s for each in found)
    late = [each for each in found if each.late_s > 0.1]
    facts = (
        f"{lost} acknowledged writes lost in {len(found)} runs; for {together_s:.2f} s two nodes took writes, or may "
        "have.",
        f"{_MEANING}.",
        f"In {len(late)} runs the client itself was held up for more than 0.1 s, at most for "
        f"{max((each.late_s for each in found), default=0.0):.2f} s.",
        *(f"FAILED: {each.kind}, run {each.number}: {'; '.join(each.problems)}" for each in found if each.problems),
    )
    return Section(
        name="leader-loss",
        title="Loss of the leader, synchronous",
        claim=CLAIM,
        met=not lost and not together_s if found else None,
        facts=facts,
        grids=(
            Grid(
                "Recovery, as users saw it", ("fault", "runs", *_COLUMNS, "floor"), tuple(_row(k, found) for k in kinds)
            ),
            *(_part_grid(kind, [each for each in found if each.kind == kind]) for kind in kinds),
            Grid("Every run", ("fault", "run", "RTO", *RECOVERY, "lost"), tuple(map(_one, found))),
        ),
        data={"runs": [asdict(each) for each in found]},
    )


_COLUMNS = ("least", "median", "90 %", "most", "lost")


def _row(kind: str, found: Sequence[Loss]) -> tuple[str, ...]:
    those = [each for each in found if each.kind == kind]
    times = [each.rto_s for each in those]
    spread = Spread.of(times)
    figures = (spread.least, spread.median, percentile(times, 90), spread.most)
    lost = str(sum(each.lost for each in those))
    return (kind, str(len(those)), *(f"{each:.2f} s" for each in figures), lost, FLOORS[kind])


def _part_grid(kind: str, those: Sequence[Loss]) -> Grid:
    rows = []
    for name in RECOVERY:
        values = [value for each in those if (value := each.parts_s[name]) is not None]
        if values:
            spread = Spread.of(values)
            rows.append((name, f"{spread.median:.2f} s", f"{spread.least:.2f} s", f"{spread.most:.2f} s"))
    return Grid(f"Where the time of {kind} goes", ("part", "median", "least", "most"), tuple(rows))


def _one(each: Loss) -> tuple[str, ...]:
    parts = ("" if (value := each.parts_s[name]) is None else f"{value:.2f} s" for name in RECOVERY)
    return (each.kind, str(each.number), f"{each.rto_s:.2f} s", *parts, str(each.lost))
