"""Deliveries as their senders send them: real bodies, or ones made here, signed here."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from tasks.common.delivery import Delivery, Event, Start, Status
from tasks.common.webhooks import Happening, WebhookRule, WebhookSource

DATA = Path(__file__).resolve().parents[1] / "data/webhooks"
SECRET = "it-is-a-secret-to-everybody"
COMMIT = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
"""What github/push.branch.json has pushed."""
RULE = WebhookRule.model_validate(
    {
        "event": "push",
        "repository": "Codertocat/Hello-World",
        "refs": ["master"],
        "start": "release",
        "parameters": {"service": "campus", "commit": "{commit}", "requested_by": "{actor}"},
    }
)
TAG_RULE = RULE.model_copy(update={"event": Happening.TAG, "refs": ["simple-*"]})


def body(name: str) -> bytes:
    """Return a real body."""
    return (DATA / name).read_bytes()


def pushed(commit: str) -> bytes:
    """Return the body of a push of another commit to the same branch, made from the real one."""
    found = json.loads(body("github/push.branch.json"))
    found["after"] = found["head_commit"]["id"] = commit
    return json.dumps(found).encode()


def github(payload: bytes, *, event: str = "push", secret: str = SECRET, id_: str = "") -> dict[str, str]:
    """Return the headers of a delivery from GitHub, signed."""
    signature = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
    return {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": id_ or str(uuid4()),
        "x-hub-signature-256": f"sha256={signature}",
    }


def gitlab(*, event: str = "Push Hook", token: str = SECRET, id_: str = "") -> dict[str, str]:
    """Return the headers of a delivery from GitLab, with the secret token."""
    return {
        "content-type": "application/json",
        "x-gitlab-event": event,
        "x-gitlab-token": token,
        "x-gitlab-event-uuid": id_ or str(uuid4()),
    }


def standard(payload: bytes, at: datetime, *, secret: str = SECRET, id_: str = "msg-1") -> dict[str, str]:
    """Return the headers of a delivery that is signed by Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    sent_at = str(int(at.timestamp()))
    signed = f"{id_}.{sent_at}.".encode() + payload
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "content-type": "application/json",
        "x-gitlab-event": "Push Hook",
        "webhook-id": id_,
        "webhook-timestamp": sent_at,
        "webhook-signature": f"v1,{signature}",
    }


def generic(payload: bytes, *, secret: str = SECRET, id_: str = "") -> dict[str, str]:
    """Return the headers of a delivery that is signed as the generic ones are."""
    return {
        "content-type": "application/json",
        "x-delivery-id": id_ or str(uuid4()),
        "x-signature-256": f"sha256={hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()}",
    }


def bearer(*, secret: str = SECRET, content_type: str = "application/cloudevents+json") -> dict[str, str]:
    """Return the headers of a CloudEvent whose sender sends the secret."""
    return {"content-type": content_type, "authorization": f"Bearer {secret}"}


def build(**fields: object) -> bytes:
    """Return what an imagined build service sends: a body for `generic_source`."""
    said = {
        "event": "build.passed",
        "repository": "acme/campus",
        "ref": "main",
        "commit": "c" * 40,
        "by": {"name": "ada"},
    }
    return json.dumps({**said, **fields}).encode()


def cloudevent(**attributes: object) -> dict[str, object]:
    """Return a CloudEvent about a build, as its JSON format writes it, for `cloudevents_source`."""
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "/builds",
        "type": "com.acme.build.passed",
        "data": {"repository": "acme/campus", "ref": "main", "commit": "c" * 40},
        **attributes,
    }


def source(forge: str = "github", rules: tuple[WebhookRule, ...] = (RULE,), **settings: object) -> WebhookSource:
    """Return a source with one secret, which stands in the variable SLIPWAY_TEST_WEBHOOK."""
    return WebhookSource.model_validate(
        {"forge": forge, "secrets": ["env:SLIPWAY_TEST_WEBHOOK"], "rules": list(rules), **settings}
    )


def generic_source(**settings: object) -> WebhookSource:
    """Return the source of an imagined build service, with one secret as `source` has it."""
    fields = {"event": "/event", "repository": "/repository", "ref": "/ref", "commit": "/commit", "actor": "/by/name"}
    rule = {"event": "build.passed", "repository": "acme/campus", "refs": ["main"], "start": "release"}
    parameters = {"service": "campus", "commit": "{commit}", "requested_by": "{actor}"}
    rules = (WebhookRule.model_validate({**rule, "parameters": parameters}),)
    return source("generic", rules, **{"fields": fields, **settings})


def cloudevents_source(**settings: object) -> WebhookSource:
    """Return the source of CloudEvents about builds, with one secret as `source` has it."""
    fields = {"repository": "/data/repository", "ref": "/data/ref", "commit": "/data/commit"}
    rule = {"event": "com.acme.build.passed", "repository": "acme/campus", "refs": ["main"], "start": "release"}
    rules = (WebhookRule.model_validate({**rule, "parameters": {"service": "campus", "commit": "{commit}"}}),)
    return source("cloudevents", rules, **{"fields": fields, "bearer": True, "origins": ["builds.example"], **settings})


def delivery(number: int = 1, **fields: object) -> Delivery:
    """Return a delivery that asks for a release of a commit of its own."""
    event = Event(f"event-{number}", "push", Happening.PUSH, "acme/campus", "main", f"{number:040x}", "ada")
    given: dict[str, object] = {
        "id": f"delivery-{number}",
        "source": "github",
        "event": event,
        "received_at": datetime(2026, 3, 1, 12, 0, number % 60, tzinfo=UTC),
        "start": Start("release", {"service": "campus", "commit": event.commit}, f"action-{number}"),
        "status": Status.WAITING,
    }
    return Delivery(**{**given, **fields})  # type: ignore[arg-type]
