"""Which run an event asks for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.delivery import Event
from tasks.common.webhooks import Happening, WebhookRule, matches
from tasks.webhook.decide import decide
from tests.support.deliveries import COMMIT, RULE, TAG_RULE

PUSH = Event("id-1", "push", Happening.PUSH, "Codertocat/Hello-World", "master", COMMIT, "ada", ("src/app.py",))


def rule(**fields: object) -> WebhookRule:
    return WebhookRule.model_validate({**RULE.model_dump(), **fields})


def why_not(event: Event, *rules: WebhookRule) -> str:
    start, why = decide(event, rules or [RULE])
    assert start is None
    return why


def test_push_asks_for_what_its_rule_says() -> None:
    start, why = decide(PUSH, [TAG_RULE, RULE])
    assert start is not None
    assert (start.flow, why) == ("release", "")
    assert start.parameters == {"service": "campus", "commit": COMMIT, "requested_by": "ada"}


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (replace(PUSH, happening=None, name="pull_request"), "no rule can be about 'pull_request'"),
        (replace(PUSH, commit=""), "master was deleted"),
        (replace(PUSH, repository="codertocat/hello-world"), "no rule is about a push in codertocat/hello-world"),
        (replace(PUSH, repository="evil/Hello-World"), "no rule is about a push in evil/Hello-World"),
        (replace(PUSH, happening=Happening.TAG), "no rule is about a tag in Codertocat/Hello-World"),
        (replace(PUSH, ref="masters"), "no rule is about masters"),
        (replace(PUSH, ref="feature/master"), "no rule is about feature/master"),
        (replace(PUSH, actor=""), "the event has no actor, which the rule needs"),
    ],
)
def test_event_that_no_rule_is_about_starts_nothing_and_it_is_said_why(event: Event, why: str) -> None:
    assert why_not(event) == why


def test_push_counts_where_a_file_of_the_rule_was_changed_or_nobody_knows() -> None:
    about = rule(paths=["src/**", "*.toml"])
    assert decide(PUSH, [about])[0] is not None
    assert decide(replace(PUSH, paths=("docs/a.md", "setup.toml")), [about])[0] is not None
    assert decide(replace(PUSH, paths=None), [about])[0] is not None
    assert why_not(replace(PUSH, paths=("docs/a.md",)), about) == "no file that a rule is about was changed"


def test_first_rule_that_fits_counts() -> None:
    other = rule(paths=["docs/**"], start="publish")
    for rules, flow in (([other, RULE], "release"), ([RULE, other], "release")):
        start, _ = decide(PUSH, rules)
        assert start is not None
        assert start.flow == flow
    start, _ = decide(replace(PUSH, paths=("docs/a.md",)), [other, RULE])
    assert start is not None
    assert start.flow == "publish"


@pytest.mark.parametrize("ref", ["{commit}", "{{commit}}", "$(reboot)", "%(commit)s", "{0.__class__}", "{actor}"])
def test_nothing_in_a_branch_name_is_read_as_a_placeholder_or_code(ref: str) -> None:
    start, _ = decide(replace(PUSH, ref=ref), [rule(refs=["**"], parameters={"to": "x-{branch}-{branch}"})])
    assert start is not None
    assert start.parameters == {"to": f"x-{ref}-{ref}"}


def test_same_commit_and_action_is_the_same_whoever_asks_and_another_one_is_not() -> None:
    def action(event: Event = PUSH, **fields: object) -> str:
        start, _ = decide(event, [rule(**fields)])
        assert start is not None
        return start.action

    assert action() == action(replace(PUSH, actor="eve", id="id-2", paths=None))
    others = [
        action(replace(PUSH, commit="a" * 40)),
        action(start="publish"),
        action(parameters={"service": "other", "commit": "{commit}"}),
    ]
    assert len({action(), *others}) == 4


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("main", ["main"], ["mains", "Main", "main\n", "a/main"]),
        ("release/*", ["release/1.2"], ["release/1/2", "release"]),
        ("src/**", ["src/a/b.py", "src/"], ["src", "a/src/b"]),
        ("**/*.py", ["a/b.py", "a/b/c.py"], ["b.py", "a/b.pyc"]),
        ("v1.[0-9]+", ["v1.[0-9]+"], ["v1.2"]),
    ],
)
def test_pattern_fits_the_whole_name(pattern: str, fits: list[str], does_not: list[str]) -> None:
    assert all(matches(text, [pattern]) for text in fits)
    assert not any(matches(text, [pattern]) for text in does_not)


@given(st.text())
def test_any_name_fits_itself_unless_it_has_a_star(text: str) -> None:
    assert matches(text.replace("*", "+"), [text.replace("*", "+")])
