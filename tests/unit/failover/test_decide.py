"""Whether the writes may go to another site, to which, and who is asked: each case has a plain answer."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe
from tasks.common.failovers import Scope
from tasks.common.moves import Move, MoveKind
from tasks.common.sites import ClusterRole, Region, RegionRole
from tasks.failover.carry import look
from tasks.failover.decide import decide, show_loss
from tasks.failover.model import Decision, Detection, Finding, Loss, Rules, Seen, SiteSeen, Wish
from tests.support.moving import NAME, RULES, Stand, two_sites

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAILOVER = Wish(MoveKind.FAILOVER, by="ada", down_since=NOON)
SWITCHOVER = Wish(MoveKind.SWITCHOVER, to="b", by="ada")


def region(name: str, zone: str = "eu", share: float = 40.0, priority: int = 1) -> Region:
    return Region(name, RegionRole.PRIMARY if name == "a" else RegionRole.STANDBY, zone, share, priority)


def seen(change: Callable[[Stand], None] = lambda stand: None, *, third: bool = False, down: bool = True) -> Seen:
    """Return what is seen after a has died and the change was made."""
    stand = Stand(two_sites(third=third))
    if down:
        stand.world.sites["a"].running = stand.world.sites["a"].answers = False
    change(stand)
    found = look(stand.tools())
    if found.sites["b"].cluster is None:
        return found
    # The moment of the last transaction is what the tests are about.
    return found if not down else with_cluster(found, "b", replayed_at=NOON - timedelta(seconds=2), lag_s=60.0)


def with_cluster(found: Seen, name: str, **changes: object) -> Seen:
    cluster = found.sites[name].cluster
    assert cluster is not None
    return with_site(found, name, cluster=replace(cluster, **changes))  # type: ignore[arg-type]


def with_site(found: Seen, name: str, **changes: object) -> Seen:
    site: SiteSeen = replace(found.sites[name], **changes)  # type: ignore[arg-type]
    return replace(found, sites={**found.sites, name: site})


def ask(found: Seen, wish: Wish = FAILOVER, rules: Rules = RULES, begun: Move | None = None) -> Decision:
    return decide(wish, found, rules, "run-1", begun)


def refused(found: Seen, wish: Wish = FAILOVER, rules: Rules = RULES, begun: Move | None = None) -> str:
    with pytest.raises(SlipwayError) as caught:
        ask(found, wish, rules, begun)
    assert type(caught.value) in (Refused, Unsafe, Retryable) and caught.value.next_action
    return str(caught.value)


def detected(finding: Finding, points: int = 2, at: str = "a") -> Wish:
    return Wish(MoveKind.FAILOVER, detection=Detection(at, finding, points, 2, NOON))


def test_site_that_is_gone_fails_over_to_its_standby_and_says_what_is_lost() -> None:
    found = ask(seen())
    assert (found.move.source, found.move.target, found.asks) == ("a", "b", "")
    assert found.loss.seconds == 2.0
    assert show_loss(found.loss) == "the writes of 2 s at most"


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (Loss(0.0, 0, ""), "nothing"),
        (Loss(0.0, None, ""), "nothing, or the writes of its last moment"),
        (Loss(0.0, 2048, ""), "nothing, or the writes of its last moment (2 KiB of WAL)"),
        (Loss(None, None, ""), "nobody can say how much"),
    ],
)
def test_loss_is_called_nothing_only_where_positions_show_it(loss: Loss, said: str) -> None:
    assert show_loss(loss) == said


def test_site_that_serves_is_not_failed_over() -> None:
    assert "a serves" in refused(seen(down=False))
    assert "'slipway switchover shop'" in refused(seen(down=False))


def test_detector_with_a_quorum_fails_over_a_site_that_users_do_not_reach_though_we_do() -> None:
    assert ask(seen(down=False), detected(Finding.SITE_DOWN)).move.target == "b"
    assert "a serves" in refused(seen(down=False), detected(Finding.DATABASE_DOWN))


def test_no_quorum_is_no_failover() -> None:
    assert "no quorum: 1 of the vantage points" in refused(seen(), detected(Finding.SITE_DOWN, points=1))


@pytest.mark.parametrize("finding", [Finding.UP, Finding.NETWORK, Finding.UNKNOWN])
def test_other_findings_are_no_reason(finding: Finding) -> None:
    assert "no reason to fail over" in refused(seen(), detected(finding))


def test_finding_about_a_site_that_does_not_serve_moves_nobody() -> None:
    assert "it is a that serves" in refused(seen(), detected(Finding.SITE_DOWN, at="b"))


def test_global_service_asks_a_person_also_when_the_detector_is_sure() -> None:
    rules = replace(RULES, scope=Scope.GLOBAL)
    assert "a person decides" in ask(seen(), detected(Finding.SITE_DOWN), rules).asks
    assert ask(seen(), detected(Finding.SITE_DOWN)).asks == ""


def test_nothing_fails_over_out_of_its_zone_whoever_asks() -> None:
    found = with_site(seen(), "b", region=region("b", zone="us", priority=2))
    assert "no other site in the zone eu" in refused(found)
    assert "the data may not leave eu" in refused(
        found, replace(FAILOVER, to="b", accept_loss="x", accept_unfenced="y")
    )
    whole = with_site(seen(down=False), "b", region=region("b", zone="us", priority=2))
    assert "the data may not leave eu" in refused(whole, SWITCHOVER)


def test_highest_priority_of_the_zone_that_is_fit_takes_over() -> None:
    assert ask(seen(third=True)).move.target == "b"

    def without_b(stand: Stand) -> None:
        stand.world.sites["b"].answers = False

    found = with_cluster(seen(without_b, third=True), "c", replayed_at=NOON, lag_s=0.0)
    decision = ask(found)
    assert decision.move.target == "c"
    assert any("passed over" in each for each in decision.remarks)


def test_standby_that_is_missing_is_named() -> None:
    def gone(stand: Stand) -> None:
        stand.world.sites["b"].answers = False

    assert "the standby in b is missing: the cluster does not answer" in refused(seen(gone))


def test_cluster_of_other_data_is_never_promoted() -> None:
    def strange(stand: Stand) -> None:
        stand.world.sites["b"].system_id = "2"

    assert "b holds the data of another system: 2, and not 1" in refused(seen(strange))
    assert "another system" in refused(seen(strange, down=False), SWITCHOVER)


def test_without_any_system_id_a_standby_that_follows_another_address_is_refused() -> None:
    rules = replace(RULES, system_id="")
    assert ask(seen(), rules=rules).move.target == "b"
    found = with_cluster(seen(), "b", follows="elsewhere:5432")
    assert "it does not follow a:5432" in refused(found, rules=rules)


def test_loss_beyond_the_objective_is_refused_with_what_it_would_be_unless_somebody_takes_it_in_writing() -> None:
    found = with_cluster(seen(), "b", replayed_at=NOON - timedelta(minutes=12))
    said = refused(found)
    assert "the writes of 12 min at most would be lost, and the objective is 5 min" in said
    assert "--accept-loss" in said
    decision = ask(found, replace(FAILOVER, accept_loss="the shop is closed"))
    assert decision.move.target == "b"
    assert "ada takes the loss: the shop is closed" in decision.remarks


def test_where_nobody_says_since_when_the_age_of_the_last_transaction_counts() -> None:
    found = with_cluster(seen(), "b", lag_s=900.0)
    assert "--down-since" in refused(found, replace(FAILOVER, down_since=None))
    silent = with_cluster(seen(), "b", lag_s=None, replayed_at=None)
    assert "nobody can say how much would be lost" in refused(silent)


def test_standby_that_has_everything_of_a_fenced_site_loses_nothing() -> None:
    def fenced(stand: Stand) -> None:
        stand.world.sites["a"].role = ClusterRole.FENCED

    assert ask(seen(fenced, down=False)).loss.seconds == 0


def test_two_sites_that_take_writes_are_for_a_person() -> None:
    def split(stand: Stand) -> None:
        stand.world.sites["b"].role, stand.world.sites["b"].door_open = ClusterRole.PRIMARY, True

    for wish in (FAILOVER, SWITCHOVER):
        assert refused(seen(split, down=False), wish).startswith("UNSAFE: a and b take writes, both")


def test_who_serves_is_read_from_the_databases_where_the_dns_is_silent_and_then_from_the_record() -> None:
    def mute(stand: Stand) -> None:
        stand.world.dns_answers = False

    assert ask(seen(mute, down=False), detected(Finding.SITE_DOWN)).move.source == "a"
    assert "it is not known which site serves" in refused(seen(mute))
    assert decide(FAILOVER, seen(mute), RULES, "run-1", None, last_target="a").move.source == "a"


def test_less_capacity_is_said_and_does_not_stop_a_failover() -> None:
    found = with_site(seen(), "b", region=region("b", share=20.0, priority=2))
    assert any("20 % of the load" in each for each in ask(found).remarks)


def test_switchover_of_two_sites_that_are_well_loses_nothing() -> None:
    found = ask(seen(down=False), SWITCHOVER)
    assert (found.move.source, found.move.target, found.asks, found.loss.seconds) == ("a", "b", "", 0)


def test_planned_move_must_name_its_site() -> None:
    assert "name it by --to: b" in refused(seen(down=False), replace(SWITCHOVER, to=""))
    assert "a is the site that serves" in refused(seen(down=False), replace(SWITCHOVER, to="a"))
    assert "no site of shop is in a region 'x'" in refused(seen(down=False), replace(SWITCHOVER, to="x"))


def test_switchover_is_refused_while_anything_of_it_is_not_well() -> None:
    assert "a does not serve" in refused(seen(), SWITCHOVER)
    well = seen(down=False)
    for changes, said in (
        ({"streaming": False}, "b receives nothing from a"),
        ({"lag_bytes": 10, "lag_s": 40.0}, "b is 40 s behind"),
        ({"role": ClusterRole.FENCED, "follows": ""}, "b is no standby of a"),
    ):
        assert said in refused(with_cluster(well, "b", **changes), SWITCHOVER)
    cluster = well.sites["a"].cluster
    assert cluster is not None
    mute = tuple(replace(node, lsn=None) for node in cluster.nodes)
    for kind in (SWITCHOVER, Wish(MoveKind.FAILBACK, to="b")):
        assert "a says no position in its log" in refused(with_cluster(well, "a", nodes=mute), kind)
    assert "the DNS server says nothing of shop.example.org" in refused(replace(well, answers={NAME: None}), SWITCHOVER)
    assert "the door of b does not answer" in refused(with_site(well, "b", door=None), SWITCHOVER)


def test_failback_asks_before_what_only_the_old_site_has_is_thrown_away() -> None:
    decision = ask(seen(down=False), Wish(MoveKind.FAILBACK, to="b"))
    assert "thrown away" in decision.asks


def test_move_that_was_begun_is_carried_on_by_the_same_wish() -> None:
    begun = Move("run-0", MoveKind.FAILOVER, "a", "b", promoting=True)
    decision = ask(seen(), FAILOVER, begun=begun)
    assert decision.carried_on and decision.move == begun


def test_failover_takes_over_from_a_switchover_that_died_between_fence_and_promotion() -> None:
    def fenced(stand: Stand) -> None:
        stand.world.sites["a"].role, stand.world.sites["a"].door_open = ClusterRole.FENCED, False

    begun = Move("run-0", MoveKind.SWITCHOVER, "a", "b")
    decision = ask(seen(fenced, down=False), detected(Finding.SITE_DOWN), begun=begun)
    assert (decision.move.source, decision.move.target, decision.loss.seconds) == ("a", "b", 0)


def test_planned_wish_waits_for_a_move_past_its_point_of_no_return() -> None:
    begun = Move("run-0", MoveKind.FAILOVER, "a", "b", promoting=True)
    found = with_cluster(seen(), "b", role=ClusterRole.PRIMARY)
    said = refused(found, replace(SWITCHOVER, to="a"), begun=begun)
    assert "past its point of no return" in said and "'slipway failover shop --to b'" in said


def test_failover_from_a_site_that_was_just_promoted_goes_on_from_there() -> None:
    def gone(stand: Stand) -> None:
        stand.world.sites["b"].answers = False

    begun = Move("run-0", MoveKind.FAILOVER, "a", "b", promoting=True)
    found = with_cluster(seen(gone, third=True), "c", replayed_at=NOON)
    decision = ask(found, replace(FAILOVER, to="c"), begun=begun)
    assert (decision.move.source, decision.move.target) == ("b", "c")
    assert any("given up for this one" in each for each in decision.remarks)


def test_move_that_has_promoted_nobody_is_taken_back_by_asking_for_the_site_that_served() -> None:
    begun = Move("run-0", MoveKind.SWITCHOVER, "a", "b")
    decision = ask(seen(down=False), replace(SWITCHOVER, to="a"), begun=begun)
    assert decision.move.way_back and decision.move.target == "a" and decision.move.untold
