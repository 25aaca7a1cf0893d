from collections.abc import Callable
from dataclasses import replace

import pytest
from campus.app import create_app
from campus.database import Database
from campus.settings import Settings
from starlette.testclient import TestClient

Metric = Callable[[str], float]


def test_every_answer_names_the_release(client: TestClient) -> None:
    for path in ("/health", "/metrics", "/api/v1/courses", "/api/v1/users/me", "/nowhere"):
        assert client.get(path).headers["x-release"] == "r1"


def test_health_names_release_and_database(client: TestClient) -> None:
    assert client.get("/health").json() == {"name": "campus", "release": "r1", "database": "reachable"}


def test_without_a_database_the_instance_is_alive_but_not_ready(settings: Settings) -> None:
    nowhere = replace(settings, database_url="postgresql://127.0.0.1:1/none")
    with TestClient(create_app(nowhere)) as client:
        assert client.get("/health/live").status_code == 200
        answer = client.get("/health")
    assert (answer.status_code, answer.json()["database"]) == (503, "unreachable")


def test_series_exist_before_the_first_request(client: TestClient, metric: Metric) -> None:
    route = 'release="r1",route="/api/v1/enrolments"'
    assert metric(f'campus_http_requests_total{{method="POST",{route},status="5xx"}}') == 0
    assert metric(f'campus_http_request_duration_seconds_bucket{{le="2.0",method="POST",{route}}}') == 0
    for name in ("campus_enrolments_total", "campus_user_reports_total", "campus_unhandled_errors_total"):
        assert metric(f'{name}{{release="r1"}}') == 0


def test_requests_are_counted_by_route_and_those_of_machines_are_not(client: TestClient, metric: Metric) -> None:
    before = client.get("/metrics").text
    client.get("/health"), client.get("/health/live"), client.get("/health/ready")
    assert client.get("/metrics").text == before
    client.get("/api/v1/courses/1"), client.get("/api/v1/courses/2"), client.get("/api/v1/courses/99")
    route = 'release="r1",route="/api/v1/courses/{course_id}"'
    assert metric(f'campus_http_requests_total{{method="GET",{route},status="2xx"}}') == 2
    assert metric(f'campus_http_requests_total{{method="GET",{route},status="4xx"}}') == 1
    assert metric(f'campus_http_request_duration_seconds_count{{method="GET",{route}}}') == 3


def test_strange_paths_and_methods_share_one_series(client: TestClient, metric: Metric) -> None:
    client.get("/nowhere"), client.delete("/api/v1/courses"), client.request("BREW", "/coffee")
    assert metric('campus_http_requests_total{method="other",release="r1",route="other",status="4xx"}') == 3


def test_enrolments_and_user_reports_are_counted(client: TestClient, metric: Metric, signed_in: dict[str, str]) -> None:
    client.post("/api/v1/enrolments", json={"course_id": 1}, headers=signed_in)
    assert client.post("/api/v1/reports", json={"message": "the video stops"}).status_code == 201
    assert client.post("/api/v1/reports", json={}).status_code == 400
    assert metric("campus_enrolments_total") == 1
    assert metric("campus_user_reports_total") == 1


def test_bug_becomes_an_answer_and_is_counted(
    client: TestClient, metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Database) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Database, "courses", broken)
    answer = client.get("/api/v1/courses")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    assert answer.headers["x-release"] == "r1"
    assert metric("campus_unhandled_errors_total") == 1
    assert metric('campus_http_requests_total{method="GET",release="r1",route="/api/v1/courses",status="5xx"}') == 1


def test_lost_database_is_an_answer_and_no_bug(
    client: TestClient, metric: Metric, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = Database("postgresql://127.0.0.1:1/none")
    monkeypatch.setattr(client.app.state, "database", nowhere)
    assert client.get("/api/v1/courses").status_code == 503
    assert metric("campus_unhandled_errors_total") == 0


def test_missing_settings_are_all_named_at_once() -> None:
    with pytest.raises(SystemExit, match="PORT, CAMPUS_TOKEN_SECRET not set"):
        Settings.read({"CAMPUS_DATABASE_URL": "x"})


def test_release_has_a_name_even_if_nobody_gave_it_one() -> None:
    given = {"PORT": "1", "CAMPUS_DATABASE_URL": "x", "CAMPUS_TOKEN_SECRET": "y"}
    assert Settings.read(given).release == "unreleased"
    assert Settings.read({**given, "SLIPWAY_RELEASE": "r7"}).release == "r7"
