"""Whatever is sent through a real HTTP server: it starts nothing that it should not, and never ends in an error 5xx."""

import html
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from deployments.receiver.app import BODY_AT_MOST_BYTES
from tasks.common.webhooks import WebhookRule
from tests.support.deliveries import RULE, SECRET, bearer, body, build, cloudevent, generic, github, gitlab, source
from tests.support.processes import wait_until
from tests.support.receiving import Receiving, exchange, request

pytestmark = pytest.mark.server
PUSH = body("github/push.branch.json")
OPEN = PUSH.rstrip()[:-1]
"""It, up to its last brace."""
EVENT = json.dumps(cloudevent()).encode()


@pytest.fixture(scope="module")
def monkey() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def served(monkey: pytest.MonkeyPatch) -> Iterator[tuple[Receiving, int]]:
    monkey.setenv("SLIPWAY_TEST_WEBHOOK", SECRET)
    place = Receiving()
    with place.served() as port:
        yield place, port


@pytest.fixture
def port(served: tuple[Receiving, int]) -> Iterator[int]:
    """The receiver's port; afterwards it has kept and started nothing, and is well."""
    place, port = served
    before = len(place.deliveries.latest(10_000))
    yield port
    assert len(place.deliveries.latest(10_000)) == before
    assert place.asked == {}
    assert httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200


def signed(name: str, payload: bytes) -> dict[str, str]:
    """Return headers that prove who sends it, whatever it is."""
    headers = {"github": github(payload), "gitlab": gitlab(), "generic": generic(payload), "events": bearer()}
    return headers[name]


