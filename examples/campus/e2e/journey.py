"""A learner's journey through a running campus: log in, choose a course, enrol, read the enrolment back.

Usage: SLIPWAY_URL=http://HOST:PORT python e2e/journey.py
"""

import os
import sys

import httpx

LEARNER = {
    "email": "learner2@campus.example",
    "password": "learn something new",  # pragma: allowlist secret (seeded, and meant to be known)
}


def journey(url: str) -> str:
    """Return what was done; raises when a step did not go as a learner expects."""
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as campus:
        token = _step(campus.post("/api/v1/auth/login", json=LEARNER), 200)["token"]
        course = _step(campus.get("/api/v1/courses"), 200)["courses"][0]
        headers = {"Authorization": f"Bearer {token}"}
        made = _step(campus.post("/api/v1/enrolments", json={"course_id": course["id"]}, headers=headers), 201)
        kept = _step(campus.get("/api/v1/users/me", headers=headers), 200)["enrolments"]
    if made["id"] not in [enrolment["id"] for enrolment in kept]:
        raise SystemExit(f"enrolment {made['id']} was made, but is not among the learner's enrolments")
    return f"learner 2 enrolled in '{course['title']}' and reads it back"


def _step(answer: httpx.Response, expected: int) -> dict:
    if answer.status_code != expected:
        request = answer.request
        raise SystemExit(f"{request.method} {request.url.path}: {answer.status_code} instead of {expected}")
    return answer.json()


if __name__ == "__main__":
    if not os.environ.get("SLIPWAY_URL"):
        raise SystemExit("SLIPWAY_URL is not set: say where campus is to be tried")
    sys.stdout.write(journey(os.environ["SLIPWAY_URL"]) + "\n")
