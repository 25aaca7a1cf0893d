import os
import secrets
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from campus.app import create_app
from campus.database import SEED_PASSWORD, learner
from campus.settings import Settings
from starlette.testclient import TestClient


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A schema of its own in the database for tests, so that runs neither meet nor leave anything behind."""
    url = os.environ.get("CAMPUS_TEST_DATABASE_URL")
    if not url:
        pytest.exit("CAMPUS_TEST_DATABASE_URL is not set: give it a PostgreSQL database to test against", 2)
    schema = f"campus_test_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create schema {schema}")
        try:
            yield f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{schema}"
        finally:
            connection.execute(f"drop schema {schema} cascade")


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(port=0, database_url=database_url, token_secret=secrets.token_hex(), release="r1")


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        deadline = time.monotonic() + 30
        while client.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline, "campus did not become ready"
            time.sleep(0.02)
        yield client


@pytest.fixture
def signed_in(client: TestClient) -> dict[str, str]:
    answer = client.post("/api/v1/auth/login", json={"email": learner(1), "password": SEED_PASSWORD})
    return {"Authorization": f"Bearer {answer.json()['token']}"}


@pytest.fixture
def metric(client: TestClient) -> Callable[[str], float]:
    """Returns the value of the one series that starts with a text."""

    def value(series: str) -> float:
        (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith(series)]
        return float(line.rpartition(" ")[2])

    return value
