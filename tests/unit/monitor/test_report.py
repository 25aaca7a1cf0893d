"""What a person reads about one look at an environment."""

from tasks.common.model import HttpCheck
from tasks.monitor.report import failures, report
from tasks.release.ports import HttpResult

HOME = HttpCheck(path="/", expect=200)
HEALTH = HttpCheck(name="health", path="/health", expect=200)


def test_failed_request_is_counted_named_and_cannot_change_the_table() -> None:
    results = [HttpResult(HOME, True, 200, 0.02), HttpResult(HEALTH, False, 500, 0.5, "status 500 | <b>oops</b>")]
    text = report("campus in production of lab", "http://127.0.0.1:1", "abcdef0123", results)
    assert "Release abcdef0 at http://127.0.0.1:1: **1 of 2 requests failed**." in text
    assert r"| health | status 500 \| &lt;b&gt;oops&lt;/b&gt; | 500 ms |" in text
    assert failures(results) == {"health": "status 500 | <b>oops</b>"}


def test_all_is_well_where_every_answer_is_right() -> None:
    text = report("x", "u", "r", [HttpResult(HOME, True, 200, 0.02)])
    assert "all 1 requests got the right answer" in text
