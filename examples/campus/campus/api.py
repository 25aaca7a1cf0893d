"""The endpoints."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from campus.database import Database, Row
from campus.metrics import Metrics
from campus.security import hash_password, issue_token, password_matches, read_token
from campus.settings import Settings

_SLOWEST_S = 5.0
_LESSON_BYTES = 3000
# Checked against when there is no such user, so that the time of an answer does not tell who has an account.
_NOBODY = hash_password("nobody")


async def list_courses(request: Request) -> Response:
    return JSONResponse({"courses": await _database(request).courses()})


async def show_course(request: Request) -> Response:
    course = await _database(request).course(request.path_params["course_id"])
    if course is None:
        raise HTTPException(404, "no such course")
    return JSONResponse(course)


async def log_in(request: Request) -> Response:
    body = await _body(request, email=str, password=str)
    user = await _database(request).user_to_log_in(body["email"])
    # In a thread: hashing is meant to take its time, and everybody else would wait for it.
    right = await asyncio.to_thread(password_matches, body["password"], user["password"] if user else _NOBODY)
    if user is None or not right:
        raise HTTPException(401, "wrong e-mail address or password")
    return JSONResponse({"token": issue_token(user["id"], _settings(request).token_secret)})


async def show_me(request: Request) -> Response:
    user_id = _signed_in(request)
    user = await _database(request).user(user_id)
    if user is None:
        raise _unauthorised()
    return JSONResponse({**user, "enrolments": await _database(request).enrolments(user_id)})


async def enrol(request: Request) -> Response:
    user_id = _signed_in(request)
    body = await _body(request, course_id=int)
    enrolment = await _database(request).enrol(user_id, body["course_id"])
    if enrolment is None:
        raise HTTPException(404, "no such course")
    _metrics(request).enrolments.inc()
    return JSONResponse(enrolment, 201)


async def show_progress(request: Request) -> Response:
    """Answer after `seconds`: the report that is slow in every school."""
    try:
        wait_s = float(request.query_params.get("seconds", "2"))
    except ValueError:
        raise HTTPException(400, "seconds must be a number") from None
    if not 0 <= wait_s <= _SLOWEST_S:
        raise HTTPException(400, f"seconds must be from 0 to {_SLOWEST_S:g}")
    rows = await _database(request).progress()
    # Without a connection in hand: a few reports at a time would hold the whole pool.
    await asyncio.sleep(wait_s)
    return JSONResponse({"progress": rows})


async def export(request: Request) -> Response:
    """Stream every lesson of every course, about a megabyte."""
    courses = await _database(request).courses()

    async def pages() -> AsyncIterator[bytes]:
        for course in courses:
            yield "".join(_lesson(course, number) for number in range(1, course["lessons"] + 1)).encode()

    return StreamingResponse(pages(), media_type="text/csv")


async def report(request: Request) -> Response:
    body = await _body(request, message=str)
    await _database(request).report(body["message"])
    _metrics(request).user_reports.inc()
    return JSONResponse({"thanks": "we will look at it"}, 201)


async def health(request: Request) -> Response:
    reachable = await _database(request).reachable()
    facts = {
        "name": "campus",
        "release": _settings(request).release,
        "database": "reachable" if reachable else "unreachable",
    }
    return JSONResponse(facts, 200 if reachable else 503)


async def live(request: Request) -> Response:
    del request
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    reachable = await _database(request).reachable()
    return JSONResponse({"ready": reachable}, 200 if reachable else 503)


async def show_metrics(request: Request) -> Response:
    return Response(_metrics(request).text(), media_type="text/plain; version=0.0.4; charset=utf-8")


ROUTES = [
    Route("/api/v1/courses", list_courses),
    Route("/api/v1/courses/{course_id:int}", show_course),
    Route("/api/v1/auth/login", log_in, methods=["POST"]),
    Route("/api/v1/users/me", show_me),
    Route("/api/v1/enrolments", enrol, methods=["POST"]),
    Route("/api/v1/progress", show_progress),
    Route("/api/v1/export", export),
    Route("/api/v1/reports", report, methods=["POST"]),
]
FOR_MACHINES = [
    Route("/health", health),
    Route("/health/live", live),
    Route("/health/ready", ready),
    Route("/metrics", show_metrics),
]


def _lesson(course: Row, number: int) -> str:
    text = f"{course['title']}, lesson {number}. "
    return f"{course['id']},{number},{(text * (_LESSON_BYTES // len(text)))}\n"


def _database(request: Request) -> Database:
    return request.app.state.database


def _metrics(request: Request) -> Metrics:
    return request.app.state.metrics


def _settings(request: Request) -> Settings:
    return request.app.state.settings


def _signed_in(request: Request) -> int:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    user_id = read_token(token, _settings(request).token_secret) if kind.lower() == "bearer" else None
    if user_id is None:
        raise _unauthorised()
    return user_id


def _unauthorised() -> HTTPException:
    return HTTPException(401, "log in first", {"WWW-Authenticate": "Bearer"})


async def _body(request: Request, **fields: type) -> dict[str, Any]:
    """Return the JSON body, which has exactly these fields, of these types."""
    try:
        body = await request.json()
    except ValueError:
        raise HTTPException(400, "expected a JSON body") from None
    if not isinstance(body, dict) or {name: type(value) for name, value in body.items()} != fields:
        raise HTTPException(400, f"expected {', '.join(f'{n} ({t.__name__})' for n, t in fields.items())}")
    return body