SENDERS = ("github", "gitlab", "generic", "events")
assert json.loads(OPEN + b',"x":1}')
each_sender = pytest.mark.parametrize("name", SENDERS)
NO_JSON = {
    "nothing": b"",
    "half of it": PUSH[: len(PUSH) // 2],
    "100,000 lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100 levels": b'{"a":' * 100 + b"1" + b"}" * 100,
    "no end of lists": b"[" * 1_000_000,
    "NaN": OPEN + b',"x":NaN}',
    "Infinity": OPEN + b',"x":-Infinity}',
    "a number beyond all": OPEN + b',"x":1e400}',
    "a key twice": OPEN + b',"ref":"refs/heads/master"}',
    "a key twice, deep inside": OPEN + b',"x":[{"a":1,"a":1}]}',
    "invalid UTF-8": OPEN + b',"x":"\xc3\x28"}',
    "overlong UTF-8": OPEN + b',"x":"\xc0\xaf"}',
    "UTF-16": PUSH.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + PUSH,
    "half a character": OPEN + b',"x":"\\ud800"}',
    "half a character as a key": OPEN + b',"\\udc00":1}',
    "NUL": OPEN + b',"x":"a\\u0000b"}',
    "NUL itself": OPEN + b',"x":"a\0b"}',
    "a number of 100,000 digits": OPEN + b',"x":' + b"7" * 100_000 + b"}",
    "two documents": PUSH + PUSH,
    "a list": b"[" + PUSH + b"]",
    "a number": b"7",
    "YAML": b"ref: refs/heads/master",
}


@each_sender
@pytest.mark.parametrize("payload", NO_JSON.values(), ids=NO_JSON)
def test_signed_body_that_is_no_plain_json_object_is_refused(port: int, name: str, payload: bytes) -> None:
    answer = httpx.post(f"http://127.0.0.1:{port}/webhooks/{name}", content=payload, headers=signed(name, payload))
    assert (answer.status_code, set(answer.json())) == (400, {"error", "next"}), answer.text


@each_sender
@pytest.mark.parametrize("told", [True, False], ids=["its length is told", "in pieces"])
@pytest.mark.parametrize("size", [BODY_AT_MOST_BYTES + 1, 10_000_000])
def test_body_that_is_too_large_is_refused(
    served: tuple[Receiving, int], port: int, name: str, size: int, told: bool
) -> None:
    payload = b'{"x":"' + b"y" * (size - 8) + b'"}'
    pieces = (payload[place : place + 65_536] for place in range(0, size, 65_536))
    served[0].seen.refused.clear()
    # It is closed while the rest is still on its way: not every sender gets to see the answer.
    with suppress(httpx.TransportError):
        answer = httpx.post(
            f"http://127.0.0.1:{port}/webhooks/{name}",
            content=payload if told else pieces,
            headers=signed(name, payload),
        )
        assert answer.status_code == 413
    assert [refused.status for refused in served[0].seen.refused] == [413]


CONTENT_TYPES = (
    "",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "application/jsonx",
    "application/json; charset=utf-16",
    "application/json, text/plain",
    "application/cloudevents-batch+json",
    "\xff",
)


@each_sender
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_body_of_another_type_is_refused(port: int, name: str, content_type: str) -> None:
    headers = {**signed(name, PUSH), "content-type": content_type}
    status, answer = exchange(port, request(f"/webhooks/{name}", list(headers.items()), PUSH))
    assert status == 415
    assert ("each be sent by itself" in answer.decode()) is (name == "events" and "batch" in content_type)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PROPFIND"])
def test_other_methods_are_refused(port: int, method: str) -> None:
    status, _ = exchange(port, request("/webhooks/github", list(github(PUSH).items()), PUSH, method))
    assert status in (400, 404, 405)


def repeated(headers: dict[str, str], name: str, *values: str) -> list[tuple[str, str]]:
    """Return the headers with one of them sent several times."""
    return [item for item in headers.items() if item[0] != name] + [(name, value) for value in values]


GOOD, WRONG = github(PUSH)["x-hub-signature-256"], github(PUSH, secret="wrong")["x-hub-signature-256"]
TWICE: dict[str, tuple[int, str, list[tuple[str, str]], bytes]] = {
    "right, then wrong": (401, "github", repeated(github(PUSH), "x-hub-signature-256", GOOD, WRONG), PUSH),
    "wrong, then right": (401, "github", repeated(github(PUSH), "x-hub-signature-256", WRONG, GOOD), PUSH),
    "right twice": (401, "github", repeated(github(PUSH), "x-hub-signature-256", GOOD, GOOD), PUSH),
    "in one line": (401, "github", repeated(github(PUSH), "x-hub-signature-256", f"{GOOD}, {GOOD}"), PUSH),
    "two tokens": (401, "gitlab", repeated(gitlab(), "x-gitlab-token", "wrong", SECRET), PUSH),
    "two bearers": (401, "events", repeated(bearer(), "authorization", "Bearer x", f"Bearer {SECRET}"), EVENT),
    "two events": (400, "github", repeated(github(PUSH), "x-github-event", "ping", "push"), PUSH),
    "two ids": (400, "github", repeated(github(PUSH), "x-github-delivery", "one", "two"), PUSH),
    "two types": (415, "github", repeated(github(PUSH), "content-type", *["application/json"] * 2), PUSH),
    "two ids of a build": (400, "generic", repeated(generic(build()), "x-delivery-id", "1", "2"), build()),
}


@pytest.mark.parametrize(("status", "name", "headers", "payload"), TWICE.values(), ids=TWICE)
def test_header_that_counts_and_is_there_twice_is_refused(
    port: int, status: int, name: str, headers: list[tuple[str, str]], payload: bytes
) -> None:
    assert exchange(port, request(f"/webhooks/{name}", headers, payload))[0] == status


HEAD = "\r\n".join(
    ["POST /webhooks/github HTTP/1.1", "host: x", "connection: close", *(f"{k}: {v}" for k, v in github(PUSH).items())]
)
SIZE = f"content-length: {len(PUSH)}"
CHUNKED = "transfer-encoding: chunked"
SMUGGLED: dict[str, bytes] = {
    "two lengths": f"{HEAD}\r\n{SIZE}\r\ncontent-length: 5\r\n\r\n".encode() + PUSH,
    "a length and pieces": f"{HEAD}\r\n{SIZE}\r\n{CHUNKED}\r\n\r\n0\r\n\r\n".encode() + PUSH,
    "another coding": f"{HEAD}\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".encode(),
    "a length that is none": f"{HEAD}\r\ncontent-length: 0x10\r\n\r\n".encode() + PUSH,
    "a length below nothing": f"{HEAD}\r\ncontent-length: -1\r\n\r\n".encode() + PUSH,
    "a length of 5,000 digits": f"{HEAD}\r\ncontent-length: {'9' * 5000}\r\n\r\n".encode() + PUSH,
    "a piece without its size": f"{HEAD}\r\n{CHUNKED}\r\n\r\nxyz\r\n".encode() + PUSH,
    "a piece that ends early": f"{HEAD}\r\n{CHUNKED}\r\n\r\nffff\r\n".encode() + PUSH[:100],
    "a space before the colon": f"{HEAD}\r\n{SIZE}\r\nx-hub-signature-256 : {GOOD}\r\n\r\n".encode() + PUSH,
    "a folded line": f"{HEAD}\r\n{SIZE}\r\nx-a: b\r\n c\r\nx-github-event: x\r\n\r\n".encode() + PUSH,
    "a NUL in a header": f"{HEAD}\r\n{SIZE}\r\nx-a: b\0c\r\n\r\n".encode() + PUSH,
    "1 MB of headers": f"{HEAD}\r\n{SIZE}\r\nx-a: {'b' * 1_000_000}\r\n\r\n".encode() + PUSH,
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + PUSH,
    "another version": HEAD.replace("HTTP/1.1", "HTTP/9.9").encode() + b"\r\n\r\n",
}


@pytest.mark.parametrize("sent", SMUGGLED.values(), ids=SMUGGLED)
def test_request_that_two_servers_could_read_differently_starts_nothing(port: int, sent: bytes) -> None:
    status, _ = exchange(port, sent, within_s=1)
    assert status == 0 or 400 <= status < 500


@pytest.mark.parametrize(
    "path", ["/webhooks/", "/webhooks/GitHub", "/webhooks/github%00", "/webhooks/nobody", "/webhooks/..%2fgithub/x"]
)
def test_address_that_no_source_has_is_refused(port: int, path: str) -> None:
    assert exchange(port, request(path, list(github(PUSH).items()), PUSH))[0] in (404, 405)


def test_sources_do_not_take_what_another_kind_of_sender_proves_itself_with(port: int) -> None:
    for name in SENDERS:
        for other in set(SENDERS) - {name}:
            payload = EVENT if name == "events" else PUSH
            headers = {**signed(other, payload), "content-type": "application/json"}
            status, _ = exchange(port, request(f"/webhooks/{name}", list(headers.items()), payload))
            # A CloudEvent may be signed as the generic ones are; but it is none without its attributes.
            assert status == (400 if (name, other) == ("events", "generic") else 401), (name, other)


# --- what is right, through the same server


def test_body_in_pieces_is_taken_where_it_is_right(served: tuple[Receiving, int]) -> None:
    place = Receiving()
    with place.served() as port:
        pieces = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (PUSH[:7], PUSH[7:]))
        sent = f"{HEAD}\r\n{CHUNKED}\r\n\r\n".encode() + pieces + b"0\r\n\r\n"
        assert exchange(port, sent)[0] == 202
        wait_until(lambda: len(place.asked) == 1, what="the run")


