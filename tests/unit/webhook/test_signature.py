"""Only who knows the secret gets through, whatever else is tried."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.webhooks import Forge
from tasks.webhook.model import Forged
from tasks.webhook.signature import REPLAY_WINDOW_S, verify
from tests.support.deliveries import SECRET, body, github, gitlab, standard

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BODY = body("github/push.branch.json")
SIGNED: list[tuple[Forge, Callable[..., dict[str, str]]]] = [
    (Forge.GITHUB, lambda secret=SECRET: github(BODY, secret=secret)),
    (Forge.GITLAB, lambda secret=SECRET: gitlab(token=secret)),
    (Forge.GITLAB, lambda secret=SECRET: standard(BODY, NOW, secret=secret)),
]
each_scheme = pytest.mark.parametrize(("forge", "signed"), SIGNED, ids=["github", "gitlab-token", "gitlab-signed"])


def test_documented_signature_of_github_is_right() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    verify(Forge.GITHUB, {"x-hub-signature-256": signature}, b"Hello, World!", ["It's a Secret to Everybody"], NOW)


def test_documented_signature_of_standard_webhooks_is_right() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    verify(Forge.GITLAB, headers, b'{"test": 2432232314}', secrets, at)
    with pytest.raises(Forged, match="too far from now"):
        verify(Forge.GITLAB, headers, b'{"test": 2432232314}', secrets, NOW)


@each_scheme
def test_both_secrets_count_while_one_is_being_changed(forge: Forge, signed: Callable[..., dict[str, str]]) -> None:
    verify(forge, signed("new"), BODY, ["old", "new"], NOW)
    verify(forge, signed("old"), BODY, ["old", "new"], NOW)
    with pytest.raises(Forged):
        verify(forge, signed("older"), BODY, ["old", "new"], NOW)


@each_scheme
@pytest.mark.parametrize("secrets", [[], [""], [" \n"]], ids=["none", "empty", "blank"])
def test_without_a_secret_nothing_gets_through(
    forge: Forge, signed: Callable[..., dict[str, str]], secrets: list[str]
) -> None:
    for known in {"", *secrets}:
        with pytest.raises(Forged, match="no secret is set"):
            verify(forge, signed(known), BODY, secrets, NOW)


@each_scheme
def test_every_header_that_proves_something_is_needed_and_whole(
    forge: Forge, signed: Callable[..., dict[str, str]]
) -> None:
    headers = signed()
    proving = [name for name in headers if name.startswith("webhook-") or name == "x-gitlab-token"]
    proving += [name for name in headers if name == "x-hub-signature-256"]
    for name in proving:
        less = {key: value for key, value in headers.items() if key != name}
        for wrong in (less, {**headers, name: ""}, {**headers, name: headers[name][:-1]}):
            with pytest.raises(Forged):
                verify(forge, wrong, BODY, [SECRET], NOW)


@pytest.mark.parametrize(("forge", "signed"), [SIGNED[0], SIGNED[2]], ids=["github", "gitlab-signed"])
@given(data=st.data())
def test_flipped_byte_of_the_body_is_found(
    forge: Forge, signed: Callable[..., dict[str, str]], data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(BODY) - 1))
    changed = bytearray(BODY)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Forged):
        verify(forge, signed(), bytes(changed), [SECRET], NOW)


@given(st.text(st.characters(codec="latin-1"), max_size=100))
def test_no_text_in_place_of_a_signature_gets_through_or_raises_anything_else(text: str) -> None:
    for forge, name in ((Forge.GITHUB, "x-hub-signature-256"), (Forge.GITLAB, "x-gitlab-token")):
        with pytest.raises(Forged):
            verify(forge, {name: text}, BODY, [SECRET], NOW)
    for name in ("webhook-signature", "webhook-timestamp", "webhook-id"):
        with pytest.raises(Forged):
            verify(Forge.GITLAB, {**standard(BODY, NOW), name: text}, BODY, [SECRET], NOW)


@pytest.mark.parametrize("off_s", [-REPLAY_WINDOW_S - 1, REPLAY_WINDOW_S + 1])
def test_signed_time_that_is_too_far_from_now_is_refused(off_s: float) -> None:
    headers = standard(BODY, NOW + timedelta(seconds=off_s))
    with pytest.raises(Forged, match="too far from now"):
        verify(Forge.GITLAB, headers, BODY, [SECRET], NOW)
    verify(Forge.GITLAB, standard(BODY, NOW + timedelta(seconds=off_s * 0.9)), BODY, [SECRET], NOW)


def test_wrong_signature_is_not_passed_by_the_token_beside_it() -> None:
    headers = {**standard(BODY, NOW, secret="another"), "x-gitlab-token": SECRET}
    with pytest.raises(Forged):
        verify(Forge.GITLAB, headers, BODY, [SECRET], NOW)


def test_one_of_several_signatures_is_enough_but_not_of_any_number() -> None:
    headers = standard(BODY, NOW)
    good = headers["webhook-signature"]
    verify(Forge.GITLAB, {**headers, "webhook-signature": f"v2,x v1,AAAA {good}"}, BODY, [SECRET], NOW)
    with pytest.raises(Forged):
        verify(Forge.GITLAB, {**headers, "webhook-signature": "v1,AAAA " * 10_000 + good}, BODY, [SECRET], NOW)


def test_error_names_no_secret() -> None:
    with pytest.raises(Forged) as caught:
        verify(Forge.GITLAB, gitlab(token="wrong-token"), BODY, [SECRET], NOW)
    assert SECRET not in str(caught.value)
    assert "wrong-token" not in str(caught.value)
