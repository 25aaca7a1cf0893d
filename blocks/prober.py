"""Sends the HTTP checks of a service file."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from blocks.context import Context
from tasks.common.model import HttpCheck, StrictModel
from tasks.common.units import show_duration
from tasks.release.answer import judge_answer
from tasks.release.ports import HttpResult

# More is read to its end, to see that it comes whole, but not kept.
_BODY_KEPT_BYTES = 4 * 2**20


class HttpProber:
    """Sends each check as one request, in order, so that a check may rely on the one before it.

    Each request has a connection of its own and one deadline for everything. Redirects, proxies, cookies and .netrc are
    not followed or used. Certificates are checked against the system's, or those that SSL_CERT_FILE names. A text is
    looked for in the first 4 MiB of a body.
    """

    class Settings(StrictModel):
        """It has none."""

    def __init__(self, settings: Settings, context: Context) -> None:
        del settings
        self._redact = context.secrets.redact
        self._tls = ssl.create_default_context()

    def probe(self, base_url: str, checks: Sequence[HttpCheck], *, address: str = "") -> tuple[HttpResult, ...]:
        """Return one result a check, in order; a request that fails is a result, not an error.

        *Idempotent:* as the requests are.

        Args:
            base_url: where the paths start.
            checks: the requests.
            address: that the connections are made to; '' where the system's resolver is asked for the host.
        """
        # A thread of its own, as the caller's may run an event loop already.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return tuple(
                thread.submit(asyncio.run, self._probe(base_url.rstrip("/"), check, address)).result()
                for check in checks
            )

    async def _probe(self, base_url: str, check: HttpCheck, address: str) -> HttpResult:
        started = time.monotonic()
        answer = _Answer()
        try:
            # httpx bounds each read for itself, so that a server which sends a byte now and then would never be late.
            async with asyncio.timeout(check.within_s):
                await self._ask(base_url, check, address, answer)
            problem = judge_answer(check, answer.status or 0, answer.text, self._redact)
        except (TimeoutError, httpx.TimeoutException):
            came = "no answer" if answer.status is None else f"status {answer.status}, but no end of the answer"
            problem = f"{came} within {show_duration(check.within_s)}"
        except (TypeError, ValueError) as error:
            problem = f"the request cannot be written: {error}"
        # A group: what anyio raises for a port that cannot be.
        except (httpx.HTTPError, httpx.InvalidURL, ExceptionGroup) as error:
            problem = _explained(error, base_url)
        return HttpResult(check, not problem, answer.status, time.monotonic() - started, self._redact(problem))

    async def _ask(self, base_url: str, check: HttpCheck, address: str, answer: "_Answer") -> None:
        url = httpx.URL(base_url + check.path)
        # The name stays what the server is asked for, and what its certificate has to be for.
        host, named = (url.netloc.decode(), {"sni_hostname": url.host}) if address else ("", {})
        headers, at = ({"Host": host}, url.copy_with(host=address)) if address else ({}, url)
        async with (
            httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=check.within_s) as client,
            client.stream(check.method, at, json=check.json_body, headers=headers, extensions=named) as response,
        ):
            answer.status = response.status_code
            answer.encoding = response.encoding or "utf-8"
            async for chunk in response.aiter_bytes():
                answer.body += chunk[: _BODY_KEPT_BYTES - len(answer.body)]


class _Answer:
    """What has come of an answer up to now."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.encoding = "utf-8"
        self.body = bytearray()

    @property
    def text(self) -> str:
        """Return the body as text, whatever its bytes are."""
        try:
            return self.body.decode(self.encoding, errors="replace")
        except LookupError:  # a codec that is none of text
            return self.body.decode(errors="replace")


def _explained(error: Exception, base_url: str) -> str:
    for cause in _causes(error):
        match cause:
            case ConnectionRefusedError():
                return f"connection refused: nothing listens on {base_url}"
            case socket.gaierror():
                return f"the host's name cannot be resolved: {base_url}"
            case ssl.SSLCertVerificationError():
                return f"the server's certificate is not accepted: {cause.verify_message}"
            case ssl.SSLError():
                return f"no TLS connection came about: {cause.reason or cause}"
            case httpx.RemoteProtocolError():
                return f"the answer was cut short, or is no HTTP: {cause}"
            case httpx.DecodingError():
                return f"the answer's body cannot be decoded: {cause}"
            case httpx.ReadError() | httpx.WriteError():
                return "the server broke the connection off"
            case httpx.InvalidURL() | httpx.UnsupportedProtocol() | OverflowError():
                return f"{base_url} is no address: {cause}"
    return f"the request failed: {type(error).__name__}: {error}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the deepest cause first: it says what happened, the others who noticed."""
    if error is not None:
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        yield from _causes(inner or error.__cause__ or error.__context__)
        yield error