def test_signed_json_and_cloudevents_in_both_modes_start_their_runs_once(served: tuple[Receiving, int]) -> None:
    place = Receiving()
    payload, data = build(), json.dumps({**cloudevent()["data"], "commit": "e" * 40}).encode()  # type: ignore[dict-item]
    attributes = {f"ce-{name}": str(value) for name, value in cloudevent(id="2").items() if name != "data"}
    binary = {**bearer(content_type="application/json"), **attributes}
    with place.served() as port:
        for _ in range(2):
            for name, headers, sent in (
                ("generic", generic(payload, id_="1"), payload),
                ("events", bearer(), EVENT),
                ("events", binary, data),
            ):
                answer = httpx.post(f"http://127.0.0.1:{port}/webhooks/{name}", content=sent, headers=headers)
                assert answer.status_code == 202, answer.text
        wait_until(lambda: len(place.deliveries.latest(9)) == 3, what="the deliveries")
    commits = [start["commit"] for start in place.asked.values()]
    # The build service and the first CloudEvent ask for the same commit.
    assert sorted(commits) == ["c" * 40, "e" * 40]


def test_handshake_is_answered_for_who_is_named_and_for_nobody_else(served: tuple[Receiving, int]) -> None:
    _, port = served

    def asked(name: str, origin: str | None) -> httpx.Response:
        headers = {"webhook-request-callback": f"http://127.0.0.1:{port}/nobody-is-called"}
        headers |= {} if origin is None else {"webhook-request-origin": origin}
        return httpx.options(f"http://127.0.0.1:{port}/webhooks/{name}", headers=headers)

    answer = asked("events", "builds.example")
    assert answer.status_code == 200
    assert answer.headers["webhook-allowed-origin"] == "builds.example"
    assert (answer.headers["webhook-allowed-rate"], answer.headers["allow"]) == ("6000", "POST")
    for name, origin, status in (
        ("events", "evil.example", 403),
        ("events", "*", 403),
        ("events", "", 403),
        ("events", None, 403),
        ("github", "builds.example", 405),
        ("generic", "builds.example", 405),
        ("nobody", "builds.example", 404),
    ):
        answer = asked(name, origin)
        assert answer.status_code == status
        assert not [header for header in answer.headers if header.startswith("webhook-allowed")]


