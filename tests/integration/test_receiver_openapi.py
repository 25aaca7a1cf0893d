"""What the receiver's OpenAPI documents say, and requests that schemathesis makes from them: none ends in an error 5xx.

They are the same in every run, through a real HTTP server: unsigned as they are made, and signed on their way.
"""

import itertools
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import HypothesisException
from prometheus_client import generate_latest
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.support.deliveries import SECRET, bearer, generic, github, gitlab, source
from tests.support.receiving import Receiving, serving

pytestmark = pytest.mark.server
EXAMPLES = 60
SENDERS = ("github", "gitlab", "generic", "events")
EVENTS = ("push", "pull_request", "release", "workflow_run")
App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class Signing:
    """In front of the application: every delivery is signed, as one of the sources would, for one of its events."""

    def __init__(self, app: App) -> None:
        self._app, self._number = app, 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self._number += 1
        name, event = SENDERS[self._number % 4], EVENTS[self._number // 4 % 4]
        hook = {"push": "Push Hook", "pull_request": "Merge Request Hook", "release": "Release Hook"}
        made = {
            "github": github(body, event=event),
            "gitlab": gitlab(event=hook.get(event, "Pipeline Hook")),
            "generic": generic(body),
            "events": bearer(),
        }
        scope["path"] = scope["raw_path"] = f"/webhooks/{name}"
        scope["headers"] = [(key.encode(), value.encode()) for key, value in made[name].items()]
        whole = iter([{"type": "http.request", "body": body}])

        async def again() -> Any:
            return next(whole, None) or await receive()

        await self._app(scope, again, send)


def problems(app: Any, document: dict[str, Any]) -> list[str]:
    """Return what the answers to made requests have against them, by operation."""
    found, numbers = [], itertools.count()
    with serving(app) as port:
        schema = schemathesis.openapi.from_dict(document)
        for result in schema.get_all_operations():
            operation = result.ok()

            @given(case=operation.as_strategy())
            @settings(
                max_examples=EXAMPLES,
                derandomize=True,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )
            def try_one(case: Any) -> None:
                # Any name is most often none that there is.
                if (number := next(numbers)) % 2 and "source" in case.path_parameters:
                    case.path_parameters["source"] = SENDERS[number // 2 % 4]
                answer = case.call(base_url=f"http://127.0.0.1:{port}")
                checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
                case.validate_response(answer, checks=checks)

            try:
                try_one()
            except (FailureGroup, HypothesisException) as error:
                found.append(f"{operation.label}: {error}")
    return found


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiving]:
    monkeypatch.setenv("SLIPWAY_TEST_WEBHOOK", SECRET)
    # As many as are made here are let through at once.
    fast: dict[str, Any] = {"per_second": 1000, "burst": 10_000}
    yield Receiving(github=source(**fast))


def test_no_made_request_ends_in_an_error_or_in_an_answer_that_is_not_described(place: Receiving) -> None:
    assert problems(place.app, place.app.openapi()) == []
    assert place.deliveries.latest(1) == ()


def test_no_made_body_that_is_signed_ends_in_an_error(place: Receiving) -> None:
    assert problems(Signing(place.app), place.app.openapi()) == []
    assert place.asked == {}
    figures = generate_latest(place.seen.registry).decode()
    assert 'refused_total{code="400"}' in figures, "what is signed was looked into"
    assert 'refused_total{code="401"}' not in figures, "everything is signed"


def test_no_made_request_to_the_page_ends_in_an_error(place: Receiving) -> None:
    assert problems(place.inside, place.inside.openapi()) == []


def test_planted_fault_is_found() -> None:
    app = FastAPI()

    @app.post("/webhooks/{source}")
    async def take(source: str, body: dict[str, int]) -> dict[str, int]:
        return {source: 1 // len(body)}

    (problem,) = problems(app, app.openapi())
    assert "Server error" in problem


def test_answer_that_the_document_does_not_have_is_found(place: Receiving) -> None:
    document = place.app.openapi()
    del document["paths"]["/webhooks/{source}"]["post"]["responses"]["404"]
    (problem,) = problems(place.app, document)
    assert "Undocumented status code" in problem


def test_document_describes_every_status_with_its_body(place: Receiving) -> None:
    document = place.app.openapi()
    take = document["paths"]["/webhooks/{source}"]["post"]
    assert set(take["responses"]) == {"202", "400", "401", "404", "408", "413", "415", "429", "503"}
    for status, answer in take["responses"].items():
        wanted = "Taken" if status == "202" else "NotTaken"
        assert answer["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{wanted}"}
    assert {each for each in take["responses"] if "headers" in take["responses"][each]} == {"429", "503"}
    assert take["requestBody"]["required"] is True
    ready = document["paths"]["/health/ready"]["get"]["responses"]
    assert set(ready) == {"200", "503"}
