"""Keys and signatures of Standard Webhooks, as its specification has them."""

import pytest

from tasks.common.signing import signature, signing_key
from tasks.webhook.model import Forged
from tasks.webhook.signature import verify
from tests.support.deliveries import source, standard
from tests.unit.webhook.test_signature import BODY, NOW


def test_documented_signature_is_made() -> None:
    key = signing_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert made == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_text_that_is_not_marked_as_base64_is_the_key_itself() -> None:
    assert signing_key(b"it-is-a-secret") == b"it-is-a-secret"


@pytest.mark.parametrize("secret", [b"whsec_", b"whsec_***", b"whsec_AAA", "whsec_é".encode()])
def test_key_that_is_none_or_empty_is_refused_without_being_repeated(secret: bytes) -> None:
    with pytest.raises(ValueError, match="begins with whsec_") as caught:
        signing_key(secret)
    assert str(caught.value).count("whsec_") == 1


def test_delivery_that_is_signed_with_the_empty_key_gets_nowhere() -> None:
    with pytest.raises(Forged, match="begins with whsec_"):
        verify(source("gitlab"), standard(BODY, NOW, secret="whsec_"), BODY, ["whsec_"], NOW)
