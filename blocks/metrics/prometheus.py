"""Figures from Prometheus, or from anything else that speaks its query interface (Thanos, Mimir, VictoriaMetrics)."""

import math
from typing import Any

import httpx
from pydantic import Field

from blocks.context import Context
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel
from tasks.common.units import Duration

_SHOWN_CHARACTERS = 500
_TOO_MANY_REQUESTS = 429
# 400 bad_data and 422 execution: what is asked for is wrong. Others (404, 302, 401) come from something else.
_ABOUT_THE_EXPRESSION = (400, 422)
_PLAIN_TYPES = ("vector", "scalar")


class PrometheusMetrics:
    """Implements `MetricSource` by instant queries. Safe to share between threads.

    Environment variables about proxies are not read: figures about production are asked for directly.
    *Source:* Prometheus documentation, HTTP API, instant queries (v1).
    """

    class Settings(StrictModel):
        """Which server is asked."""

        url: str = Field(pattern=r"^https?://[^\s?#]+$", description="its address, up to and without /api/v1")
        timeout_s: Duration = Field(default=10.0, alias="timeout", gt=0, description="longest wait for an answer")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._redact = context.secrets.redact
        self._settings = settings
        self._on = self._redact(settings.url)
        # A transport of its own is what keeps httpx from reading proxies out of the environment.
        self._client = httpx.Client(transport=httpx.HTTPTransport(), timeout=settings.timeout_s)

    def query(self, expression: str) -> float | None:
        """Return the value of an instant query now; None where there is no data (empty, NaN, infinite).

        Raises:
            Retryable: Prometheus does not answer, is overloaded, or warns that the answer may not be whole.
            Refused: the expression is wrong, returns several series or no number, or no Prometheus is at the address.
        """
        answer = self._ask(expression)
        if answer.get("warnings"):
            raise Retryable(
                "Prometheus warns that its answer may not be whole",
                on=self._on,
                next_action="check the stores behind Prometheus and the expression; a partial figure is no figure",
                facts={
                    "expression": self._short(expression),
                    "warnings": self._short("\n".join(map(str, answer["warnings"]))),
                },
            )
        return self._number(answer, expression)

    def check(self) -> None:
        """The source answers, and calculates.

        Raises:
            Retryable: it does not.
            Refused: something else than Prometheus is at the address.
        """
        if self.query("vector(1)") != 1.0:
            raise Retryable("Prometheus does not calculate", on=self._on, next_action="check what is at this address")

    def _ask(self, expression: str) -> dict[str, Any]:
        """Return the whole answer of a query that succeeded."""
        try:
            response = self._client.post(
                f"{self._settings.url.rstrip('/')}/api/v1/query",
                data={"query": expression, "timeout": f"{math.ceil(self._settings.timeout_s * 1000)}ms"},
            )
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Retryable(
                f"Prometheus does not answer: {type(error).__name__}",
                on=self._on,
                next_action="check that it runs and can be reached from this worker",
                facts={"expression": self._short(expression), "says": self._short(str(error))},
            ) from None
        if response.status_code == _TOO_MANY_REQUESTS or response.is_server_error:
            raise Retryable(
                f"Prometheus cannot answer now: HTTP {response.status_code}",
                on=self._on,
                next_action="check its load and its log; a query that always takes too long has to be made cheaper",
                facts={"expression": self._short(expression), "says": self._short(_error(response) or response.text)},
            )
        return self._understood(response, expression)

    def _understood(self, response: httpx.Response, expression: str) -> dict[str, Any]:
        message = _error(response)
        if response.status_code in _ABOUT_THE_EXPRESSION and message is not None:
            raise Refused(
                f"Prometheus refuses the expression: {self._short(message)}",
                on=self._on,
                next_action="correct the expression; try it in Prometheus' own page",
                facts={"expression": self._short(expression)},
            )
        answer = _json(response)
        if not response.is_success or answer.get("status") != "success":
            raise Refused(
                f"no Prometheus answers at this address: HTTP {response.status_code}",
                on=self._on,
                next_action="correct 'url' in the estate file; no /api/v1 at its end, and no page to log in before it",
                facts={"says": self._short(message or response.text)},
            )
        return answer

    def _number(self, answer: dict[str, Any], expression: str) -> float | None:
        facts: dict[str, object] = {"expression": self._short(expression)}
        try:
            kind, result = answer["data"]["resultType"], answer["data"]["result"]
            if kind == "vector" and len(result) > 1:
                raise Refused(
                    f"the expression returns {len(result)} series; it must return one number",
                    on=self._on,
                    next_action="aggregate it, e.g. with sum(...), or select one series by its labels",
                    facts={**facts, "series": len(result), "two of them": _two(result)},
                )
            if kind not in _PLAIN_TYPES or (kind == "vector" and result and "value" not in result[0]):
                raise Refused(
                    f"the expression returns a {'histogram' if kind == 'vector' else kind}, not a number",
                    on=self._on,
                    next_action="wrap it in a function that returns a number, such as rate() or histogram_quantile()",
                    facts=facts,
                )
            samples = [result] if kind == "scalar" else [series["value"] for series in result]
            value = float(samples[0][1]) if samples else math.nan
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise Refused(
                f"an answer that is not Prometheus' format: {type(error).__name__}",
                on=self._on,
                next_action="check what is at this address",
                facts={**facts, "answer": self._short(str(answer))},
            ) from None
        return value if math.isfinite(value) else None

    def _short(self, text: str) -> str:
        shown = self._redact(text).strip()
        return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + " ..."


def _two(result: list[dict[str, Any]]) -> str:
    return "\n".join(str(series.get("metric")) for series in result[:2])


def _json(response: httpx.Response) -> dict[str, Any]:
    """Return the answer's object; empty where it is none."""
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _error(response: httpx.Response) -> str | None:
    """Return Prometheus' own message; None where there is none."""
    message = _json(response).get("error")
    return str(message) if message else None
