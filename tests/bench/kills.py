"""What becomes of backups when something is killed with -9 in the middle. Takes hours: `make endurance`.

It has servers of its own; see `tests/support/kills` for what a moment is, and what must hold after each kill.
"""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.report import Grid, Section
from tests.support.kills import TARGETS, Moment, Phase, Target, moments
from tests.support.kills.ground import RIGS, Blow, Ground, grounds
from tests.support.postgresql import running_cluster
from tests.support.prefect_server import prefect_server

CLAIM = (
    "Worker, engine, PostgreSQL, store and scratch server are killed with -9 at 20 moments each of backup, copy, "
    "expiry and verification: every backup that the catalogue calls good is restored, started and read after each, "
    "the next run succeeds, and nothing is left behind."
)
_SEED = 5


@dataclass(frozen=True)
class Case:
    """One kill."""

    engine: str
    phase: Phase
    target: Target
    moment: Moment

    def __str__(self) -> str:
        """Return 'pg_basebackup-copy-worker-07of20'."""
        return f"{self.engine}-{self.phase}-{self.target}-{self.moment}"


def measure(count: int, within_s: float, say: Callable[[str], None], engines: Sequence[str] = tuple(RIGS)) -> Section:
    """Return what has become of backups.

    Args:
        count: moments for each engine, phase and target.
        within_s: no kill begins later; the order is by chance, so that what is left out is spread.
        say: receives a line now and then.
        engines: by their drivers' names.
    """
    began_s = time.monotonic()
    done: dict[Case, Blow] = {}
    faults: dict[Case, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-kills-")))
        for name in ("prefect", "ledger", "grounds"):
            (folder / name).mkdir()
        folder.chmod(0o755)
        api = stack.enter_context(prefect_server(folder / "prefect"))
        ledger = stack.enter_context(running_cluster(folder / "ledger"))
        ground = stack.enter_context(grounds(folder / "grounds", ledger.database, api))
        cases = [case for engine in engines for case in _cases(ground(engine), count)]
        random.Random(_SEED).shuffle(cases)
        for case in cases:
            if time.monotonic() - began_s > within_s:
                break
            try:
                done[case] = ground(case.engine).strike(case.phase, case.target, case.moment)
            except AssertionError as error:
                faults[case] = str(error)
                say(f"FAULT {case} ({case.moment.doing}): {error}")
            if (len(done) + len(faults)) % 10 == 0:
                say(f"{len(done) + len(faults)} of {len(cases)} kills, {len(faults)} faults")
    return _section(cases, done, faults)


def _cases(ground: Ground, count: int) -> list[Case]:
    found = []
    for phase in Phase:
        for target in TARGETS[phase]:
            found += [
                Case(ground.driver, phase, target, moment) for moment in moments(ground.ticks[phase], count, target)
            ]
    return found


def _section(cases: Sequence[Case], done: dict[Case, Blow], faults: dict[Case, str]) -> Section:
    struck = {case: blow for case, blow in done.items() if blow.struck}
    restored = sum(blow.restored for blow in done.values())
    facts = (
        f"{len(struck)} kills; {len(faults)} were followed by something that must not be. {restored} backups that the "
        "catalogue called good right after a kill were restored, started and read.",
        f"{len(done) - len(struck)} runs were over before they were struck; {len(cases) - len(done) - len(faults)} of "
        f"{len(cases)} kills were left out for want of time.",
        *(f"FAULT: {case}, in '{case.moment.doing}': {said}" for case, said in faults.items()),
    )
    return Section(
        name="kills",
        title="Backups with something killed in the middle",
        claim=CLAIM,
        met=not faults and len(done) == len(cases) if done else None,
        facts=facts,
        grids=(_grid(struck),),
        data={"kills": {str(case): asdict(blow) for case, blow in done.items()}, "faults": list(map(str, faults))},
    )


def _grid(struck: dict[Case, Blow]) -> Grid:
    kinds = sorted({(case.engine, case.phase.value, case.target.value) for case in struck})
    rows = []
    for kind in kinds:
        blows = [blow for case, blow in struck.items() if (case.engine, case.phase, case.target) == kind]
        ended = Counter(blow.ended for blow in blows)
        how = ", ".join(f"{count} {what}" for what, count in ended.most_common())
        rows.append((*kind, str(len(blows)), how, str(sum(blow.restored for blow in blows))))
    head = ("engine", "during", "killed", "times", "the run ended", "restored after it")
    return Grid("Kills, how their runs ended, and backups that were restored right after them", head, tuple(rows))
