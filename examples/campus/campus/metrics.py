"""Metrics, and the middleware that takes them. Every series exists from the start: zero is data, absence is not."""

import logging
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_CLASSES = ("2xx", "3xx", "4xx", "5xx")
_OTHER = ("other", "other")
_log = logging.getLogger("campus")

disable_created_metrics()


class Metrics:
    """The figures of one instance.

    Args:
        release: stands on every series, so that a query can select a release.
        routes: the routes whose requests are counted; requests to anything else of the API count as 'other'.
        uncounted: endpoints that are not counted, because no user asks for them.
    """

    def __init__(self, release: str, routes: Iterable[Route], uncounted: Iterable[object]) -> None:
        self.release = release
        self._registry = CollectorRegistry(auto_describe=False)
        self._uncounted = set(uncounted)
        self._paths = {route.endpoint: route.path_format for route in routes}
        self._known = {(r.path_format, method) for r in routes for method in r.methods or () if method != "HEAD"}
        by_route = ("release", "route", "method")
        self._requests = self._counter("campus_http_requests", "Requests answered", *by_route, "status")
        self._duration = Histogram(
            "campus_http_request_duration_seconds",
            "Time to the end of the answer",
            by_route,
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self.enrolments = self._counter("campus_enrolments", "Enrolments made", "release").labels(release)
        self.user_reports = self._counter("campus_user_reports", "Problems that users reported", "release").labels(
            release
        )
        self.unhandled = self._counter("campus_unhandled_errors", "Requests that ended in a bug", "release").labels(
            release
        )
        for path, method in (*self._known, _OTHER):
            self._duration.labels(release, path, method)
            for status in _CLASSES:
                self._requests.labels(release, path, method, status)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def count(self, endpoint: object, method: str, status: int, duration_s: float) -> None:
        """The request is counted, unless nobody but machines asks for the endpoint."""
        if endpoint in self._uncounted:
            return
        key = (self._paths.get(endpoint, "other"), method)
        path, method = key if key in self._known else _OTHER
        self._requests.labels(self.release, path, method, f"{status // 100}xx").inc()
        self._duration.labels(self.release, path, method).observe(duration_s)


class Observed:
    """Middleware: names the release in every answer, counts every request, and turns a bug into an answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-release", self._metrics.release.encode())]
            await send(message)

        began_s = time.perf_counter()
        try:
            await self._app(scope, receive, answer)
        except Exception:
            self._metrics.unhandled.inc()
            _log.exception("%s %s ended in a bug", scope["method"], scope["path"])
            if status:
                # Half an answer is out: the connection must break, or the half would be taken for the whole.
                status = 500
                raise
            await JSONResponse({"error": "internal error"}, 500)(scope, receive, answer)
        finally:
            duration_s = time.perf_counter() - began_s
            self._metrics.count(scope.get("endpoint"), scope["method"], status or 500, duration_s)