# --- text that would be code elsewhere

NASTY = [
    "{commit}",
    "{{7*7}}",
    "{0.__class__}",
    "${jndi:ldap://127.0.0.1/x}",
    "$(id)",
    "`id`",
    "; rm -rf /",
    "%(commit)s",
    "<script>alert(1)</script>",
    "' or 1=1 --",
    "--upload-pack=id",
    "[red]x[/red]",
    "\u00e4\U0001f600",
]
REFUSED = ["a\nb", "a\r\nx-github-event: push", "\u202egnp.exe", "\u200b", "a\tb", "\x1b[31m", "x" * 501]
EVERY_BRANCH = RULE.model_copy(
    update={
        "refs": ["**"],
        "parameters": {"branch": "{branch}", "twice": "{branch}{branch}", "requested_by": "{actor} by {branch}"},
    }
)


def pushed(branch: str, message: str = "", login: str = "ada") -> bytes:
    value: Any = json.loads(PUSH)
    value["ref"], value["sender"]["login"] = f"refs/heads/{branch}", login
    value["head_commit"]["message"] = value["commits"] = message
    return json.dumps(value).encode()


def sent_to(rule: WebhookRule, payload: bytes) -> tuple[httpx.Response, Receiving, str]:
    """Return the answer, the receiver, and what its page shows as text."""
    place = Receiving(github=source(rules=(rule,)))
    with place.served() as port:
        answer = httpx.post(f"http://127.0.0.1:{port}/webhooks/github", content=payload, headers=github(payload))
        if answer.status_code == 202:
            wait_until(lambda: len(place.asked) == 1, what="the run")
    page = TestClient(place.inside).get("/").text
    cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>([^<]*)</td>", page)]
    return answer, place, "\n".join(cells)


@pytest.mark.parametrize("text", NASTY)
def test_text_that_is_code_elsewhere_arrives_as_plain_text(served: tuple[Receiving, int], text: str) -> None:
    answer, place, page = sent_to(EVERY_BRANCH, pushed(text, message=text, login=text))
    assert answer.status_code == 202
    (parameters,) = place.asked.values()
    assert parameters == {"branch": text, "twice": text + text, "requested_by": f"{text} by {text}"}
    assert page.splitlines().count(text) == 2, "the branch, and who has pushed"


@pytest.mark.parametrize("text", REFUSED, ids=[repr(text)[:20] for text in REFUSED])
def test_text_that_would_not_look_like_what_it_is_is_refused(served: tuple[Receiving, int], text: str) -> None:
    answer, place, page = sent_to(EVERY_BRANCH, pushed(text))
    assert answer.status_code == 400
    assert (place.asked, place.deliveries.latest(1)) == ({}, ())
    assert text not in page
    # In a commit's message, which nothing is taken from, it does no harm.
    answer, place, page = sent_to(EVERY_BRANCH, pushed("main", message=text))
    assert (answer.status_code, text in page) == (202, False)
    assert [parameters["branch"] for parameters in place.asked.values()] == ["main"]
