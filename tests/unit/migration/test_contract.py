"""When the old shape may go, and who may go back: from what was released, and how the database stands."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tasks.common.errors import Refused
from tasks.common.migrations import PHASES, MigrationState, Phase, Standing
from tasks.migration.catalogue import Attempt, Catalogue, Identity, Observed, StepDone
from tasks.migration.contract import (
    Place,
    Served,
    Unmet,
    accepted_words,
    contracted,
    removed_by,
    require_met,
    require_way_back,
    still_used,
    unmet,
)
from tasks.migration.model import Compiled, Ddl
from tasks.migration.plan import plan_apply

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAME = "0002_x"
DAY_S = 86400.0
_DDL = Ddl(statements=("alter table a drop column b",), undo=())
_COMPILED = Compiled(name=NAME, checksum="1", phases=dict.fromkeys(PHASES, (_DDL,)))
_ADDS = Compiled(name=NAME, checksum="1", phases={Phase.PREPARE: (_DDL,)})


def seen(
    done: Phase | None = Phase.VALIDATE, compiled: Compiled = _COMPILED, *, begun: bool = False, passed: bool = False
) -> Observed:
    steps = (StepDone(Phase.CLEANUP, 0, "begun"),) if begun else ()
    standing = Standing(NAME, MigrationState.UNDER_WAY, done, no_return=compiled.no_return, past_return=passed)
    return Observed(Identity("campus"), Catalogue(150018, {}), (Attempt(standing, compiled, steps),))


def served(release: str, hours_ago: float, *names: str) -> Served:
    return Served(release, NOW - timedelta(hours=hours_ago), frozenset(names))


NEW, OLD = served("new", 25, "0001_w", NAME), served("old", 99, "0001_w")
GOOD = Place({"new": 100.0}, (NEW, OLD))


def told(place: Place, observed: Observed | None = None, window_s: float = DAY_S) -> dict[str, str]:
    found = unmet([NAME], observed or seen(), place, window_s, NOW, "apply it")
    return {each.what: each.state for each in found}


def test_old_shape_may_go_when_code_without_it_has_not_served_for_the_window() -> None:
    assert told(GOOD) == {}


@pytest.mark.parametrize("release", ["new", "newer"])
def test_later_releases_that_have_the_migration_do_not_begin_the_window_anew(release: str) -> None:
    assert told(Place({release: 100.0}, (served(release, 1, "0001_w", NAME), NEW, OLD))) == {}


@pytest.mark.parametrize(
    ("place", "state"),
    [
        (Place({}, ()), "no release is on record here"),
        (Place({"old": 100.0}, (served("old", 1, "0001_w"), NEW, OLD)), "old does not have it"),
        (Place({"new": 100.0}, (Served("new", NEW.at, None), OLD)), "what new has cannot be read"),
    ],
)
def test_old_shape_stays_while_the_newest_release_is_not_known_to_have_the_migration(place: Place, state: str) -> None:
    assert told(place)[f"the newest release has {NAME}"] == state


def test_old_shape_stays_for_the_window_after_code_that_needs_it() -> None:
    what = f"nobody needs to go back behind {NAME} (24 h)"
    late = (served("new", 23.9, NAME), OLD)
    assert told(Place({"new": 100.0}, late)) == {what: "old, which does not have it, served until 2026-02-28 12:06 UTC"}
    assert told(Place({"new": 100.0}, late), window_s=3600.0) == {}
    # One that was returned to for an hour counts as well, and so does one that nobody can read.
    visit = (served("new", 1, NAME), served("old", 2), served("new", 50, NAME))
    assert list(told(Place({"new": 100.0}, visit))) == [what]
    unread = (served("new", 1, NAME), Served("lost", NOW - timedelta(hours=30), None))
    assert list(told(Place({"new": 100.0}, unread))) == [what]


@pytest.mark.parametrize(
    ("serving", "at_work", "what"),
    [
        ({"new": 100.0}, ("release of other to production, run 12345678",), "no release is under way"),
        ({"new": 95.0, "other": 5.0}, (), "the newest release serves alone"),
        ({"old": 100.0}, (), "the newest release serves alone"),
        ({}, (), "the newest release serves alone"),
    ],
)
def test_old_shape_stays_while_a_rollout_is_not_complete(
    serving: dict[str, float], at_work: Sequence[str], what: str
) -> None:
    assert list(told(Place(serving, GOOD.served, at_work))) == [what]


@pytest.mark.parametrize("done", [None, Phase.PREPARE, Phase.EXECUTE])
def test_old_shape_stays_until_the_new_one_is_validated(done: Phase | None) -> None:
    state = f"through {done}" if done else "nothing of it is done"
    assert told(GOOD, seen(done)) == {f"{NAME} is validated": state}


def test_everything_that_is_not_met_is_told_at_once() -> None:
    place = Place({"old": 100.0}, (served("old", 1),), ("rollback of older, run 1",))
    assert list(told(place, seen(Phase.PREPARE))) == [
        f"{NAME} is validated",
        f"the newest release has {NAME}",
        "no release is under way",
    ]


def test_what_cannot_be_seen_is_not_met() -> None:
    assert told(Place({}, (), unseen="the ledger does not answer")) == {
        "it is known what was released": "the ledger does not answer"
    }


def test_person_may_answer_for_conditions_but_for_firm_ones() -> None:
    soft, firm = Unmet("a", "not a", "do a"), Unmet("b", "not b", "do b", firm=True)
    require_met([soft], "campus", "a reason")
    require_met([], "campus", "")
    with pytest.raises(Refused, match="2 conditions are not met") as error:
        require_met([soft, firm], "campus", "")
    assert "--accept-contract" in error.value.next_action and list(error.value.facts) == ["a", "b"]
    with pytest.raises(Refused, match="1 condition is not met") as error:
        require_met([soft, firm], "campus", "a reason")
    assert "--accept-contract" not in error.value.next_action and list(error.value.facts) == ["b"]
    words = accepted_words([soft], "ann", "we must", NOW)
    assert words == "2026-03-01 12:00 UTC, ann (not authenticated): we must. Not met: a: not a"
    assert accepted_words([], "ann", "we must", NOW) == "" == accepted_words([soft], "ann", "", NOW)


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (GOOD, f"no code that serves has {NAME}"),
        (Place({"lost": 100.0}, (Served("lost", NOW, None),)), f"no code that serves has {NAME}"),
        (Place({"old": 100.0}, (OLD,), ("release of new, run 1",)), "no release is under way"),
        (Place({}, (), unseen="no answer"), "it is known what was released"),
    ],
)
def test_what_code_may_use_is_not_undone(place: Place, what: str) -> None:
    assert [each.what for each in still_used(NAME, seen().attempts[0], place)] == [what]
    assert still_used(NAME, seen(Phase.EXECUTE).attempts[0], place) == ()


def test_what_no_code_has_is_undone() -> None:
    assert still_used(NAME, seen().attempts[0], Place({"old": 100.0}, (OLD,))) == ()
    assert still_used(NAME, seen().attempts[0], Place({}, ())) == ()
    assert still_used(NAME, None, GOOD) == ()


@pytest.mark.parametrize(
    ("observed", "gone"),
    [
        (seen(), False),
        (seen(begun=True), True),
        # Its first step did not get its locks: the old shape is there.
        (seen(passed=True), False),
        (seen(Phase.CLEANUP), True),
        (seen(Phase.CLEANUP, _ADDS), False),
        # Passed before anything was removed: what it has destroyed, old code does not look at.
        (seen(compiled=_COMPILED.model_copy(update={"no_return": Phase.EXECUTE}), passed=True), False),
        # Where all can be undone, old code still has nothing to run on until it is.
        (seen(Phase.CLEANUP, _COMPILED.model_copy(update={"no_return": None})), True),
    ],
)
def test_old_shape_is_gone_once_its_removal_has_begun(observed: Observed, gone: bool) -> None:
    assert contracted(observed) == (frozenset([NAME]) if gone else frozenset())


def test_cleanup_that_was_begun_is_finished_without_asking_again_and_one_that_removes_nothing_is_not_asked() -> None:
    for observed, names in ((seen(), (NAME,)), (seen(begun=True), ())):
        actions = plan_apply(observed.attempts[0], _COMPILED, Phase.CLEANUP)
        assert removed_by(actions, observed) == names
    assert removed_by(plan_apply(seen().attempts[0], _COMPILED, Phase.VALIDATE), seen()) == ()
    assert removed_by(plan_apply(None, _ADDS, Phase.CLEANUP), seen()) == ()


def test_nobody_goes_back_behind_what_is_gone() -> None:
    require_way_back(frozenset(), None, "old", "campus")
    require_way_back(frozenset([NAME]), frozenset(["0001_w", NAME]), "new", "campus")
    with pytest.raises(Refused, match=f"old does not have {NAME}, which has removed") as error:
        require_way_back(frozenset([NAME]), frozenset(["0001_w"]), "old", "campus")
    assert error.value.next_action.startswith("release forward")
    with pytest.raises(Refused, match="nobody can tell"):
        require_way_back(frozenset([NAME]), None, "old", "campus")
