"""What it costs users that a whole site disappears: the watch finds it, and the flow `failover` moves them.

Two sites of its own, and all that a person would have running: a worker, a watch, three vantage points. Moments are of
one machine's clock.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from deployments.lab.sites.topology import LEDGER
from tasks.common.drill_notes import ROUND
from tasks.common.errors import Retryable
from tasks.common.moves import DECIDED
from tests.bench.arithmetic import Spread
from tests.bench.report import Grid, Section
from tests.support.desk import CLI, Desk
from tests.support.drilling import read_log
from tests.support.prefect_server import prefect_server
from tests.support.processes import short_folder, wait_until
from tests.support.site_moves import A, bring_home, site_place
from tests.support.sites import Sites, running_sites

CLAIM = (
    "A site disappears while users write. The watch finds it, and the flow 'failover' moves the users, with nobody's "
    "help: they write again within 60 s, and at no time two nodes take writes of users."
)
_WITHIN_S = 60.0
_EVERY = ("10s", "2s")
"""How often the watch looks: its default, and the lab's."""
_PARTS = ("found", "started", "decided", "promoted", "written")
_MEANING = (
    "found: until the watch's event has made a run, after three looks in a row by three vantage points; started: until "
    "a worker has it; decided: until it has looked at both sites, of which one does not answer; promoted: until the "
    "old one is fenced and the new one takes writes; written: until the names lead there, and a write is acknowledged."
)


@dataclass(frozen=True)
class Loss:
    """One loss.

    Args:
        every: how often the watch looked.
        rto_s: as users saw it.
        parts_s: the same, by what it was spent on, from the cut.
        lost: acknowledged writes that are missing.
        acknowledged: of so many.
        together: whether two nodes took writes of users.
        problems: why the drill failed.
    """

    every: str
    rto_s: float
    parts_s: Mapping[str, float]
    lost: int
    acknowledged: int
    together: bool
    problems: tuple[str, ...]


def measure(losses: int, say: Callable[[str], None]) -> Section:
    """Return what it cost to lose a site so many times, for each way to watch.

    Args:
        losses: for each.
        say: receives a line now and then.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        prefect = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-losses-")))
        sites = stack.enter_context(running_sites(folder))
        api = stack.enter_context(prefect_server(prefect))
        found: list[Loss] = []
        for every in _EVERY:
            for number in range(1, losses + 1):
                say(f"site lost, looked at every {every}: {number} of {losses}")
                found.append(_lose(sites, api, prefect / f"{every}-{number}", every))
    return _section(found)


def _lose(sites: Sites, api: str, folder: Path, every: str) -> Loss:
    folder.mkdir()
    ledger = Path(sites.lab.reference(LEDGER).removeprefix("file:")).read_text()
    try:
        with site_place(sites, ledger, api) as place, ExitStack() as stack:
            desk = Desk(sites, place, stack, folder)
            desk.watch_every(every)
            desk.slipway("apply")
            desk.start_worker()
            desk.start_vantage_points()
            desk.start("watch", [*CLI, "watch"])
            wait_until(
                lambda: f"campus: {A}: up" in desk.log_of("watch").read_text(), within_s=120, what="the first look"
            )
            desk.start("drill", [*CLI, "drill", "start", "site-lost"]).wait(900)
            return _measured(desk, every)
    finally:
        bring_home(sites)


def _measured(desk: Desk, every: str) -> Loss:
    drills = desk.place.open().ledger.drills
    ended = drills.ended("site-lost", 1)
    rounds = [each for each in drills.notes(ended[0].run_id) if each.kind == ROUND] if ended else []
    if not rounds:
        raise Retryable(
            "the loss was not measured",
            on="the lab's sites",
            next_action="measure again",
            facts={"the drill says": desk.log_of("drill").read_text()[-2000:]},
        )
    facts: Mapping[str, Any] = rounds[0].facts
    log = read_log(Path(str(ended[0].facts["evidence"])) / "round-01.jsonl")
    cut_s = facts["moments"]["injecting"]
    decided = next((each for each in reversed(desk.place.notes()) if each.kind == DECIDED), None)
    parts = {} if decided is None else _parts(desk, log.at(cut_s), decided.run_id, decided.at, facts["moments"], cut_s)
    return Loss(
        every,
        facts["rto_s"] or 0.0,
        parts,
        len(facts["lost"] or ()),
        facts["acknowledged"],
        bool(facts["together"]),
        tuple(facts["problems"]),
    )


def _parts(
    desk: Desk, cut: datetime, run_id: str, decided: datetime, moments: Mapping[str, float], cut_s: float
) -> dict[str, float]:
    """Return what each part took, in order."""
    run = httpx.get(f"{desk.place.api}/flow_runs/{run_id}", timeout=10).json()
    until = {
        "found": (datetime.fromisoformat(run["created"]) - cut).total_seconds(),
        "started": (datetime.fromisoformat(run["start_time"]) - cut).total_seconds(),
        "decided": (decided - cut).total_seconds(),
        "promoted": moments["promoted"] - cut_s,
        "written": moments["recovered"] - cut_s,
    }
    before = [0.0, *until.values()]
    return {name: until[name] - earlier for name, earlier in zip(_PARTS, before, strict=False)}


def _section(found: Sequence[Loss]) -> Section:
    failed = [each for each in found if each.problems]
    lost, acknowledged = sum(each.lost for each in found), sum(each.acknowledged for each in found)
    return Section(
        name="site-loss",
        title="Loss of a site",
        claim=CLAIM,
        met=all(not each.problems and not each.together and 0 < each.rto_s <= _WITHIN_S for each in found),
        facts=(
            f"{lost} of {acknowledged} acknowledged writes were lost in {len(found)} losses: the other site follows "
            "without waiting, so that some may be.",
            _MEANING,
            *(f"FAILED: looked at every {each.every}: {'; '.join(each.problems)}" for each in failed),
        ),
        grids=(
            Grid(
                "Recovery, as users saw it, by how often the watch looks",
                ("every", "losses", "least", "median", "most"),
                tuple(_row(every, [each.rto_s for each in found if each.every == every]) for every in _EVERY if found),
            ),
            Grid(
                "Every loss, and where its time went",
                ("every", "RTO", *_PARTS, "lost"),
                tuple(_one(each) for each in found),
            ),
        ),
        data={"losses": [asdict(each) for each in found]},
    )


def _row(every: str, times: Sequence[float]) -> tuple[str, ...]:
    spread = Spread.of(times)
    return (every, str(len(times)), *(f"{each:.1f} s" for each in (spread.least, spread.median, spread.most)))


def _one(each: Loss) -> tuple[str, ...]:
    parts = (f"{each.parts_s[name]:.1f} s" if name in each.parts_s else "" for name in _PARTS)
    return (each.every, f"{each.rto_s:.1f} s", *parts, str(each.lost))
