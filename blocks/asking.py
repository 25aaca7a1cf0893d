"""One GET request with one deadline for everything, for drivers that ask an address how it is."""

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from tasks.common.errors import Retryable
from tasks.common.units import show_duration


@dataclass(frozen=True)
class Answered:
    """Status and body of an answer; `whole` is false where the body was longer than what was wanted of it."""

    status: int
    text: str
    whole: bool


class Asker:
    """Asks on a connection of its own each time. Safe to share between threads.

    Redirects, proxies, cookies and .netrc are not followed or used. Certificates are checked against the system's, or
    those that SSL_CERT_FILE names.

    Args:
        redact: applied to every text that an error shows.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._tls = ssl.create_default_context()

    def get(self, url: str, *, within_s: float, at_most_bytes: int) -> Answered:
        """Return the answer, and no more of its body than wanted. *Idempotent:* yes.

        Raises:
            Retryable: no answer came in time.
        """
        # A thread of its own, as the caller's may run an event loop already.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(asyncio.run, self._get(url, within_s, at_most_bytes)).result()

    async def _get(self, url: str, within_s: float, at_most_bytes: int) -> Answered:
        body = bytearray()
        try:
            # httpx bounds each read for itself, so that a server which sends a byte now and then would never be late.
            async with (
                asyncio.timeout(within_s),
                httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=within_s) as client,
                client.stream("GET", url) as response,
            ):
                async for chunk in response.aiter_bytes(2**16):
                    body += chunk
                    if len(body) > at_most_bytes:
                        break
                text = body[:at_most_bytes].decode(errors="replace")
                return Answered(response.status_code, text, len(body) <= at_most_bytes)
        except (TimeoutError, httpx.TimeoutException):
            raise self._silent(f"no answer within {show_duration(within_s)}", url) from None
        # A group: what anyio raises for a port that cannot be.
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, ExceptionGroup) as error:
            raise self._silent(f"no answer: {error or type(error).__name__}", url) from None

    def _silent(self, what: str, url: str) -> Retryable:
        return Retryable(
            self._redact(what),
            on=self._redact(url),
            next_action="check the address, and that its server can be reached from this worker",
        )
