"""Figures from a real Prometheus that scrapes a real exporter; rare answers from a server that gives them."""

import contextlib
import json
import math
import socket
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import ValidationError

from blocks.context import Context
from blocks.metrics.prometheus import PrometheusMetrics
from tasks.common.errors import Refused, Retryable
from tests.support.processes import free_port, wait_until
from tests.support.prometheus import exporter, prometheus

pytestmark = pytest.mark.server


def metrics(url: str, timeout: str = "5s") -> PrometheusMetrics:
    settings = PrometheusMetrics.Settings.model_validate({"url": url, "timeout": timeout})
    return PrometheusMetrics(settings, Context(base=Path()))


class App:
    """An application whose metrics a Prometheus scrapes, and a second one that a test may end with `doom`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "answered requests", ["release", "status"], registry=self.registry)
        self.duration = Histogram("duration_seconds", "of requests", buckets=(0.1, 1.0), registry=self.registry)
        self.score = Gauge("score", "any figure", ["kind"], registry=self.registry)
        self.doomed_registry = CollectorRegistry()
        Gauge("doomed", "figure of an application that ends", registry=self.doomed_registry).set(1)
        self.doom = contextlib.ExitStack()


@pytest.fixture(scope="module")
def app() -> App:
    return App()


@pytest.fixture(scope="module")
def url(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with exporter(app.registry) as port, app.doom:
        targets = {"app": port, "doomed": app.doom.enter_context(exporter(app.doomed_registry))}
        with prometheus(tmp_path_factory.mktemp("prometheus"), targets=targets) as address:
            yield address


@pytest.fixture
def scraped(url: str) -> PrometheusMetrics:
    return metrics(url)


def test_rates_and_quantiles_of_a_scraped_application_are_numbers(app: App, scraped: PrometheusMetrics) -> None:
    ratio = 'sum(requests_total{release="v2",status="500"}) / sum(requests_total{release="v2"})'
    assert scraped.query(ratio) is None, "before the first request there is no data"
    for status, times in (("200", 75), ("500", 25)):
        app.requests.labels("v2", status).inc(times)
    assert wait_until(lambda: scraped.query(ratio), what="the error ratio") == 0.25
    for _ in range(100):
        app.duration.observe(0.05)

    def quantile() -> float | None:
        app.duration.observe(0.05)
        return scraped.query("histogram_quantile(0.95, sum by (le) (rate(duration_seconds_bucket[5s])))")

    assert wait_until(quantile, what="the 95th percentile") == pytest.approx(0.095)


def test_figure_that_is_not_a_number_is_no_data(app: App, scraped: PrometheusMetrics) -> None:
    for kind, value in (("nan", math.nan), ("inf", math.inf), ("minus", -math.inf), ("one", 1.0)):
        app.score.labels(kind).set(value)
    wait_until(lambda: scraped.query('score{kind="one"}'), what="the first scrape")
    assert scraped.query('count(score{kind=~"nan|inf|minus|one"})') == 4.0, "all four are there"
    assert [scraped.query(f'score{{kind="{kind}"}}') for kind in ("nan", "inf", "minus")] == [None] * 3
    assert scraped.query('sum(score{kind="one"}) / 0') is None


def test_series_of_a_dead_application_end_as_no_data(app: App, scraped: PrometheusMetrics) -> None:
    wait_until(lambda: scraped.query("doomed") == 1.0, what="the first scrape")
    app.doom.close()
    wait_until(lambda: scraped.query('up{job="doomed"}') == 0.0, what="the application being seen as down")
    assert scraped.query("doomed") is None


def test_several_series_are_refused_with_their_count_and_labels(app: App, scraped: PrometheusMetrics) -> None:
    expression = 'score{kind=~"a|b|c"}'
    for kind in ("a", "b", "c"):
        app.score.labels(kind).set(1)
    wait_until(lambda: scraped.query(f"count({expression})") == 3.0, what="the next scrape")
    with pytest.raises(Refused, match="returns 3 series") as caught:
        scraped.query(expression)
    assert caught.value.facts["expression"] == expression
    assert "'kind': 'a'" in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("sum(", "parse error"),
        ("sum(rate(x))", "expected type range vector"),
        ("no_such_function(1)", "unknown function"),
        ("$release", "parse error"),
        ("", "unknown position|no expression found"),
        (
            'label_replace(vector(1), "a", "1", "", "") or label_replace(vector(1), "a", "2", "", "") + on() '
            '(label_replace(vector(1), "a", "1", "", "") or label_replace(vector(1), "a", "2", "", ""))',
            "found duplicate series",
        ),
    ],
)
def test_wrong_expression_is_refused_with_prometheus_own_message(url: str, expression: str, message: str) -> None:
    with pytest.raises(Refused, match=message) as caught:
        metrics(url).query(expression)
    assert caught.value.facts["expression"] == expression


@pytest.mark.parametrize(("expression", "kind"), [("vector(1)[1m:1s]", "matrix"), ('"text"', "string")])
def test_answer_that_is_no_number_is_refused(url: str, expression: str, kind: str) -> None:
    with pytest.raises(Refused, match=f"returns a {kind}, not a number"):
        metrics(url).query(expression)


def test_scalar_is_a_number_too(url: str) -> None:
    assert metrics(url).query("1 + 1") == 2.0


def test_expression_longer_than_an_address_may_be_is_answered(url: str) -> None:
    assert metrics(url).query(f'vector(1) unless up{{job="{"x" * 100_000}"}}') == 1.0


def test_query_that_takes_longer_than_prometheus_allows_may_be_retried(tmp_path: Path) -> None:
    slow = "count_over_time(vector(time())[1h:1ms])"
    with prometheus(tmp_path, options=["--query.timeout=1ms"]) as url, pytest.raises(Retryable, match="503") as caught:
        metrics(url).query(slow)
    assert "timed out" in str(caught.value)


def test_answer_without_what_a_dead_store_has_is_not_accepted(tmp_path: Path) -> None:
    dead = {"remote_read": [{"url": f"http://127.0.0.1:{free_port()}/read", "read_recent": True}]}
    with prometheus(tmp_path, config=dead) as url, pytest.raises(Retryable, match="may not be whole") as caught:
        metrics(url).query("count(up) or vector(0)")
    assert "connection refused" in str(caught.value)


def test_prometheus_that_ended_may_be_retried(tmp_path: Path) -> None:
    with prometheus(tmp_path) as url:
        source = metrics(url)
        source.check()
    with pytest.raises(Retryable, match="does not answer"):
        source.check()
    with pytest.raises(Retryable, match="does not answer"):
        source.query("vector(1)")


def test_server_that_accepts_and_is_silent_may_be_retried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = metrics(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout="200ms")
        with pytest.raises(Retryable, match="ReadTimeout"):
            source.query("vector(1)")


def test_proxies_in_the_environment_are_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    metrics(url).check()


def test_password_in_the_address_is_not_shown() -> None:
    password = "s3cr3tpw"
    with pytest.raises(Retryable) as caught:
        metrics(f"http://reader:{password}@127.0.0.1:{free_port()}").check()
    assert password not in "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))


@pytest.mark.parametrize("wrong", ["127.0.0.1:9090", "ftp://127.0.0.1", "http://127.0.0.1/?query=1", ""])
def test_address_that_is_none_is_refused_when_the_estate_is_read(wrong: str) -> None:
    with pytest.raises(ValidationError):
        metrics(wrong)


# --- answers that a real Prometheus gives too rarely to wait for


class _Answers(BaseHTTPRequestHandler):
    status = 200
    body = ""
    paths: tuple[str, ...] = ()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).paths += (self.path,)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body.encode())))
        self.send_header("Location", "/login")
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        del code, size


@contextlib.contextmanager
def answering(status: int, body: str) -> Iterator[tuple[str, type[_Answers]]]:
    handler = type("Answers", (_Answers,), {"status": status, "body": body})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def success(result_type: str, result: object, **more: object) -> str:
    return json.dumps({"status": "success", "data": {"resultType": result_type, "result": result}, **more})


ONE = [{"metric": {}, "value": [1.0, "7"]}]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, "slow down"),
        (500, '{"status": "error", "errorType": "internal", "error": "the disk is gone"}'),
        (502, "<html>bad gateway</html>"),
        (503, "Service Unavailable"),
        (200, success("vector", ONE, warnings=["one of two stores did not answer"])),
        (200, success("vector", [], warnings=["one of two stores did not answer"])),
    ],
)
def test_trouble_that_may_pass_may_be_retried(status: int, body: str) -> None:
    with answering(status, body) as (url, _), pytest.raises(Retryable):
        metrics(url).query("x")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (302, ""),
        (401, "who are you?"),
        (403, '{"status": "error", "error": "not for you"}'),
        (404, "404 page not found"),
        (400, "a proxy's bad request"),
        (200, "<html>please log in</html>"),
        (200, ""),
        (200, "[]"),
        (200, "null"),
        (200, '{"status": "error", "error": "strange"}'),
        (200, '{"status": "success"}'),
        (200, '{"status": "success", "data": null}'),
        (200, success("vector", [{"metric": {}, "value": []}])),
        (200, success("vector", [{"metric": {}, "value": [1.0, "seven"]}])),
        (200, success("vector", [{"metric": {}, "value": [1.0, None]}])),
        (200, success("vector", None)),
        (200, success("vector", [{"metric": {}, "histogram": [1.0, {"count": "1", "sum": "1"}]}])),
        (200, success("surprise", ONE)),
    ],
)
def test_what_is_not_prometheus_is_refused_and_never_taken_for_no_data(status: int, body: str) -> None:
    with answering(status, body) as (url, _), pytest.raises(Refused):
        metrics(url).query("x")


def test_remarks_on_style_do_not_spoil_an_answer() -> None:
    with answering(200, success("vector", ONE, infos=["metric might not be a counter"])) as (url, _):
        assert metrics(url).query("x") == 7.0


def test_address_may_have_a_path_and_a_slash_at_its_end() -> None:
    with answering(200, success("vector", ONE)) as (url, handler):
        for end in ("", "/", "/prometheus", "/prometheus/"):
            assert metrics(url + end).query("x") == 7.0
    assert handler.paths == ("/api/v1/query",) * 2 + ("/prometheus/api/v1/query",) * 2


def test_long_expression_and_long_answer_are_cut_in_the_error() -> None:
    with answering(500, "y" * 10_000) as (url, _), pytest.raises(Retryable) as caught:
        metrics(url).query("x" * 10_000)
    assert 900 < len(str(caught.value)) < 2000
