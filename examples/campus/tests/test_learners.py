import pytest
from campus.database import SEED_PASSWORD, learner
from campus.security import hash_password, issue_token, password_matches, read_token
from starlette.testclient import TestClient


def test_wrong_password_and_unknown_user_are_refused_alike(client: TestClient) -> None:
    wrong = client.post("/api/v1/auth/login", json={"email": learner(1), "password": "guess"})
    unknown = client.post("/api/v1/auth/login", json={"email": "nobody@campus.example", "password": "guess"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.content == unknown.content


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"email": "a"}', b'{"email": 1, "password": "x"}'])
def test_log_in_without_a_proper_body_is_a_bad_request(client: TestClient, body: bytes) -> None:
    assert client.post("/api/v1/auth/login", content=body).status_code == 400


def test_nobody_sees_a_user_without_a_token(client: TestClient) -> None:
    for headers in ({}, {"Authorization": "Bearer x.y"}, {"Authorization": "Basic x"}):
        answer = client.get("/api/v1/users/me", headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_enrolment_is_read_back(client: TestClient, signed_in: dict[str, str]) -> None:
    answer = client.post("/api/v1/enrolments", json={"course_id": 5}, headers=signed_in)
    assert answer.status_code == 201
    me = client.get("/api/v1/users/me", headers=signed_in).json()
    assert me["email"] == learner(1)
    assert me["enrolments"][0] == answer.json()


def test_enrolment_needs_a_token_and_a_course(client: TestClient, signed_in: dict[str, str]) -> None:
    assert client.post("/api/v1/enrolments", json={"course_id": 5}).status_code == 401
    assert client.post("/api/v1/enrolments", json={"course_id": 99}, headers=signed_in).status_code == 404
    assert client.post("/api/v1/enrolments", json={"course_id": "5"}, headers=signed_in).status_code == 400


def test_password_matches_only_itself() -> None:
    kept = hash_password(SEED_PASSWORD)
    assert SEED_PASSWORD not in kept
    assert password_matches(SEED_PASSWORD, kept)
    assert not password_matches(SEED_PASSWORD + " ", kept)
    assert kept != hash_password(SEED_PASSWORD)


def test_token_is_worth_nothing_when_forged_damaged_or_old() -> None:
    token = issue_token(7, "key", now=1000.0)
    assert read_token(token, "key", now=1001.0) == 7
    assert read_token(token, "other key", now=1001.0) is None
    assert read_token("A" + token, "key", now=1001.0) is None
    assert read_token("", "key") is None
    assert read_token(token, "key", now=1000.0 + 8 * 3600 + 1) is None
