"""A fake of GitHub's and GitLab's API for commit statuses, as a real HTTP server: the real ones cannot be had here."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.support.http_server import Request, answering, plain

TOKEN = "planted-forge-token-4711"


@dataclass
class FakeForge:
    """Takes statuses as both forges do, and keeps them; answers with the next of `answers` if there is one.

    It is strict about what the real ones are strict about: the token, the length of a description, the states, and as
    GitLab does it refuses to make a pending status pending.
    """

    url: str = ""
    answers: list[list[bytes]] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, request: Request) -> list[bytes]:
        self.asked.append(request)
        if self.answers:
            return self.answers.pop(0)
        body = json.loads(request.body)
        parts = [unquote(part) for part in request.path.split("/")[1:]]
        if parts[0] == "repos" and parts[-2] == "statuses":
            return self._github(request, "/".join(parts[1:-2]), parts[-1], body)
        if parts[:3] == ["api", "v4", "projects"] and len(parts) == 6:
            return self._gitlab(request, parts[3], parts[5], body)
        return plain(404, '{"message":"Not Found"}')

    def _github(self, request: Request, repository: str, sha: str, body: dict[str, Any]) -> list[bytes]:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return plain(401, '{"message":"Bad credentials"}')
        if body["state"] not in ("pending", "success", "failure", "error") or len(body["description"]) > 140:
            return plain(422, '{"message":"Validation Failed"}')
        return self._take(repository, sha, body["context"], body)

    def _gitlab(self, request: Request, repository: str, sha: str, body: dict[str, Any]) -> list[bytes]:
        if request.headers.get("private-token") != TOKEN:
            return plain(401, '{"message":"401 Unauthorized"}')
        if body["state"] not in ("pending", "running", "success", "failed", "canceled"):
            return plain(400, '{"error":"state does not have a valid value"}')
        if body["state"] == "pending" and self.states(sha)[-1:] == ["pending"]:
            return plain(400, '{"message":"Cannot transition status via :enqueue from :pending (Reason(s): ...)"}')
        return self._take(repository, sha, body["name"], body)

    def _take(self, repository: str, sha: str, name: str, body: dict[str, Any]) -> list[bytes]:
        self.taken.append({**body, "repository": repository, "commit": sha, "name": name})
        return plain(201, "{}")

    def states(self, commit: str = "") -> list[str]:
        """Return the states that it was told, of one commit or of all, in order."""
        return [each["state"] for each in self.taken if commit in ("", each["commit"])]


@contextlib.contextmanager
def fake_forge() -> Iterator[FakeForge]:
    """Yield a fake forge that listens on 127.0.0.1."""
    forge = FakeForge()
    with answering(forge.answer) as forge.url:
        yield forge
