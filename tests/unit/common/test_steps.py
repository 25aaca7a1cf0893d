"""What is only shown in the Prefect UI must not stand in the way of the work."""

import pytest
from prefect.client.orchestration import get_client
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.common.steps import only_shown


def test_server_that_does_not_answer_is_asked_once_only() -> None:
    before = PREFECT_CLIENT_MAX_RETRIES.value()
    with only_shown():
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 0
    assert PREFECT_CLIENT_MAX_RETRIES.value() == before > 0


def test_server_that_does_not_answer_is_the_same_one_as_before() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), only_shown():
        assert PREFECT_API_URL.value() == "http://127.0.0.1:1/api"


def test_what_cannot_be_shown_does_not_fail_the_work() -> None:
    done = []
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), disable_run_logger():
        with only_shown(), get_client(sync_client=True) as client:
            client.read_flow_runs()
            done.append("shown")
        done.append("worked on")
    assert done == ["worked on"]


def test_what_is_wrong_with_the_work_itself_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="wrong"), only_shown():
        raise ValueError("wrong")
