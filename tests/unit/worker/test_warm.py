"""Who may be served by a process that has everything imported already."""

import pytest

from deployments.worker.warm import restart_after_s, why_cold, why_not_alone

WORKER = {"PATH": "/bin", "PREFECT_API_URL": "http://here/api", "LANG": "C.UTF-8", "TOKEN": "s3cret"}


def test_run_with_the_workers_environment_is_served_warm() -> None:
    assert why_cold(WORKER, dict(WORKER)) is None


def test_what_belongs_to_one_run_may_differ() -> None:
    run = {
        "PREFECT__FLOW_RUN_ID": "1234",
        "PREFECT__CONTROL_TOKEN": "x",
        "SLIPWAY_ESTATE": "/etc/other.yaml",
        "PWD": "/tmp",
    }
    assert why_cold({**WORKER, "PREFECT__WORKER_NAME": "lab"}, {**WORKER, **run}) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"PREFECT_API_URL": "http://there/api"},
        {"PREFECT_LOGGING_LEVEL": "DEBUG"},
        {"PYTHONPATH": "/elsewhere"},
        {"LANG": "de_DE.UTF-8"},
        {"LD_PRELOAD": "/lib/faketime.so"},
        {"PREFECTURE": "a name that only looks like it"},
    ],
)
def test_any_other_difference_needs_a_process_of_its_own(changed: dict[str, str]) -> None:
    assert (
        why_cold(WORKER, {**WORKER, **changed}) == f"its environment differs from the worker's in {next(iter(changed))}"
    )


def test_variable_that_is_missing_is_a_difference() -> None:
    assert why_cold(WORKER, {name: value for name, value in WORKER.items() if name != "LANG"}) is not None


def test_values_are_never_told_and_many_names_are_counted() -> None:
    why = why_cold(WORKER, {f"NAME_{number}": "s3cret" for number in range(9)})
    assert why is not None
    assert "s3cret" not in why
    assert why.endswith("in LANG, NAME_0, NAME_1, NAME_2, NAME_3 and 8 more")


def test_process_with_another_thread_must_not_fork() -> None:
    assert why_not_alone(1) is None
    assert why_not_alone(3) == "something that was imported has started 2 threads"


def test_fork_server_that_dies_at_once_is_started_less_and_less_often_and_one_that_lived_at_once() -> None:
    waits = [0.0]
    for _ in range(8):
        waits.append(restart_after_s(0.1, waits[-1]))
    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert restart_after_s(61.0, 60.0) == 0.0
