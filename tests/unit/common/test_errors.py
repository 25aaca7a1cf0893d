"""The block that an operator reads, and that it survives the way between processes."""

import pickle

import pytest

from tasks.common.errors import Refused, Retryable, SlipwayError, Unsafe


def error(kind: type[SlipwayError]) -> SlipwayError:
    return kind(
        "the router did not take the weights",
        on="campus in production of lab",
        state="v1 serves 100 % of the traffic",
        next_action="look at the router's log\nthen run 'slipway reconcile'",
        facts={"wanted": {"blue": 100.0}, "log": "line one\nline two", "nothing": ""},
    )


def test_block_says_what_on_state_and_next_then_the_facts_in_one_column() -> None:
    assert str(error(Unsafe)) == "\n".join(
        [
            "UNSAFE: the router did not take the weights",
            "  on:      campus in production of lab",
            "  state:   v1 serves 100 % of the traffic",
            "  next:    look at the router's log",
            "           then run 'slipway reconcile'",
            "  wanted:  {'blue': 100.0}",
            "  log:     line one",
            "           line two",
            "  nothing: ",
        ]
    )


@pytest.mark.parametrize(
    ("kind", "first"), [(Retryable, "Failed (may be retried): "), (Refused, "Refused: "), (Unsafe, "UNSAFE: ")]
)
def test_first_line_tells_the_three_meanings_apart(kind: type[SlipwayError], first: str) -> None:
    assert str(error(kind)).startswith(first + "the router")


@pytest.mark.parametrize("kind", [Retryable, Refused, Unsafe])
def test_error_keeps_its_meaning_and_facts_between_processes(kind: type[SlipwayError]) -> None:
    before = error(kind)
    after = pickle.loads(pickle.dumps(before))
    assert type(after) is kind
    assert after.__dict__ == before.__dict__
    assert str(after) == str(before)


def test_nothing_was_changed_unless_the_error_says_otherwise() -> None:
    assert "state: nothing was changed" in str(Refused("no", on="x", next_action="y"))


def test_facts_are_the_error_s_own() -> None:
    facts: dict[str, object] = {"a": 1}
    refused = Refused("no", on="x", next_action="y", facts=facts)
    facts["a"] = 2
    assert refused.facts == {"a": 1}
