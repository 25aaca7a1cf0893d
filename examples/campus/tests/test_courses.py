from starlette.testclient import TestClient


def test_courses_come_from_the_database(client: TestClient) -> None:
    answer = client.get("/api/v1/courses")
    assert answer.status_code == 200
    assert [course["id"] for course in answer.json()["courses"]] == list(range(1, 17))


def test_one_course_is_shown_by_its_number(client: TestClient) -> None:
    assert client.get("/api/v1/courses/3").json()["title"] == "Weather for sailors"
    assert client.get("/api/v1/courses/99").status_code == 404


def test_export_holds_every_lesson(client: TestClient) -> None:
    answer = client.get("/api/v1/export")
    assert answer.headers["content-type"].startswith("text/csv")
    lines = answer.text.splitlines()
    assert len(lines) == sum(course["lessons"] for course in client.get("/api/v1/courses").json()["courses"])
    assert 900_000 < len(answer.content) < 1_100_000


def test_progress_counts_enrolments(client: TestClient, signed_in: dict[str, str]) -> None:
    client.post("/api/v1/enrolments", json={"course_id": 12}, headers=signed_in)
    rows = client.get("/api/v1/progress?seconds=0").json()["progress"]
    assert {row["course_id"]: row["enrolments"] for row in rows}[12] == 1


def test_progress_refuses_a_wait_that_is_no_number_or_too_long(client: TestClient) -> None:
    for seconds in ("soon", "-1", "5.1", "nan"):
        assert client.get(f"/api/v1/progress?seconds={seconds}").status_code == 400
