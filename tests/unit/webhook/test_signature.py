"""Only who knows the secret gets through, whatever else is tried."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.webhooks import WebhookSource
from tasks.webhook.model import Forged
from tasks.webhook.signature import REPLAY_WINDOW_S, verify
from tests.support.deliveries import (
    SECRET,
    bearer,
    body,
    cloudevents_source,
    generic,
    generic_source,
    github,
    gitlab,
    source,
    standard,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BODY = body("github/push.branch.json")
GITHUB, GITLAB, GENERIC, EVENTS = source("github"), source("gitlab"), generic_source(), cloudevents_source()
SIGNED: dict[str, tuple[WebhookSource, Callable[..., dict[str, str]]]] = {
    "github": (GITHUB, lambda secret=SECRET: github(BODY, secret=secret)),
    "gitlab-token": (GITLAB, lambda secret=SECRET: gitlab(token=secret)),
    "gitlab-signed": (GITLAB, lambda secret=SECRET: standard(BODY, NOW, secret=secret)),
    "generic": (GENERIC, lambda secret=SECRET: generic(BODY, secret=secret)),
    "generic-standard": (GENERIC, lambda secret=SECRET: standard(BODY, NOW, secret=secret)),
    "events": (EVENTS, lambda secret=SECRET: generic(BODY, secret=secret)),
    "events-standard": (EVENTS, lambda secret=SECRET: standard(BODY, NOW, secret=secret)),
    "events-bearer": (EVENTS, lambda secret=SECRET: bearer(secret=secret)),
}
SECRET_ITSELF = ("gitlab-token", "events-bearer")
"""Schemes that sign nothing: the secret is sent."""
PROVING = ("webhook-", "x-gitlab-token", "x-hub-signature", "x-signature", "authorization")
each_scheme = pytest.mark.parametrize(("sender", "signed"), SIGNED.values(), ids=SIGNED)
each_signature = pytest.mark.parametrize(
    ("sender", "signed"),
    [scheme for name, scheme in SIGNED.items() if name not in SECRET_ITSELF],
    ids=[name for name in SIGNED if name not in SECRET_ITSELF],
)


def test_documented_signature_of_github_is_right() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    verify(GITHUB, {"x-hub-signature-256": signature}, b"Hello, World!", ["It's a Secret to Everybody"], NOW)


def test_documented_signature_of_standard_webhooks_is_right() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    verify(GITLAB, headers, b'{"test": 2432232314}', secrets, at)
    with pytest.raises(Forged, match="too far from now"):
        verify(GITLAB, headers, b'{"test": 2432232314}', secrets, NOW)


@each_scheme
def test_both_secrets_count_while_one_is_being_changed(
    sender: WebhookSource, signed: Callable[..., dict[str, str]]
) -> None:
    verify(sender, signed("new"), BODY, ["old", "new"], NOW)
    verify(sender, signed("old"), BODY, ["old", "new"], NOW)
    with pytest.raises(Forged):
        verify(sender, signed("older"), BODY, ["old", "new"], NOW)


@each_scheme
@pytest.mark.parametrize("secrets", [[], [""], [" \n"]], ids=["none", "empty", "blank"])
def test_without_a_secret_nothing_gets_through(
    sender: WebhookSource, signed: Callable[..., dict[str, str]], secrets: list[str]
) -> None:
    for known in {"", *secrets}:
        with pytest.raises(Forged, match="no secret is set"):
            verify(sender, signed(known), BODY, secrets, NOW)


@each_scheme
def test_every_header_that_proves_something_is_needed_and_whole(
    sender: WebhookSource, signed: Callable[..., dict[str, str]]
) -> None:
    headers = signed()
    for name in [name for name in headers if name.startswith(PROVING)]:
        less = {key: value for key, value in headers.items() if key != name}
        twice = f"{headers[name]}\n{headers[name]}"
        for wrong in (less, *({**headers, name: value} for value in ("", headers[name][:-1], twice))):
            with pytest.raises(Forged):
                verify(sender, wrong, BODY, [SECRET], NOW)


@each_signature
@given(data=st.data())
def test_flipped_byte_of_the_body_is_found(
    sender: WebhookSource, signed: Callable[..., dict[str, str]], data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(BODY) - 1))
    changed = bytearray(BODY)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Forged):
        verify(sender, signed(), bytes(changed), [SECRET], NOW)


@given(st.text(st.characters(codec="latin-1"), max_size=100))
def test_no_text_in_place_of_a_signature_gets_through_or_raises_anything_else(text: str) -> None:
    for sender, name in (
        (GITHUB, "x-hub-signature-256"),
        (GITLAB, "x-gitlab-token"),
        (GENERIC, "x-signature-256"),
        (EVENTS, "authorization"),
    ):
        with pytest.raises(Forged):
            verify(sender, {name: text}, BODY, [SECRET], NOW)
    for name in ("webhook-signature", "webhook-timestamp", "webhook-id"):
        with pytest.raises(Forged):
            verify(GITLAB, {**standard(BODY, NOW), name: text}, BODY, [SECRET], NOW)


@pytest.mark.parametrize("off_s", [-REPLAY_WINDOW_S - 1, REPLAY_WINDOW_S + 1])
def test_signed_time_that_is_too_far_from_now_is_refused(off_s: float) -> None:
    headers = standard(BODY, NOW + timedelta(seconds=off_s))
    with pytest.raises(Forged, match="too far from now"):
        verify(GITLAB, headers, BODY, [SECRET], NOW)
    verify(GITLAB, standard(BODY, NOW + timedelta(seconds=off_s * 0.9)), BODY, [SECRET], NOW)


def test_wrong_signature_is_not_passed_by_the_token_beside_it() -> None:
    headers = {**standard(BODY, NOW, secret="another"), "x-gitlab-token": SECRET}
    with pytest.raises(Forged):
        verify(GITLAB, headers, BODY, [SECRET], NOW)


def test_one_of_several_signatures_is_enough_but_not_of_any_number() -> None:
    headers = standard(BODY, NOW)
    good = headers["webhook-signature"]
    verify(GITLAB, {**headers, "webhook-signature": f"v2,x v1,AAAA {good}"}, BODY, [SECRET], NOW)
    with pytest.raises(Forged):
        verify(GITLAB, {**headers, "webhook-signature": "v1,AAAA " * 10_000 + good}, BODY, [SECRET], NOW)


def test_error_names_no_secret() -> None:
    with pytest.raises(Forged) as caught:
        verify(GITLAB, gitlab(token="wrong-token"), BODY, [SECRET], NOW)
    assert SECRET not in str(caught.value)
    assert "wrong-token" not in str(caught.value)


@pytest.mark.parametrize("write", ["sha256={}", "{}", "SHA256={}"])
def test_signature_of_a_generic_sender_may_be_written_in_several_ways(write: str) -> None:
    digits = generic(BODY)["x-signature-256"].removeprefix("sha256=")
    for each in (digits, digits.upper()):
        verify(GENERIC, {"x-signature-256": write.format(each)}, BODY, [SECRET], NOW)


def test_signature_stands_in_the_header_that_the_estate_names_and_in_no_other() -> None:
    sender = generic_source(signature_header="X-Acme-Signature")
    headers = generic(BODY)
    with pytest.raises(Forged, match="x-acme-signature is missing"):
        verify(sender, headers, BODY, [SECRET], NOW)
    verify(sender, {"x-acme-signature": headers["x-signature-256"]}, BODY, [SECRET], NOW)


@pytest.mark.parametrize("better", ["generic", "events-standard"])
def test_wrong_signature_is_not_passed_by_a_weaker_proof_beside_it(better: str) -> None:
    wrong = SIGNED[better][1]("another")
    with pytest.raises(Forged):
        verify(EVENTS, {**bearer(), **wrong}, BODY, [SECRET], NOW)
    if better == "events-standard":
        with pytest.raises(Forged):
            verify(GENERIC, {**generic(BODY), **wrong}, BODY, [SECRET], NOW)


def test_bearer_token_counts_only_where_the_estate_says_so_and_by_its_scheme() -> None:
    with pytest.raises(Forged, match="x-signature-256 is missing"):
        verify(cloudevents_source(bearer=False), bearer(), BODY, [SECRET], NOW)
    with pytest.raises(Forged, match="x-signature-256 is missing"):
        verify(GENERIC, bearer(), BODY, [SECRET], NOW)
    verify(EVENTS, {"authorization": f"bearer {SECRET}"}, BODY, [SECRET], NOW)
    for wrong in (SECRET, f"Basic {SECRET}", f"Bearer  {SECRET}", f"Bearer {SECRET},{SECRET}"):
        with pytest.raises(Forged):
            verify(EVENTS, {"authorization": wrong}, BODY, [SECRET], NOW)
