"""What the estate file may say about webhooks; what is wrong with it is found when it is read, not at night."""

from typing import Any

import pytest
import yaml

from tasks.common.webhooks import FIELDS, Fields, Forge, Happening, offers
from tests.unit.common.files import estate_mistakes, example

KNOWN = [each for each in Happening if each is not Happening.OTHER]
PUSH = {
    "event": "push",
    "repository": "acme/campus",
    "refs": ["main"],
    "start": "release",
    "parameters": {"commit": "{commit}"},
}
PULL = {**PUSH, "event": "pull-request", "start": "check"}
OWN = {"event": "passed", "start": "release", "parameters": {"service": "campus"}}
GENERIC = {"forge": "generic", "fields": {"event": "/event"}}


def said(source: dict[str, Any], *rules: dict[str, Any]) -> list[str]:
    """Return the mistakes in a source, without their lines."""
    whole = yaml.safe_load(example("estate.yaml"))
    whole["webhooks"] = {"it": {"forge": "github", "secrets": ["env:A"], "rules": list(rules), **source}}
    return [line.partition(": webhooks.it.")[2] for line in estate_mistakes(yaml.safe_dump(whole))]


def test_sources_of_every_kind_are_accepted() -> None:
    mapped = {"repository": "/data/repo", "ref": "/subject", "commit": "/data/sha", "actor": "/source"}
    events = {"forge": "cloudevents", "fields": mapped, "bearer": True, "window": "1h", "origins": ["a.example"]}
    own = {**OWN, "repository": "acme/campus", "refs": ["**"], "parameters": {"c": "{commit} {ref} {actor}"}}
    headers = {"signature_header": "X-Acme-Signature", "id_header": "X-Acme-Id", "per_second": 2, "burst": 5}
    assert said(events, own) == []
    assert said({**GENERIC, **headers}, OWN) == []
    assert said({"forge": "gitlab"}, PUSH, {**PULL, "forks": True}) == []


def test_pull_request_may_start_only_what_deploys_nothing() -> None:
    for start in ("release", "rollback", "checks", "reconcile"):
        for forge in ("github", "gitlab"):
            (mistake,) = said({"forge": forge}, PUSH, {**PULL, "start": start})
            wanted = (
                f"rules[1].start: found the text '{start}'; expected check: a pull request starts nothing that deploys"
            )
            assert mistake == wanted


@pytest.mark.parametrize("forge", ["github", "gitlab"])
@pytest.mark.parametrize("happening", KNOWN)
@pytest.mark.parametrize("name", FIELDS)
def test_placeholder_that_the_event_never_has_is_a_mistake(forge: str, happening: Happening, name: str) -> None:
    fields = {"event": str(happening), "start": "check" if happening is Happening.PULL_REQUEST else "release"}
    fields |= {"workflow": "CI"} if happening is Happening.WORKFLOW else {}
    found = said({"forge": forge}, {**PUSH, **fields, "parameters": {"it": f"x {{{name}}}"}})
    offered = offers(Forge(forge), happening, Fields())
    if name in offered:
        assert found == []
    else:
        (mistake,) = found
        assert mistake.startswith(
            f"rules[0].parameters.it: found {{{name}}}, which '{happening}' does not have; expected"
        )
        assert all(f"{{{each}}}" in mistake for each in offered)


def test_placeholder_that_a_source_says_nothing_about_is_a_mistake() -> None:
    (mistake,) = said(GENERIC, {**OWN, "parameters": {"it": "{commit}"}})
    assert mistake.endswith("found {commit}, which 'passed' does not have; expected text without placeholders")
    mapped = {**GENERIC, "fields": {"event": "/event", "actor": "/by"}}
    (mistake,) = said(mapped, {**OWN, "parameters": {"it": "{tag}"}})
    assert mistake.endswith("expected one of: {actor}")


@pytest.mark.parametrize(
    ("source", "rule", "place"),
    [
        ({}, {**PUSH, "event": "merge"}, "rules[0].event: found the text 'merge'"),
        ({}, {**PUSH, "event": "other"}, "rules[0].event: found the text 'other'"),
        ({}, {key: value for key, value in PUSH.items() if key != "refs"}, "rules[0].refs: found nothing"),
        ({}, {key: value for key, value in PUSH.items() if key != "repository"}, "rules[0].repository: found nothing"),
        ({}, {**PULL, "paths": ["src/**"]}, "rules[0].paths: found a key that is not for 'pull-request'"),
        ({}, {**PUSH, "forks": True}, "rules[0].forks: found a key that is not for 'push'"),
        ({}, {**PUSH, "workflow": "CI"}, "rules[0].workflow: found a key that is not for 'push'"),
        ({}, {**PUSH, "event": "workflow"}, "rules[0].workflow: found nothing"),
        ({"fields": {"event": "/a"}}, PUSH, "fields: found a key that is not for github"),
        ({"bearer": True}, PUSH, "bearer: found a key that is not for github"),
        ({"forge": "gitlab", "window": "1m"}, PUSH, "window: found a key that is not for gitlab"),
        ({"forge": "generic"}, OWN, "fields.event: found nothing"),
        ({**GENERIC, "bearer": True}, OWN, "bearer: found a key that is not for generic"),
        ({"forge": "cloudevents", "id_header": "x-id"}, OWN, "id_header: found a key that is not for cloudevents"),
        ({"forge": "cloudevents", "fields": {"event": "/type"}}, OWN, "fields.event: found a pointer"),
        (
            {**GENERIC, "fields": {"event": "event"}},
            OWN,
            "fields.event: found the text 'event'; expected a JSON pointer",
        ),
        ({**GENERIC, "fields": {"event": "/a~2"}}, OWN, "fields.event: found the text '/a~2'; expected a JSON pointer"),
        ({**GENERIC, "signature_header": "a b"}, OWN, "signature_header: found the text 'a b'; expected the name of"),
        (GENERIC, {**OWN, "repository": "a/b"}, "rules[0].repository: found a key that nothing can fit"),
        (GENERIC, {**OWN, "refs": ["main"]}, "rules[0].refs: found a key that nothing can fit"),
        (GENERIC, {**OWN, "paths": ["a"]}, "rules[0].paths: found a key that is not for 'passed'"),
        (GENERIC, {**OWN, "workflow": "CI"}, "rules[0].workflow: found a key that is not for such events"),
        ({**GENERIC, "fields": {"event": "/e", "ref": "/r"}}, OWN, "rules[0].refs: found nothing"),
        ({**GENERIC, "fields": {"event": "/e", "repository": "/r"}}, OWN, "rules[0].repository: found nothing"),
        ({"per_second": 0}, PUSH, "per_second: found the number 0; expected more than 0"),
        ({"burst": 0}, PUSH, "burst: found the number 0; expected at least 1"),
    ],
)
def test_what_does_not_fit_together_is_one_mistake_at_its_place(
    source: dict[str, Any], rule: dict[str, Any], place: str
) -> None:
    (mistake,) = said(source, rule)
    assert mistake.startswith(place)


def test_mistakes_of_all_sources_are_told_at_once_also_beside_others() -> None:
    found = said({"bearer": True, "burst": "many"}, {**PULL, "start": "release"}, {**PUSH, "event": "merge"}, {"on": 1})
    for place in ("bearer", "burst", "rules[0].start", "rules[1].event", "rules[2].event", "rules[2].on"):
        assert [line for line in found if line.startswith(f"{place}: ")], place
