"""A sample of the kills that `make endurance` makes: the moments that have proven most dangerous.

What must hold after each, and what a moment is: `tests/support/kills`.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.support.kills import Phase, Target, moments
from tests.support.kills.ground import Ground, grounds
from tests.support.postgresql import Cluster

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]

OF = 20
STRUCK = [
    ("pg_basebackup", Phase.BACKUP, Target.WORKER, 5),
    ("pg_basebackup", Phase.COPY, Target.STORE, 8),
    ("pg_basebackup", Phase.EXPIRY, Target.WORKER, 8),
    ("pg_basebackup", Phase.VERIFICATION, Target.SCRATCH, 12),
    ("pgbackrest", Phase.BACKUP, Target.WORKER, 8),
    ("pgbackrest", Phase.COPY, Target.POSTGRESQL, 8),
    ("pgbackrest", Phase.EXPIRY, Target.ENGINE, 10),
]


@pytest.fixture(scope="module")
def ground(
    tmp_path_factory: pytest.TempPathFactory, postgresql_cluster: Cluster, prefect_api: str
) -> Iterator[Callable[[str], Ground]]:
    with grounds(tmp_path_factory.mktemp("kills"), postgresql_cluster.database, prefect_api) as found:
        yield found


@pytest.mark.parametrize(
    ("engine", "phase", "target", "number"),
    [pytest.param(*each, id=f"{each[0]}-{each[1]}-{each[2]}-{each[3]:02}of{OF}") for each in STRUCK],
)
def test_what_is_called_good_can_be_restored_after_a_kill_and_the_next_run_leaves_nothing_of_it(
    ground: Callable[[str], Ground], engine: str, phase: Phase, target: Target, number: int
) -> None:
    place = ground(engine)
    moment = moments(place.ticks[phase], OF, target)[number - 1]
    blow = place.strike(phase, target, moment)
    assert blow.struck, "the run was over before"
    assert blow.restored >= 1, "nothing that was there before is lost"
