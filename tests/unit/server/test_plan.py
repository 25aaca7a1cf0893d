"""What is changed on a Prefect server, and what is left alone."""

from dataclasses import replace

import pytest

from tasks.server.model import Kind, Resource, Verb
from tasks.server.plan import plan
from tasks.server.wanted import wanted
from tests.support.server import FLOWS, NIGHTLY, estate

WANTED = wanted(FLOWS, estate(schedules={"nightly": NIGHTLY}))


def test_everything_is_made_on_an_empty_server_and_nothing_before_what_it_needs() -> None:
    changes = plan(WANTED, ()).changes
    assert {change.verb for change in changes} == {Verb.MAKE}
    assert {change.resource for change in changes} == set(WANTED)
    kinds = [change.resource.kind for change in changes]
    assert kinds == sorted(kinds, key=list(Kind).index)


def test_nothing_is_changed_where_everything_is_as_wanted() -> None:
    assert plan(WANTED, WANTED).changes == ()


@pytest.mark.parametrize("resource", WANTED, ids=str)
def test_each_difference_is_found_and_named(resource: Resource) -> None:
    for key in resource.spec:
        other = replace(resource, spec={**resource.spec, key: "something else"})
        (change,) = plan(WANTED, [*(each for each in WANTED if each != resource), other]).changes
        assert (change.verb, change.resource) == (Verb.CHANGE, resource)
        assert all(line.startswith(key) for line in change.differences)
        assert "something else" in change.differences[0]


def test_key_that_somebody_has_added_is_a_difference() -> None:
    nightly = next(each for each in WANTED if each.name == "release/nightly")
    schedules = {**nightly.spec["schedules"], "another": {"interval": 5.0}}  # type: ignore[dict-item]
    found = [replace(nightly, spec={**nightly.spec, "schedules": schedules}), *(e for e in WANTED if e != nightly)]
    (change,) = plan(WANTED, found).changes
    assert change.differences == ("schedules.another: {'interval': 5.0}, is to be nothing",)


def test_what_is_not_wanted_any_more_is_removed_last_and_in_the_reverse_order() -> None:
    less = wanted(FLOWS[:1], estate())
    changes = plan(less, WANTED).changes
    assert {change.verb for change in changes} == {Verb.REMOVE}
    kinds = [change.resource.kind for change in changes]
    assert kinds == sorted(kinds, key=list(Kind).index, reverse=True)
    assert {str(change.resource) for change in changes} >= {
        "deployment release/nightly",
        "deployment reconcile/slipway",
    }


def test_work_pool_is_never_removed() -> None:
    pool = Resource(Kind.POOL, "another", {"type": "process"})
    assert plan(WANTED, [*WANTED, pool]).changes == ()


def test_what_a_person_has_stopped_is_said_and_left_stopped() -> None:
    stopped = [replace(each, stopped=True) if each.name == "reconcile/slipway" else each for each in WANTED]
    planned = plan(WANTED, stopped)
    assert planned.changes == ()
    assert [str(each) for each in planned.stopped] == ["deployment reconcile/slipway"]


def test_what_is_there_twice_is_a_difference() -> None:
    twice = next(each for each in WANTED if each.kind is Kind.AUTOMATION)
    (change,) = plan(WANTED, [*WANTED, twice]).changes
    assert change.differences == ("it is there 2 times",)


@pytest.mark.parametrize("made", range(len(WANTED) + 1))
def test_plan_that_was_broken_off_is_carried_on_where_it_was(made: int) -> None:
    changes = plan(WANTED, ()).changes
    done = [change.resource for change in changes[:made]]
    assert plan(WANTED, done).changes == changes[made:]
