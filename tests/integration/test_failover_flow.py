"""The flows `failover`, `switchover` and `failback` on a real Prefect server and ledger, over sites in memory."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from blocks.memory.world import MemoryWorld
from deployments.move_command import answer_move
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.lease import Lease, scope_of
from tasks.common.sites import ClusterRole
from tasks.failover.model import TakenBack
from tests.support.events import names_of
from tests.support.failing_over import SHOP, MemoryPlace, move_place
from tests.support.moving import ADDRESSES, NAME
from tests.support.prefect_server import flows_of
from tests.support.processes import wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def place(database_url: str, prefect_api: str) -> Iterator[MemoryPlace]:
    with move_place(database_url, prefect_api) as place:
        yield place


def crash(world: MemoryWorld) -> None:
    world.sites["north"].answers = world.sites["north"].running = False


def told(place: MemoryPlace, run_id: str, last: str) -> list[str]:
    """Return the events of a run, when the Prefect server has that one."""
    return wait_until(lambda: found if last in (found := names_of(place.api, run_id)) else [], what=last, every_s=0.2)


def serves(place: MemoryPlace, region: str) -> None:
    with place.world() as world:
        assert world.takers() == [region]
        assert world.names[NAME] == (list(ADDRESSES[region]), 5)


def test_site_that_is_gone_is_failed_over_and_what_was_done_and_measured_is_said(place: MemoryPlace) -> None:
    with place.world() as world:
        crash(world)
    ran = place.run("failover", down_since=datetime.now(UTC) - timedelta(seconds=20))
    ran.require_done()
    serves(place, "south")
    text = ran.artifact
    assert text.startswith("# failover from north to south: shop\n\n**south serves**, after ")
    assert "| north: close the door |" in text and "| south: promote |" in text
    assert "| RTO: users were not served |" in text and "| 1 min: M" in text.replace("met", "MET")
    assert "'slipway failback shop --to north'" in text
    assert told(place, str(ran.id), "slipway.failover.finished") == ["slipway.failover.finished"]
    kinds = [note.kind for note in place.notes()]
    assert kinds[0] == "decided" and kinds[-1] == "ended" and "promoting" in kinds
    assert place.notes()[-1].facts["closed"] == "reached"


def test_fence_that_cannot_be_shown_stops_it_until_a_person_takes_the_risk_in_writing(place: MemoryPlace) -> None:
    with place.world() as world:
        crash(world)
        world.sites["north"].door_answers = False
    down_since = datetime.now(UTC)
    ran = place.run("failover", down_since=down_since)
    assert isinstance(ran.error, Refused) and "it cannot be shown that north takes no writes" in ran.error.what
    assert "**It failed**" in ran.artifact and "nobody was promoted" in ran.artifact
    assert told(place, str(ran.id), "slipway.failover.failed")
    with place.world() as world:
        assert world.sites["south"].role == ClusterRole.STANDBY
    again = place.run("failover", accept_unfenced="I have cut its power", requested_by="ada")
    again.require_done()
    with place.world() as world:
        assert world.sites["south"].writable
    assert "this carries on the failover from north to south" in again.artifact
    assert "nobody can say how much" not in again.artifact, "what was decided on is on record"


def test_loss_beyond_the_objective_is_refused_and_nothing_is_touched(place: MemoryPlace) -> None:
    with place.world() as world:
        world.sites["south"].keeps_up = False
        crash(world)
    ran = place.run("failover", down_since=datetime.now(UTC) + timedelta(minutes=9))
    assert "would be lost, and the objective is 5 min" in ran.error.what
    with place.world() as world:
        assert world.changes == []
    assert [note.kind for note in place.notes()] == ["ended"]


def test_switchover_loses_nothing_and_the_old_site_follows(place: MemoryPlace) -> None:
    place.run("switchover", to="south").require_done()
    serves(place, "south")
    with place.world() as world:
        assert world.sites["north"].follows == "south:5432"
    place.run("switchover", to="north").require_done()
    serves(place, "north")


def test_switchover_that_fails_before_the_promotion_is_taken_back(place: MemoryPlace) -> None:
    with place.world() as world:
        world.sites["south"].keeps_up = False
        # Written before the door is shut, and never received: as a stalled standby would have it.
        world.sites["north"].lsn += 100
        world.sites["north"].written.append("late")
    ran = place.run("switchover", to="south")
    # What is seen of b while it receives is one transaction behind: within what a planned move may begin with.
    assert isinstance(ran.error, TakenBack), ran.error
    assert "south did not catch up with north" in ran.error.what
    serves(place, "north")
    assert "north serves again, and has everything" in ran.artifact
    assert place.notes()[-1].facts["closed"] == "turned back"


def test_failback_asks_before_it_throws_away_what_only_the_old_site_has(place: MemoryPlace) -> None:
    with place.world() as world:
        crash(world)
    place.run("failover", down_since=datetime.now(UTC)).require_done()
    with place.world() as world:
        world.sites["north"].answers = world.sites["north"].running = True
        world.write("south", "later")
    run_id = place.begin("failback", to="north")
    assert place.run("switchover", to="north").error.what.startswith(f"the run {run_id} moves shop")
    with flows_of(place.api):
        said = {"decision": "approve", "reason": "it is repaired", "name": "ann"}
        assert answer_move(place.open().ledger.moves, run_id[:8], said)
    place.go_on("failback", run_id).require_done()
    serves(place, "north")
    with place.world() as world:
        assert "later" in world.sites["north"].written
        assert world.sites["south"].follows == "north:5432"


def test_global_failover_that_is_rejected_changes_nothing(place: MemoryPlace) -> None:
    place.describe(scope="global")
    with place.world() as world:
        crash(world)
    run_id = place.begin("failover", down_since=datetime.now(UTC))
    with flows_of(place.api):
        assert answer_move(
            place.open().ledger.moves, run_id, {"decision": "reject", "reason": "a is back", "name": "ann"}
        )
        with pytest.raises(Refused, match="the answer was not taken"):
            answer_move(place.open().ledger.moves, run_id, {"decision": "approve", "reason": "no", "name": "bob"})
    ended = place.go_on("failover", run_id)
    assert "ann has rejected it: a is back" in ended.said
    with place.world() as world:
        assert world.changes == []


def test_release_that_is_at_work_stops_a_planned_move_and_no_failover(place: MemoryPlace) -> None:
    ledger = place.open().ledger
    ledger.prepare()
    lease = ledger.leases.acquire(scope_of("shop", "production"), "a-release", 60)
    assert isinstance(lease, Lease)
    ran = place.run("switchover", to="south")
    assert "run a-release is at work on shop in production, and nothing is down" in ran.error.what
    with place.world() as world:
        assert world.changes == []
        crash(world)
    done = place.run("failover", down_since=datetime.now(UTC))
    done.require_done()
    assert "run a-release was at work" in done.artifact


def test_second_run_is_told_which_one_moves(place: MemoryPlace) -> None:
    ledger = place.open().ledger
    ledger.prepare()
    assert isinstance(ledger.leases.acquire(scope_of("failover", SHOP), "a-run", 60), Lease)
    assert "the run a-run moves shop" in place.run("switchover", to="south").error.what


def test_dns_that_takes_no_changes_leaves_a_promoted_site_and_the_same_command_ends_it(place: MemoryPlace) -> None:
    with place.world() as world:
        crash(world)
        world.dns_takes_changes = False
    ran = place.run("failover", down_since=datetime.now(UTC))
    assert isinstance(ran.error, Retryable) and "DNS" in ran.error.what
    assert "south was being promoted: 'slipway failover shop --to south' carries it on" in ran.artifact
    with place.world() as world:
        world.dns_takes_changes = True
    place.run("failover", to="south").require_done()
    serves(place, "south")


def test_two_primaries_are_for_a_person(place: MemoryPlace) -> None:
    with place.world() as world:
        world.sites["south"].role, world.sites["south"].door_open = ClusterRole.PRIMARY.value, True
    assert isinstance(place.run("failover").error, Unsafe)
    with place.world() as world:
        assert world.changes == []
