"""Experiments: the documented ones are loaded, and everything that is wrong with one is told at once."""

import pytest

from tasks.common.drills import Mode, Outcome
from tasks.common.load import load_estate
from tests.unit.common.files import DRIVERS, example, mistakes_in, settings_models
from tests.unit.drill.examples import NAMES, experiment, load, text

SCENARIOS = {
    "postmaster-killed": Outcome.FAILS_OVER,
    "node-lost": Outcome.FAILS_OVER,
    "instance-killed": Outcome.RECOVERS,
    "all-instances-killed": Outcome.RECOVERS,
    "disk-full": Outcome.PERSON,
    "disk-read-only": Outcome.FAILS_OVER,
    "disk-stalled": Outcome.PERSON,
    "page-corrupt": Outcome.RECOVERS,
    "leader-stalled": Outcome.FAILS_OVER,
    "site-lost": Outcome.FAILS_OVER,
    "all-data-lost": Outcome.PERSON,
    "leader-without-etcd": Outcome.FAILS_OVER,
    "leader-without-replicas": Outcome.RECOVERS,
    "leader-without-clients": Outcome.PERSON,
    "leader-deaf": Outcome.FAILS_OVER,
}


@pytest.mark.parametrize("name", NAMES)
def test_documented_experiment_is_loaded_and_is_named_as_its_file(name: str) -> None:
    found = experiment(name)
    assert found.drill == name
    assert found.mode is Mode.COPY, "nothing but an isolated copy is the default"
    assert found.expect is SCENARIOS[name]


def test_every_scenario_has_an_example() -> None:
    assert sorted(SCENARIOS) == NAMES


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "expect: fails-over",
            "expect: wonders",
            "expect: found the text 'wonders'; expected one of: 'recovers-by-itself'",
        ),
        ("longest: 3m", "longest: 3", "longest: found the number 3; expected a duration above zero"),
        ("for: 90s", "for: 10m", "abort[0].for: found as long as the whole drill, or longer: it never aborts"),
        (
            "driver: kill, pid_file",
            "driver: kil, pid_file",
            "fault.actions[1].driver: found the text 'kil' (did you mean 'kill'?)",
        ),
        ('pid_file: "{data}/postmaster.pid"', "port: [1]", "fault.actions[1].port: found a list; expected"),
        ("at_least: 1%, for", "at_least: 1, for", "abort[0].at_least: found 1; expected a percentage"),
        ("objectives: {rto: 60s, rpo: 0s}", "load: {writes_per_s: 0}", "of which load sends none"),
        ("title: ", "titel: ", "titel: found an unknown key (did you mean 'title'?)"),
        ("longest: 3m", "longest: 3m\nundo: {by: person}", "undo.how: found nothing; expected what the person does"),
    ],
)
def test_mistake_is_told_with_its_place(old: str, new: str, said: str) -> None:
    assert any(said in each for each in mistakes_in(text("node-lost", (old, new)), load)), mistakes_in(
        text("node-lost", (old, new)), load
    )


def test_all_mistakes_are_told_at_once() -> None:
    wrong = text(
        "node-lost",
        ("expect: fails-over", "expect: no"),
        ("longest: 3m", "longest: 0s"),
        ("driver: kill\n", "driver: x\n"),
    )
    assert len(mistakes_in(wrong, load)) == 3


DRILLS = """
drills:
  business_hours: [sunday-night]
  clusters:
    campus-copy:
      id: "7312345678901234567"
      address: env:CAMPUS_COPY
      nodes:
        a1: {address: env:CAMPUS_A1, facts: {data: /srv/a1/data}}
      backup: campus-db
      releases: [{service: campus, environment: production}]
      objectives: {rto: 5m, rpo: 5m}
    campus-app:
      url: http://127.0.0.1:8081/courses
      facts: {port_1: "22001"}
      objectives: {rto: 30m}
"""


def estate_mistakes(*changes: tuple[str, str]) -> list[str]:
    found = example("estate.yaml") + DRILLS
    for old, new in changes:
        assert found.count(old) == 1
        found = found.replace(old, new)
    return mistakes_in(found, lambda text: load_estate(text, "lab.yaml", settings_models, DRIVERS))


def test_estate_names_what_may_be_practised_on() -> None:
    assert estate_mistakes() == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "backup: campus-db",
            "backup: campus-bd",
            "campus-copy.backup: found the unknown backup plan 'campus-bd' (did you",
        ),
        (
            "business_hours: [sunday-night]",
            "business_hours: [office]",
            "business_hours[0]: found the unknown window 'office'",
        ),
        (
            "{service: campus, environment: production}",
            "{service: campus, environment: prod}",
            "the unknown environment 'prod'",
        ),
        ('id: "7312345678901234567"', "id: campus", "id: found the text 'campus'; expected a system identifier"),
        ('      id: "7312345678901234567"\n', "", "id: found nothing; expected the system identifier"),
        ("      url: http://127.0.0.1:8081/courses\n", "", "url: found neither address nor url"),
        ("address: env:CAMPUS_A1", "address: postgresql://a:b@c", "address: found a value that is not shown"),
    ],
)
def test_mistake_in_the_estate_is_told_with_its_place(old: str, new: str, said: str) -> None:
    assert any(said in each for each in estate_mistakes((old, new))), estate_mistakes((old, new))


def test_what_drills_name_is_judged_also_where_the_file_has_other_mistakes() -> None:
    found = estate_mistakes(("backup: campus-db", "backup: campus-bd"), ("keep_releases: 10", "keep_releases: 1"))
    assert len(found) == 2
