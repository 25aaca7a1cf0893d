"""Regions and failovers of the estate file: the documented ones are accepted, and mistakes are told all at once."""

from typing import Any

import pytest

from blocks import DRIVERS
from blocks.estate import settings_model
from blocks.failovers import rules_of
from tasks.common.failovers import Scope
from tasks.common.load import load_estate
from tests.unit.common.files import example, mistakes_in, only

FILE = "failover.yaml"


def load(text: str) -> Any:
    return load_estate(text, FILE, settings_model, DRIVERS)


def mistakes(*changes: tuple[str, str]) -> list[str]:
    return mistakes_in(example(FILE, *changes), load)


def test_documented_failover_is_accepted_and_says_what_was_meant() -> None:
    plan = load(example(FILE)).failovers["campus"]
    rules = rules_of("campus", plan)
    assert (rules.scope, rules.rpo_s, rules.ttl_s, rules.names) == (Scope.REGIONAL, 300.0, 5, ("campus.example.org",))
    assert (plan.watch.every_s, plan.watch.failures, plan.watch.quorum) == (10.0, 3, 2)
    assert plan.objectives.rto_s == 60.0


def test_who_says_nothing_of_the_scope_is_asked() -> None:
    plan = load(example(FILE, ("    scope: regional\n", ""))).failovers["campus"]
    assert plan.scope is Scope.GLOBAL


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  eu-west: {role", "  eu-wets: {role", "found the unknown region 'eu-west' (did you mean 'eu-wets'?)"),
        ("    service: campus\n", "    service: campsu\n", "found the unknown service 'campsu'"),
        ("    environment: production", "    environment: prod", "found the unknown environment 'prod'"),
        (
            "    url: http://campus.example.org\n    smoke",
            "    url: http://other.example.org\n    smoke",
            "found the host",
        ),
        ("addresses: [10.2.0.1]", "addresses: [10.1.0.1]", "found the address 10.1.0.1, twice"),
        ("addresses: [10.2.0.1]", "addresses: [edge-b]", "expected an IPv4 or IPv6 address"),
        ("        dublin:", "        dublin: {url: 'http://10.8.3.10:4290'}\n        paris:", "found the quorum 2"),
        ("primary_at: 10.2.0.1:5433", "primary_at: 10.2.0.1", "failovers.campus.sites.eu-west.primary_at"),
        ("    ttl: 5s", "    ttl: 500ms", "failovers.campus.ttl"),
        ("slot: site_b", "slto: site_b", "failovers.campus.sites.eu-west.cluster.slto: found an unknown key"),
    ],
)
def test_one_mistake_is_told_alone(old: str, new: str, said: str) -> None:
    assert said in only(mistakes((old, new)))


def test_watch_wants_to_know_what_to_ask_of_every_site() -> None:
    health = '\n        health: {site: "http://10.2.0.1/health/ready", database: "http://10.2.0.1:8009/primary"}'
    assert "found no 'health', and a 'watch'" in only(mistakes((health, "")))


def test_mistakes_within_and_between_parts_are_told_at_once() -> None:
    found = mistakes(
        ("scope: regional", "scope: reginal"),
        ("priority: 2", "priority: 0"),
        ("    environment: production", "    environment: prod"),
        ("replicas: 1", "replicas: none"),
    )
    places = [each.split(": ")[1] for each in found]
    # Of a failover with a mistake of its own, what does not fit with others is told when it is mended.
    assert places == ["environments.production.replicas", "regions.eu-west.priority", "failovers.campus.scope"]
