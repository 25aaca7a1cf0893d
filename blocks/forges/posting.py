"""One POST to a forge's API, and what its answer means."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from blocks.context import Context
from blocks.notifications.post import is_safe
from tasks.common.errors import Refused, Retryable

_BUSY = (408, 425, 429)
_SAYS_BYTES = 4096
_SAYS_SHOWN = 200
DESCRIPTION_AT_MOST = 140
"""*Source:* GitHub's API refuses longer ones; GitLab takes 255 characters."""


@dataclass(frozen=True)
class Answer:
    """What a forge has answered; `later` where it asks to come again."""

    status: int
    says: str
    later: bool


class Api:
    """A forge's API. Redirects and proxies are not followed or used; certificates are checked.

    Args:
        url: where it is; plain http only on this machine.
        timeout_s: longest wait for the connection, and for each part of an answer.
        on: reference to the token, for errors.
        context: redacts.

    Raises:
        Refused: the address is not encrypted, or the token cannot be read.
    """

    def __init__(self, url: str, timeout_s: float, on: str, context: Context) -> None:
        if not is_safe(urlsplit(url)):
            raise Refused(
                "the forge's address is not encrypted: the token could be read on the way",
                on=url,
                next_action="use the https address; http is only for this machine",
            )
        self._url, self._timeout_s, self._on = url.rstrip("/"), timeout_s, on
        self._secrets = context.secrets
        # Now, and not at the first report: a token that is missing would be found out at night.
        self._secrets.resolve(on)

    def token(self) -> str:
        """Return the token as it is now.

        Raises:
            Retryable: it cannot be read any more.
        """
        try:
            return self._secrets.resolve(self._on)
        except Refused as error:
            problem = error
        raise Retryable(
            problem.what, on=problem.on, state="the forge does not show the report", next_action=problem.next_action
        )

    def post(self, path: str, headers: Mapping[str, str], body: Mapping[str, str]) -> Answer:
        """Return what the forge answers. *Idempotent:* as the forge has it.

        Raises:
            Retryable: it does not answer.
        """
        sent = {**headers, "Content-Type": "application/json", "User-Agent": "slipway"}
        deadline = time.monotonic() + self._timeout_s
        try:
            with (
                httpx.Client(trust_env=False, timeout=self._timeout_s) as client,
                client.stream("POST", self._url + path, headers=sent, content=json.dumps(dict(body))) as response,
            ):
                says = b""
                for chunk in response.iter_bytes(_SAYS_BYTES):
                    says += chunk
                    if len(says) >= _SAYS_BYTES or time.monotonic() > deadline:
                        break
                text = says[:_SAYS_BYTES].decode(errors="replace")
                return Answer(response.status_code, text, _is_limited(response))
        # Not chained: some of these carry the request, and with it the token.
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            problem = f"the forge does not answer: {type(error).__name__}"
        raise Retryable(
            problem,
            on=self._url,
            state="it may not show the report",
            next_action="check that the receiver reaches it, and the forge's own status page",
        )

    def require_taken(self, answer: Answer) -> None:
        """The forge has taken the report.

        Raises:
            Retryable: it takes none now.
            Refused: it does not take this one.
        """
        if 200 <= answer.status < 300:
            return
        shown = "".join(each if each.isprintable() else " " for each in self._secrets.redact(answer.says))[:_SAYS_SHOWN]
        said = f", and says: {shown.strip()}" if shown.strip() else ""
        if answer.later or answer.status in _BUSY or answer.status >= 500:
            raise Retryable(
                f"the forge takes no report now: HTTP {answer.status}{said}",
                on=self._url,
                state="it does not show the report",
                next_action="wait; see the forge's own status page",
            )
        raise Refused(
            f"the forge refuses the report: HTTP {answer.status}{said}",
            on=self._on,
            state="it does not show the report",
            next_action="check that the token is still good, and may set the statuses of that repository's commits",
        )


def _is_limited(response: httpx.Response) -> bool:
    # GitHub says so with 403, too. *Source:* its "Rate limits for the REST API".
    headers = response.headers
    return response.status_code == 403 and ("retry-after" in headers or headers.get("x-ratelimit-remaining") == "0")


def shown_link(link: str) -> dict[str, str]:
    """Return the link as a forge's API takes it; nothing where it is no address."""
    return {"target_url": link} if link.startswith(("http://", "https://")) else {}
